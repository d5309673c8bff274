"""The last word on a candidate: samples that nothing was run on before, and a second timing where time decided."""

from maas_agent.errors import DataError
from maas_converter.quantize.search import wording
from maas_converter.quantize.search.candidates import choice
from maas_converter.quantize.search.candidates.outcome import Candidate, HeldOut, SearchLimits
from maas_converter.quantize.search.candidates.precision_plan import INT8
from maas_converter.quantize.search.measuring.cache import MeasurementCache
from maas_converter.quantize.search.measuring.runner import CandidateRunner

_LOOKS = 3
"""How many candidates the held-out part may judge; with each it is a little less unseen."""


def confirmed(
    cache: MeasurementCache, runner: CandidateRunner, candidates: tuple[Candidate, ...], limits: SearchLimits
) -> tuple[Candidate, bytes, HeldOut]:
    """The first of the ranking that holds, its file and what it lost; raises `DataError` if none does."""
    ranking = choice.ranking(candidates, limits)
    if not ranking:
        raise DataError(wording.refusal(candidates, limits))
    failed: list[str] = []
    looks = 0
    for candidate in ranking:
        late = _late(cache, candidate, limits) or _slower(cache, candidate, ranking, candidates, limits)
        if late:
            failed.append(late)
            continue
        tflite, looks = runner.build(candidate.plan), looks + 1
        loss = cache.loss_on_held_out(tflite)
        if choice.keeps(loss.points, limits):
            return candidate, tflite, HeldOut(cache.held_out, loss.points, loss.interval, looks)
        failed.append(wording.fell(candidate, loss, cache.held_out))
        if looks == _LOOKS:
            break
    raise DataError(wording.unconfirmed(failed, limits))


def _late(cache: MeasurementCache, candidate: Candidate, limits: SearchLimits) -> str:
    """Why a second timing rejects it: over the latency budget."""
    if limits.max_latency is None:
        return ""
    ((p50, _),) = cache.time_now([candidate.plan])
    return f"{candidate.title} took {p50:.3f} ms when it was timed again" if p50 > limits.max_latency else ""


def _slower(
    cache: MeasurementCache,
    candidate: Candidate,
    ranking: list[Candidate],
    candidates: tuple[Candidate, ...],
    limits: SearchLimits,
) -> str:
    """Why a second timing rejects the first of a ranking by speed: slower than an int8 model that would do as well."""
    stands_in = candidate == ranking[0] and candidate.plan != INT8 and INT8 in [other.plan for other in ranking]
    if choice.tight(candidates, limits) or not stands_in:
        return ""
    ((_, ratio),) = cache.time_now([candidate.plan])
    return f"{candidate.title} took {ratio:.2f} times as long as int8" if ratio > choice.SLOWER else ""
