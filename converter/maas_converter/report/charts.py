"""Charts as SVG elements that can stand in a page: no reference to anything outside, the same data to the same bytes.

They take their ink from the page, so that they are readable on a light and on a dark one: matplotlib draws in marker
colours, which are replaced by the page's. Labels come from files and are never read as formulas.
"""

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from maas_converter.evidence.latency import LatencyByThreads
from maas_converter.evidence.layers import LayerError
from maas_converter.evidence.record import CandidateFigures, ValueDistribution
from maas_converter.report.words import short

LARGEST_CONFUSION = 30
"""Classes up to which a confusion matrix is drawn."""

_INK, _LINE = "#010203", "#040506"
_FLOAT, _BUNDLE, _MARK = "#8794a6", "#2b8cbe", "#e6762f"
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "maas",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _LINE,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
} | dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"), _INK)
_MOST_BARS = 25
_NUMBERS_UP_TO = 12


def pareto(candidates: Sequence[CandidateFigures]) -> str:
    """Size against accuracy lost; the front is joined, the one chosen is marked."""
    with _drawing(7.2, 4.2) as (figure, result):
        axes = figure.subplots()
        front = sorted((c for c in candidates if c.on_front), key=lambda c: c.bytes)
        bound = 3 * max((c.drop_points for c in candidates if c.on_front or c.chosen), default=0.0) + 3
        rest = [
            c for c in candidates if not c.on_front and c.drop_points <= bound
        ]  # hopeless ones would hide the others
        axes.plot(*_places(front), color=_BUNDLE, marker="o", linewidth=1.2, label="nothing better in every respect")
        axes.plot(*_places(rest), color=_FLOAT, marker="o", linestyle="", alpha=0.7, label="others tried")
        chosen = [c for c in candidates if c.chosen]
        axes.plot(
            *_places(chosen), color=_MARK, marker="o", linestyle="", fillstyle="none", ms=13, mew=2, label="chosen"
        )
        # Mixtures lie close together, and the table names them all.
        named = (*front[:1], *(c for c in front if "," not in c.name), *chosen)
        for candidate in {c.name: c for c in named}.values():
            place = (candidate.bytes / 1000, candidate.drop_points)
            axes.annotate(short(candidate.name, 20), place, xytext=(7, 6), textcoords="offset points", fontsize=9)
        axes.axhline(0, color=_INK, linewidth=0.6)
        axes.margins(x=0.12, y=0.15)
        axes.set_xlabel("size, kB (1,000 bytes)")
        axes.set_ylabel("accuracy lost, points")
        axes.grid(True)
        _legend(axes)
    return result[0]


def confusions(matrices: Sequence[tuple[str, Sequence[Sequence[int]]]], labels: Sequence[str]) -> str:
    """Confusion matrices beside each other, each with its title: the darker, the larger the share of the true class."""
    count = len(labels)
    side = max(3.2, min(0.42 * count, 6.5))
    with _drawing(side * len(matrices), side) as (figure, result):
        for axes, (title, matrix) in zip(np.atleast_1d(figure.subplots(1, len(matrices))), matrices, strict=True):
            _confusion(axes, title, np.asarray(matrix), [short(label, 14) for label in labels])
        figure.tight_layout(w_pad=2)
    return result[0]


def layer_errors(layers: Sequence[LayerError]) -> str:
    """The largest relative errors, worst on top."""
    shown = list(reversed(layers[:_MOST_BARS]))
    with _drawing(7.2, 0.9 + 0.27 * len(shown)) as (figure, result):
        axes = figure.subplots()
        axes.barh(range(len(shown)), [layer.relative_error * 100 for layer in shown], color=_BUNDLE, height=0.7)
        axes.set_yticks(range(len(shown)), [short(f"{layer.index} {layer.op}  {layer.name}", 44) for layer in shown])
        axes.tick_params(axis="y", length=0, labelsize=9)
        axes.set_xlabel("error of the layer's output, % of the signal")
        axes.grid(True, axis="x")
    return result[0]


def latencies(found: LatencyByThreads, bundle: str) -> str:
    """Median and 99th percentile by number of threads."""
    rows = found.by_threads
    before = [row.float32 for row in rows if row.float32 is not None]
    models = [("float32", before, _FLOAT)] if before else []
    models.append((bundle, [row.bundle for row in rows], _BUNDLE))
    with _drawing(7.2, 2.9) as (figure, result):
        axes = figure.subplots()
        for number, (name, times, colour) in enumerate(models):
            width = 0.8 / len(models)
            places = np.arange(len(rows)) + (number - (len(models) - 1) / 2) * width
            middle = np.array([time.p50_ms for time in times])
            above = np.array([time.p99_ms for time in times]) - middle
            axes.bar(places, middle, width * 0.92, color=colour, label=short(name))
            axes.errorbar(places, middle, [np.zeros_like(above), above], fmt="none", ecolor=_INK, capsize=4)
        axes.set_xticks(range(len(rows)), [f"{row.threads} thread{'s' * (row.threads > 1)}" for row in rows])
        medians = [time.p50_ms for _, times, _ in models for time in times]
        most = max(time.p99_ms for _, times, _ in models for time in times)
        axes.set_ylim(0, 1.05 * min(most, 4 * max(medians)))  # one pause of a busy host would hide the medians
        axes.set_ylabel("ms: median, whisker to 99 %")
        axes.grid(True, axis="y")
        _legend(axes)
    return result[0]


def ranges(looks: Sequence[ValueDistribution]) -> str:
    """How the values of each data set are spread."""
    with _drawing(7.2, 2.9) as (figure, result):
        axes = figure.subplots()
        for look, colour in zip(looks, (_BUNDLE, _MARK, _FLOAT) * len(looks), strict=False):
            shares = np.array(look.counts) / max(sum(look.counts), 1) * 100
            axes.stairs(shares, look.edges, fill=True, alpha=0.25, color=colour)
            axes.stairs(shares, look.edges, color=colour, linewidth=1.4, label=short(look.title))
        axes.set_xlabel("value at the model's input")
        axes.set_ylabel("% of values")
        axes.grid(True, axis="y")
        _legend(axes)
    return result[0]


def _confusion(axes: Any, title: str, matrix: Any, labels: list[str]) -> None:
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    ticks = np.arange(len(labels))
    # Squares whose opacity is the share, not a colour map: they suit any background.
    for row, column in zip(*np.nonzero(matrix), strict=True):
        colour = _BUNDLE if row == column else _MARK
        square = (column - 0.5, row - 0.5)
        axes.add_patch(_rectangle(square, colour, float(0.1 + 0.9 * shares[row, column])))
        if len(labels) <= _NUMBERS_UP_TO:
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", fontsize=8)
    axes.set(xlim=(-0.5, len(labels) - 0.5), ylim=(len(labels) - 0.5, -0.5), aspect="equal", title=short(title))
    axes.set_xticks(ticks, labels, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(ticks, labels, fontsize=8)
    axes.set_xlabel("answered")
    axes.set_ylabel("true")


def _rectangle(corner: tuple[float, float], colour: str, opacity: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(corner, 1, 1, facecolor=colour, alpha=opacity, linewidth=0)


def _places(candidates: Sequence[CandidateFigures]) -> tuple[list[float], list[float]]:
    return [c.bytes / 1000 for c in candidates], [c.drop_points for c in candidates]


def _legend(axes: Any) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2, fontsize=9)


@contextmanager
def _drawing(width: float, height: float) -> Iterator[tuple[Any, list[str]]]:
    """A figure of so many inches, and a list that holds its SVG once the block was left."""
    # Imported late: only a report draws. No pyplot: it has global state and looks for a display.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    result: list[str] = []
    with rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a label in a script that the measuring font lacks; the browser has others
        figure = Figure(figsize=(width, height))
        yield figure, result
        drawn = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(drawn, format="svg", transparent=True, bbox_inches="tight", metadata=nothing)
        result.append(_inline(drawn.getvalue()))


def _inline(document: str) -> str:
    """An SVG document as an element of a page: no header, no namespaces (HTML knows them), no fixed size."""
    element = document[document.index("<svg") :]
    head, rest = element.split(">", 1)
    head = re.sub(r' (xmlns(:\w+)?|width|height|version)="[^"]*"', "", head)
    rest = re.sub(r'<g id="[^"]*">', "<g>", rest).replace("xlink:href", "href")
    return f"{head}>{rest}".replace(_INK, "currentColor").replace(_LINE, "var(--line)").strip()
