"""Sums up a bundle's latest answers, and judges whether another one's are worse: rules without I/O.

The hub keeps this for every pipeline, so it costs little for an answer: what is compared is computed now and then.
"""

from bisect import bisect_right
from collections import Counter, deque
from math import pi, sqrt

import msgspec

from maas_agent.base import codes
from maas_agent.config import UpdateSettings
from maas_agent.ipc import Answer

_WINDOW = 1000
_Z = 1.96
"""A rate counts as higher only where its 95 % interval (Wilson) is."""
_KS = 1.36
"""Two samples of one distribution differ by more than this over sqrt(n m / (n + m)) once in twenty times (Smirnov)."""
_MIN_ANSWERS = 10
"""Fewer say nothing of errors that an input may be the reason of, or of latency."""
_MIN_FOR_DRIFT = 50
_UNNOTICED_MS = 0.2
"""A median that is longer by less is noise, whatever the ratio."""

Gist = str | float


class AnswerSummary(msgspec.Struct, frozen=True):
    """How a bundle did. ``failures`` are errors that no input can be blamed for; ``p50_ms`` is 0 without answers."""

    answers: int = 0
    errors: int = 0
    failures: int = 0
    p50_ms: float = 0.0
    gists: tuple[Gist, ...] = ()


class AnswerStatistics:
    """Sums up the latest thousand answers of one bundle."""

    def __init__(self) -> None:
        self._codes: deque[str | None] = deque(maxlen=_WINDOW)
        self._took: deque[float] = deque(maxlen=_WINDOW)
        self._gists: deque[Gist] = deque(maxlen=_WINDOW)

    def add(self, answer: Answer) -> None:
        """Count one answer."""
        self._codes.append(answer.code)
        if answer.code is None:
            self._took.append(answer.took_ms)
            if answer.gist is not None:
                self._gists.append(answer.gist)

    def summary(self) -> AnswerSummary:
        """What they came to."""
        counted = Counter(self._codes)
        return AnswerSummary(
            answers=len(self._codes),
            errors=len(self._codes) - counted[None],
            failures=counted[codes.INTERNAL] + counted[codes.WORKER_DIED],
            p50_ms=median(self._took),
            gists=tuple(self._gists),
        )


def worse(before: AnswerSummary, after: AnswerSummary, bounds: UpdateSettings) -> str | None:
    """The reason why ``after`` is worse than ``before`` by more than ``bounds`` allow; ``None`` if it is not."""
    allowed = _rate(before.errors, before.answers) + bounds.max_error_rate
    for count, enough in ((after.failures, 1), (after.errors, _MIN_ANSWERS)):
        if after.answers >= enough and at_least(count, after.answers) > allowed:
            return (
                f"{count} of {after.answers} answers are errors, "
                f"before it were {before.errors} of {before.answers}; allowed is {allowed:.1%}"
            )
    if is_slower(before, after, bounds.max_latency_ratio):
        return (
            f"an answer takes {after.p50_ms:.2f} ms (median), before it took {before.p50_ms:.2f} ms; "
            f"allowed is {bounds.max_latency_ratio:g} times as much"
        )
    moved = drift(before.gists, after.gists)
    if moved > bounds.max_drift:
        return f"the answers have drifted by {moved:.2f} from what they were before; allowed is {bounds.max_drift:g}"
    return None


def is_slower(before: AnswerSummary, after: AnswerSummary, max_ratio: float) -> bool:
    """Whether the median time of an answer went up by more than ``max_ratio``, and by more than noise."""
    if min(before.answers - before.errors, after.answers - after.errors) < _MIN_ANSWERS:
        return False
    return after.p50_ms > before.p50_ms * max_ratio and after.p50_ms - before.p50_ms > _UNNOTICED_MS


def drift(before: tuple[Gist, ...], after: tuple[Gist, ...]) -> float:
    """How far apart two samples of answers are, from 0 to 1, beyond what chance explains; 0 if there are too few.

    Of labels the total variation distance, of numbers the statistic of Kolmogorov and Smirnov.
    """
    if min(len(before), len(after)) < _MIN_FOR_DRIFT:
        return 0.0
    if isinstance(before[0], str) or isinstance(after[0], str):
        return _between_labels([str(gist) for gist in before], [str(gist) for gist in after])
    return _between_numbers([float(gist) for gist in before], [float(gist) for gist in after])


def at_least(count: int, total: int) -> float:
    """The lower end of the 95 % interval (Wilson 1927) of a rate of which ``count`` of ``total`` were seen."""
    if not total:
        return 0.0
    rate, square = count / total, _Z * _Z / total
    middle, half = rate + square / 2, _Z * sqrt(rate * (1 - rate) / total + square / (4 * total))
    return (middle - half) / (1 + square)


def median(values: deque[float] | list[float]) -> float:
    """The middle one of ``values``; 0 if there are none."""
    return sorted(values)[len(values) // 2] if values else 0.0


def _rate(count: int, total: int) -> float:
    return count / total if total else 0.0


def _between_labels(before: list[str], after: list[str]) -> float:
    one, other = Counter(before), Counter(after)
    n, m = len(before), len(after)
    distance = chance = 0.0
    for label in one.keys() | other.keys():
        distance += abs(one[label] / n - other[label] / m) / 2
        pooled = (one[label] + other[label]) / (n + m)
        # The mean of |x| of a normal x is its deviation times sqrt(2 / pi); half of it, as above.
        chance += sqrt(pooled * (1 - pooled) * (1 / n + 1 / m) / (2 * pi))
    return max(0.0, distance - chance)


def _between_numbers(before: list[float], after: list[float]) -> float:
    before, after = sorted(before), sorted(after)
    n, m = len(before), len(after)
    apart = max(abs(bisect_right(before, x) / n - bisect_right(after, x) / m) for x in before + after)
    return max(0.0, apart - _KS * sqrt((n + m) / (n * m)))
