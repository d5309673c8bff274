"""What a person does beside the device: bring a bundle, and go back to the one before."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from maas_converter.publishing.keys import key_files
from tests.bundles import make_bundle, samples
from tests.system.conftest import MakeDevice
from tests.system.console import Console
from tests.system.device import Device, wait_until
from tests.system.repositories import Repository
from tests.system.updating import Load, check_for_updates

SAMPLE = samples(1)[0].tobytes()
PIPELINE = '[[pipeline]]\nname = "digits"\nmodel = "digits"\nupdate = {{ probation_s = {}, max_drift = 1.0 }}\n'
Sign = Callable[[str], Path]


@pytest.fixture
def signed(tmp_path: Path, repository: Repository) -> Sign:
    """Makes a bundle that the repository's publisher has signed and not published."""

    def make(version: str) -> Path:
        path = tmp_path / f"usb-{version}.maas"
        seed = int(version.replace(".", ""))
        return make_bundle(
            path, "digits", version, seed, sign=lambda data: key_files.sign_manifest(repository.keys, data)
        )

    return make


@pytest.fixture
def offline(make_device: MakeDevice, repository: Repository) -> Device:
    """A device that knows whom to trust, and no server."""
    made: Device = make_device(PIPELINE.format(0.2), extra=f'[repository]\nroot = "{repository.root}"\n')
    return made


def command(device: Device, *arguments: str) -> subprocess.CompletedProcess[str]:
    name, *rest = arguments
    call = [sys.executable, "-m", "maas_agent", name, *rest, "--config", str(device.config)]
    return subprocess.run(call, capture_output=True, text=True, timeout=60, check=False)


def serves(console: Console, version: str) -> None:
    console.wait("maas/dev/digits/state", lambda s: s["active"] and s["active"]["version"] == version and s["serving"])
    assert console.ask("dev", "digits", SAMPLE, f"by-{version}")["version"] == version


def test_a_device_without_a_server_is_kept_up_to_date_by_hand(offline: Device, console: Console, signed: Sign) -> None:
    offline.start()
    console.wait("maas/dev/digits/state", lambda s: s["trouble"] == "waiting for the first bundle")
    done = command(offline, "install", str(signed("1.0.0")))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "digits: digits 1.0.0 passed its tests and takes over\n"
    serves(console, "1.0.0")
    done = command(offline, "install", str(signed("1.1.0")), "--json")
    assert json.loads(done.stdout) == {"pipelines": {"digits": {"result": "tested", "version": "1.1.0"}}}
    serves(console, "1.1.0")
    again = command(offline, "install", str(signed("1.1.0")))
    assert again.stdout == "digits: digits 1.1.0 is what runs already\n"
    older = command(offline, "install", str(signed("1.0.0")))
    assert older.returncode == 65 and "only a newer version replaces it" in older.stderr
    assert list((offline.store / "install").iterdir()) == []
    assert console.ask("dev", "digits", SAMPLE, "on")["version"] == "1.1.0"


def test_a_bundle_that_is_brought_before_the_start_is_served_after_it(
    offline: Device, console: Console, signed: Sign
) -> None:
    offline.store.mkdir()
    done = command(offline, "install", str(signed("1.0.0")))
    assert done.stdout == "digits 1.0.0 waits for digits: it is tested and served when the agent starts\n"
    offline.start()
    serves(console, "1.0.0")
    wait_until(lambda: list((offline.store / "install").iterdir()) == [], "the bundle is still there")


def test_what_is_not_to_be_trusted_is_refused_with_the_reason(
    offline: Device, console: Console, signed: Sign, tmp_path: Path
) -> None:
    offline.start()
    console.wait("maas/dev/digits/state")
    command(offline, "install", str(signed("1.0.0")))
    serves(console, "1.0.0")
    unsigned = make_bundle(tmp_path / "unsigned.maas", "digits", "1.1.0", seed=3)
    done = command(offline, "install", str(unsigned))
    assert done.returncode == 65 and "not signed" in done.stderr and "Traceback" not in done.stderr
    other = make_bundle(tmp_path / "other.maas", "letters", "1.0.0", seed=3)
    done = command(offline, "install", str(other))
    assert (done.returncode, "no pipeline takes letters: digits runs digits" in done.stderr) == (64, True)
    done = command(offline, "install", str(signed("1.1.0")), "--pipeline", "nobody")
    assert (done.returncode, "there is no pipeline 'nobody'" in done.stderr) == (64, True)
    broken = tmp_path / "broken.maas"
    broken.write_bytes(unsigned.read_bytes()[:500])
    assert command(offline, "install", str(broken)).returncode == 65
    assert command(offline, "install", str(tmp_path / "none.maas")).returncode == 66
    assert console.ask("dev", "digits", SAMPLE, "on")["version"] == "1.0.0"


def test_a_full_disk_refuses_the_bundle_and_harms_nothing(offline: Device, console: Console, signed: Sign) -> None:
    offline.start()
    console.wait("maas/dev/digits/state")
    command(offline, "install", str(signed("1.0.0")))
    serves(console, "1.0.0")
    newer = signed("1.1.0")
    call = [sys.executable, "-m", "maas_agent", "install", str(newer), "--config", str(offline.config)]
    small = (
        "import resource, runpy, signal, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); sys.argv = sys.argv[1:];"
        "runpy.run_module('maas_agent', run_name='__main__')"
    )
    done = subprocess.run([call[0], "-c", small, *call[2:]], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 69 and "cannot put the bundle into" in done.stderr, done
    assert list((offline.store / "install").iterdir()) == []
    assert console.ask("dev", "digits", SAMPLE, "on")["version"] == "1.0.0"


def test_a_pipeline_goes_back_on_demand_under_load_and_the_version_is_set_aside(
    make_device: MakeDevice, repository: Repository, console: Console
) -> None:
    repository.publish("digits", "1.0.0", seed=1)
    device = make_device(PIPELINE.format(0.2), extra=repository.settings)
    assert command(device, "rollback", "digits").returncode == 69  # no agent runs
    device.start()
    console.wait("maas/dev/digits/state", lambda state: state["serving"])
    refused = command(device, "rollback", "digits")
    assert (refused.returncode, "there is no bundle to roll back to" in refused.stderr) == (65, True)
    repository.publish("digits", "1.1.0", seed=2)
    check_for_updates(console, "x")
    serves(console, "1.1.0")
    load = Load(console)
    console.wait_for_count("maas/dev/digits/out/", 50)
    done = command(device, "rollback", "digits", "--reason", "too many false alarms")
    assert done.stdout == "digits: back to 1.0.0; what ran is set aside until a newer version comes\n"
    serves(console, "1.0.0")
    load.stop()
    answers = [answer.document for answer in console.wait_for_count("maas/dev/digits/out/", load.sent + 2)]
    by_load = [answer for answer in answers if answer["id"].isdecimal()]
    assert sorted(int(answer["id"]) for answer in by_load) == list(range(load.sent))
    assert all("result" in answer for answer in by_load)
    state = console.wait("maas/dev/digits/state", lambda s: s["update"]["state"] == "rolled_back").document
    assert (state["update"]["reason"], state["previous"]) == ("too many false alarms", None)
    assert check_for_updates(console, "again")["pipelines"]["digits"]["result"] == "current"
    assert command(device, "rollback", "nobody").returncode == 65


def test_a_rollback_over_mqtt_ends_a_probation(
    make_device: MakeDevice, repository: Repository, console: Console
) -> None:
    repository.publish("digits", "1.0.0", seed=1)
    device = make_device(PIPELINE.format(3600), extra=repository.settings)
    device.start()
    console.wait("maas/dev/digits/state", lambda state: state["serving"])
    repository.publish("digits", "1.1.0", seed=1)
    check_for_updates(console, "x")
    console.wait("maas/dev/digits/state", lambda s: s["update"]["probation"])
    console.publish("maas/dev/cmd/rollback/1", '{"status": "init", "pipeline": "digits"}', retain=True)
    answer = console.wait("maas/dev/cmd/rollback/1", lambda d: d["status"] in ("successful", "failed")).document
    assert (answer["status"], answer["version"]) == ("successful", "1.0.0")
    serves(console, "1.0.0")


def test_a_bundle_that_is_brought_during_a_probation_is_tried_when_that_has_ended(
    make_device: MakeDevice, repository: Repository, console: Console, signed: Sign
) -> None:
    device = make_device(PIPELINE.format(4), extra=f'[repository]\nroot = "{repository.root}"\n')
    device.start()
    console.wait("maas/dev/digits/state")
    command(device, "install", str(signed("1.0.0")))
    serves(console, "1.0.0")
    command(device, "install", str(signed("1.1.0")))
    console.wait("maas/dev/digits/state", lambda s: s["update"]["probation"])
    waits = command(device, "install", str(signed("1.2.0")))
    assert (waits.returncode, "a bundle is on probation there" in waits.stderr) == (65, True)
    serves(console, "1.1.0")
    serves(console, "1.2.0")
