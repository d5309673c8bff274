"""Shows answers as lines for people: what was asked, label, score, latency, and what the data file says."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from maas_agent.offline.messages import NO_ANSWER, FileAnswered, Given

_WIDEST = 48
"""A longer label pushes its own line only."""
_VALUES = 4

_ODD = (AttributeError, KeyError, TypeError, ValueError, OverflowError)

_Cells = tuple[str, ...]
"""Name, label, score, latency, what is given; or name and error."""


def lines(answers: Sequence[FileAnswered]) -> Iterator[str]:
    """One line a sample; of a bundle with several outputs, one line for each."""
    rows = [row for answer in answers for row in _readable(answer)]
    name_width = max((len(row[0]) for row in rows), default=0)
    label_width, score_width, latency_width = (_width(row[at] for row in rows if len(row) > 2) for at in (1, 2, 3))
    for row in rows:
        if len(row) == 2:
            yield f"{row[0]:{name_width}}  {row[1]}"
        else:
            name, label, score, latency, given = row
            line = f"{name:{name_width}}  {label:{label_width}}  {score:>{score_width}}  {latency:>{latency_width}}"
            yield f"{line}  {given}".rstrip()


def _width(cells: Iterable[str]) -> int:
    return min(_WIDEST, max(map(len, cells), default=0))


def _readable(answer: FileAnswered) -> list[_Cells]:
    """The rows of an answer. The process that gave it runs a model from anywhere: it may be none."""
    try:
        rows = list(_rows(answer))
    except _ODD:
        rows = [()]
    if all(row and all(isinstance(cell, str) for cell in row) for row in rows):
        return rows
    return [(_called(answer), f"error: what the process that runs the model says is no answer ({NO_ANSWER})")]


def _rows(answer: FileAnswered) -> Iterator[_Cells]:
    if answer.error is not None:
        yield _called(answer), f"error: {_said(answer)} ({answer.error.code})"
        return
    latency = f"{answer.latency_ms:.2f} ms" if answer.latency_ms is not None else ""
    for name, result in _results(answer):
        for label, score in _judged(result):
            yield name, label, score, latency, _given(answer.given)
            latency = ""  # that of the whole payload was said


def _called(answer: FileAnswered) -> str:
    return answer.file if answer.row is None else f"{answer.file}[{answer.row}]"


def _said(answer: FileAnswered) -> str:
    """The message, without the name of the file where that stands at the beginning of the line already."""
    message = answer.error.message if answer.error else ""
    return message.removeprefix(answer.file).lstrip(" ,:")


def _results(answer: FileAnswered) -> Iterator[tuple[str, Any]]:
    """Each sample's result, with what it is called."""
    result = answer.result if answer.response is None else answer.response.get("parameters", {}).get("result")
    if isinstance(result, list):
        yield from ((f"{answer.file}[{row}]", one) for row, one in enumerate(result))
    else:
        yield _called(answer), result


def _judged(result: Any) -> Iterator[tuple[str, str]]:
    """Label and score of each output."""
    if not isinstance(result, dict):
        yield str(result), ""
    elif "label" in result:
        yield result["label"], f"{result['score']:.3f}"
    elif isinstance(result.get("labels"), list):
        yield _several(result["labels"], result["scores"])
    elif "values" in result:
        yield _values(result["values"]), ""
    else:
        for output, one in result.items():
            yield from ((f"{output}: {label}", score) for label, score in _judged(one))


def _several(named: Sequence[tuple[str, float]], scores: dict[str, float]) -> tuple[str, str]:
    """All labels that are named, and their scores; if there is none, the highest score."""
    if not named:
        return f"none of {len(scores)} labels", f"{max(scores.values(), default=0):.3f}"
    return ", ".join(label for label, _ in named), ", ".join(f"{score:.3f}" for _, score in named)


def _values(values: Any) -> str:
    flat = list(_flattened(values))
    shown = ", ".join(f"{value:.4g}" for value in flat[:_VALUES])
    return f"{shown}, … ({len(flat)} values)" if len(flat) > _VALUES else shown


def _flattened(values: Any) -> Iterator[float]:
    for value in values:
        if isinstance(value, list):
            yield from _flattened(value)
        else:
            yield value


def _given(given: Given | None) -> str:
    return "" if given is None else f"given {given}"
