"""Fixtures of the hub's tests."""

import pytest

from maas_agent.host import clock as boottime
from maas_agent.hub.outbox import timeline
from tests.agent.hub.outbox.outboxes import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clocks and timers of an outbox, moved by hand."""
    clock = Clock()
    monkeypatch.setattr(boottime, "time", clock)
    monkeypatch.setattr(timeline, "boot_id", lambda: clock.boot)
    return clock
