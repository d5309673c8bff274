"""The interpreter that a pipeline asks for is the one that its workers load, and the only one."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bundles import samples
from tests.runtimes import RUNTIME
from tests.system.conftest import LOCAL, MakeDevice
from tests.system.console import Console

SAMPLE = samples(1)[0].tobytes()
MODULES = {"ai-edge-litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}


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
    assert state["runtime"].split()[0] == ("tflite-runtime" if RUNTIME == "tflite-runtime" else "ai-edge-litert")


def test_an_interpreter_that_is_not_there_is_said_with_what_to_type(
    make_device: MakeDevice, console: Console, bundle: Path
) -> None:
    missing = [library for library, module in MODULES.items() if importlib.util.find_spec(module) is None]
    if not missing:
        pytest.skip("both are installed here: make test has one")
    device = make_device(LOCAL.format(bundle=bundle) + f'runtime = "{missing[0]}"\n')
    device.start()
    state = console.wait("maas/dev/digits/state", lambda s: s["update"]["state"] == "failed").document
    assert f"{missing[0]} is not installed: pip install {missing[0]}" in state["update"]["reason"]
    shown = subprocess.run(
        [sys.executable, "-m", "maas_agent", "bench", bundle, "--runtime", missing[0]], capture_output=True, text=True
    )
    assert shown.returncode == 70
    assert f"pip install {missing[0]}" in shown.stdout and "Traceback" not in shown.stderr
