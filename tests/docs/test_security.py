"""The table of attacks says what is played: names, ways, counts, and where."""

import ast
import re

import pytest

from tests.attacks.elsewhere import ELSEWHERE, played_by
from tests.attacks.registry import ATTACKS, NAMES, ways_of
from tests.attacks.test_attacks import PLAYS
from tests.confining import ATTACKS as ATTEMPTS
from tests.docs.pages import ROOT, rows, section, text

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


ELSEWHERE_TABLE = {name: (holds, test) for name, holds, test in rows(section(PAGE, "## Other attacks"))}


def test_every_other_attack_is_in_its_table_and_is_a_test_that_there_is() -> None:
    assert list(ELSEWHERE_TABLE) == list(ELSEWHERE)
    for name, tests in ELSEWHERE.items():
        holds, shown = ELSEWHERE_TABLE[name]
        assert holds and tests
        assert re.findall(r"\]\(\.\./([\w/.]+)\)", shown) == list(
            dict.fromkeys(each.partition("::")[0] for each in tests)
        ), name
        for file, _, test in (each.partition("::") for each in tests):
            assert f"def {test or 'test_'}" in text(file), f"{name}: {file} has no {test}"


def test_the_other_attacks_are_counted() -> None:
    assert f"\n{len(ELSEWHERE)} more attacks, " in text(PAGE)
    assert played_by("puller killed") == list(ELSEWHERE["puller killed before its go"])


HOSTILE = (
    "Hostile broker",
    "Publisher without rights",
    "Hostile model",
    "Hostile model file",
    "Hostile repository",
    "Stolen device",
    "Hostile neighbour on the network",
)


def test_the_threat_model_has_them_all() -> None:
    assert tuple(re.findall(r"^### (.*)$", section(PAGE, "## The threat model"), re.MULTILINE)) == HOSTILE


def functions(file: str) -> set[str]:
    """The names of what a file defines, without the seconds that importing what it needs would take."""
    return {node.name for node in ast.walk(ast.parse(text(file))) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("who", HOSTILE)
def test_every_defence_is_shown_by_a_test_that_there_is(who: str) -> None:
    table = rows(section(PAGE, f"### {who}"))
    assert table
    for tries, defends, shown in (row for row in table if len(row) == 3):
        assert tries and defends
        cited = re.findall(r"\[\w+\]\(\.\./([\w/.]+)\)((?: `\w+`)*)", shown)
        assert cited, f"{who}: {tries}: nothing shows it"
        for file, names in cited:
            for name in re.findall(r"`(\w+)`", names):
                assert name in functions(file), f"{file} has no {name}"
        assert len(re.findall("`", shown)) == 2 * sum(names.count("`") // 2 for _, names in cited)


def test_what_a_model_tries_is_what_is_played() -> None:
    tries = {what: told.split("; ") for what, told, *rest in rows(section(PAGE, "### Hostile model file")) if not rest}
    assert sorted(name for names in tries.values() for name in names) == sorted(ATTEMPTS)


def test_the_rules_that_are_shown_are_those_of_the_file() -> None:
    """By account, the topics that the page says it reads and writes."""
    granted: dict[str, dict[str, set[str]]] = {}
    account = "gate-1"
    for line in (ROOT / "examples/mosquitto/maas.acl").read_text().splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "user":
            account = f"{rest} of a group" if rest == "gate-1" else rest
        elif kind in ("pattern", "topic"):
            access, topic = rest.split()
            for right in ("read", "write") if access == "readwrite" else (access,):
                mine = granted.setdefault(account, {"read": set(), "write": set()})
                mine[right].add(topic.replace("%u", "gate-1"))
    shown = rows(section(PAGE, "## The broker's access rules"))
    for (_, reads, writes), account in zip(shown, ("gate-1", "gate-1 of a group", "operator"), strict=False):
        assert {"read": set(re.findall(r"`(.*?)`", reads)), "write": set(re.findall(r"`(.*?)`", writes))} == granted[
            account
        ]
