"""Every command and flag that the programs have is on docs/commands.md, and no other."""

import argparse
import re
from collections.abc import Iterator

import pytest

typer_main = pytest.importorskip("typer.main", reason="the converter extra is not installed")

from maas_agent import cli as agent  # noqa: E402 - after the look for typer
from maas_converter.cli import command_list  # noqa: E402
from maas_converter.cli.app import app  # noqa: E402
from tests.docs.pages import rows, section, text  # noqa: E402

PAGE = "docs/commands.md"
EVERYWHERE = {"-h", "--help"}
FLAG = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


def agent_commands() -> Iterator[tuple[str, set[str]]]:
    parser = agent._parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        yield f"maas-agent {name}", {flag for action in command._actions for flag in action.option_strings}


def converter_commands() -> Iterator[tuple[str, set[str]]]:
    def walk(name: str, command: object) -> Iterator[tuple[str, set[str]]]:
        subcommands = getattr(command, "commands", None)
        if subcommands is None:
            params = command.params  # type: ignore[attr-defined]
            yield name, {flag for param in params for flag in param.opts if flag.startswith("-")}
            return
        for word, subcommand in subcommands.items():
            yield from walk(f"{name} {word}", subcommand)

    yield from walk("maas-converter", typer_main.get_command(app))


COMMANDS = dict([*agent_commands(), *converter_commands()])


def test_every_command_was_found() -> None:
    found = {name.removeprefix("maas-converter ") for name in COMMANDS if name.startswith("maas-converter")}
    assert found == set(command_list.COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_a_section_with_all_its_flags_and_no_other(name: str) -> None:
    described = section(PAGE, f"### `{name} ")
    heading = described.partition("\n")[0]
    assert COMMANDS[name] - EVERYWHERE <= set(FLAG.findall(described))
    assert set(FLAG.findall(heading)) <= COMMANDS[name]


def test_no_flag_on_the_page_is_invented() -> None:
    known = set().union(*COMMANDS.values()) | EVERYWHERE | {"--version"}
    assert {flag for flag in FLAG.findall(text(PAGE)) if flag.startswith("--")} <= known


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_in_the_readme(name: str) -> None:
    assert f"| `{name}" in text("README.md")


def test_the_table_in_the_readme_says_what_the_help_says() -> None:
    table = [row for row in rows(text("README.md")) if row[0].startswith("`maas-converter ")]
    for name, what in command_list.COMMANDS.items():
        assert what in [row[1] for row in table if row[0].startswith(f"`maas-converter {name}")], name
