"""What a program reads: with ``--json`` one document, the only thing that ever goes to standard output."""

from typing import Annotated, Any

import typer

from maas_agent.terminal import write_json

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


def answer(json: bool, document: Any) -> None:
    """Write ``document`` if it was asked for."""
    if json:
        import msgspec

        from maas_converter.document import whole

        write_json(msgspec.json.format(msgspec.json.encode(whole(document)), indent=2).decode())
