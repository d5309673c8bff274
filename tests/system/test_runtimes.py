"""The interpreter that a pipeline asks for is the one that its workers load, and the only one."""

import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from maas_agent.runtime.setup import how_to_get
from tests.bundles import samples
from tests.runtimes import RUNTIME
from tests.system.conftest import LOCAL, MakeDevice
from tests.system.console import Console

SAMPLE = samples(1)[0].tobytes()
MODULES = {"ai-edge-litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}
NUMPY_2 = Path(sys.prefix) / "numpy2"
"""Where the Makefile puts it in the environment of NumPy 1."""


@pytest.mark.parametrize("wanted", MODULES)
def test_a_pipeline_runs_on_the_interpreter_that_it_asks_for(
    make_device: MakeDevice, console: Console, bundle: Path, wanted: str
) -> None:
    if importlib.util.find_spec(MODULES[wanted]) is None:
        pytest.skip(f"{wanted} is not installed here: make test-tflite-runtime has both")
    device = make_device(LOCAL.format(bundle=bundle) + f'runtime = "{wanted}"\n')
    device.start()
    state = console.wait("maas/dev/digits/state", lambda s: s["serving"]).document
    assert state["runtime"].split()[0] == wanted
    assert "result" in console.ask("dev", "digits", SAMPLE, "x")
    (worker,) = device.workers()
    maps = Path(f"/proc/{worker}/maps").read_text()
    loaded = {library for library, module in MODULES.items() if f"/{module}/" in maps}
    assert loaded == {wanted}


def test_without_a_wish_it_is_the_one_of_these_tests(make_device: MakeDevice, console: Console, bundle: Path) -> None:
    device = make_device(LOCAL.format(bundle=bundle))
    device.start()
    state = console.wait("maas/dev/digits/state", lambda s: s["serving"]).document
    wanted = "tflite-runtime" if RUNTIME == "tflite-runtime" else "ai-edge-litert"
    assert state["runtime"] == f"{wanted} {importlib.metadata.version(wanted)}"


def test_an_interpreter_that_is_not_there_is_said_with_what_to_do(
    make_device: MakeDevice, console: Console, bundle: Path
) -> None:
    missing = [library for library, module in MODULES.items() if importlib.util.find_spec(module) is None]
    if not missing:
        pytest.skip("both are installed here: make test has one")
    wanted: Any = missing[0]
    says_why_not(make_device, console, bundle, wanted, f"{wanted} is not installed: {how_to_get(wanted)}")


@pytest.mark.skipif(RUNTIME != "tflite-runtime", reason="make test-tflite-runtime has a NumPy 2 beside its own")
def test_an_interpreter_that_does_not_load_with_numpy_2_is_said_with_what_to_type(
    make_device: MakeDevice, console: Console, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(NUMPY_2))
    reason = "tflite-runtime does not load with this NumPy: pip install 'numpy<2'"
    says_why_not(make_device, console, bundle, "tflite-runtime", reason)


def says_why_not(make_device: MakeDevice, console: Console, bundle: Path, wanted: str, reason: str) -> None:
    device = make_device(LOCAL.format(bundle=bundle) + f'runtime = "{wanted}"\n')
    device.start()
    state = console.wait("maas/dev/digits/state", lambda s: s["update"]["state"] == "failed").document
    assert reason in state["update"]["reason"] and not state["serving"]
    shown = subprocess.run(
        [sys.executable, "-m", "maas_agent", "bench", bundle, "--runtime", wanted], capture_output=True, text=True
    )
    assert shown.returncode == 70
    assert reason in shown.stdout and "Traceback" not in shown.stderr
