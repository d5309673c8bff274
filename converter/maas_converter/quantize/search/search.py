"""``--quantize auto``: the best model within the budgets, found on one part of the data and judged on another.

`search.explore` finds what is worth judging, from the sensitivity of single ops to combinations; `search.choice` says
which one is returned; and a part of the data that neither has seen has the last word.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Input, Postprocess
from maas_converter.base.console import Progress
from maas_converter.base.extras import require
from maas_converter.quantize.plain import plain
from maas_converter.quantize.search import wording
from maas_converter.quantize.search.candidates import choice
from maas_converter.quantize.search.candidates.layer_inputs import can_round
from maas_converter.quantize.search.candidates.layers import layers_of, precision_of
from maas_converter.quantize.search.candidates.outcome import Candidate, SearchLimits, SearchOutcome
from maas_converter.quantize.search.candidates.precision_plan import INT8, PrecisionPlan
from maas_converter.quantize.search.confirmation import confirmed
from maas_converter.quantize.search.explore import SearchSpace, explore
from maas_converter.quantize.search.measuring.cache import MeasurementCache, ReferenceAnswers
from maas_converter.quantize.search.measuring.journal import MeasurementJournal, digest_of
from maas_converter.quantize.search.measuring.loss import Answers, criterion_of
from maas_converter.quantize.search.measuring.parts import split
from maas_converter.quantize.search.measuring.runner import CandidateRunner, RunnableModel
from maas_converter.tflite.contents import contents_of

Samples = NDArray[np.generic]


def search(
    float32: bytes,
    spec: Input,
    calibration: Samples,
    evaluation: Samples,
    y: NDArray[np.int64] | None,
    limits: SearchLimits,
    folder: Path,
    journal: Path,
    progress: Progress,
    seed: int = 1,
    told: Postprocess | None = None,
) -> SearchOutcome:
    """The best model within ``limits``; ``calibration`` and ``evaluation`` (N, …sample) are decoded samples.

    ``y`` (N,) are the evaluation's classes, if there are any; ``told`` is what the model's one output is. ``folder``
    takes scratch files, ``journal`` what a later search with the same inputs can go on from. Raises `UsageError` for
    impossible budgets, `DataError` if nothing meets them or there are too few samples, `UnavailableError` if the
    journal cannot be kept.
    """
    limits.check()
    require("convert --quantize auto", "litert_quantizer")
    parts = split(len(evaluation), y, seed)
    # (1) What all candidates share: ranges, the float model's own answers, what is known already.
    progress.step("calibrating")
    model = plain(float32)
    float32 = model.tflite
    layers = layers_of(contents_of(float32))
    runner = CandidateRunner(model, layers, spec, calibration, folder)
    answers = _tracked_answers(runner.runnable(float32), evaluation, progress)
    data = ReferenceAnswers(evaluation, answers, criterion_of(answers, y, told), parts)
    notebook = MeasurementJournal(journal, digest_of(float32, spec, (calibration, evaluation, y), seed, told))
    cache = MeasurementCache(runner, data, notebook, progress)
    space = SearchSpace(layers, runner.activations, lambda layer: can_round(float32, layer))
    # (2) Search on the first part, choose on the second.
    plans = explore(cache, space, limits, progress)
    candidates = _judged(cache, plans, progress)
    # (3) The third part has not been run on any candidate so far.
    chosen, tflite, held_out = confirmed(cache, runner, candidates, limits)
    return SearchOutcome(
        tflite=tflite,
        chosen=chosen,
        precision=precision_of(chosen.plan, layers),
        candidates=candidates,
        pareto=choice.pareto(candidates),
        held_out=held_out,
        evaluations=cache.evaluations,
        resumed=notebook.found,
        notes=(*runner.kept, *wording.notes(held_out, data, limits, cache.problem(INT8))),
    )


def _tracked_answers(model: RunnableModel, samples: Samples, progress: Progress) -> Answers:
    rows = [model.run(sample) for sample in progress.track("running the float model", samples)]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _judged(cache: MeasurementCache, plans: list[PrecisionPlan], progress: Progress) -> tuple[Candidate, ...]:
    """The plans that can be made, judged on the validation part and timed, smallest first."""
    numbers = progress.track("judging candidates", np.arange(len(plans)))
    found = [cache.candidate(plans[int(number)]) for number in numbers]
    timed = cache.timed([candidate for candidate in found if candidate is not None])
    return tuple(sorted(timed, key=lambda candidate: (candidate.size, candidate.plan.key)))
