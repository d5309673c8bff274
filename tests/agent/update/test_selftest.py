"""The self-test's child process, and what its end means."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from maas_agent.bundle.archive import open_bundle
from maas_agent.errors import SelfTestError, UnavailableError
from maas_agent.update.selftest import judged, run
from maas_agent.update.store import Store
from tests.bundles import make_bundle
from tests.models import endless_tflite


def installed(folder: Path, path: Path) -> str:
    store = Store(folder)
    with open_bundle(path) as bundle:
        store.add(bundle.digest, len(bundle.manifest_bytes), [bundle.manifest_bytes])
        for digest, size in bundle.manifest.blobs().items():
            store.add(digest, size, [bundle.blob(digest)])
        return bundle.digest


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_good_bundle_passes_and_is_measured(tmp_path: Path, dtype: str) -> None:
    """Real LiteRT, real golden samples."""
    digest = installed(tmp_path, make_bundle(tmp_path / "b.maas", dtype=dtype))  # type: ignore[arg-type]
    measured = run(tmp_path, digest, "auto")
    assert 0 < measured.p50_ms <= measured.p99_ms
    assert measured.deviation <= 0.02


def test_a_model_that_never_ends_is_killed_at_the_deadline(tmp_path: Path) -> None:
    """A loop inside LiteRT, which no Python code can interrupt."""
    digest = installed(tmp_path, make_bundle(tmp_path / "b.maas", swap=endless_tflite()))
    with pytest.raises(SelfTestError, match=r"did not end within 1\.2 s: the model hangs"):
        run(tmp_path, digest, "cpu", seconds=1.2)


def test_a_model_that_is_no_model_is_a_reason(tmp_path: Path) -> None:
    """Its digest is right, its content is not a model."""
    digest = installed(tmp_path, make_bundle(tmp_path / "b.maas", swap=b"TFL3 it is not"))
    with pytest.raises(SelfTestError, match="cannot be loaded"):
        run(tmp_path, digest, "cpu")


def test_a_blob_that_rotted_is_the_devices_fault(tmp_path: Path) -> None:
    """The digest is checked before every load."""
    path = make_bundle(tmp_path / "b.maas")
    digest = installed(tmp_path, path)
    with open_bundle(path) as bundle:
        Store(tmp_path).blob_path(bundle.manifest.stages[0].blob).write_bytes(b"rotten")
    with pytest.raises(UnavailableError, match="stage 'classify' is damaged in the store"):
        run(tmp_path, digest, "cpu")


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGBUS])
def test_a_child_killed_by_a_signal_is_named_after_it(number: signal.Signals) -> None:
    """A real child that really dies so."""
    child = subprocess.run([sys.executable, "-c", f"import os; os.kill(os.getpid(), {int(number)})"])
    with pytest.raises(SelfTestError, match=f"killed by {number.name}"):
        judged(child.returncode, b"", b"", 1.0)


@pytest.mark.parametrize("said", [b"", b"\n", b"{}\n", b"nonsense\n", b"\xff\n"])
def test_a_child_without_a_verdict_has_failed(said: bytes) -> None:
    """Whatever it printed, and however it ended."""
    with pytest.raises(SelfTestError, match="ended with status 3 and no result: it broke"):
        judged(3, said, b"warning\nit broke\n", 1.0)
