"""Prints the trial table: a line for each setup that was tried, alike in ``bench`` and in ``status``."""

from collections.abc import Sequence
from typing import Any

from maas_agent.base.terminal import cell

_HEADS = ("", "accelerator", "threads", "p50 ms", "p99 ms", "peak MiB", "deviation", "accelerated", "")
_LEFT = {0, 1, 8}


def lines(rows: Sequence[dict[str, Any]], chosen: tuple[str, int, dict[str, str]] | None) -> list[str]:
    """Aligned lines, a head first; ``rows`` as `maas_agent.trials.record.document_of` makes them.

    ``chosen`` (accelerator, threads, options) is the one that serves; its line begins with ``*``.
    """
    cells = [_HEADS, *(tuple(map(cell, _cells(row, chosen))) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADS))]
    return [_line(line, widths) for line in cells]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (
        each.ljust(width) if column in _LEFT else each.rjust(width)
        for column, (each, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(padded).rstrip()


def _cells(row: dict[str, Any], chosen: tuple[str, int, dict[str, str]] | None) -> tuple[str, ...]:
    options = ", ".join(f"{key}={value}" for key, value in sorted(row["options"].items()))
    peak, share = row["peak_bytes"], row["accelerated"]
    return (
        "*" if (row["accelerator"], row["threads"], row["options"]) == chosen else "",
        f"{row['accelerator']} ({options})" if options else row["accelerator"],
        str(row["threads"]),
        _figure(row["p50_ms"], ".3f"),
        _figure(row["p99_ms"], ".3f"),
        "-" if peak is None else f"{peak / (1 << 20):.1f}",
        _figure(row["deviation"], ".3g"),
        "-" if share is None else f"{share:.0%}",
        f"refused: {row['refused']}" if row["refused"] else "",
    )


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
