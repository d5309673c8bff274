"""Results over an outage: none is missing, those that were held up say so, and those of now do not wait for them."""

import os
import signal
import statistics
import time
from pathlib import Path
from typing import Any

import pytest

from maas_agent.errors import UnavailableError
from maas_agent.hub.api import control_client
from tests.bundles import samples
from tests.faults.outages import on_disk as results_on_disk
from tests.system.brokers import Mosquitto
from tests.system.conftest import MakeDevice
from tests.system.console import Console
from tests.system.device import Device, wait_until
from tests.system.test_command_source import pipeline, sensor

SAMPLE = samples(1)[0].tobytes()
EVERY_MS = "while True:\n    for line in LINES:\n        print(line, flush=True)\n        time.sleep(0.001)\n"


def status(device: Device) -> dict[str, Any]:
    """What the device says of itself over its control socket; of one that is just starting that it did nothing."""
    try:
        return control_client.ask(device.store, {"do": "status"}, 5.0)
    except UnavailableError:
        return {"connected": False, "outbox": {"on_disk_only": 0}, "pipelines": []}


def on_disk(device: Device, count: int) -> None:
    """Wait until the device has answered so many samples in this run, without a connection, and has written some."""

    def has_as_many() -> bool:
        said = status(device)
        answered = sum(pipeline["counters"]["answered"] for pipeline in said["pipelines"])
        return bool(not said["connected"] and answered >= count and said["outbox"]["on_disk_only"] >= count // 2)

    wait_until(has_as_many, f"never {count} results on the disk")


def subscribed_first(device: Device, broker: Mosquitto) -> Console:
    """The broker is back, and has forgotten all subscriptions: a console that is there before the device is."""
    os.kill(device.pid, signal.SIGSTOP)
    broker.start()
    console = Console(broker.port, "again")
    os.kill(device.pid, signal.SIGCONT)
    return console


def numbers(documents: list[dict[str, Any]], run: str) -> list[int]:
    """The counters in the ids that one run of the agent gave, in the order of arrival."""
    return [int(d["id"].rpartition("-")[2]) for d in documents if d["id"].startswith(f"{run}-")]


def runs(documents: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(document["id"].rpartition("-")[0] for document in documents))


def test_an_outage_with_a_kill_and_a_restart_costs_no_result(
    make_device: MakeDevice, console: Console, broker: Mosquitto, bundle: Path, tmp_path: Path
) -> None:
    device = make_device(pipeline(bundle, sensor(tmp_path, EVERY_MS)), extra="[outbox]\nreplay_per_s = 5000.0\n")
    device.start()
    assert not any("replayed" in m.document for m in console.wait_for_count("maas/dev/sensor/out", 20))
    broker.stop()
    on_disk(device, 300)
    device.kill()
    device.start()
    on_disk(device, 300)
    assert device.stop() == 0
    assert "results wait for the next start" in device.log()
    owed = [(run, number) for run, number in results_on_disk(device.store) if run]
    device.start()
    on_disk(device, 300)
    again = subscribed_first(device, broker)
    try:
        empty = again.wait("maas/dev/metrics", lambda m: m["outbox"]["on_disk_only"] == 0).document
        # Between metrics (QoS 0) and results (QoS 1) a broker keeps no order: a later result is behind all of them.
        again.wait("maas/dev/sensor/out", lambda d: d["time"] > empty["time"])
        late = [m.document for m in again.on("maas/dev/sensor/out") if "replayed" in m.document]
        live = [m.document for m in again.on("maas/dev/sensor/out") if "replayed" not in m.document]
        kept = [m.document for m in again.on("maas/dev/metrics") if "replayed" in m.document]
    finally:
        again.close()
    assert [d["time"] for d in late] == sorted(d["time"] for d in late)
    first, second, third = runs(late)
    for run in (first, second):
        # What the broker had acknowledged before it was stopped is the broker's: the agent owes what was on its disk.
        numbered = sorted(number for owner, number in owed if owner == run)
        assert len(numbered) >= 100
        assert numbered == list(range(numbered[0], numbered[0] + len(numbered))), f"a gap on the disk in {run}"
        assert set(numbered) <= set(numbers(late, run)), f"results of {run} did not arrive"
    found = sorted(set(numbers(late + live, third)))
    assert len(found) >= 100
    assert found == list(range(found[0], found[0] + len(found))), f"a gap in {third}"
    assert kept, "the metrics of the outage are missing"


@pytest.mark.alone  # it compares times
def test_results_of_now_do_not_wait_for_a_replay(
    make_device: MakeDevice, console: Console, broker: Mosquitto, bundle: Path, tmp_path: Path
) -> None:
    local = f'[[pipeline]]\nname = "digits"\nbundle = "{bundle}"\nallow_unsigned = true\n'
    device = make_device(local + pipeline(bundle, sensor(tmp_path, EVERY_MS)), extra="[outbox]\nreplay_per_s = 150.0\n")
    device.start()
    console.wait("maas/dev/digits/state", lambda state: state["serving"])
    broker.stop()
    on_disk(device, 1500)
    again = subscribed_first(device, broker)

    def asked(number: int) -> float:
        again.forget()  # looking through thousands of messages would be what is measured
        begun = time.perf_counter()
        assert "replayed" not in again.ask("dev", "digits", SAMPLE, f"now-{number}")
        return time.perf_counter() - begun

    try:
        again.wait("maas/dev/status", lambda status: status["status"] == "online")
        during = [asked(number) for number in range(60)]
        assert status(device)["outbox"]["on_disk_only"] > 0, "the replay was over too soon to tell"
        again.wait("maas/dev/metrics", lambda m: m["outbox"]["on_disk_only"] == 0)
        after = [asked(number) for number in range(60, 120)]
    finally:
        again.close()
    ratio = statistics.median(during) / statistics.median(after)
    print(f"\nan answer during a replay takes {ratio:.2f} times as long as after it (medians of 60)")
    assert ratio < 5


def test_a_good_connection_leaves_the_disk_alone(make_device: MakeDevice, console: Console, bundle: Path) -> None:
    """Results that the broker acknowledges in time are never written: with much time, as others may be busy here."""
    local = f'[[pipeline]]\nname = "digits"\nbundle = "{bundle}"\nallow_unsigned = true\n'
    device = make_device(local, extra="[outbox]\ncommit_s = 10.0\n")
    device.start()
    console.wait("maas/dev/digits/state", lambda state: state["serving"])

    def files() -> dict[str, tuple[int, int]]:
        return {p.name: (p.stat().st_size, p.stat().st_mtime_ns) for p in device.store.glob("outbox.db*")}

    before = files()
    for number in range(1000):
        console.publish(f"maas/dev/digits/in/{number}", SAMPLE)
        if number % 100 == 99:  # a broker drops what it has to queue beyond its bound
            console.wait_for_count("maas/dev/digits/out/", number + 1)
    console.wait(
        "maas/dev/metrics", lambda m: m["outbox"]["results"] == 0 and m["pipelines"]["digits"]["answered"] == 1000
    )
    assert before and files() == before
