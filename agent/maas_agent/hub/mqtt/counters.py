"""Counts what happened on all connections to the broker since the start."""

import msgspec


class Counters(msgspec.Struct):
    """What happened on all connections since the start."""

    connections: int = 0
    """That the broker has accepted."""
    refused: int = 0
    """Messages that the broker refused."""
    too_large: int = 0
    """Messages that are larger than the broker takes, and were not sent."""
    unreadable: int = 0
    """Messages from the broker whose topic or properties cannot be read."""
    left_out: int = 0
    """QoS 1 inputs beyond what is held at a time; the broker sends them again."""
