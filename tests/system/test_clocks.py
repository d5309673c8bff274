"""Agents whose wall clock is wrong, and jumps while they run: timers do not care, and what serves goes on."""

import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.agent.update.site import serving
from tests.bundles import samples
from tests.clocks import WrongClock, at_the_epoch
from tests.system.brokers import Mosquitto
from tests.system.certificates import Authority
from tests.system.conftest import MakeDevice
from tests.system.console import Console
from tests.system.device import Device, wait_until
from tests.system.repositories import Repository
from tests.system.test_command_source import pipeline, sensor
from tests.system.test_outbox import status, subscribed_first

PIPELINE = '[[pipeline]]\nname = "digits"\nmodel = "digits"\nupdate = { probation_s = 0.3, max_drift = 1.0 }\n'
SAMPLE = samples(1)[0].tobytes()
YEAR_S = 365 * 86_400.0
TWO_WEEKS_S = 14 * 86_400.0
RUN_OF_18 = "for number in range(18):\n    print(LINES[number % 5], flush=True)\ntime.sleep(600)\n"


@pytest.fixture
def clock(tmp_path: Path) -> WrongClock:
    return WrongClock(tmp_path / "clock", 0)


@pytest.fixture
def device(make_device: MakeDevice, console: Console, repository: Repository, clock: WrongClock) -> Device:
    """Serves digits 1.0.0, and looks for updates every second or so."""
    repository.publish("digits", "1.0.0", seed=1)
    made: Device = make_device(PIPELINE, extra=repository.settings.replace("poll_s = 3600", "poll_s = 1"))
    made.start(clock.environment)
    console.wait("maas/dev/digits/state", lambda state: state["serving"])
    return made


def answered(console: Console, name: str) -> str:
    console.publish(f"maas/dev/digits/in/{name}", SAMPLE)
    return str(console.wait(f"maas/dev/digits/out/{name}").document["version"])


def test_expired_metadata_leaves_the_active_bundle_serving_and_the_state_topic_says_so(
    device: Device, console: Console, clock: WrongClock
) -> None:
    """Two years on the repository has expired; when the clock is right again, all is as before."""
    clock.jump(2 * YEAR_S)
    said = console.wait(
        "maas/dev/digits/state", lambda state: "expired on" in str(state["update"].get("reason"))
    ).document
    assert "(or this device's clock is wrong)" in said["update"]["reason"]
    assert said["active"]["version"] == "1.0.0" and said["serving"]
    assert answered(console, "expired") == "1.0.0"
    clock.jump(0)
    console.wait("maas/dev/digits/state", lambda state: state["update"]["state"] == "active")


def test_what_a_clock_of_1970_does_to_certificates_is_told_in_lines_of_our_own(
    make_device: MakeDevice, console: Console, repository: Repository, clock: WrongClock, tmp_path: Path
) -> None:
    """A library would say so twice for each attempt, with its file and line."""
    authority = Authority(tmp_path, "authority")
    signed = authority.sign("repository", "127.0.0.1")
    clock.jump(at_the_epoch())
    with serving(repository.folder) as site:
        site.speak_tls(signed.certificate, signed.key)
        settings = repository.settings.replace(repository.url, site.url.replace("http:", "https:"))
        device = make_device(PIPELINE, extra=f'{settings}ca = "{authority.certificate}"\n')
        device.start(clock.environment)
        console.wait("maas/dev/digits/state", lambda state: "not valid yet" in str(state["update"].get("reason")))
        checked = subprocess.run(
            [sys.executable, "-m", "maas_agent", "check", "--config", device.config],
            env=os.environ | clock.environment,
            capture_output=True,
            text=True,
        )
        device.stop()
    said = device.log().splitlines()
    assert all(" hub: " in line for line in said), "every line is one of the agent's own"
    assert any("this device's clock was never set" in line and "clock=1970-01-01T00:0" in line for line in said)
    assert checked.stderr == "" and "FAIL clock: 1970-01-01 00:0" in checked.stdout
    assert "not valid yet by this device's clock" in checked.stdout


@pytest.mark.parametrize("ahead_s", [at_the_epoch(), -3600.0, 3600.0], ids=["1970", "back", "ahead"])
def test_polling_goes_on_when_the_clock_jumps(
    device: Device, console: Console, repository: Repository, clock: WrongClock, ahead_s: float
) -> None:
    """To 1970, or by a summer time that somebody did by hand: the next look comes after its second all the same."""
    clock.jump(ahead_s)
    repository.publish("digits", "1.1.0", seed=2)
    console.wait("maas/dev/digits/state", lambda state: (state["active"] or {}).get("version") == "1.1.0")
    assert answered(console, "later") == "1.1.0"


@pytest.mark.parametrize("ahead_s", [-TWO_WEEKS_S, TWO_WEEKS_S], ids=["behind", "ahead"])
def test_results_of_a_clock_that_was_wrong_are_neither_dropped_for_their_age_nor_sent_with_its_time(
    make_device: MakeDevice, broker: Mosquitto, bundle: Path, tmp_path: Path, clock: WrongClock, ahead_s: float
) -> None:
    """The board starts two weeks off, results wait, the clock is set, the agent starts again, the network comes."""
    broker.stop()
    clock.jump(ahead_s)
    device = make_device(pipeline(bundle, sensor(tmp_path, RUN_OF_18)))
    began = time.time()
    device.start(clock.environment)
    wait_until(lambda: status(device)["outbox"]["on_disk_only"] >= 18, "the results are not on the disk")
    ended = time.time()
    clock.jump(0)
    device.kill()
    device.start(clock.environment)
    wait_until(lambda: status(device)["outbox"]["on_disk_only"] >= 36, "the results of the second run are not there")
    assert 0 <= status(device)["outbox"]["oldest_s"] < time.time() - began + 1
    console = subscribed_first(device, broker)
    try:
        results = [message.document for message in console.wait_for_count("maas/dev/sensor/out", 36)]
        assert not status(device)["outbox"]["dropped"]
    finally:
        console.close()
    times = {document["id"]: datetime.fromisoformat(document["time"]).timestamp() for document in results}
    first = {document["id"] for document in results if "time_corrected" in document}
    assert len(times) == 36 and len(first) == 18 and len({name.partition("-")[0] for name in first}) == 1
    assert all(began - 0.01 <= times[name] <= ended for name in first)
    assert all(times[name] >= ended for name in times.keys() - first)
