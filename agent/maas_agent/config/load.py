"""Reads agent.toml, and says in a person's words why it cannot."""

import os
import tomllib
from pathlib import Path

import msgspec

from maas_agent.base.untrusted import toml_table
from maas_agent.config.checks import checked
from maas_agent.config.environment import UnknownVariable, expanded
from maas_agent.config.messages import explained, located, without_indexes
from maas_agent.config.schema import Config
from maas_agent.errors import ConfigError

_VERBATIM = ("command",)
"""Keys in whose texts ``${NAME}`` stays: a program has the environment itself, a shell its own variables."""


def load_config(path: Path) -> Config:
    """Read and check ``path``; raises `ConfigError` that names the file, the line and the key."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows begin a file with a byte order mark
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text: save it as UTF-8 (iconv -f UTF-16 -t UTF-8)") from None
    try:
        table = expanded(toml_table(text), os.environ, _VERBATIM)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    except RecursionError:  # no section has a table ten levels down
        raise ConfigError(f"{path} is not valid TOML: it is nested too deep") from None
    except UnknownVariable as error:
        raise ConfigError(located(path, text, error.where, f"{without_indexes(error.where)}: {error}")) from None
    try:
        config = msgspec.convert(table, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(explained(path, text, str(error))) from None
    return checked(config, lambda where, why: ConfigError(located(path, text, where, why)))
