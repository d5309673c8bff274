"""`systemd/agent.toml` and docs/configuration.md name every key that there is, and its default."""

import re
import socket
import tomllib
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest
from msgspec.inspect import is_struct_type

from maas_agent import config
from tests.docs.pages import ROOT, rows, section

SHIPPED = ROOT / "systemd" / "agent.toml"
PAGE = "docs/configuration.md"


def sections_of(kind: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct]]:
    """The tables of a table, by name, those that may be left out too."""
    hints = {name: hint for name, hint in get_type_hints(kind).items() if get_origin(hint) is not tuple}
    return {name: part for name, hint in hints.items() for part in (hint, *get_args(hint)) if is_struct_type(part)}


SECTIONS = sections_of(config.Config)
SOURCES: dict[str, type[msgspec.Struct]] = {str(kind.__struct_config__.tag): kind for kind in get_args(config.Source)}
NOT_A_DEFAULT = {"pipeline", "source", "report", "limits", "options", "update", *SECTIONS}


def uncommented() -> str:
    """The shipped file with every key in force: a ``#`` without a space hides one."""
    return re.sub(r"^#(?=[a-z\[])", "", SHIPPED.read_text(encoding="utf-8"), flags=re.MULTILINE)


def keys_of(kind: type[msgspec.Struct]) -> set[str]:
    return {field.name for field in msgspec.structs.fields(kind)}


def defaults_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Keys with a default that can be written down, and that default as TOML has it."""
    fields = {field.name: field.default for field in msgspec.structs.fields(kind) if field.name not in NOT_A_DEFAULT}
    written = {name: value for name, value in fields.items() if value is not msgspec.NODEFAULT and value is not None}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in written.items()}


def test_the_shipped_file_is_the_defaults() -> None:
    device = config.DeviceSettings(id=socket.gethostname())
    assert config.load_config(SHIPPED) == config.Config(device=device)


def test_the_shipped_file_is_valid_with_every_line_in_force(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(uncommented(), encoding="utf-8")
    assert {type(pipeline.source) for pipeline in config.load_config(path).pipeline} == set(SOURCES.values())


def test_the_shipped_file_names_every_key() -> None:
    table = tomllib.loads(uncommented())
    assert set(table) == keys_of(config.Config)
    for name, kind in SECTIONS.items():
        assert set(table[name]) == keys_of(kind), name
    pipelines = table["pipeline"]
    assert set().union(*pipelines) == keys_of(config.PipelineSettings)
    assert set().union(*(pipeline.get("report", {}) for pipeline in pipelines)) == keys_of(config.ReportSettings)
    assert set().union(*(pipeline.get("limits", {}) for pipeline in pipelines)) == keys_of(config.LimitSettings)
    updates = [pipeline.get("update", {}) for pipeline in pipelines]
    assert set().union(*updates) == keys_of(config.UpdateSettings)
    assert set().union(*(update.get("shadow", {}) for update in updates)) == keys_of(config.ShadowSettings)
    for pipeline in pipelines:
        source = dict(pipeline["source"])
        assert set(source) == keys_of(SOURCES[source["type"]]) | {"type"}


def test_the_defaults_in_the_shipped_file_are_the_defaults() -> None:
    table = tomllib.loads(uncommented())
    first, second = table["pipeline"]
    shown = [
        (table, config.Config),
        *((table[name], kind) for name, kind in SECTIONS.items()),
        (first | {"allow_unsigned": second["allow_unsigned"]}, config.PipelineSettings),
        (first["report"], config.ReportSettings),
        (first["limits"], config.LimitSettings),
        (first["update"], config.UpdateSettings),
        (first["update"]["shadow"], config.ShadowSettings),
        (second["source"], config.CommandSource),
    ]
    for values, kind in shown:
        for key, default in defaults_of(kind).items():
            assert values[key] == default, f"{kind.__name__}.{key}"


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("## Top level", config.Config),
        *((f"## [{name}]", kind) for name, kind in SECTIONS.items()),
        ("## [[pipeline]]", config.PipelineSettings),
        ("## [pipeline.report]", config.ReportSettings),
        ("## [pipeline.limits]", config.LimitSettings),
        ("## [pipeline.update]", config.UpdateSettings),
        ("## [pipeline.update.shadow]", config.ShadowSettings),
    ],
)
def test_the_page_has_every_key_of_a_table_with_its_default_and_no_other(
    heading: str, kind: type[msgspec.Struct]
) -> None:
    described = {row[0].strip("`"): row[2] for row in rows(section(PAGE, heading))}
    assert set(described) == keys_of(kind) - (
        NOT_A_DEFAULT if kind in (config.Config, config.PipelineSettings) else set()
    )
    for key, default in defaults_of(kind).items():
        if (kind, key) != (config.DeviceSettings, "id"):  # "" stands for the host name
            assert tomllib.loads(f"x = {described[key].strip('`')}")["x"] == default, key


def test_the_page_has_every_key_of_every_source() -> None:
    kind, described = "", dict[str, dict[str, str]]()
    for tag, key, _, default, _ in rows(section(PAGE, "## [pipeline.source]")):
        kind = tag.strip("`").strip('"') or kind
        described.setdefault(kind, {})[key.strip("`")] = default.strip("`")
    assert {name: set(keys) for name, keys in described.items()} == {n: keys_of(k) for n, k in SOURCES.items()}
    for key, default in defaults_of(config.CommandSource).items():
        assert float(described["command"][key]) == default
