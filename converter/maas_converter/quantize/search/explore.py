"""The search itself: from what single ops show to the combinations that are worth judging."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec
import numpy as np

from maas_converter.base.console import Progress
from maas_converter.quantize.search.candidates.choice import keeps
from maas_converter.quantize.search.candidates.layers import ALGORITHMS, Layer, supported
from maas_converter.quantize.search.candidates.outcome import SearchLimits
from maas_converter.quantize.search.candidates.precision_plan import INT8, REFERENCES, Change, Precision, PrecisionPlan
from maas_converter.quantize.search.candidates.strategy import Step, covers, doubling, ordered, prefixes
from maas_converter.quantize.search.clipping import clipped
from maas_converter.quantize.search.measuring.cache import MeasurementCache

_NOT_SLOWER = 1.01

_RAISED: tuple[Precision, ...] = ("int16", "float")
"""What an op may be that suffers from int8."""

Item = TypeVar("Item")


class SearchSpace(msgspec.Struct, frozen=True):
    """The ops and tensors of a model that plans may differ in."""

    layers: tuple[Layer, ...]
    tensors: tuple[int, ...]
    """Those with ranges, in order of execution."""
    can_round: Callable[[Layer], bool]


def explore(
    cache: MeasurementCache, space: SearchSpace, limits: SearchLimits, progress: Progress
) -> list[PrecisionPlan]:
    """Plans to judge, each once: the references, and mixed ones where the model can be int8 at all."""
    plans = [plan for plan in _tracked(progress, "measuring the plain models", REFERENCES) if cache.made(plan)]
    if INT8 not in plans:
        return plans
    base = clipped(cache, space.tensors, progress)
    bases = [base]
    if not keeps(cache.loss(base).points, limits):
        bases += _raised(cache, base, space, limits, progress)
    steps = _steps(cache, base, space, progress)
    for one in bases:
        plans += [one, *_lowered(cache, one, steps, limits)]
    return list(dict.fromkeys(plans))


def _steps(cache: MeasurementCache, base: PrecisionPlan, space: SearchSpace, progress: Progress) -> list[Step]:
    """For each op that can have weights of 4 bits, the algorithm that adds the least noise."""
    plain = cache.made(base)
    offers = [change for layer in space.layers for change in _changes_to_int4(layer, space)]
    best: dict[int, Step] = {}
    for change in _tracked(progress, "sensitivity to int4", offers):
        made = cache.made(base.with_changes((change,)))
        if made is None or plain is None:
            continue
        step = Step(change, plain.size - made.size, made.noise - plain.noise)
        if change.op not in best or step.noise < best[change.op].noise:
            best[change.op] = step
    return list(best.values())


def _changes_to_int4(layer: Layer, space: SearchSpace) -> list[Change]:
    if not layer.weights or not supported(layer, Change(layer.op, "int4")):
        return []
    algorithms = [*(["gptq"] if space.can_round(layer) else []), *ALGORITHMS]
    return [Change(layer.op, "int4", algorithm) for algorithm in algorithms]


def _lowered(
    cache: MeasurementCache, base: PrecisionPlan, steps: Sequence[Step], limits: SearchLimits
) -> list[PrecisionPlan]:
    """``base`` with more and more ops of 4 bits: all in order of price, those that cost no time, and what just fits."""
    made = cache.made(base)
    taken = {change.op for change in base.changes}
    free = [step for step in steps if step.change.op not in taken]
    if made is None or not free:
        return []
    need = made.size - limits.max_size if limits.max_size is not None else 0
    sets = [*prefixes(ordered(free)), *(covers(free, need) if need > 0 else [])]
    if limits.max_latency is not None or need <= 0:
        quick = _quick(cache, base, free)
        sets += [*prefixes(ordered(quick)), *(covers(quick, need) if need > 0 else [])]
    plans = [base.with_changes(changes) for changes in dict.fromkeys(sets)]
    return [plan for plan in plans if cache.made(plan) is not None]


def _quick(cache: MeasurementCache, base: PrecisionPlan, steps: Sequence[Step]) -> list[Step]:
    """The steps that make the model no slower: on some ops 4 bits have a kernel of their own, on others a detour."""
    ratios = cache.times([base.with_changes((step.change,)) for step in steps])
    return [step for step, (_, ratio) in zip(steps, ratios, strict=True) if ratio <= _NOT_SLOWER]


def _raised(
    cache: MeasurementCache, base: PrecisionPlan, space: SearchSpace, limits: SearchLimits, progress: Progress
) -> list[PrecisionPlan]:
    """``base`` with the ops that suffer most from int8 at a higher precision, as few as bring it within the drop."""
    offers = [(layer, Change(layer.op, "int8")) for layer in space.layers]
    noise: dict[Layer, float] = {}
    for layer, change in _tracked(progress, "sensitivity to int8", offers):
        made = cache.made(PrecisionPlan("float32", (change,), base.clips)) if supported(layer, change) else None
        if made is not None:
            noise[layer] = made.noise
    worst = sorted(noise, key=lambda layer: (-noise[layer], layer.op))
    found = []
    for precision in _RAISED:
        progress.step(f"raising the worst ops to {precision}")
        found += _fewest(cache, base, _raises(worst, precision), limits)
    return found


def _raises(worst: list[Layer], precision: Precision) -> list[Change]:
    changes = [(layer, Change(layer.op, precision)) for layer in worst]
    return [change for layer, change in changes if supported(layer, change)]


def _fewest(
    cache: MeasurementCache, base: PrecisionPlan, changes: list[Change], limits: SearchLimits
) -> list[PrecisionPlan]:
    """The plan with the first so many changes, where so many are just enough; empty if all are not.

    Doubled until it is enough, then halved back: points need not fall with every op, but nearly do.
    """

    def enough(count: int) -> bool:
        plan = base.with_changes(tuple(changes[:count]))
        return cache.made(plan) is not None and keeps(cache.loss(plan).points, limits)

    low = 0
    for high in doubling(len(changes)):
        if enough(high):
            break
        low = high
    else:
        return []
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return [base.with_changes(tuple(changes[:high]))]


def _tracked(progress: Progress, what: str, items: Sequence[Item]) -> Iterator[Item]:
    """``items`` with a bar."""
    for index in progress.track(what, np.arange(len(items))):
        yield items[int(index)]
