"""Wrong clocks: a board without a battery wakes up in 1970, another one is years ahead. The pullers have these."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.agent.update.device import Device
from tests.agent.update.publisher import Publisher
from tests.clocks import at_the_epoch, wrong_clock

DAY_S = 86_400.0


def now() -> str:
    return datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


@pytest.fixture
def running(publisher: Publisher, its_device: Device) -> Device:
    """A device that has seen 1.0.0, signed just now."""
    publisher.publish("1.0.0")
    publisher.signed_at = now()
    publisher.release()
    assert its_device.update().result == "tested"
    return its_device


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_expired_metadata_is_refused_by_a_clock_in_1970_once_something_newer_was_seen(
    publisher: Publisher, running: Device, tmp_path: Path, role: str
) -> None:
    """By that clock nothing has ever expired: an old copy would hide every update for ever."""
    publisher.publish("1.1.0")
    publisher.release(expired=(role,))
    running.environment = wrong_clock(tmp_path, at_the_epoch())
    outcome = running.update(active_version="1.0.0")
    assert (outcome.result, outcome.set_aside) == ("failed", False)
    assert str(outcome.reason).startswith(f"the repository's {role} metadata expired on ")


def test_without_the_marks_that_clock_believes_what_has_expired(
    publisher: Publisher, running: Device, tmp_path: Path
) -> None:
    """So it is the floor that makes the difference, and what losing the file costs."""
    publisher.publish("1.1.0")
    publisher.signed_at = None
    publisher.release(expired=("timestamp",))
    running.environment = wrong_clock(tmp_path, at_the_epoch())
    (running.store / "updates" / "marks.json").unlink()
    assert running.update(active_version="1.0.0").version == "1.1.0"


def test_a_clock_in_1970_still_takes_what_is_fresh(publisher: Publisher, running: Device, tmp_path: Path) -> None:
    """The device goes on being updated."""
    publisher.publish("1.1.0")
    publisher.signed_at = now()
    publisher.release()
    running.environment = wrong_clock(tmp_path, at_the_epoch())
    assert running.update(active_version="1.0.0").version == "1.1.0"


def test_a_new_device_with_its_clock_in_1970_judges_by_the_newest_signature(
    publisher: Publisher, its_device: Device, tmp_path: Path
) -> None:
    """The timestamp was signed today, so targets that ended yesterday have expired, whatever the clock says."""
    publisher.publish("1.0.0")
    publisher.signed_at = now()
    publisher.release(expired=("targets",))
    its_device.environment = wrong_clock(tmp_path, at_the_epoch())
    assert str(its_device.update().reason).startswith("the repository's targets metadata expired on ")


def test_a_clock_that_is_ahead_says_that_metadata_expired_and_that_it_may_be_the_clock(
    publisher: Publisher, running: Device, tmp_path: Path
) -> None:
    """The active bundle goes on; nothing is held against any version; with the clock right again it is over."""
    publisher.publish("1.1.0")
    publisher.release()
    running.environment = wrong_clock(tmp_path, 400 * DAY_S)
    outcome = running.update(active_version="1.0.0", active_digest="0" * 64)
    assert (outcome.result, outcome.state, outcome.version, outcome.set_aside) == ("failed", "init", None, False)
    assert "expired on" in str(outcome.reason) and "(or this device's clock is wrong)" in str(outcome.reason)
    running.environment = {}
    assert running.update(active_version="1.0.0").version == "1.1.0"


def test_the_time_of_signing_only_rises(publisher: Publisher, running: Device, tmp_path: Path) -> None:
    """A signer whose clock went back does not take the floor with it."""
    publisher.publish("1.1.0")
    publisher.signed_at = "2020-01-01T00:00:00Z"
    publisher.release()
    assert running.update(active_version="1.0.0").version == "1.1.0"
    publisher.release(expired=("timestamp",))
    running.environment = wrong_clock(tmp_path, at_the_epoch())
    assert "expired on" in str(running.update(active_version="1.1.0").reason)


def test_a_signer_whose_clock_was_far_ahead_is_undone_by_a_new_timestamp_key(
    publisher: Publisher, running: Device
) -> None:
    """Or a thief of that key: devices take the year he said for true, until the key is another one."""
    publisher.publish("1.1.0")
    publisher.lifetime = timedelta(days=40_000)
    publisher.signed_at = "2099-01-01T00:00:00Z"
    publisher.release()
    running.update(active_version="1.1.0")
    publisher.lifetime = timedelta(days=7)
    publisher.signed_at = now()
    publisher.release()
    assert "expired on" in str(running.update(active_version="1.0.0").reason)
    publisher.rotate("timestamp", "snapshot")
    publisher.release()
    assert running.update(active_version="1.0.0").version == "1.1.0"


def test_a_time_of_signing_after_the_expiry_is_refused(publisher: Publisher, running: Device) -> None:
    """Nobody signs what has expired already, but by a wrong clock; it must not become the device's."""
    publisher.signed_at = "2099-01-01T00:00:00Z"
    publisher.release()
    assert "was signed at 2099-01-01T00:00:00Z, after it expired" in str(running.update().reason)
