"""An error is a sentence, whatever was wrong."""

from maas_agent.errors import LONGEST_SENTENCE, DataError, DecodeError, brief


def test_an_error_does_not_repeat_a_megabyte_of_what_was_wrong() -> None:
    """It goes into the log, into a retained topic and into the state on the disk."""
    said = str(DataError(f"the manifest is not valid: Invalid value {'9' * 1_000_000!r} - at `$.version`"))
    assert len(said) < LONGEST_SENTENCE
    assert said.startswith("the manifest is not valid: ")
    assert said.endswith("- at `$.version`")
    assert len(str(DecodeError("bad_json", "x" * 5000))) < LONGEST_SENTENCE


def test_a_sentence_is_left_as_it_is() -> None:
    assert str(DataError("it is too short")) == brief("it is too short") == "it is too short"
