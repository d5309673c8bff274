"""What a program reads: with ``--json`` one document, the only thing that ever goes to standard output."""

from typing import Any

import msgspec

from maas_agent.base.terminal import write_json


def answer(json: bool, document: Any) -> None:
    """Write ``document`` if it was asked for."""
    if json:
        write_json(msgspec.json.format(msgspec.json.encode(whole(document)), indent=2).decode())


def whole(value: Any) -> Any:
    """``value`` as JSON-ready types, defaults included.

    A manifest leaves out what has its default value; whoever reads a document should not have to know those.
    """
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        tag = {config.tag_field: config.tag} if config.tag_field is not None else {}
        return tag | {name: whole(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [whole(item) for item in value]
    return msgspec.to_builtins(value)
