"""Chooses which of the candidates is returned: pure rules."""

from maas_converter.quantize.search.candidates.outcome import Candidate, SearchLimits
from maas_converter.quantize.search.candidates.precision_plan import INT8, Whole

SLOWER = 1.05
"""Latency over int8's, above which a model counts as slower."""

_AS_FAST = 1.02
"""Stricter than `SLOWER`, so that a second measurement agrees."""

_AS_SMALL = 1.05
_MORE_ACCURATE = 0.9
"""Share of the noise of one that failed, which another has to be below to be worth a look."""

_INTEGER_IO: tuple[Whole, ...] = ("int8",)
_LAST: dict[Whole, int] = {"float16": 1, "float32": 2}
"""Models without integers are returned only where nothing else is worth it."""

_ROUNDING = 1e-9
"""A point is a share of samples, times 100: not exact in binary."""


def tight(candidates: tuple[Candidate, ...], limits: SearchLimits) -> bool:
    """Whether plain int8 is too large, so that bytes have to be bought with accuracy."""
    return limits.max_size is not None and all(
        candidate.size > limits.max_size for candidate in candidates if candidate.plan == INT8
    )


def ranking(candidates: tuple[Candidate, ...], limits: SearchLimits) -> list[Candidate]:
    """The candidates that meet every budget, the one to return first, then those to try if it fails on unseen data.

    With a size budget that int8 misses: the least noise. Latency has no part in that, unless it is limited: the
    same inputs give the same model. Otherwise: the fastest, of equally fast ones the smallest, of equally small ones
    the plainest.
    """
    bought = tight(candidates, limits)
    eligible = [candidate for candidate in candidates if meets(candidate, limits)]
    eligible = [one for one in eligible if not any(_outdoes(other, one, in_time=not bought) for other in eligible)]
    if not eligible:
        return []
    best = min(map(_last, eligible))
    preferred = [candidate for candidate in eligible if _last(candidate) == best]
    first = min(preferred, key=_accuracy) if bought else _fastest(preferred)
    plain = [other for other in candidates if other.plan == INT8 != first.plan and meets(other, limits)]
    rest = [other for other in eligible if other not in (first, *plain)]
    if not bought:
        rest = [other for other in rest if other.noise < first.noise * _MORE_ACCURATE]
    return [first, *plain, *sorted(rest, key=lambda other: (_last(other), *_accuracy(other)))]


def meets(candidate: Candidate, limits: SearchLimits) -> bool:
    """Whether it is within all budgets, as far as the validation part and the first timing tell."""
    return (
        keeps(candidate.drop_points, limits)
        and (limits.max_size is None or candidate.size <= limits.max_size)
        and (limits.max_latency is None or candidate.p50_ms <= limits.max_latency)
        and not (limits.integer_io and candidate.plan.whole not in _INTEGER_IO)
    )


def keeps(points: float, limits: SearchLimits) -> bool:
    """Whether so many points may be lost."""
    return points <= limits.max_drop + _ROUNDING


def pareto(candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    """The candidates that no other one equals or beats in size, latency and points at once, smallest first."""

    def beaten(one: Candidate) -> bool:
        return any(_figures(other) != _figures(one) and _below(_figures(other), _figures(one)) for other in candidates)

    return tuple(sorted((one for one in candidates if not beaten(one)), key=_figures))


def nearest(candidates: tuple[Candidate, ...], limits: SearchLimits) -> Candidate:
    """The candidate that misses the budgets by least, in shares of them and in points."""

    def miss(candidate: Candidate) -> float:
        size = max(0.0, candidate.size / limits.max_size - 1) if limits.max_size else 0.0
        late = max(0.0, candidate.p50_ms / limits.max_latency - 1) if limits.max_latency else 0.0
        return size + late + max(0.0, candidate.drop_points - limits.max_drop) / max(limits.max_drop, 1.0)

    return min(candidates, key=lambda candidate: (miss(candidate), candidate.size))


def _fastest(candidates: list[Candidate]) -> Candidate:
    # Coarse on purpose: timings repeat to a few percent, and the choice should repeat too.
    least = min(candidate.ratio for candidate in candidates)
    fast = [candidate for candidate in candidates if candidate.ratio <= least * _AS_FAST]
    smallest = min(candidate.size for candidate in fast)
    small = [candidate for candidate in fast if candidate.size <= smallest * _AS_SMALL]
    return min(small, key=lambda candidate: (len(candidate.plan.changes), *_accuracy(candidate)))


def _outdoes(other: Candidate, one: Candidate, *, in_time: bool) -> bool:
    """Whether ``other`` is smaller, more accurate and, if that counts, clearly faster."""
    faster = not in_time or other.ratio * _AS_FAST < one.ratio
    return other.size < one.size and other.noise < one.noise and faster


def _last(candidate: Candidate) -> int:
    return _LAST.get(candidate.plan.whole, 0)


def _accuracy(candidate: Candidate) -> tuple[float, int, str]:
    return (candidate.noise, candidate.size, candidate.plan.key)


def _figures(candidate: Candidate) -> tuple[int, float, float]:
    return (candidate.size, candidate.p50_ms, candidate.drop_points)


def _below(one: tuple[int, float, float], other: tuple[int, float, float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True))
