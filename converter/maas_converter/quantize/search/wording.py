"""What a search says: why it returns nothing, or what its choice rests on."""

from math import ceil

from msgspec.structs import replace

from maas_converter.quantize.search.candidates.choice import meets, nearest
from maas_converter.quantize.search.candidates.outcome import Candidate, HeldOut, SearchLimits
from maas_converter.quantize.search.measuring.cache import ReferenceAnswers
from maas_converter.quantize.search.measuring.loss import Loss


def refusal(candidates: tuple[Candidate, ...], limits: SearchLimits) -> str:
    """Why nothing is returned: the nearest that was found, and what each budget would have to be."""
    found = nearest(candidates, limits)
    takes = f" and takes {found.p50_ms:.3f} ms" if found.p50_ms else ""
    return (
        f"auto found nothing within {stated(limits)}: of {len(candidates)} models the nearest ({found.title}) has "
        f"{found.size} bytes, {_lost(found.drop_points)} on the validation part{takes}. "
        f"{_relaxed(candidates, limits)}"
    )


def stated(limits: SearchLimits) -> str:
    """The budgets as they were asked for."""
    parts = [f"--max-drop {limits.max_drop:g}"]
    parts += [f"--max-size {limits.max_size}"] if limits.max_size is not None else []
    parts += [f"--max-latency {limits.max_latency:g}"] if limits.max_latency is not None else []
    return " and ".join(parts)


def _relaxed(candidates: tuple[Candidate, ...], limits: SearchLimits) -> str:
    """For each budget, the value with which some candidate meets all of them."""
    dropping = _meeting(candidates, replace(limits, max_drop=float("inf")))
    fitting = _meeting(candidates, replace(limits, max_size=None)) if limits.max_size is not None else []
    lasting = _meeting(candidates, replace(limits, max_latency=None)) if limits.max_latency is not None else []
    offers = [f"--max-drop {ceil(min(one.drop_points for one in dropping) * 100) / 100:g}"] if dropping else []
    offers += [f"--max-size {min(one.size for one in fitting)}"] if fitting else []
    # What is timed again may take a little longer.
    offers += [f"--max-latency {min(one.p50_ms for one in lasting) * 1.1:.3f}"] if lasting else []
    return f"There is one with {' or '.join(offers)}" if offers else "Relax two budgets: no single one is enough"


def _meeting(candidates: tuple[Candidate, ...], limits: SearchLimits) -> list[Candidate]:
    return [candidate for candidate in candidates if meets(candidate, limits)]


def _lost(points: float) -> str:
    return f"loses {points:.2f} points" if points >= 0 else f"gains {-points:.2f} points"


def fell(candidate: Candidate, loss: Loss, samples: int) -> str:
    """What unseen data say against a candidate."""
    low, high = loss.interval
    return (
        f"{candidate.title} ({candidate.size} bytes) lost {loss.points:.2f} points on {samples} unseen samples "
        f"(95 % interval {low:.2f} to {high:.2f})"
    )


def unconfirmed(failed: list[str], limits: SearchLimits) -> str:
    """Why what was found on the other parts is not returned."""
    return (
        f"auto found models within {stated(limits)}, but they do not hold when they are measured again: "
        f"{'; '.join(failed)}. Relax a budget, or give more evaluation samples: small parts scatter"
    )


def notes(held_out: HeldOut, data: ReferenceAnswers, limits: SearchLimits, problem: str) -> tuple[str, ...]:
    """What the choice rests on, one sentence each."""
    parts = data.parts
    said = [
        f"auto searched on {len(parts.search)} evaluation samples, chose on {len(parts.validation)} and judged its "
        f"choice on {len(parts.held_out)} that it had not seen",
        data.criterion.sentence,
        _verdict(held_out, limits),
    ]
    if problem:
        said.append(f"this model has no int8 candidates: {problem}")
    return tuple(said)


def _verdict(held_out: HeldOut, limits: SearchLimits) -> str:
    low, high = held_out.interval_points
    said = f"lost on unseen samples: {held_out.drop_points:.2f} points, 95 % interval {low:.2f} to {high:.2f}"
    if high > limits.max_drop:
        said += f": not proven to be within {limits.max_drop:g}, more samples narrow it"
    return said + (f"; these samples judged {held_out.looks} candidates" if held_out.looks > 1 else "")
