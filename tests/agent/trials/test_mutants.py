"""Models that are damaged or malicious end at worst their own child; what the golden samples miss is counted.

``MAAS_MUTANTS=2000`` is what ``make mutants`` asks for; a few hundred of the same seed run with all tests.
"""

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import msgspec
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from maas_agent.host.children import signal_name
from maas_agent.runtime.setup import Setup
from maas_agent.trials.record import Trial
from maas_agent.trials.run import run
from maas_agent.trials.task import TrialTask
from tests.agent.trials.sites import Original, resnet8, tiny
from tests.converter.shared import shared
from tests.forks import Ended, Forks, Request
from tests.models import tiny_classifier_tflite
from tests.mutants import EDITS, Edit, mutants, packed
from tests.runtimes import RUNTIME

COUNT = int(os.environ.get("MAAS_MUTANTS", "300"))
SEED = 20261125
SECONDS = 3.0
SETUP = Setup(library=RUNTIME)
ON_THE_REAL_PATH = 40
"""So many are also tried as a device does it, each in a Python of its own; those that crash or hang first."""
TIMED_OUT = (signal.SIGALRM, signal.SIGXCPU, signal.SIGKILL)
REASONS = {
    "MiB of memory": "refused: needs too much memory",
    "the manifest says": "refused: is not what the manifest says",
    "cannot be loaded": "refused: cannot be loaded",
    "inference failed": "refused: an op fails",
}
STRAYS = "refused: strays from the golden samples"
MISSED = "passes: some other inputs are answered beyond the tolerance"


class Missed(msgspec.Struct, frozen=True):
    """A mutant that passes; of its answers to the fresh inputs."""

    mutant: str
    largest: float
    """Deviation, in tolerances."""
    beyond: int
    """Inputs that deviate by more than the tolerance."""
    other_class: int

    def __str__(self) -> str:
        return f"{self.mutant}: {self.largest:.2f} x tolerance, {self.beyond} beyond, {self.other_class} other class"


class Tally:
    """What became of the mutants of some originals."""

    def __init__(self, originals: list[Original], forks: Forks) -> None:
        self.originals, self._forks = originals, forks
        self.counts: Counter[str] = Counter()
        self.passed: list[Missed] = []
        self.violent: list[tuple[str, str]] = []
        self.calm: list[tuple[str, str]] = []
        """By what became of it in a fork: the digests of what ended its process, and of what did not."""
        self._healthy = [np.array(self._tried(original, original.digest).answers) for original in originals]

    def add(self, number: int, kind: str, mutant: bytes) -> None:
        which = number // 2 % len(self.originals)
        original = self.originals[which]
        assert original.found_on_the_card(mutant), f"{number} ({kind}) would be loaded in the place of the signed model"
        digest = original.signed(mutant)
        ended = self._tried(original, digest)
        word = _refusal(ended) or self._passed(f"{number} {kind} ({original.name})", ended, which)
        self.counts[word] += 1
        (self.violent if ended.status < 0 else self.calm).append((word, digest))

    def _tried(self, original: Original, digest: str) -> Ended:
        return self._forks.run(Request(TrialTask(str(original.store), digest, SETUP, seconds=SECONDS), original.inputs))

    def _passed(self, mutant: str, ended: Ended, which: int) -> str:
        if ended.answers is None:
            return "passes: ends its worker at another input"
        missed = _compared(
            mutant,
            np.array(ended.answers, np.float64),  # None becomes NaN
            self._healthy[which],
            self.originals[which].manifest.golden.tolerance,
        )
        self.passed.append(missed)
        if missed.beyond:
            return MISSED
        return "passes: within the tolerance" if missed.largest else "passes: the same answers"


def _compared(mutant: str, found: NDArray[np.float64], healthy: NDArray[np.float64], tolerance: float) -> Missed:
    off = np.nan_to_num(np.abs(found - healthy), nan=np.inf).max(axis=1) / tolerance
    other = found.argmax(axis=1) != healthy.argmax(axis=1)
    return Missed(mutant, float(off.max()), int((off > 1).sum()), int(other.sum()))


def _refusal(ended: Ended) -> str | None:
    if -ended.status in TIMED_OUT:
        return "refused: hangs"
    if ended.status < 0:
        return f"refused: ends its child by {signal_name(-ended.status)}"
    refused = ended.verdict.trial.refused
    if refused is None:
        return None
    return STRAYS if ended.verdict.strayed else next((w for r, w in REASONS.items() if r in refused), f"? {refused}")


@pytest.fixture(params=["tiny", "resnet8"])
def originals(request: pytest.FixtureRequest, tmp_path: Path) -> list[Original]:
    if request.param == "tiny":
        return tiny(tmp_path)
    return resnet8(
        tmp_path, shared("resnet8/pretrainedResnet_quant.tflite"), shared("resnet8/cifar10-evaluation-1500.npz")
    )


@pytest.fixture
def forks() -> Iterator[Forks]:
    with Forks() as made:
        yield made


@pytest.mark.parametrize("edit", EDITS)
def test_every_edit_is_made(edit: Edit) -> None:
    """One that always failed would be left out in silence: several are tried until there is a mutant."""
    random = Random(SEED)
    healthy = schema.Model.GetRootAs(tiny_classifier_tflite(), 0)
    changed = 0
    for _ in range(20):
        tree = schema.ModelT.InitFromObj(healthy)
        with contextlib.suppress(TypeError):  # a number that does not fit its field
            edit(tree, random)
            changed += packed(tree) != packed(schema.ModelT.InitFromObj(healthy))
    assert changed >= 5


def test_mutants_end_at_worst_their_child_and_the_golden_samples_find_most_that_answer_otherwise(
    originals: list[Original], forks: Forks, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two walls: a file that was changed is never loaded, and one that was signed so has to reproduce the samples."""
    count = COUNT if len(originals) > 1 else COUNT // 4
    tally = Tally(originals, forks)
    for number, (kind, mutant) in enumerate(mutants([original.model for original in originals], count, SEED)):
        tally.add(number, kind, mutant)
    missed = [found for found in tally.passed if found.beyond]
    with capsys.disabled():
        print(f"\n{count} mutants of {[original.name for original in originals]}, runtime {RUNTIME}:")
        print("".join(f"{number:6} {word}\n" for word, number in sorted(tally.counts.items())), end="")
        others = [found.other_class for found in tally.passed if found.other_class]
        print(f"{len(others):6} of those that pass give some inputs another class, at most {max(others, default=0)}")
        print("".join(f"       {found}\n" for found in missed), end="")
    assert sum(tally.counts.values()) == count and tally.counts[STRAYS] > 0
    assert tally.counts["passes: the same answers"] > 0  # not everything is refused
    assert len(missed) < tally.counts[STRAYS]
    answers = len(np.load(originals[0].inputs))
    assert all(found.other_class * 10 <= answers for found in tally.passed), "this one should have been found"
    _hold_to_the_real_path(originals[0].store, tally)


def _hold_to_the_real_path(store: Path, tally: Tally) -> None:
    """In a Python of its own a mutant has the same fate as in a fork.

    Where memory was overwritten it may end otherwise: LiteRT refuses all of those. The older interpreter now and then
    gets away with it (the bytes hit what nobody uses) and answers as the healthy model does; then it may serve.
    """
    rest = max(10, ON_THE_REAL_PATH - len(tally.violent))
    violent = tally.violent if COUNT > 300 else tally.violent[:ON_THE_REAL_PATH]
    lucky = [word for word, digest in violent if _really_tried(store, digest).refused is None]
    assert len(lucky) * 10 <= (len(violent) if RUNTIME == "tflite-runtime" else 0), lucky
    for word, digest in tally.calm[:: max(1, len(tally.calm) // rest)]:
        trial = _really_tried(store, digest)
        assert (trial.refused is None) == word.startswith("passes"), (word, trial.refused)


def _really_tried(store: Path, digest: str) -> Trial:
    return run(TrialTask(str(store), digest, SETUP, seconds=10 * SECONDS)).trial
