"""The workstation side of maas-edge: imports, quantizes, proves, packs and publishes models."""
