"""Crashes and hangs, one at a time and to the letter: order, blame and errors. Losses are counted in tests/faults."""

import os
import signal

from tests.bundles import make_bundle, samples
from tests.system.conftest import LOCAL, MakeDevice
from tests.system.console import Console
from tests.system.device import Device, alive, wait_until

SAMPLE = samples(1)[0].tobytes()
SLOW_BATCH = samples(1024).tobytes()
"""A thousand inferences: long enough for a test to act while a worker computes."""


def answered_ids(console: Console) -> list[str]:
    return [message.document["id"] for message in console.on("maas/dev/digits/out/")]


def test_inputs_a_killed_worker_held_are_answered_by_its_successor(serving: Device, console: Console) -> None:
    (worker,) = serving.workers()
    os.kill(worker, signal.SIGSTOP)  # so that it certainly holds them when it dies
    for number in range(50):
        console.publish(f"maas/dev/digits/in/{number}", SAMPLE, qos=number % 2)
    console.wait("maas/dev/metrics", lambda m: m["pipelines"]["digits"]["received"] == 50)
    os.kill(worker, signal.SIGKILL)
    console.wait_for_count("maas/dev/digits/out/", 50)
    for qos in (0, 1):  # between the two a broker keeps no order
        ids = [answer for answer in answered_ids(console) if int(answer) % 2 == qos]
        assert ids == [str(number) for number in range(50) if number % 2 == qos]
    assert all("result" in message.document for message in console.on("maas/dev/digits/out/"))
    assert worker not in serving.workers()


def test_other_pipelines_and_the_connection_notice_nothing_of_a_death(
    make_device: MakeDevice, console: Console, bundle: object, tmp_path
) -> None:  # type: ignore[no-untyped-def]
    other = make_bundle(tmp_path / "other.maas", "other", "2.0.0", seed=2)
    device = make_device(LOCAL.format(bundle=bundle) + LOCAL.format(bundle=other).replace('"digits"', '"other"'))
    device.start()
    for name in ("digits", "other"):
        console.wait(f"maas/dev/{name}/state", lambda state: state["serving"])
    console.forget()
    os.kill(device.workers()[0], signal.SIGKILL)
    os.kill(device.workers()[0], 0)
    survivors = {name: console.ask("dev", name, SAMPLE, "x") for name in ("digits", "other")}
    assert {document["version"] for document in survivors.values()} == {"1.0.0", "2.0.0"}
    assert console.is_uninterrupted()


def test_an_input_that_costs_two_workers_is_answered_with_an_error_and_the_others_are_not(
    serving: Device, console: Console
) -> None:
    (first,) = serving.workers()
    os.kill(first, signal.SIGSTOP)
    console.publish("maas/dev/digits/in/poison", SLOW_BATCH)
    for number in range(5):
        console.publish(f"maas/dev/digits/in/{number}", SAMPLE)
    console.wait("maas/dev/metrics", lambda m: m["pipelines"]["digits"]["received"] == 6)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: [pid for pid in serving.workers() if pid != first], "no successor")
    (second,) = serving.workers()
    wait_until(lambda: f"pid={second} load_ms" in serving.log(), "the successor is not ready")
    os.kill(second, signal.SIGKILL)
    console.wait_for_count("maas/dev/digits/out/", 6)
    poison = console.wait("maas/dev/digits/out/poison").document
    assert poison["error"]["code"] == "worker_died"
    assert all("result" in console.wait(f"maas/dev/digits/out/{number}").document for number in range(5))


def test_a_worker_that_hangs_is_replaced_and_its_input_answered(
    make_device: MakeDevice, console: Console, bundle: object
) -> None:
    device = make_device(LOCAL.format(bundle=bundle) + "deadline_s = 1.0\n")
    device.start()
    console.wait("maas/dev/digits/state", lambda state: state["serving"])
    (worker,) = device.workers()
    os.kill(worker, signal.SIGSTOP)
    assert "result" in console.ask("dev", "digits", SAMPLE, "through")
    assert not alive(worker)


def test_an_idle_worker_that_hangs_is_found_too(make_device: MakeDevice, console: Console, bundle: object) -> None:
    device = make_device(LOCAL.format(bundle=bundle) + "deadline_s = 0.5\n")
    device.start()
    console.wait("maas/dev/digits/state", lambda state: state["serving"])
    (worker,) = device.workers()
    os.kill(worker, signal.SIGSTOP)
    wait_until(lambda: not alive(worker), "the hung worker lives on")


def test_sigterm_answers_what_was_taken_and_exits_with_0(serving: Device, console: Console) -> None:
    (worker,) = serving.workers()
    os.kill(worker, signal.SIGSTOP)
    for number in range(100):
        console.publish(f"maas/dev/digits/in/{number}", SAMPLE, qos=0)
    console.wait("maas/dev/metrics", lambda m: m["pipelines"]["digits"]["received"] == 100)
    os.kill(serving.pid, signal.SIGTERM)
    os.kill(worker, signal.SIGCONT)
    assert serving.wait() == 0
    console.wait("maas/dev/status", lambda status: status["status"] == "stopped")
    assert answered_ids(console) == [str(number) for number in range(100)]
    wait_until(lambda: not alive(worker), "the worker outlives its hub")


def test_qos_0_inputs_beyond_the_queue_push_out_the_oldest_which_are_told(
    make_device: MakeDevice, console: Console, bundle: object
) -> None:
    device = make_device(LOCAL.format(bundle=bundle) + "queue = 10\nwindow = 5\n")
    device.start()
    console.wait("maas/dev/digits/state", lambda state: state["serving"])
    (worker,) = device.workers()
    os.kill(worker, signal.SIGSTOP)
    for number in range(40):
        console.publish(f"maas/dev/digits/in/{number}", SAMPLE, qos=0)
    console.wait("maas/dev/metrics", lambda m: m["pipelines"]["digits"]["dropped"] == 25)
    console.wait_for_count("maas/dev/digits/out/", 25)
    assert {m.document["error"]["code"] for m in console.on("maas/dev/digits/out/")} == {"overloaded"}
    os.kill(worker, signal.SIGCONT)
    console.wait_for_count("maas/dev/digits/out/", 40)
    # At once those that make room, the oldest first; then the window's, and those that have waited.
    assert answered_ids(console) == [str(number) for number in [*range(5, 30), *range(5), *range(30, 40)]]
