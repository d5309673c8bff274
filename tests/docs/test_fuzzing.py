"""The page names every target of the fuzzer, and how much was tried."""

import re

from tests.docs.pages import rows, section, text
from tests.fuzz.targets import TARGETS
from tests.fuzz.test_fuzz import KEPT

PAGE = "docs/security.md"
TABLE = {name: cells for name, *cells in rows(section(PAGE, "## Fuzzing"))}


def number(cell: str) -> int:
    return int(cell.replace(",", ""))


def test_every_target_is_in_the_table_and_nothing_else() -> None:
    assert set(TABLE) == set(TARGETS)
    for name, (parses, *_) in TABLE.items():
        assert parses == TARGETS[name].parses, name


def test_a_million_inputs_were_tried_and_nothing_was_found() -> None:
    tried = sum(number(inputs) for _, inputs, *_ in TABLE.values())
    assert tried >= 1_000_000
    assert {findings for *_, findings in TABLE.values()} == {"0"}
    assert f"\n{tried:,} inputs for {len(TARGETS)} targets" in text(PAGE)


def test_each_target_that_something_was_found_in_is_one() -> None:
    assert {path.parent.name for path in KEPT} <= set(TARGETS)
    assert re.search(rf"\b{len(KEPT)} inputs\b", section(PAGE, "## Fuzzing"))
