"""Writes a record as one page that needs no network, and as JSON.

report.html   everything inside: style, charts, figures
report.json   the record (`maas_converter.evidence.record.Record`)
"""

import tempfile
from importlib.resources import files
from pathlib import Path

import msgspec

from maas_agent.errors import UnavailableError, UsageError
from maas_converter.base import outlet
from maas_converter.base.extras import require
from maas_converter.base.json_output import whole
from maas_converter.evidence.record import Record

PAGE, DOCUMENT = "report.html", "report.json"

_TEMPLATE = "report.html.jinja"


def check_folder(folder: Path) -> None:
    """Refuse what no report can be written to, before minutes are spent.

    Raises `UsageError`, or `UnavailableError` without the libraries.
    """
    require("convert --report", "jinja2", "matplotlib")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--report {folder}: that is a file, name a folder")


def write_report(folder: Path, record: Record) -> None:
    """Write both files into ``folder``, which is made if it is not there; earlier ones are replaced.

    Raises `UsageError`, or `UnavailableError` if they cannot be written.
    """
    check_folder(folder)
    page = render(record).encode()
    document = msgspec.json.format(msgspec.json.encode(whole(record)), indent=2) + b"\n"
    try:
        with tempfile.TemporaryDirectory(prefix="maas-report-") as scratch:
            for name, content in ((PAGE, page), (DOCUMENT, document)):
                made = Path(scratch) / name
                made.write_bytes(content)
                outlet.deliver_into(made, folder)
    except OSError as error:
        raise UnavailableError(f"cannot write the report to {folder}: {error.strerror or error}") from None


def render(record: Record) -> str:
    """The page; the same record always gives the same page."""
    # Imported late: only a report needs them.
    from jinja2 import Environment, StrictUndefined

    from maas_converter.report.sections import sections_of

    # autoescape: names of classes, layers and files come from whoever made the model.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files(__package__) / _TEMPLATE).read_text(encoding="utf-8"))
    return template.render(record=record, sections=sections_of(record))
