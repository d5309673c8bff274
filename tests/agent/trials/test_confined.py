"""What a process that runs a model may reach, and what is said of an accelerator that wants more."""

from pathlib import Path

import pytest

from maas_agent.confinement.access import Access
from maas_agent.runtime import machine
from maas_agent.runtime.needs import Needs, needs_of
from maas_agent.runtime.setup import Setup
from maas_agent.trials.confined import hint, refused
from maas_agent.trials.run import run
from maas_agent.trials.task import TrialTask
from maas_agent.trials.terms import WorkerLimits
from tests.agent.staging import stage
from tests.bundles import make_bundle
from tests.confining import needs_confinement
from tests.delegates import build_delegate
from tests.runtimes import RUNTIME

_YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")
_NOBODY_IS_SEEN = _YAMA.exists() and int(_YAMA.read_text()) > 1
"""Then the kernel does not tell which file it was."""
HELD = WorkerLimits(confine=True)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a GPU, an NPU of Intel's, a Coral stick, and a heap that devices share."""
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    for name in ("dev/dri/renderD128", "dev/accel/accel0", "dev/bus/usb/001", "dev/dma_heap/system"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_the_processor_needs_nothing(root: Path) -> None:
    assert needs_of(Setup()) == Needs()


def test_an_accelerator_needs_its_own_devices_and_no_others(root: Path) -> None:
    assert needs_of(Setup("gpu")).written == (f"{root}/dev/dma_heap", f"{root}/dev/dri")
    npu = needs_of(Setup("npu", options={"vendor": "intel_openvino", "compiler": "/opt/npu"}))
    assert npu.written == (f"{root}/dev/dma_heap", f"{root}/dev/accel/accel0", "/opt/npu") and not npu.hotplug
    stick = needs_of(Setup("delegate:/usr/lib/libedgetpu.so.1"))
    assert stick.hotplug and "/dev/bus/usb" in stick.written and "/run/udev" in stick.read
    assert not any(str(root) in path and "dma_heap" not in path for path in stick.written)


def test_of_a_delegate_the_libraries_beside_it_are_read_and_nothing_else_there(root: Path) -> None:
    """It may lie in the store, or beside a key."""
    folder = root / "store"
    folder.mkdir()
    for name in ("libmine.so", "libneighbour.so.2", "outbox.db"):
        (folder / name).touch()
    read = needs_of(Setup(f"delegate:{folder}/libmine.so")).read
    assert {f"{folder}/libmine.so", f"{folder}/libneighbour.so.2"} <= set(read)
    assert str(folder) not in read and f"{folder}/outbox.db" not in read


def test_what_was_asked_for_in_vain_is_what_is_there_and_was_not_given(tmp_path: Path) -> None:
    given, other, read_only = (tmp_path / name for name in ("given", "other", "read-only"))
    for path in (given, other, read_only):
        path.touch()
    access = Access(read=(str(read_only),), write=(str(given),), python=False)
    asked = {str(given): True, str(other): False, str(tmp_path / "not there"): True, str(read_only): False}
    assert refused(asked, access) == [str(other)]
    assert refused(asked | {str(read_only): True}, access) == [str(other), str(read_only)]


def test_a_hint_is_for_accelerators_that_are_confined_and_lacked_something() -> None:
    gpu = Setup("gpu")
    assert hint(Setup(), HELD, ["/x"]) == hint(gpu, WorkerLimits(), ["/x"]) == hint(gpu, HELD, []) == ""
    assert hint(gpu, HELD, ["/a", "/b", "/c", "/d"]) == (
        " (it runs confined, and was refused /a, /b, /c: limits.allow_paths)"
    )
    assert "if it needs more files" in hint(gpu, HELD)


@needs_confinement
def test_an_accelerator_that_lacks_a_file_is_refused_with_its_name_and_serves_when_it_is_given(tmp_path: Path) -> None:
    """Not in silence, and not for ever: what is allowed is part of what trials are valid for."""
    store, device = tmp_path / "store", tmp_path / "my-npu0"
    device.touch()
    digest, library = stage(make_bundle(tmp_path / "a.maas"), store), build_delegate(tmp_path)
    options = {"needs": f"at:{device}"}

    def tried(*allowed: str) -> str | None:
        limits = WorkerLimits(confine=True, allow_paths=allowed)
        setup = Setup(f"delegate:{library}", 1, options, RUNTIME)
        return run(TrialTask(str(store), digest, setup, limits, 60.0)).trial.refused

    reason = tried()
    assert reason is not None
    assert reason.startswith(
        f"{library} has no device to use: test delegate: its device does not open (it runs confined"
    )
    assert reason.endswith(f"and was refused {device}: limits.allow_paths)") or _NOBODY_IS_SEEN
    assert tried(str(device)) is None
