"""tests/README.md names every suite, and says what came of breaking the rules."""

from pathlib import Path

from tests.docs.pages import ROOT, rows, section
from tests.mutation.equivalent import EQUIVALENT
from tests.mutation.modules import MODULES, PACKAGES

PAGE = "tests/README.md"


def test_every_suite_is_in_the_table_and_no_other() -> None:
    named = {name.strip("`") for row in rows(section(PAGE, "## Suites")) for name in row[0].split(", ")}
    assert named == {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name[0] not in "._"}


def test_every_module_of_rules_has_its_tests_and_its_figures() -> None:
    for name, module in MODULES.items():
        assert any((ROOT / package.parent / module.source).is_file() for package in PACKAGES), name
        assert (ROOT / module.tests).is_file(), name
    assert set(EQUIVALENT) <= set(MODULES)
    assert [row[0].strip("`") for row in rows(section(PAGE, "## Mutation"))] == list(MODULES)


def test_nine_of_ten_changes_are_noticed() -> None:
    for name, mutants, killed, equivalent, share in rows(section(PAGE, "## Mutation")):
        possible = int(mutants) - int(equivalent)
        assert share == f"{int(killed) / possible:.0%}", name
        assert int(killed) >= 0.9 * possible, name


def test_the_folders_beside_the_page_are_where_it_says() -> None:
    for _, _, where in rows(section(PAGE, "## The hub without processes")):
        assert all(Path(ROOT, "tests", file.strip("` ")).is_file() for file in where.split(",") if "/" in file), where
