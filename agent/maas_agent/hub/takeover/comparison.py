"""Compares a candidate's answers with those of the active bundle: rules without I/O."""

from collections import deque
from math import isfinite, nan
from sys import float_info
from typing import Any

import msgspec

from maas_agent.base.untrusted import MALFORMED, is_deeper
from maas_agent.config import ShadowSettings
from maas_agent.hub.takeover.answer_statistics import AnswerSummary, is_slower, median
from maas_agent.ipc import Answer

_MAX_LEVELS = 32
"""Of a result: a batch of outputs of arrays has a dozen."""
_TIMED = 1000
"""Of more inputs than this the times of the latest are kept."""


class ShadowComparison(msgspec.Struct):
    """What was compared so far. The times are what the workers spent on each input, in milliseconds."""

    samples: int = 0
    agreed: int = 0
    active_ms: deque[float] = msgspec.field(default_factory=lambda: deque(maxlen=_TIMED))
    candidate_ms: deque[float] = msgspec.field(default_factory=lambda: deque(maxlen=_TIMED))

    @property
    def agreement(self) -> float:
        """Part of the inputs on which both agreed; 1 if there were none."""
        return self.agreed / self.samples if self.samples else 1.0

    @property
    def latency_ratio(self) -> float:
        """The candidate's median time over the active one's; 1 if there is none."""
        active, candidate = median(self.active_ms), median(self.candidate_ms)
        return candidate / active if active else 1.0

    def add(self, active: Answer, candidate: Answer, tolerance: float) -> None:
        """Compare the two answers to one input."""
        self.samples += 1
        self.agreed += agree(active, candidate, tolerance)
        if active.code is None and candidate.code is None:
            self.active_ms.append(active.took_ms)
            self.candidate_ms.append(candidate.took_ms)


def verdict(compared: ShadowComparison, terms: ShadowSettings) -> str | None:
    """Why the candidate must not serve after all these samples; ``None`` if it may."""
    if compared.agreement < terms.min_agreement:
        return (
            f"in the shadow of the active bundle it agreed on {compared.agreed} of {compared.samples} inputs "
            f"({compared.agreement:.1%}); asked for is {terms.min_agreement:.1%}"
        )
    if is_slower(_timed(compared.active_ms), _timed(compared.candidate_ms), terms.max_latency_ratio):
        return (
            f"in the shadow of the active bundle an answer took {compared.latency_ratio:.2f} times as long (median of "
            f"{len(compared.candidate_ms)}); allowed is {terms.max_latency_ratio:g}"
        )
    return None


def hopeless(compared: ShadowComparison, terms: ShadowSettings) -> bool:
    """Whether no number of agreements among the samples that are left can save it."""
    left = terms.samples - compared.samples
    return (compared.agreed + left) / terms.samples < terms.min_agreement


def agree(active: Answer, candidate: Answer, tolerance: float) -> bool:
    """Whether both say the same: the same error, the same best label or labels, or values that are close."""
    if active.code is not None or candidate.code is not None:
        return active.code == candidate.code
    try:
        return same(_result(active.document), _result(candidate.document), tolerance)
    except MALFORMED:
        return False  # a worker is not trusted to say what it should


def same(one: Any, other: Any, tolerance: float) -> bool:
    """Compare two results as `maas_agent.base.documents.ResultDocument` has them: of batches and outputs, each one."""
    match one, other:
        case {"label": str(label)}, {"label": str(another)}:
            return bool(label == another)
        case {"labels": list(labels), "scores": dict()}, {"labels": list(others), "scores": dict()}:
            return _named(labels) == _named(others)
        case {"values": values}, {"values": others}:
            return _close(_flat(values), _flat(others), tolerance)
        case dict(), dict():
            return one.keys() == other.keys() and all(same(one[name], other[name], tolerance) for name in one)
        case list(), list():
            return len(one) == len(other) and all(same(a, b, tolerance) for a, b in zip(one, other, strict=True))
    return False


class _Parameters(msgspec.Struct, frozen=True):
    result: Any = None


class _Document(msgspec.Struct, frozen=True):
    """Of a result, or of an Open Inference Protocol response, what is compared."""

    result: Any = None
    parameters: _Parameters = _Parameters()


def _result(document: bytes) -> Any:
    """Raises one of `MALFORMED`."""
    decoded = msgspec.json.decode(document, type=_Document)
    result = decoded.result if decoded.result is not None else decoded.parameters.result
    if is_deeper(result, _MAX_LEVELS):
        raise msgspec.DecodeError("a result that is nested too deep")
    return result


def _named(labels: list[Any]) -> set[str]:
    """The labels of pairs ``[label, score]``, whatever the scores."""
    return {str(pair[0]) for pair in labels if isinstance(pair, list) and pair}


def _close(one: list[float], other: list[float], tolerance: float) -> bool:
    if len(one) != len(other):
        return False
    largest = max((abs(value) for value in one), default=0.0)
    return all(isfinite(b) and abs(a - b) <= tolerance * largest for a, b in zip(one, other, strict=True))


def _flat(values: Any) -> list[float]:
    if not isinstance(values, list):
        return [float(values) if isinstance(values, int | float) and abs(values) <= float_info.max else nan]
    return [number for value in values for number in _flat(value)]


def _timed(took: deque[float]) -> AnswerSummary:
    return AnswerSummary(answers=len(took), p50_ms=median(took))
