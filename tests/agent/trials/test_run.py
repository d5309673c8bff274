"""Trials: a real child process for each setup, and what its end means."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.staged import blob_path
from maas_agent.errors import SelfTestError, UnavailableError
from maas_agent.runtime.setup import Setup
from maas_agent.trials.hardware import cores, fingerprint, runtime_version
from maas_agent.trials.run import judged, run, select, try_all
from maas_agent.trials.task import TrialTask
from maas_agent.trials.terms import Terms, WorkerLimits
from tests.agent.staging import stage
from tests.bundles import make_bundle
from tests.models import crashing_tflite, endless_tflite
from tests.runtimes import RUNTIME

CPU = Setup(library=RUNTIME)
TERMS = Terms("cpu", 1, library=RUNTIME)


def staged(folder: Path, **details: object) -> str:
    return stage(make_bundle(folder / "b.maas", **details), folder)  # type: ignore[arg-type]


def tried(store: Path, digest: str, limits: WorkerLimits = WorkerLimits(), seconds: float = 60.0, setup: Setup = CPU):  # type: ignore[no-untyped-def]  # noqa: B008
    return run(TrialTask(str(store), digest, setup, limits, seconds))


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_good_bundle_passes_and_is_measured(tmp_path: Path, dtype: Literal["float32", "int8"]) -> None:
    trial = tried(tmp_path, staged(tmp_path, dtype=dtype)).trial
    assert trial.refused is None and trial.p50_ms is not None and trial.p99_ms is not None
    assert 0 < trial.p50_ms <= trial.p99_ms
    assert trial.deviation is not None and trial.deviation <= 0.02
    assert trial.peak_bytes is not None and trial.peak_bytes > 10 << 20
    assert trial.accelerated is None


def test_all_thread_counts_that_this_machine_has_are_tried(tmp_path: Path) -> None:
    trials = select(tmp_path, staged(tmp_path), Terms("cpu", library=RUNTIME))
    assert [row.setup.threads for row in trials.rows] == [count for count in (1, 2, 4) if count <= cores()]
    assert trials.best() in trials.rows
    assert (trials.runtime, trials.hardware) == (runtime_version(RUNTIME), fingerprint(RUNTIME))


def test_a_model_that_never_ends_is_killed_at_the_deadline(tmp_path: Path) -> None:
    """A loop inside the interpreter, which no Python code can interrupt."""
    verdict = tried(tmp_path, staged(tmp_path, swap=endless_tflite()), seconds=1.2)
    assert verdict.trial.refused == ("it did not end within 1.2 s: the model hangs or is far too slow for this device")


def test_a_model_that_crashes_is_a_row_and_not_a_dead_parent(tmp_path: Path) -> None:
    verdict = tried(tmp_path, staged(tmp_path, swap=crashing_tflite()))
    assert verdict.trial.refused is not None and not verdict.device_fault
    assert verdict.trial.refused.startswith("killed by SIGSEGV: the model crashes this device")


def test_a_model_that_is_no_model_is_a_reason(tmp_path: Path) -> None:
    with pytest.raises(SelfTestError, match="cannot be loaded"):
        select(tmp_path, staged(tmp_path, swap=b"TFL3 it is not"), TERMS)


def test_a_blob_that_rotted_is_the_devices_fault(tmp_path: Path) -> None:
    """The digest is checked before every load."""
    path = make_bundle(tmp_path / "b.maas")
    digest = stage(path, tmp_path)
    with open_bundle(path) as bundle:
        blob_path(tmp_path, bundle.manifest.stages[0].blob).write_bytes(b"rotten")
    with pytest.raises(UnavailableError, match="damaged"):
        select(tmp_path, digest, TERMS)


def test_what_does_not_fit_is_refused_with_the_figure(tmp_path: Path) -> None:
    digest = staged(tmp_path)
    with pytest.raises(UnavailableError, match=r"it needs \d+\.\d MiB, limits\.memory_mb allows 0"):
        select(tmp_path, digest, Terms("cpu", 1, library=RUNTIME, limits=WorkerLimits(memory_bytes=1)))
    needs = tried(tmp_path, digest).trial.needs_bytes
    assert tried(tmp_path, digest, WorkerLimits(memory_bytes=2 * needs)).trial.refused is None


def test_a_processor_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    verdict = tried(tmp_path, staged(tmp_path), WorkerLimits(cpus=(4000,)))
    assert verdict.device_fault
    assert verdict.trial.refused is not None and verdict.trial.refused.startswith(
        "limits.cpus = [4000]: this device has 0"
    )


def test_after_a_refusal_no_more_threads_are_tried_on_the_same_accelerator(tmp_path: Path) -> None:
    digest = staged(tmp_path, off_by=0.5)
    verdicts = try_all(tmp_path, digest, [CPU, Setup(threads=2, library=RUNTIME)], TERMS)
    assert [verdict.trial.refused for verdict in verdicts] == [
        "the golden samples deviate by 0.5, allowed is 0.02",
    ]
    assert verdicts[0].strayed and verdicts[0].trial.deviation == pytest.approx(0.5)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGBUS])
def test_a_child_killed_by_a_signal_is_named_after_it(number: signal.Signals) -> None:
    """A real child that really dies so."""
    child = subprocess.run([sys.executable, "-c", f"import os; os.kill(os.getpid(), {int(number)})"])
    verdict = judged(TrialTask("", "", CPU), child.returncode, b"", b"first\nlast words\n")
    assert verdict.trial.refused == f"killed by {number.name}: the model crashes this device: last words"


@pytest.mark.parametrize("said", [b"", b"\n", b"{}\n", b"nonsense\n", b"\xff\n"])
def test_a_child_without_a_verdict_has_failed(said: bytes) -> None:
    """Whatever it printed, and however it ended."""
    verdict = judged(TrialTask("", "", CPU), 3, said, b"warning\nit broke\n")
    assert verdict.trial.refused == "ended with status 3 and no verdict: it broke"
