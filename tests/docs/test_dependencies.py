"""Every package that is asked for or pinned has its row, and every row its package; what is imported is asked for."""

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from datetime import date
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.docs.pages import ROOT, rows, section

PAGE = "docs/dependencies.md"
DIRECT = {row[0]: row for title in ("## Device", "## Extras", "## Tests,") for row in rows(section(PAGE, title))}
BROUGHT = {row[0]: row for row in rows(section(PAGE, "## What these bring"))}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
BUILD = PROJECT["build-system"]["requires"]
DEVICE = PROJECT["project"]["dependencies"]
OURS = {"maas_agent", "maas_converter", "tests", "bench", "stage", "visitor"}
"""Modules of this repository; the last two are made by examples."""
AGPL_AND_ITS_LIKE = re.compile(r"\bA?GPL|\bBSL|\bSSPL")


def asked_for(lines: list[str]) -> dict[str, set[str]]:
    """By package, its ranges: a list may have a package more than once, for other machines."""
    found: dict[str, set[str]] = {}
    for line in lines:
        requirement = Requirement(line)
        ranges = [part.strip() for part in line.partition(";")[0].split("]")[-1].split(",")]
        name = canonicalize_name(requirement.name)
        text = ",".join(ranges).removeprefix(requirement.name)
        found.setdefault(name, set()).add(text)
    return found


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = (line.partition(";")[0].strip().split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in found}


def test_what_is_asked_for_has_a_row_with_its_range() -> None:
    everything = asked_for([*DEVICE, *BUILD, *(line for lines in EXTRAS.values() for line in lines)])
    assert DIRECT.keys() == everything.keys()
    for name, ranges in everything.items():
        assert DIRECT[name][1] in ranges, f"the row of {name} says {DIRECT[name][1]}, pyproject.toml {ranges}"


def test_what_is_pinned_has_a_row_with_its_version() -> None:
    pinned = pins()
    assert BROUGHT.keys() == pinned.keys() - DIRECT.keys()
    assert {name: row[1] for name, row in BROUGHT.items()} == {name: pinned[name] for name in BROUGHT}
    tested = {name: row[2] for name, row in DIRECT.items() if name in pinned}
    assert tested == {name: pinned[name] for name in tested}
    assert DIRECT.keys() - pinned.keys() == {"tflite-runtime"}, "pinned in constraints-tflite-runtime.txt"


@pytest.mark.parametrize("name", [*DIRECT, *BROUGHT])
def test_a_row_says_since_when_by_which_licence_and_why(name: str) -> None:
    row = DIRECT.get(name) or BROUGHT[name]
    _, *_, out, licence, why = row if name in BROUGHT else [*row[:5], row[6]]
    assert date.fromisoformat(out).year >= 2018
    assert licence and not AGPL_AND_ITS_LIKE.search(licence)
    assert why, f"nobody brings {name}: drop it"
    assert name in BROUGHT or row[5]


@pytest.mark.parametrize(
    ("folder", "lists"),
    [
        ("agent", ["sealed"]),
        ("converter", ["converter"]),
        *[(name, list(EXTRAS)) for name in ("tests", "bench", "examples")],
    ],
)
def test_what_is_imported_is_asked_for_by_whoever_imports_it(folder: str, lists: list[str]) -> None:
    """Not only by a package that happens to bring it."""
    allowed = asked_for([*DEVICE, *(line for extra in lists for line in EXTRAS[extra])]).keys()
    distributions = packages_distributions()
    for module in sorted(imported(ROOT / folder)):
        names = {canonicalize_name(name) for name in distributions.get(module, [module])}
        names |= {"atheris", "tflite-runtime"} & {canonicalize_name(module)}
        assert names & allowed, f"{folder} imports {module}, of {names}, which pyproject.toml does not ask for"


def test_what_is_asked_for_at_run_time_is_imported() -> None:
    """What nobody imports is dropped. Keras looks for TensorFlow by itself; OpenVINO is loaded by LiteRT."""
    used = imported(ROOT / "agent") | imported(ROOT / "converter")
    distributions = packages_distributions()
    known = {canonicalize_name(name) for module in used for name in distributions.get(module, [module])}
    asked = asked_for([*DEVICE, *EXTRAS["converter"], *EXTRAS["sealed"]]).keys()
    assert asked - known <= {"tflite-runtime"}, "loaded by its name, in runtime/library.py"


def test_the_bot_groups_what_is_asked_for_as_the_extras_do() -> None:
    rules = json.loads((ROOT / "renovate.json").read_text(encoding="utf-8"))["packageRules"]
    groups = {rule["groupName"]: set(rule["matchPackageNames"]) for rule in rules if "groupName" in rule}
    taken = {"openvino"}
    for name, lines in {"device": DEVICE, **EXTRAS, "build": BUILD}.items():
        wanted = asked_for(lines).keys() - taken
        assert groups.get(name, set()) == wanted, name
        taken |= wanted


def test_debian_packages_are_those_that_the_scripts_install() -> None:
    for row in rows(section(PAGE, "## Debian packages")):
        script = (ROOT / row[1].strip("`")).read_text(encoding="utf-8")
        assert all(name.strip() in script for name in row[0].split(","))
    listed = {row[1].strip("`") for row in rows(section(PAGE, "## Debian packages"))}
    assert listed == {f"scripts/{path.name}" for path in (ROOT / "scripts").glob("ensure-*")}


def imported(folder: Path) -> set[str]:
    """The packages of others that the code in ``folder`` imports, also late."""
    return {
        name
        for path in folder.rglob("*.py")
        for name in _roots(ast.parse(path.read_text(encoding="utf-8")))
        if name not in sys.stdlib_module_names and name not in OURS
    }


def _roots(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
