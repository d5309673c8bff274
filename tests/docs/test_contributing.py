"""What CONTRIBUTING says of the code's shape is so."""

import ast
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, text

SOURCES = {"tests/agent": "agent/maas_agent", "tests/converter": "converter/maas_converter"}


def modules() -> list[Path]:
    return [path for folder in SOURCES.values() for path in (ROOT / folder).rglob("*.py") if path.name != "__init__.py"]


def test_nine_of_ten_modules_and_functions_are_as_short_as_it_says() -> None:
    assert "Nine of ten modules have less than 250 lines, and nine of ten functions less than\n   20." in text(
        "CONTRIBUTING.md"
    )
    sources = [path.read_text(encoding="utf-8") for path in modules()]
    lengths = sorted(source.count("\n") for source in sources)
    functions = sorted(
        (node.end_lineno or node.lineno) - node.lineno + 1
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
    )
    assert lengths[len(lengths) * 9 // 10] < 250 and functions[len(functions) * 9 // 10] < 20


@pytest.mark.parametrize("tests", SOURCES)
def test_unit_tests_have_the_folders_of_the_source(tests: str) -> None:
    folders = {path.parent.relative_to(ROOT / tests) for path in (ROOT / tests).rglob("test_*.py")}
    strange = {str(folder) for folder in folders if not (ROOT / SOURCES[tests] / folder).is_dir()}
    assert not strange, f"{tests} has folders that {SOURCES[tests]} has not"
