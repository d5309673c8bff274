"""No descriptor or process is left: the hub says so once, goes on, and does what waited when there are some again."""

import os
import resource
import signal

import pytest

from maas_agent.hub.api import control_client
from tests.bundles import samples
from tests.system.conftest import LOCAL, MakeDevice
from tests.system.console import Console
from tests.system.device import Device, alive, wait_until
from tests.system.repositories import Repository

SAMPLE = samples(1)[0].tobytes()
PIPELINE = '[[pipeline]]\nname = "digits"\nmodel = "digits"\nupdate = { probation_s = 0.2, max_drift = 1.0 }\n'


def allow(device: Device, descriptors: int) -> None:
    """From now on the hub may have so many descriptors; those that it has stay."""
    _, most = resource.prlimit(device.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(device.pid, resource.RLIMIT_NOFILE, (min(descriptors, most), most))


@pytest.fixture
def device(make_device: MakeDevice, console: Console, repository: Repository) -> Device:
    """Serves digits 1.0.0; 1.1.0 is there too by now."""
    repository.publish("digits", "1.0.0", seed=0)
    made: Device = make_device(PIPELINE, extra=repository.settings)
    made.start()
    console.wait("maas/dev/digits/state", lambda s: s["serving"] and s["update"]["state"] == "active")
    repository.publish("digits", "1.1.0", seed=1)
    return made


def test_what_takes_a_descriptor_fails_with_a_reason_and_goes_well_later(device: Device, console: Console) -> None:
    allow(device, 3)
    # A poll: the puller cannot be started.
    console.publish("maas/dev/cmd/update/1", '{"status": "init"}', retain=True)
    failed = console.wait("maas/dev/cmd/update/1", lambda d: d["status"] == "failed").document
    assert "the puller cannot be started: Too many open files" in failed["reason"]
    # Somebody at the door, and what was there answers on.
    with pytest.raises(Exception):  # noqa: B017 - whichever way he is let wait
        control_client.ask(device.store, {"do": "status"}, 2.0)
    assert "result" in console.ask("dev", "digits", SAMPLE, "while")
    # A worker that dies: its successor needs two.
    (worker,) = device.workers()
    os.kill(worker, signal.SIGKILL)
    console.wait("maas/dev/digits/state", lambda s: not s["serving"])
    wait_until(lambda: "a worker cannot be started" in device.log(), "nobody tried")
    assert not device.has_ended

    allow(device, 1024)
    assert "result" in console.ask("dev", "digits", SAMPLE, "after")
    assert control_client.ask(device.store, {"do": "status"}, 30.0)["connected"]
    console.publish("maas/dev/cmd/update/2", '{"status": "init"}', retain=True)
    console.wait("maas/dev/digits/state", lambda s: s["active"] and s["active"]["version"] == "1.1.0")
    assert device.log().count("a worker cannot be started") == 1
    assert "Traceback" not in device.log()


def test_more_replicas_than_there_are_descriptors_serve_as_far_as_they_go(
    make_device: MakeDevice, console: Console, bundle: object
) -> None:
    device = make_device(LOCAL.format(bundle=bundle) + "replicas = 24\n")
    device.start(within=("prlimit", "--nofile=64:64"))
    console.wait("maas/dev/digits/state", lambda state: state["serving"])
    for number in range(20):
        assert "result" in console.ask("dev", "digits", SAMPLE, str(number))
    wait_until(lambda: "a worker cannot be started" in device.log(), "there were enough")
    workers = device.workers()
    assert 0 < len(workers) < 24
    assert device.stop() == 0
    wait_until(lambda: not any(map(alive, workers)), "workers outlive their hub")
    assert "Traceback" not in device.log()


def test_the_descriptors_that_may_be_had_are_taken(make_device: MakeDevice, console: Console, bundle: object) -> None:
    device = make_device(LOCAL.format(bundle=bundle))
    device.start(within=("prlimit", "--nofile=64:4096"))
    console.wait("maas/dev/digits/state", lambda state: state["serving"])
    assert resource.prlimit(device.pid, resource.RLIMIT_NOFILE) == (4096, 4096)
