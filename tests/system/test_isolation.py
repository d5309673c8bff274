"""What one worker does concerns nobody else: deaths, limits, replicas, and what is kept of an input that kills."""

import itertools
import json
import os
import signal
import time
from pathlib import Path

import pytest

from maas_agent.hub.serving.worker_pool import _FIRST_RESTART_S
from tests.bundles import make_bundle, samples
from tests.models import large_classifier_tflite
from tests.system.brokers import Mosquitto
from tests.system.conftest import LOCAL, MakeDevice
from tests.system.console import Console
from tests.system.device import Device, wait_until
from tests.system.swaps import Load

SAMPLE = samples(1)[0].tobytes()
SLOW_BATCH = samples(1024).tobytes()


def started(make_device: MakeDevice, console: Console, pipelines: str) -> Device:
    device: Device = make_device(pipelines)
    device.start()
    console.wait("maas/dev/digits/state", lambda state: state["serving"])
    return device


def answers_after_the_death_of_a_worker(device: Device, console: Console, name: str) -> float:
    """Seconds from the kill of the only worker to the answer of its successor."""
    (worker,) = device.workers()
    began = time.perf_counter()
    os.kill(worker, signal.SIGKILL)
    console.ask("dev", "digits", SAMPLE, name)
    return time.perf_counter() - began


@pytest.mark.alone
def test_a_worker_that_dies_is_replaced_at_once(serving: Device, console: Console) -> None:
    """As fast as a worker can start: no wait is added to that, and for a small model it is well below a second."""
    console.ask("dev", "digits", SAMPLE, "before")
    taken = answers_after_the_death_of_a_worker(serving, console, "after")
    print(f"a killed worker's successor answered after {taken:.3f} s")
    # Against the start of the hub with its first worker, which does the same and more.
    begun = time.perf_counter()
    serving.stop()
    console.forget()
    serving.start()
    console.wait("maas/dev/digits/state", lambda state: state["serving"])
    assert taken < 2 * (time.perf_counter() - begun)


def test_a_worker_that_keeps_dying_is_restarted_less_and_less_often(serving: Device, console: Console) -> None:
    """At once, then after a pause that doubles, of which at least half passes, however busy the machine is."""
    pauses = [answers_after_the_death_of_a_worker(serving, console, str(number)) for number in range(6)]
    assert all(pause > _FIRST_RESTART_S * 2**number / 2 for number, pause in enumerate(pauses[1:]))
    assert console.wait("maas/dev/metrics", lambda m: m["pipelines"]["digits"]["worker_restarts"] == 6)


def test_an_input_that_costs_two_workers_is_kept_for_diagnosis(serving: Device, console: Console) -> None:
    for _ in range(2):
        (worker,) = serving.workers()
        wait_until(lambda w=worker: f"pid={w} load_ms" in serving.log(), "it is not ready")  # type: ignore[misc]
        os.kill(worker, signal.SIGSTOP)
        if _ == 0:
            console.publish("maas/dev/digits/in/poison", SLOW_BATCH)
            console.wait("maas/dev/metrics", lambda m: m["pipelines"]["digits"]["received"] == 1)
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda w=worker: w not in serving.workers() and serving.workers(), "no successor")  # type: ignore[misc]
    assert console.wait("maas/dev/digits/out/poison").document["error"]["code"] == "worker_died"
    (note,) = (serving.store / "aside" / "digits").glob("*.json")
    known = json.loads(note.read_text())
    assert (known["id"], known["bytes"], known["version"]) == ("poison", len(SLOW_BATCH), "1.0.0")
    assert "SIGKILL" in known["how"]
    assert note.with_suffix(".bin").read_bytes() == SLOW_BATCH
    assert "result" in console.ask("dev", "digits", SAMPLE, "goes on")


def test_workers_keep_to_their_processors_and_niceness(make_device: MakeDevice, console: Console, bundle: Path) -> None:
    cpu = max(os.sched_getaffinity(0))
    limits = f"[pipeline.limits]\nmemory_mb = 64\ncpus = [{cpu}]\nnice = 7\n"
    device = started(make_device, console, LOCAL.format(bundle=bundle) + limits)
    (worker,) = device.workers()
    assert os.sched_getaffinity(worker) == {cpu}
    assert os.getpriority(os.PRIO_PROCESS, worker) == 7
    bound = next(line for line in Path(f"/proc/{worker}/limits").read_text().splitlines() if "address space" in line)
    assert bound.split()[3].isdigit()
    assert os.getpriority(os.PRIO_PROCESS, device.pid) == os.getpriority(os.PRIO_PROCESS, 0)


def test_a_model_that_does_not_fit_is_refused_at_its_self_test_with_the_figure(
    make_device: MakeDevice, console: Console, tmp_path: Path
) -> None:
    large = make_bundle(tmp_path / "large.maas", model=large_classifier_tflite(100_000))  # 30 MB of weights
    device = make_device(LOCAL.format(bundle=large) + "[pipeline.limits]\nmemory_mb = 16\n")
    device.start()
    state = console.wait("maas/dev/digits/state", lambda d: d["update"]["state"] == "failed").document
    reason = state["update"]["reason"]
    assert "limits.memory_mb allows 16" in reason
    needed = float(reason.split("it needs ")[1].split(" MiB")[0])
    assert needed > 16


def test_replicas_share_the_inputs_and_one_death_costs_none(
    make_device: MakeDevice, console: Console, bundle: Path
) -> None:
    device = make_device(LOCAL.format(bundle=bundle) + "replicas = 3\n")
    device.start()
    console.wait("maas/dev/digits/state", lambda state: state["replicas"] == {"wanted": 3, "ready": 3})
    workers = device.workers()
    assert len(workers) == 3
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)  # so that each of them holds a share
    for number in range(60):
        console.publish(f"maas/dev/digits/in/{number}", SAMPLE)
    console.wait("maas/dev/metrics", lambda m: m["pipelines"]["digits"]["received"] == 60)
    os.kill(workers[0], signal.SIGKILL)
    for worker in workers[1:]:
        os.kill(worker, signal.SIGCONT)
    answers = console.wait_for_count("maas/dev/digits/out/", 60)
    assert sorted(int(answer.document["id"]) for answer in answers) == list(range(60))
    assert all("result" in answer.document for answer in answers)
    wait_until(lambda: len(device.workers()) == 3, "the third does not come back")


def test_with_ordered_answers_keep_the_order_of_arrival_though_a_replica_is_late(
    make_device: MakeDevice, console: Console, bundle: Path
) -> None:
    device = make_device(LOCAL.format(bundle=bundle) + "replicas = 2\nordered = true\n")
    device.start()
    console.wait("maas/dev/digits/state", lambda state: state["replicas"]["ready"] == 2)
    late, _ = device.workers()
    os.kill(late, signal.SIGSTOP)
    for number in range(40):
        payload = b"" if number % 10 == 7 else SAMPLE  # an error waits for its turn too
        console.publish(f"maas/dev/digits/in/{number}", payload)
    console.wait("maas/dev/metrics", lambda m: m["pipelines"]["digits"]["received"] == 40)
    os.kill(late, signal.SIGCONT)
    answers = console.wait_for_count("maas/dev/digits/out/", 40)
    assert [answer.document["id"] for answer in answers] == [str(number) for number in range(40)]
    assert sum("error" in answer.document for answer in answers) == 4


def test_without_ordered_a_late_replica_holds_nobody_back(
    make_device: MakeDevice, console: Console, bundle: Path
) -> None:
    device = make_device(LOCAL.format(bundle=bundle) + "replicas = 2\n")
    device.start()
    console.wait("maas/dev/digits/state", lambda state: state["replicas"]["ready"] == 2)
    late, _ = device.workers()
    os.kill(late, signal.SIGSTOP)
    for number in range(20):
        console.publish(f"maas/dev/digits/in/{number}", SAMPLE)
    console.wait_for_count("maas/dev/digits/out/", 10)
    os.kill(late, signal.SIGCONT)
    answers = console.wait_for_count("maas/dev/digits/out/", 20)
    assert sorted(int(answer.document["id"]) for answer in answers) == list(range(20))


def test_all_replicas_are_swapped_by_restart_without_losing_an_input(
    make_device: MakeDevice, console: Console, bundle: Path
) -> None:
    device = make_device(LOCAL.format(bundle=bundle) + "replicas = 2\n")
    device.start()
    console.wait("maas/dev/digits/state", lambda state: state["replicas"]["ready"] == 2)
    before = set(device.workers())
    request = '{"status": "init", "pipeline": "digits"}'
    console.publish("maas/dev/cmd/restart/1", request, retain=True)
    for number in itertools.count():
        console.ask("dev", "digits", SAMPLE, str(number))
        if any(m.document.get("status") == "successful" for m in console.on("maas/dev/cmd/restart/1")):
            break
    wait_until(lambda: len(device.workers()) == 2, "the old ones live on")
    assert not before & set(device.workers())
    console.publish("maas/dev/cmd/restart/2", '{"status": "init", "pipeline": "none"}')
    refused = console.wait("maas/dev/cmd/restart/2", lambda d: d["status"] == "failed").document
    assert refused["reason"] == '"pipeline" must be one of digits'


def test_an_update_with_replicas_and_order_keeps_both(
    make_device: MakeDevice, console: Console, bundle: Path, broker: Mosquitto
) -> None:
    device = make_device(LOCAL.format(bundle=bundle) + "replicas = 2\nordered = true\n")
    device.start()
    console.wait("maas/dev/digits/state", lambda state: state["replicas"]["ready"] == 2)
    load = Load(broker.port, SAMPLE)
    for _ in range(3):
        load.swap()
        load.calm(0.1)
    figures = load.figures()
    load.close()
    assert (figures.lost, figures.duplicated, figures.errors) == (0, 0, 0)
