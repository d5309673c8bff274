"""Models that are damaged or malicious are refused in the trial's child, and what passes answers as it should.

``MAAS_MUTANTS=2000`` is what ``make mutants`` asks for; a few hundred of the same seed run with all tests.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.manifest import digest_of, encode_manifest
from maas_agent.bundle.staged import blob_path, staged_manifest, verify_blobs
from maas_agent.errors import BundleError
from maas_agent.runtime.setup import Setup
from maas_agent.trials.run import run
from maas_agent.trials.task import Task
from tests.agent.staging import stage
from tests.bundles import make_bundle, samples
from tests.forks import Ended, Forks, Request
from tests.models import tiny_classifier_tflite
from tests.mutants import mutants
from tests.runtimes import RUNTIME

COUNT = int(os.environ.get("MAAS_MUTANTS", "300"))
SEED = 20261125
SECONDS = 3.0
FRESH = samples(16, seed=99)
"""Inputs that are not among the golden samples."""
SETUP = Setup(library=RUNTIME)
RIGHT = "passes: the answers of the healthy model"
WRONG = "passes: another class where one is clear"
GOLDEN_SAMPLES = 16
"""As many as the converter puts into a bundle."""


class Site:
    """A store with bundles of the healthy models; mutants take the place of a model in them, validly named."""

    def __init__(self, folder: Path) -> None:
        self.store = folder
        self.models = [tiny_classifier_tflite(seed=1), tiny_classifier_tflite(seed=1, dtype="int8")]
        paths = [
            make_bundle(folder / "float.maas", seed=1, golden_samples=GOLDEN_SAMPLES),
            make_bundle(folder / "int8.maas", seed=1, dtype="int8", golden_samples=GOLDEN_SAMPLES),
        ]
        self.digests = [stage(path, folder) for path in paths]
        self.manifests = []
        for path in paths:
            with open_bundle(path) as bundle:
                self.manifests.append(bundle.manifest)

    def with_mutant(self, which: int, mutant: bytes) -> str:
        """Stage a bundle whose model is ``mutant``, as if somebody had signed it; its manifest's digest."""
        manifest = self.manifests[which]
        part = msgspec.structs.replace(manifest.stages[0], blob=digest_of(mutant), size=max(1, len(mutant)))
        data = encode_manifest(msgspec.structs.replace(manifest, stages=(part,)))
        blob_path(self.store, digest_of(mutant)).write_bytes(mutant)
        blob_path(self.store, digest_of(data)).write_bytes(data)
        return digest_of(data)

    def damaged_on_the_card(self, which: int, mutant: bytes) -> bool:
        """Whether the digest finds that the file of a verified model is ``mutant`` now."""
        path = blob_path(self.store, self.manifests[which].stages[0].blob)
        healthy = path.read_bytes()
        path.write_bytes(mutant)
        try:
            verify_blobs(self.store, staged_manifest(self.store, self.digests[which]))
        except BundleError:
            return True
        finally:
            path.write_bytes(healthy)
        return False


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("mutants"))


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as made:
        yield made


def outcome(ended: Ended) -> str:
    if ended.signal:
        return "hangs or takes too long" if ended.signal in (14, 24, 9) else "crashes the child"
    assert ended.verdict is not None
    trial = ended.verdict.trial
    if trial.refused is None:
        return "passes"
    if ended.verdict.strayed:
        return "refused: strays from the golden samples"
    if "more than" in trial.refused and "of memory" in trial.refused:
        return "refused: memory"
    if "the manifest says" in trial.refused:
        return "refused: not what the manifest says"
    return "refused: cannot be loaded or run"


def test_no_mutant_gets_out_of_its_child_or_serves_a_wrong_answer(
    site: Site, forks: Forks, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two walls: a file that was damaged is never loaded, and one that was signed so has to reproduce the samples."""
    flat = [sample.reshape(-1).tolist() for sample in FRESH]
    healthy = [forks.run(Request(Task(str(site.store), digest, SETUP), flat)).answers for digest in site.digests]
    assert all(answers is not None for answers in healthy)
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    crashed: list[tuple[str, str]] = []
    for number, (kind, mutant) in enumerate(mutants(site.models, COUNT, SEED)):
        which = number // 2 % 2
        unchanged = mutant == site.models[which]
        assert unchanged or site.damaged_on_the_card(which, mutant), (
            f"mutant {number} ({kind}) is not found by its digest"
        )
        digest = site.with_mutant(which, mutant)
        ended = forks.run(Request(Task(str(site.store), digest, SETUP, seconds=SECONDS), flat))
        word = outcome(ended)
        if word == "passes":
            word = passed(ended, healthy[which], site.manifests[which].golden.tolerance)
            wrong += [f"{number} ({kind})"] if word == WRONG else []
        elif word == "crashes the child":
            crashed.append((kind, digest))
        counts[word] += 1
    with capsys.disabled():
        print(f"\n{COUNT} mutants, runtime {RUNTIME}: {dict(counts.most_common())}; wrong: {wrong}")
    assert sum(counts.values()) == COUNT
    assert counts[RIGHT] > 0 and counts["refused: cannot be loaded or run"] > COUNT // 4
    assert wrong == []
    for kind, digest in crashed[:20]:  # what crashed a fork is a sentence on the real path too
        trial = run(Task(str(site.store), digest, SETUP, seconds=SECONDS)).trial
        assert trial.refused is not None, f"{kind} passes in a process of its own"


def passed(ended: Ended, healthy: list[list[float]] | None, tolerance: float) -> str:
    if ended.answers is None:
        return "passes, and ends its worker later"
    found, expected = np.array(ended.answers), np.array(healthy)
    best, second = np.sort(expected, axis=1)[:, -1], np.sort(expected, axis=1)[:, -2]
    clear = best - second > 2 * tolerance  # where two classes are about as likely, devices may differ by rights
    other = found.argmax(axis=1) != expected.argmax(axis=1)
    if not np.isfinite(found).all() or (other & clear).any():
        return WRONG
    return (
        RIGHT if np.abs(found - expected).max() <= tolerance else "passes: the same clear classes, scores a little off"
    )
