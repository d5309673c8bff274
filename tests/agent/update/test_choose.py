"""Which offered version is chosen: rules on values."""

import pytest

from maas_agent.errors import PullError, VerifyError
from maas_agent.update.choose import Offer, choose, refuse_downgrade, why_nothing
from maas_agent.update.protocol import Wanted

CHANNELS = {"digits": {"stable": "1.2.0", "beta": "2.0.0-rc.1"}, "cats": {"stable": "9.0.0"}}


def offer(version: str, name: str = "digits") -> Offer:
    return Offer(name, version, f"digest of {version}", 100)


OFFERS = [offer(version) for version in ("1.0.0", "1.2.0", "1.1.0", "1.10.0", "2.0.0-rc.1")] + [offer("9.0.0", "cats")]


def wanted(**fields: object) -> Wanted:
    return Wanted(**({"pipeline": "p", "model": "digits"} | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "chosen"),
    [
        ({}, "1.2.0"),
        ({"versions": "~1.1"}, "1.1.0"),
        ({"versions": "<1.2"}, "1.1.0"),
        ({"active_version": "1.1.0"}, "1.2.0"),
        ({"channel": "beta"}, "2.0.0-rc.1"),
        ({"channel": "beta", "versions": ">=1.0"}, "1.10.0"),
        ({"refused": {"digest of 1.2.0": "it deviates"}}, "1.1.0"),
    ],
)
def test_the_newest_version_in_range_up_to_the_channel_is_chosen(fields: dict[str, object], chosen: str) -> None:
    """10 is newer than 2; a pre-release only if the channel names it; a refused digest only costs itself."""
    found = choose(OFFERS, CHANNELS, wanted(**fields))
    assert found is not None and found.version == chosen


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"active_version": "1.2.0"}, None),
        ({"active_version": "1.3.0"}, "offered is 1.2.0, active is 1.3.0: only a newer version replaces it"),
        ({"versions": "^3"}, "no version up to 1.2.0 (channel stable) of digits is in '^3'"),
        (
            {"active_version": "1.1.0", "refused": {"digest of 1.2.0": "it deviates"}},
            "1.2.0 is set aside: it deviates",
        ),
    ],
)
def test_when_nothing_is_chosen_it_is_said_why(fields: dict[str, object], reason: str | None) -> None:
    """No reason is needed when the active one is the newest."""
    assert choose(OFFERS, CHANNELS, wanted(**fields)) is None
    assert why_nothing(OFFERS, CHANNELS, wanted(**fields)) == reason


def test_a_model_or_channel_that_is_not_there_is_named_with_those_that_are() -> None:
    """A typing error is found by reading the message."""
    with pytest.raises(PullError, match="offers no model 'digit'; it has cats, digits"):
        choose(OFFERS, CHANNELS, wanted(model="digit"))
    with pytest.raises(PullError, match="digits has no channel 'nightly'; it has beta, stable"):
        choose(OFFERS, CHANNELS, wanted(channel="nightly"))


@pytest.mark.parametrize(("offered", "active"), [("1.0.0", "1.0.0"), ("1.9.0", "1.10.0"), ("1.0.0-rc.1", "1.0.0")])
def test_only_a_newer_version_replaces_the_active_one(offered: str, active: str) -> None:
    """SemVer precedence, not the order of letters."""
    with pytest.raises(VerifyError, match="only a newer version"):
        refuse_downgrade(offered, active)
    refuse_downgrade(active, None)
