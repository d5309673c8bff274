"""Which MQTT version the next attempt speaks: every case of the rule, one attempt after the other."""

import pytest

from maas_agent.hub.mqtt.client import V5, V311
from maas_agent.hub.mqtt.version_choice import VersionChoice


def attempts(choice: VersionChoice, *ends: str) -> list[int]:
    """The version of each attempt, and of the one after the last; each of ``ends`` says how one ended."""
    spoken = []
    for end in ends:
        spoken.append(choice.current)
        choice.attempt()
        if end in ("up", "up and down"):
            choice.accepted()
        if end in ("refused", "other version"):
            choice.refused(speaks_other=end == "other version")
        choice.ended(was_accepted=end in ("up", "up and down"), in_tls=end == "tls")
    return [*spoken, choice.current]


@pytest.mark.parametrize(("configured", "version"), [("5", V5), ("3.1.1", V311)])
def test_what_is_configured_is_spoken_whatever_happens(configured: str, version: int) -> None:
    choice = VersionChoice(configured)
    assert not choice.is_guess
    assert set(attempts(choice, "silence", "other version", "up", *["silence"] * 20)) == {version}


def test_a_broker_that_was_never_understood_is_spoken_to_in_turns() -> None:
    choice = VersionChoice("auto")
    assert choice.is_guess
    assert attempts(choice, "silence", "silence", "silence") == [V5, V311, V5, V311]


def test_an_end_in_tls_or_a_refusal_for_another_reason_says_nothing_of_the_version() -> None:
    assert attempts(VersionChoice("auto"), "tls", "refused", "tls") == [V5] * 4


def test_a_refusal_of_the_version_is_a_reason_to_speak_the_other_one_at_once() -> None:
    choice = VersionChoice("auto")
    assert attempts(choice, "up", "other version") == [V5, V5, V311]
    assert choice.is_guess


def test_a_version_that_has_worked_is_kept_while_the_broker_is_away_but_not_for_ever() -> None:
    choice = VersionChoice("auto")
    spoken = attempts(choice, "up", *["silence"] * 16)
    assert [number for number, version in enumerate(spoken) if version == V311] == [9, 13, 17]
    assert not choice.is_guess


def test_version_5_is_preferred_again_after_a_connection_that_3_1_1_made_in_between() -> None:
    choice = VersionChoice("auto")
    spoken = attempts(choice, "up", *["silence"] * 8, "up", "silence")
    assert spoken[9:] == [V311, V5, V5]


def test_a_broker_that_only_knows_3_1_1_is_asked_in_5_now_and_then_when_it_is_silent() -> None:
    spoken = attempts(VersionChoice("auto"), "silence", "up", *["silence"] * 8)
    assert spoken[:2] == [V5, V311]
    assert [number for number, version in enumerate(spoken) if version == V5] == [0, 10]


def test_after_a_connection_silences_are_counted_anew() -> None:
    spoken = attempts(VersionChoice("auto"), "up", *["silence"] * 7, "up", *["silence"] * 7)
    assert set(spoken) == {V5}
