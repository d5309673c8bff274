"""Versions and the ranges a pipeline accepts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas_agent.bundle.version import VersionRange, parse_version
from maas_agent.errors import DataError

RANGES = {
    # range: (accepted, refused)
    "*": ("0.0.0 1.2.3 99.0.0", "1.0.0-rc.1"),
    "": ("0.0.0 1.2.3", "1.0.0-rc.1"),
    "1.2.3": ("1.2.3", "1.2.2 1.2.4 1.2.3-rc.1"),
    "==1.2.3": ("1.2.3", "1.2.2 1.2.4"),
    "!=1.2.3": ("1.2.2 1.2.4 2.0.0", "1.2.3"),
    "1.2": ("1.2.0 1.2.9", "1.1.9 1.3.0 1.3.0-rc.1 1.2.0-rc.1"),
    "==1.2": ("1.2.0 1.2.9", "1.1.9 1.3.0"),
    "1": ("1.0.0 1.9.9", "0.9.9 2.0.0 2.0.0-rc.1"),
    "^1.2.3": ("1.2.3 1.9.0", "1.2.2 2.0.0 2.0.0-alpha"),
    "^1.2": ("1.2.0 1.9.9", "1.1.9 2.0.0"),
    "^0.2.3": ("0.2.3 0.2.9", "0.2.2 0.3.0 1.0.0"),
    "^0.0.3": ("0.0.3", "0.0.2 0.0.4 0.1.0"),
    "^0.0": ("0.0.0 0.0.9", "0.1.0"),
    "^0": ("0.0.0 0.9.9", "1.0.0"),
    "~1.2.3": ("1.2.3 1.2.9", "1.2.2 1.3.0 1.3.0-rc.1"),
    "~1.2": ("1.2.0 1.2.9", "1.1.9 1.3.0"),
    "~1": ("1.0.0 1.9.9", "0.9.9 2.0.0"),
    ">1.2.3": ("1.2.4 2.0.0", "1.2.3 1.2.2"),
    ">1.2": ("1.3.0 2.0.0", "1.2.0 1.2.9 1.1.0"),
    ">1": ("2.0.0", "1.0.0 1.9.9"),
    ">=1.2": ("1.2.0 1.2.9 2.0.0", "1.1.9"),
    "<1.2": ("1.1.9 0.1.0", "1.2.0 1.2.0-rc.1 1.2.5"),
    "<=1.2": ("1.2.0 1.2.9 1.1.0", "1.3.0 1.3.0-rc.1"),
    "<=1.2.3": ("1.2.3 1.2.2", "1.2.4"),
    ">=1.0, <2": ("1.0.0 1.9.9", "0.9.9 2.0.0 2.0.0-rc.1"),
    ">=1.0 <2,!=1.5.0": ("1.4.0 1.6.0", "1.5.0 2.0.0"),
    ">= 1.0 ,  < 2": ("1.0.0", "2.0.0"),
    "1.2.3, 1.2.4": ("", "1.2.3 1.2.4"),
    ">=2.0.0-rc.1": ("2.0.0-rc.1 2.0.0-rc.2 2.0.0 2.1.0-alpha", "2.0.0-beta 1.9.9"),
    "^1.2.0-rc.1": ("1.2.0-rc.1 1.2.0 1.9.0", "1.2.0-beta 2.0.0-rc.1 2.0.0"),
    "<2.0.0-rc.1": ("1.9.9", "2.0.0-beta 2.0.0"),
    "1.2.0": ("1.2.0 1.2.0+build.7", "1.2.1"),
}


@pytest.mark.parametrize("text", RANGES)
def test_a_range_accepts_what_it_says_and_nothing_else(text: str) -> None:
    versions = VersionRange(text)
    accepted, refused = (words.split() for words in RANGES[text])
    assert [version for version in accepted if parse_version(version) not in versions] == []
    assert [version for version in refused if parse_version(version) in versions] == []


@pytest.mark.parametrize(
    "text",
    [
        *("x", "v1.2", "1.x", "=1.2", "=>1.0", ">=", "^", "1.2 - 2", "1.2.0 || 2", "1.2.3.4", "-1", "1,2;3", "latest"),
        *("01.2.0", "1.2.3-01", "1.2.3-a..b", "1.2.3-", "9" * 5000, "\u0661.\u0662", "!=1.2", "!=1"),
    ],
)
def test_what_is_no_range_is_refused_with_a_sentence(text: str) -> None:
    """Among them what looks like one and is no SemVer."""
    with pytest.raises(DataError, match="is no version range"):
        VersionRange(text)


@pytest.mark.parametrize(
    "text", ["", "1", "1.2", "1.2.3.4", "v1.2.3", "1.2.3 ", "1.2.3\n", "01.2.3", "9" * 5000 + ".0.0"]
)
def test_what_is_no_version_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(DataError, match="is no version"):
        parse_version(text)


@given(st.text(alphabet="0123456789.<>=!^~*, -+ab\n\t", max_size=20))
def test_any_text_is_a_range_or_refused(text: str) -> None:
    try:
        versions = VersionRange(text)
    except DataError:
        return
    assert isinstance(parse_version("1.2.3") in versions, bool)


@given(st.tuples(*[st.integers(0, 3)] * 3), st.tuples(*[st.integers(0, 3)] * 3))
def test_a_caret_and_a_tilde_allow_what_npm_says(base: tuple[int, ...], other: tuple[int, ...]) -> None:
    written, version = ".".join(map(str, base)), parse_version(".".join(map(str, other)))
    fixed = next((index for index, number in enumerate(base) if number), 2) + 1
    assert (version in VersionRange(f"^{written}")) == (other >= base and other[:fixed] == base[:fixed])
    assert (version in VersionRange(f"~{written}")) == (other >= base and other[:2] == base[:2])


@pytest.mark.parametrize("text", ["1.0.0-" + "9" * 250, "1" * 5000 + ".0.0", "1.0.0+" + "a" * 65_000])
def test_a_version_is_no_longer_than_a_name_may_be(text: str) -> None:
    """It becomes a part of paths and URLs."""
    with pytest.raises(DataError, match="is no version"):
        parse_version(text)
    with pytest.raises(DataError, match="is no version"):
        VersionRange(f">={text}")
