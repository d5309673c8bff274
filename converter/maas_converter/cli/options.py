"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from maas_converter.publishing.keys import passphrase

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


def _use_passphrase(path: Path | None) -> Path | None:
    passphrase.use(path)
    return path


PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        callback=_use_passphrase,
        help=f"Its first line is the keys' passphrase (else {passphrase.VARIABLE}, or a prompt).",
    ),
]
