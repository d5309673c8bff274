"""Which offered version is chosen: rules on values."""

import pytest

from maas_agent.errors import PullError, VerifyError
from maas_agent.update.choose import Catalogue, Offer, choose, refuse_downgrade, refuse_unwanted, why_nothing
from maas_agent.update.protocol import Wanted

CHANNELS = {"digits": {"stable": "1.2.0", "beta": "2.0.0-rc.1"}, "cats": {"stable": "9.0.0"}}


def offer(version: str, name: str = "digits") -> Offer:
    return Offer(name, version, f"digest of {version}", 100)


def offering(*versions: str, stable: str | None = None, revoked: dict[str, str] | None = None) -> Catalogue:
    channels = {"digits": {"stable": stable}} if stable else {}
    return Catalogue(tuple(offer(version) for version in versions), channels, {"digits": revoked or {}})


VERSIONS = ("1.0.0", "1.2.0", "1.1.0", "1.10.0", "2.0.0-rc.1")
CATALOGUE = Catalogue((*(offer(version) for version in VERSIONS), offer("9.0.0", "cats")), CHANNELS)


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
    found = choose(CATALOGUE, wanted(**fields))
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
    assert choose(CATALOGUE, wanted(**fields)) is None
    assert why_nothing(CATALOGUE, wanted(**fields)) == reason


@pytest.mark.parametrize(
    ("fields", "chosen"),
    [
        ({"exact": "1.10.0"}, "1.10.0"),
        ({"exact": "1.10.0", "channel": "none such"}, "1.10.0"),
        ({"exact": "1.10.0", "active_version": "1.2.0"}, "1.10.0"),
        ({"exact": "1.0.0", "active_version": "1.2.0"}, "1.0.0"),
        ({"exact": "2.0.0-rc.1", "active_version": "1.2.0"}, "2.0.0-rc.1"),
        ({"exact": "1.1.0", "versions": "~1.1"}, "1.1.0"),
    ],
)
def test_the_version_that_the_desired_state_names_is_installed(fields: dict[str, object], chosen: str) -> None:
    """Forward or back, whatever the channel says, if the publisher has signed it."""
    found = choose(CATALOGUE, wanted(**fields))
    assert found is not None and found.version == chosen


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"exact": "1.2.0", "active_version": "1.2.0"}, None),
        (
            {"exact": "1.10.0", "versions": "<1.10"},
            "1.10.0 is wanted, but this pipeline takes only versions in '<1.10'",
        ),
        (
            {"exact": "2.0.0-rc.1", "versions": "^2"},
            "2.0.0-rc.1 is wanted, but this pipeline takes only versions in '^2'",
        ),
        (
            {"exact": "3.0.0"},
            "3.0.0 is wanted, but the repository does not offer it; of digits it has "
            "1.0.0, 1.1.0, 1.10.0, 1.2.0, 2.0.0-rc.1",
        ),
        (
            {"exact": "1.0.0", "refused": {"digest of 1.0.0": "it deviates"}},
            "1.0.0 is wanted, but set aside: it deviates",
        ),
        (
            {"exact": "9.0.0", "model": "dogs"},
            "9.0.0 is wanted, but the repository does not offer it; of dogs it has none",
        ),
    ],
)
def test_a_version_that_may_not_be_installed_is_refused_with_the_reason(
    fields: dict[str, object], reason: str | None
) -> None:
    """A broker cannot make a device run what the targets do not name, nor what the device's own range excludes."""
    assert choose(CATALOGUE, wanted(**fields)) is None
    assert why_nothing(CATALOGUE, wanted(**fields)) == reason


GONE = {"1.2.0": "leaks"}


@pytest.mark.parametrize(
    ("fields", "chosen"),
    [
        # The publisher leads away from a revoked version, also down.
        ({"active_version": "1.2.0"}, "1.1.0"),
        ({"active_version": "1.2.0", "versions": "<1.1"}, "1.0.0"),
        ({"active_version": "1.2.0", "refused": {"digest of 1.1.0": "slow"}}, "1.0.0"),
        ({"active_version": "1.0.0"}, "1.1.0"),
        # The broker may name one above it; where it names something else the publisher decides.
        ({"active_version": "1.2.0", "exact": "1.3.0"}, "1.3.0"),
        ({"active_version": "1.4.0", "exact": "1.3.0"}, "1.3.0"),
        ({"active_version": "1.2.0", "exact": "1.2.0"}, "1.1.0"),
        ({"active_version": "1.2.0", "exact": "1.0.0"}, "1.1.0"),
        ({"active_version": "1.2.0", "exact": "1.1.0"}, "1.1.0"),
        # Newer than what is active is forward, and what the channel says is the publisher's.
        ({"active_version": "1.0.0", "exact": "1.1.0"}, "1.1.0"),
        ({"exact": "1.1.0"}, "1.1.0"),
    ],
)
def test_a_revoked_version_is_left_for_what_the_publisher_offers(fields: dict[str, object], chosen: str) -> None:
    """1.2.0 was revoked, and the channel points at 1.1.0."""
    catalogue = offering("1.0.0", "1.1.0", "1.3.0", "1.4.0", stable="1.1.0", revoked=GONE)
    found = choose(catalogue, wanted(**fields))
    assert found is not None and found.version == chosen


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (
            {"active_version": "1.3.0", "exact": "1.1.0"},
            "1.1.0 is wanted, but not above 1.2.0, which is revoked: only its publisher leads there",
        ),
        (
            {"exact": "1.0.0"},
            "1.0.0 is wanted, but not above 1.2.0, which is revoked: only its publisher leads there",
        ),
        ({"active_version": "1.3.0", "exact": "1.2.0"}, "1.2.0 is wanted, but revoked: leaks"),
        ({"active_version": "1.0.0", "exact": "1.2.0"}, "1.2.0 is wanted, but revoked: leaks"),
        (
            {"active_version": "1.2.0", "versions": "^2"},
            "1.2.0, which is active, is revoked (leaks), and nothing else may take its place",
        ),
    ],
)
def test_a_broker_cannot_lead_below_a_revoked_version(fields: dict[str, object], reason: str) -> None:
    """Old versions are where the known holes are."""
    catalogue = offering("1.0.0", "1.1.0", "1.3.0", stable="1.1.0", revoked=GONE)
    assert choose(catalogue, wanted(**fields)) is None
    assert why_nothing(catalogue, wanted(**fields)) == reason


def test_an_offer_that_is_revoked_as_well_is_no_offer() -> None:
    """A publisher's tool removes it; one that did not has still revoked it."""
    found = choose(offering("1.1.0", "1.2.0", stable="1.2.0", revoked=GONE), wanted())
    assert found is not None and found.version == "1.1.0"


def test_when_every_version_is_revoked_the_device_is_told_so() -> None:
    """A new device has nothing to run; one that runs it goes on, and says what it runs."""
    for nothing in (offering(revoked=GONE), offering(revoked=GONE, stable="1.2.0")):
        with pytest.raises(PullError, match="every version of digits is revoked"):
            choose(nothing, wanted())
        assert choose(nothing, wanted(active_version="1.2.0")) is None
        assert str(why_nothing(nothing, wanted(active_version="1.2.0"))).startswith(
            "1.2.0, which is active, is revoked"
        )


def test_a_model_or_channel_that_is_not_there_is_named_with_those_that_are() -> None:
    """A typing error is found by reading the message."""
    with pytest.raises(PullError, match="offers no model 'digit'; it has cats, digits"):
        choose(CATALOGUE, wanted(model="digit"))
    with pytest.raises(PullError, match="digits has no channel 'nightly'; it has beta, stable"):
        choose(CATALOGUE, wanted(channel="nightly"))


@pytest.mark.parametrize(("offered", "active"), [("1.0.0", "1.0.0"), ("1.9.0", "1.10.0"), ("1.0.0-rc.1", "1.0.0")])
def test_only_a_newer_version_replaces_the_active_one(offered: str, active: str) -> None:
    """SemVer precedence, not the order of letters."""
    with pytest.raises(VerifyError) as refused:
        refuse_downgrade(offered, active)
    assert str(refused.value) == f"offered is {offered}, active is {active}: only a newer version replaces it"
    refuse_downgrade(active, None)
    refuse_downgrade("9.0.0", active)


def test_a_channel_that_leads_to_what_cannot_be_had_is_said() -> None:
    """Its publisher may not know, and the device would wait for ever without a word."""
    on = wanted(active_version="1.0.0")
    leads = "channel stable leads to digits 1.1.0, which "
    assert why_nothing(offering("1.0.0", stable="1.1.0"), on) == (
        f"{leads}the repository does not offer in a form that this device takes"
    )
    assert why_nothing(offering("1.0.0", stable="1.1.0", revoked={"1.1.0": "it leaks"}), on) == (
        f"{leads}is revoked: it leaks"
    )
    assert (
        why_nothing(offering("1.0.0", "1.1.0", stable="1.1.0"), wanted(active_version="1.0.0", versions="<1.1")) is None
    )
    elsewhere = wanted(active_version="1.0.0", versions="<1.1", withdrawn=("1.1.0",))
    assert why_nothing(offering("1.0.0", stable="1.1.0"), elsewhere) is None, "the operator has taken it back"
    assert why_nothing(offering("1.0.0", stable="1.0.0"), on) is None


def test_nothing_is_said_where_a_newer_version_may_be_installed() -> None:
    assert why_nothing(CATALOGUE, wanted(active_version="1.1.0")) is None


def test_a_version_that_is_wanted_and_runs_needs_no_reason_whatever_the_range_says() -> None:
    on = wanted(exact="1.2.0", active_version="1.2.0", versions="<1.0")
    assert (choose(CATALOGUE, on), why_nothing(CATALOGUE, on)) == (None, None)


def test_a_model_without_any_channel_is_told_so() -> None:
    with pytest.raises(PullError, match=r"^digits has no channel 'stable'; it has none$"):
        choose(offering("1.0.0"), wanted())
    with pytest.raises(PullError, match=r"^digits has no channel 'stable'; it has none$"):
        choose(Catalogue((offer("1.0.0"),), {}), wanted())


def test_of_many_names_the_first_ten_are_told() -> None:
    models = Catalogue(tuple(offer("1.0.0", f"m{number:02}") for number in range(11)), {})
    with pytest.raises(PullError) as refused:
        choose(models, wanted())
    told = ", ".join(f"m{number:02}" for number in range(10))
    assert str(refused.value) == f"the repository offers no model 'digits'; it has {told}"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, None),
        ({"model": None}, None),
        ({"versions": "^1"}, None),
        ({"versions": " "}, None),
        ({"model": "cats"}, "digits.maas holds digits, pipeline p is to run cats"),
        ({"versions": "<1.1"}, "digits.maas holds version 1.1.0, which is not in '<1.1'"),
        ({"model": None, "versions": "<1.1"}, "digits.maas holds version 1.1.0, which is not in '<1.1'"),
    ],
)
def test_a_local_bundle_is_of_the_model_and_range_that_the_pipeline_is_to_run(
    fields: dict[str, object], reason: str | None
) -> None:
    on = wanted(bundle="digits.maas", **fields)
    if reason is None:
        refuse_unwanted(offer("1.1.0"), on)
        return
    with pytest.raises(VerifyError) as refused:
        refuse_unwanted(offer("1.1.0"), on)
    assert str(refused.value) == reason


def test_a_local_bundle_may_be_a_pre_release_where_the_range_says_nothing() -> None:
    refuse_unwanted(offer("2.0.0-rc.1"), wanted(bundle="x"))
    with pytest.raises(VerifyError, match=r"version 2\.0\.0-rc\.1, which is not in '>=1.0'"):
        refuse_unwanted(offer("2.0.0-rc.1"), wanted(bundle="x", versions=">=1.0"))
