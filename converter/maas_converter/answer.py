"""What a program reads: with ``--json`` one document, the only thing that ever goes to standard output."""

import sys
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


def answer(json: bool, document: Any) -> None:
    """Write ``document`` if it was asked for."""
    if json:
        import msgspec

        from maas_converter.document import whole

        sys.stdout.write(msgspec.json.format(msgspec.json.encode(whole(document)), indent=2).decode() + "\n")
        sys.stdout.flush()
