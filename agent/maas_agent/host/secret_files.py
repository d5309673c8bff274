"""Reads files that hold one secret, as people write them: with a line break at the end, or a byte order mark."""

from pathlib import Path

from maas_agent.errors import ConfigError


def read_secret(path: str | Path, key: str) -> str:
    """The secret in ``path``, which ``key`` of the configuration names; raises `ConfigError` if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8-sig").rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"{key}: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{key}: {path} is not UTF-8 text: save it as UTF-8 (iconv -f UTF-16 -t UTF-8)") from None
