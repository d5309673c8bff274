"""Versions that their publisher has revoked, and versions that the desired state names, on a whole device."""

import pytest

from maas_agent.update.protocol import MAX_LINE_BYTES
from tests.agent.update.device import Device
from tests.agent.update.publisher import Publisher


@pytest.fixture
def revoking(publisher: Publisher) -> Publisher:
    """1.0.0 and 1.1.0 are offered; 1.2.0 was, and is revoked; the channel is back at 1.1.0."""
    for seed, version in enumerate(("1.0.0", "1.1.0", "1.2.0")):
        publisher.publish(version, seed=seed)
    publisher.revoke("1.2.0", "leaks faces")
    publisher.point("1.1.0")
    publisher.release()
    return publisher


GONE = {"1.2.0": "leaks faces"}


def test_a_device_that_runs_a_revoked_version_goes_down_to_what_is_offered(
    its_device: Device, revoking: Publisher
) -> None:
    """The one case in which a lower version replaces a higher one: the publisher has signed that."""
    outcome = its_device.update(active_version="1.2.0", active_digest="0" * 64)
    assert (outcome.result, outcome.version, outcome.revoked) == ("tested", "1.1.0", GONE)


def test_every_outcome_says_what_is_revoked(its_device: Device, revoking: Publisher) -> None:
    """Also where nothing is to be done, and where it failed: the hub must not go back to one of them."""
    current = its_device.update(active_version="1.1.0", active_digest="0" * 64)
    assert (current.result, current.revoked) == ("current", GONE)
    for path in (revoking.folder / "blobs").iterdir():
        path.write_bytes(b"?")
    failed = its_device.update()
    assert (failed.result, failed.revoked) == ("failed", GONE)


def test_when_nothing_else_may_run_the_active_version_goes_on_and_is_reported(
    its_device: Device, revoking: Publisher
) -> None:
    """No answer at all is not better, and a person can see it."""
    revoking.revoke("1.1.0", "leaks too")
    revoking.revoke("1.0.0", "leaks too")
    revoking.release()
    outcome = its_device.update(active_version="1.2.0", active_digest="0" * 64)
    assert (outcome.result, outcome.reason) == (
        "current",
        "1.2.0, which is active, is revoked (leaks faces), and nothing else may take its place",
    )
    assert set(outcome.revoked) == {"1.0.0", "1.1.0", "1.2.0"}


def test_the_desired_state_takes_a_device_forward_and_back_but_not_below_what_is_revoked(
    its_device: Device, revoking: Publisher
) -> None:
    """A broker that was taken over cannot lead to the version with the known hole."""
    revoking.publish("1.3.0", seed=3, channel="beta")
    revoking.publish("1.4.0", seed=4, channel="beta")
    revoking.release()
    active = {"active_version": "1.4.0", "active_digest": "0" * 64}
    assert its_device.update(exact="1.3.0", **active).version == "1.3.0"
    back = its_device.update(exact="1.1.0", **active)
    assert (back.result, back.reason) == (
        "current",
        "1.1.0 is wanted, but not above 1.2.0, which is revoked: only its publisher leads there",
    )
    assert its_device.update(exact="1.4.0", active_version="1.1.0").version == "1.4.0"


def test_a_role_revokes_its_own_models_only(its_device: Device, revoking: Publisher) -> None:
    """Otherwise a team could take another team's models out of service."""
    revoking.delegate("team", "faces/*/*")
    revoking.publish("1.0.0", "faces", role="team")
    revoking.revoke("0.9.0", "blurred", "faces", role="team")
    revoking.revoke("1.1.0", "says who?", "digits", role="team")
    revoking.release()
    assert its_device.update(model="faces").revoked == {"0.9.0": "blurred"}
    assert its_device.update(model="digits").revoked == GONE


def test_a_long_history_of_revocations_still_fits_into_a_line(its_device: Device, revoking: Publisher) -> None:
    """The hub reads lines of a bounded length; it is told the newest, and all of them are obeyed."""
    for number in range(2000):
        revoking.revoke(f"0.0.{number}", "\x00" * 5000)
    revoking.release()
    outcome = its_device.update(active_version="0.0.1", active_digest="0" * 64)
    assert outcome.version == "1.1.0"
    assert outcome.revoked["1.2.0"] == "leaks faces" and "0.0.1" not in outcome.revoked
    assert sum(6 * len(reason) for reason in outcome.revoked.values()) < MAX_LINE_BYTES


@pytest.mark.parametrize("said", [["1.2.0"], {"digits": ["1.2.0"]}, {"digits": {"new": "no version"}}])
def test_revocations_that_are_none_are_refused(its_device: Device, revoking: Publisher, said: object) -> None:
    """Not to be skipped: what cannot be read may be what matters."""
    revoking.targets.unrecognized_fields["revoked"] = said
    revoking.release()
    assert str(its_device.update().reason).startswith("the repository's revoked versions are not readable: ")
