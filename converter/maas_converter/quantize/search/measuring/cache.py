"""Measures plans, each once: what an earlier search noted in its journal is not measured again."""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.errors import RuntimeFailure
from maas_converter.base.console import Progress
from maas_converter.quantize.search.candidates.outcome import Candidate
from maas_converter.quantize.search.candidates.precision_plan import FLOAT32, INT8, PrecisionPlan
from maas_converter.quantize.search.measuring.journal import MeasurementJournal
from maas_converter.quantize.search.measuring.loss import Answers, Loss, LossCriterion, noise
from maas_converter.quantize.search.measuring.parts import Parts
from maas_converter.quantize.search.measuring.runner import AT_ONCE, CandidateRunner, Samples, evenly

_TIMED_SAMPLES = 32

_PATIENCE_S = 30.0
"""For the search part. LiteRT runs some int16 ops with reference kernels, about a hundred times slower than int8's."""


class PlanFigures(msgspec.Struct, frozen=True):
    """A plan as a file: its bytes, and its noise on the search part."""

    size: int
    noise: float


class ReferenceAnswers(msgspec.Struct, frozen=True):
    """The float model's own answers (N, …) to the evaluation samples (N, …), and what counts as lost against them."""

    samples: Samples
    answers: Answers
    criterion: LossCriterion
    parts: Parts


class MeasurementCache:
    """Measures plans, and answers from its journal what was measured before."""

    def __init__(
        self, runner: CandidateRunner, data: ReferenceAnswers, journal: MeasurementJournal, progress: Progress
    ) -> None:
        self._runner, self._data, self._journal, self._progress = runner, data, journal, progress
        self.evaluations = 0
        """Models run, by this object."""

    def made(self, plan: PrecisionPlan) -> PlanFigures | None:
        """Size and noise; ``None`` for a plan that the library cannot make of this model or that does not run."""
        known = self._journal.recall(f"made {plan.key}")
        if known is None:
            known = self._make(plan)
            self._journal.note(f"made {plan.key}", known)
        return PlanFigures(known["size"], known["noise"]) if "problem" not in known else None

    def problem(self, plan: PrecisionPlan) -> str:
        """Why a plan could not be made."""
        known = self._journal.recall(f"made {plan.key}")
        return str(known.get("problem", "")) if known is not None else ""

    def loss(self, plan: PrecisionPlan) -> Loss:
        """Points lost on the validation part, of a plan that could be made."""
        known = self._journal.recall(f"loss {plan.key}")
        if known is None:
            loss = self._judged(self._runner.build(plan), self._data.parts.validation)
            known = [loss.points, *loss.interval]
            self._journal.note(f"loss {plan.key}", known)
        return Loss(known[0], (known[1], known[2]))

    def loss_on_held_out(self, tflite: bytes) -> Loss:
        """Points lost on the held-out part. Never noted: it is asked for once what to return is settled."""
        return self._judged(tflite, self._data.parts.held_out)

    @property
    def held_out(self) -> int:
        """Samples of the held-out part."""
        return len(self._data.parts.held_out)

    def candidate(self, plan: PrecisionPlan) -> Candidate | None:
        """A plan measured for size and accuracy, not yet timed; ``None`` if it cannot be made."""
        made = self.made(plan)
        if made is None:
            return None
        loss = self.loss(plan)
        return Candidate(plan, plan.title, made.size, made.noise, loss.points, loss.interval)

    def timed(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The ``candidates`` with their latencies."""
        times = self.times([candidate.plan for candidate in candidates])
        return [
            msgspec.structs.replace(candidate, p50_ms=p50, ratio=ratio)
            for candidate, (p50, ratio) in zip(candidates, times, strict=True)
        ]

    def times(self, plans: Sequence[PrecisionPlan]) -> list[tuple[float, float]]:
        """Median milliseconds and ratio to `yardstick`, of plans that could be made."""
        known = {plan: self._journal.recall(f"time {plan.key}") for plan in plans}
        missing = [plan for plan in known if known[plan] is None]
        # Noted by groups, so that a search that is cut here has lost only one.
        for at in self._progress.track("timing", np.arange(0, len(missing), AT_ONCE)):
            group = missing[int(at) : int(at) + AT_ONCE]
            for plan, found in zip(group, self.time_now(group), strict=True):
                known[plan] = found
                self._journal.note(f"time {plan.key}", found)
        return [(float(known[plan][0]), float(known[plan][1])) for plan in plans]

    def time_now(self, plans: Sequence[PrecisionPlan]) -> list[tuple[float, float]]:
        """Median milliseconds and ratio to `yardstick` of each plan, measured anew and not noted."""
        return self._runner.times(self.yardstick, plans, evenly(self._data.samples, _TIMED_SAMPLES))

    @property
    def yardstick(self) -> PrecisionPlan:
        """What latencies are compared with: plain int8, or the float model where there is no int8 one."""
        return INT8 if self.made(INT8) is not None else FLOAT32

    def _make(self, plan: PrecisionPlan) -> dict[str, float | int | str]:
        try:
            tflite = self._runner.build(plan)
            self._check_pace(plan, tflite)
            found = noise(self._before(self._data.parts.search), self._answers(tflite, self._data.parts.search))
        except RuntimeFailure as error:
            return {"problem": str(error)}
        return {"size": len(tflite), "noise": found} if np.isfinite(found) else {"problem": "answers are not finite"}

    def _check_pace(self, plan: PrecisionPlan, tflite: bytes) -> None:
        """Raise `RuntimeFailure` for a model with 16-bit activations that would take minutes to measure."""
        if plan.whole == "int16x8" or any(change.precision == "int16" for change in plan.changes):
            seconds = self._runner.seconds(tflite, self._data.samples)
            if seconds * len(self._data.parts.search) > _PATIENCE_S:
                raise RuntimeFailure(f"an inference takes {seconds:.2f} s: there are no fast kernels for its int16 ops")

    def _judged(self, tflite: bytes, rows: NDArray[np.int64]) -> Loss:
        after = self._answers(tflite, rows)
        return self._data.criterion.loss(self._before(rows), after, rows)

    def _answers(self, tflite: bytes, rows: NDArray[np.int64]) -> Answers:
        self.evaluations += 1
        return self._runner.runnable(tflite).answers(self._data.samples[rows])

    def _before(self, rows: NDArray[np.int64]) -> Answers:
        return {name: values[rows] for name, values in self._data.answers.items()}
