"""The table of attacks says what is played: names, ways, counts, and where."""

import re

from tests.attacks.registry import ATTACKS, NAMES, ways_of
from tests.attacks.test_attacks import PLAYS
from tests.docs.pages import rows, section, text

PAGE = "docs/security.md"
TABLE = {name: (ways, defends, test) for name, ways, defends, test in rows(section(PAGE, "## The attacks"))}


def test_every_attack_is_in_the_table_and_nothing_else() -> None:
    assert list(TABLE) == list(NAMES)


def test_the_ways_are_counted_and_their_tests_named() -> None:
    assert len(PLAYS) == len({attack.module for attack in ATTACKS})
    for name, (ways, defends, test) in TABLE.items():
        played = ways_of(name)
        assert int(ways) == len(played), name
        assert re.findall(r"\[(\w+)\]", test) == sorted({attack.module for attack in played}), name
        assert defends, name


def test_the_totals_are_those_of_the_table() -> None:
    assert f"\n{len(NAMES)} attacks in {len(ATTACKS)} ways are played " in text(PAGE)


def test_no_way_is_played_twice() -> None:
    assert len({str(attack) for attack in ATTACKS}) == len(ATTACKS)
