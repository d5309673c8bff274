"""Fixtures of the hub's tests."""

import pytest

from maas_agent.hub import outbox
from tests.agent.hub.outboxes import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clocks and timers of an outbox, moved by hand."""
    clock = Clock()
    monkeypatch.setattr(outbox, "time", clock)
    return clock
