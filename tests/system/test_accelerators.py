"""Accelerators on real devices: what serves on them, and what happens when they crash, hang and come back."""

import os
import time
from pathlib import Path

import pytest

from tests.agent.runtime.conftest import SWIFTSHADER, needs
from tests.bundles import make_bundle, samples
from tests.delegates import build_delegate
from tests.models import flat_classifier_tflite
from tests.runtimes import RUNTIME
from tests.system.conftest import LOCAL, MakeDevice
from tests.system.console import Console
from tests.system.device import Device, wait_until

SAMPLE = samples(1)[0].tobytes()
STATE = "maas/dev/digits/state"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_delegate(tmp_path_factory.mktemp("delegate"))


@pytest.fixture
def trigger(tmp_path: Path) -> Path:
    """While this file is there, the delegate misbehaves."""
    return tmp_path / "misbehave"


def on_delegate(bundle: Path, library: Path, behaviour: str, trigger: Path, more: str = "") -> str:
    return (
        LOCAL.format(bundle=bundle)
        + f'accelerator = "delegate:{library}"\nquarantine_s = 1.5\ndeadline_s = 1.0\n{more}'
        + f'[pipeline.options]\nbehaviour = "{behaviour}"\nwhile = "{trigger}"\n'
    )


def serving_on(console: Console, accelerator: str) -> dict[str, object]:
    return console.wait(STATE, lambda s: s["serving"] and s["accelerator"] == accelerator).document


@pytest.mark.parametrize("behaviour", ["crashes", "hangs"])
def test_an_accelerator_that_fails_twice_rests_and_serves_again_when_it_is_well(
    make_device: MakeDevice, console: Console, bundle: Path, library: Path, trigger: Path, behaviour: str
) -> None:
    """Nobody is called: every input is answered, first with the device's help, then without, then with it again."""
    delegate = f"delegate:{library}"
    device = make_device(on_delegate(bundle, library, behaviour, trigger))
    device.start()
    state = serving_on(console, delegate)
    (row,) = (row for row in state["trials"] if row["accelerator"] == delegate)  # type: ignore[attr-defined]
    assert row["accelerated"] == 0.5 and row["refused"] is None
    expected = console.ask("dev", "digits", SAMPLE, "well")["result"]["label"]

    trigger.write_text("")
    # It costs a worker; the next one fails already as it warms up, so the input is not to blame.
    assert console.ask("dev", "digits", SAMPLE, "while it fails")["result"]["label"] == expected
    state = serving_on(console, "cpu")
    (rest,) = state["quarantine"]  # type: ignore[misc]
    assert rest["accelerator"] == delegate and "its workers died twice" in rest["reason"]
    assert console.ask("dev", "digits", SAMPLE, "without")["result"]["label"] == expected

    # Tried in a child while it still misbehaves: it stays where it is, for longer.
    console.wait(STATE, lambda s: s["quarantine"] and "died twice" not in s["quarantine"][0]["reason"])
    assert console.ask("dev", "digits", SAMPLE, "still without")["result"]["label"] == expected
    trigger.unlink()
    console.wait(STATE, lambda s: s["serving"] and s["accelerator"] == delegate and not s["quarantine"])
    assert console.ask("dev", "digits", SAMPLE, "with it again")["result"]["label"] == expected
    assert console.is_uninterrupted()
    intervals = [line.split("retry_s=")[1].split()[0] for line in device.log().splitlines() if "in quarantine" in line]
    assert intervals[:2] == ["2", "3"]  # 1.5 s, and twice that


def test_inputs_that_wait_while_an_accelerator_fails_are_all_answered(
    make_device: MakeDevice, console: Console, bundle: Path, library: Path, trigger: Path
) -> None:
    device = make_device(on_delegate(bundle, library, "crashes", trigger))
    device.start()
    serving_on(console, f"delegate:{library}")
    trigger.write_text("")
    for number in range(100):
        console.publish(f"maas/dev/digits/in/{number}", SAMPLE, qos=number % 2)
    answers = console.wait_for_count("maas/dev/digits/out/", 100)
    assert sorted(int(answer.document["id"]) for answer in answers) == list(range(100))
    assert all("result" in answer.document for answer in answers)
    serving_on(console, "cpu")


def test_another_pipeline_notices_nothing_of_an_accelerator_that_crashes(
    make_device: MakeDevice, console: Console, bundle: Path, library: Path, trigger: Path, tmp_path: Path
) -> None:
    other = make_bundle(tmp_path / "other.maas", "other", "2.0.0", seed=2)
    beside = LOCAL.format(bundle=other).replace('"digits"', '"other"')
    device = make_device(beside + on_delegate(bundle, library, "crashes", trigger))
    device.start()
    serving_on(console, f"delegate:{library}")
    console.wait("maas/dev/other/state", lambda s: s["serving"])
    trigger.write_text("")
    console.publish("maas/dev/digits/in/x", SAMPLE)
    for number in range(50):
        assert console.ask("dev", "other", SAMPLE, str(number))["version"] == "2.0.0"
    console.wait("maas/dev/digits/out/x")
    metrics = console.wait("maas/dev/metrics", lambda m: m["pipelines"]["digits"]["worker_restarts"] == 2).document
    assert metrics["pipelines"]["other"]["worker_restarts"] == 0


def test_an_accelerator_that_strays_is_refused_at_the_self_test_and_never_serves(
    make_device: MakeDevice, console: Console, bundle: Path, library: Path, trigger: Path
) -> None:
    trigger.write_text("")
    device = make_device(on_delegate(bundle, library, "wrong", trigger))
    device.start()
    state = serving_on(console, "cpu")
    (row,) = (row for row in state["trials"] if row["accelerator"] == f"delegate:{library}")  # type: ignore[attr-defined]
    assert "the golden samples deviate" in row["refused"] and row["deviation"] > 0.02
    assert "result" in console.ask("dev", "digits", SAMPLE, "x")


def test_a_stick_that_was_pulled_out_while_the_device_was_off_does_not_keep_it_from_serving(
    make_device: MakeDevice, console: Console, bundle: Path, library: Path, trigger: Path
) -> None:
    device = make_device(on_delegate(bundle, library, "cannot-be-made", trigger))
    device.start()
    serving_on(console, f"delegate:{library}")
    expected = console.ask("dev", "digits", SAMPLE, "before")["result"]["label"]
    device.stop()
    trigger.write_text("")
    console.forget()
    device.start()
    state = serving_on(console, "cpu")
    assert console.ask("dev", "digits", SAMPLE, "after")["result"]["label"] == expected
    (rest,) = state["quarantine"]  # type: ignore[misc]
    assert rest["accelerator"] == f"delegate:{library}"


@pytest.mark.alone
def test_a_deadline_is_for_one_inference_and_not_for_a_batch_of_many(
    make_device: MakeDevice, console: Console, bundle: Path, tmp_path: Path
) -> None:
    """A batch that takes several deadlines is answered: the worker says in between that it is alive."""
    from tests.models import large_classifier_tflite

    slow = make_bundle(tmp_path / "slow.maas", model=large_classifier_tflite(300_000))
    device = make_device(LOCAL.format(bundle=slow) + "deadline_s = 0.4\nthreads = 1\n")
    device.start()
    console.wait(STATE, lambda s: s["serving"])
    batch = samples(1024).tobytes()
    began = time.perf_counter()
    answer = console.ask("dev", "digits", batch, "long")
    took = time.perf_counter() - began
    assert took > 2 * 0.4, "the batch is too short to tell"
    assert len(answer["result"]) == 1024
    assert console.wait("maas/dev/metrics").document["pipelines"]["digits"]["worker_restarts"] == 0


@pytest.mark.skipif(RUNTIME == "tflite-runtime", reason="GPUs and NPUs need LiteRT")
def test_a_bundle_serves_on_the_gpu(make_device: MakeDevice, console: Console, tmp_path: Path) -> None:
    needs(SWIFTSHADER.exists(), "SwiftShader", "sudo apt install chromium libvulkan1")
    bundle = make_bundle(tmp_path / "gpu.maas", model=flat_classifier_tflite())
    device = make_device(LOCAL.format(bundle=bundle) + 'accelerator = "gpu"\n')
    device.start({"VK_ICD_FILENAMES": str(SWIFTSHADER)})
    state = serving_on(console, "gpu")
    (row,) = (row for row in state["trials"] if row["accelerator"] == "gpu" and row["refused"] is None)  # type: ignore[attr-defined]
    assert row["accelerated"] == 1.0
    assert "result" in console.ask("dev", "digits", SAMPLE, "x")
    (worker,) = device.workers()
    assert "swiftshader" in Path(f"/proc/{worker}/maps").read_text()


@pytest.mark.skipif(RUNTIME == "tflite-runtime", reason="GPUs and NPUs need LiteRT")
def test_auto_tries_a_gpu_that_is_found_and_serves_on_what_is_fastest(
    make_device: MakeDevice, console: Console, tmp_path: Path
) -> None:
    needs(SWIFTSHADER.exists(), "SwiftShader", "sudo apt install chromium libvulkan1")
    bundle = make_bundle(tmp_path / "gpu.maas", model=flat_classifier_tflite())
    device = make_device(LOCAL.format(bundle=bundle) + 'accelerator = "auto"\n')
    device.start({"VK_ICD_FILENAMES": str(SWIFTSHADER)})
    state = console.wait(STATE, lambda s: s["serving"]).document
    passed = [row for row in state["trials"] if row["refused"] is None]
    assert {row["accelerator"] for row in passed} == {"cpu", "gpu"}
    fastest = min(passed, key=lambda row: row["p50_ms"])
    assert state["accelerator"] == fastest["accelerator"] == "cpu"  # software is slower than the processor it runs on


@pytest.mark.skipif(RUNTIME == "tflite-runtime", reason="GPUs and NPUs need LiteRT")
def test_a_bundle_serves_on_the_npu(
    make_device: MakeDevice, console: Console, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    import importlib.util

    needs(importlib.util.find_spec("openvino") is not None, "OpenVINO", "pip install 'maas-edge[npu-intel]'")
    bundle = make_bundle(tmp_path / "npu.maas", model=flat_classifier_tflite())
    device = make_device(LOCAL.format(bundle=bundle) + 'accelerator = "npu"\n[pipeline.options]\nbackend = "cpu"\n')
    device.start()
    serving_on(console, "npu")
    assert "result" in console.ask("dev", "digits", SAMPLE, "x")
    (worker,) = device.workers()
    assert "openvino" in Path(f"/proc/{worker}/maps").read_text()


def test_a_device_that_is_killed_while_it_tries_leaves_no_trial_behind(
    make_device: MakeDevice, console: Console, bundle: Path, library: Path, trigger: Path
) -> None:
    trigger.write_text("")
    device: Device = make_device(on_delegate(bundle, library, "hangs", trigger))
    device.start()

    def trying() -> list[int]:
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        return [pid for pid in pids if b"maas_agent.trials.child" in _command_line(pid) and _in(pid, device)]

    wait_until(trying, "nothing is tried")
    wait_until(lambda: _hangs(trying()), "the trial does not hang")
    left = trying()
    device.kill()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left), "a trial outlives its hub", 30)


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _in(pid: int, device: Device) -> bool:
    """Whether a process descends from the device's hub."""
    try:
        while pid > 1:
            if pid == device.pid:
                return True
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return False
    return False


def _hangs(pids: list[int]) -> bool:
    """Whether one of them has loaded the delegate."""
    maps = "".join(Path(f"/proc/{pid}/maps").read_text() for pid in pids if os.path.exists(f"/proc/{pid}"))  # noqa: PTH110
    return "libtest_delegate" in maps
