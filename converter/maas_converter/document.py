"""Structs to the documents that ``--json`` prints."""

from typing import Any

import msgspec


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
