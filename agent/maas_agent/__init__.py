"""The device side of maas-edge: pulls, verifies, tests, runs and reports models."""

__version__ = "0.1.0"
