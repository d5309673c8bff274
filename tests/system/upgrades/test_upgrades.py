"""Today's agent on the store of an earlier one, and that one again on what today's has left: nothing is lost."""

import os
import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from maas_agent.hub.system.store_folder import CONTENTS
from tests.bundles import samples
from tests.system.brokers import Mosquitto
from tests.system.conftest import MakeDevice
from tests.system.console import Console
from tests.system.device import Device, wait_until
from tests.system.upgrades.make import checked_out, environment_of
from tests.system.upgrades.scenario import QUEUED, pipelines, say, sensor, status

STORES = sorted(Path(__file__).parent.glob("store-*.tar.gz"))
SAMPLE = samples(1)[0].tobytes()
YEAR_S = 31_536_000.0
REPOSITORY = (
    f'[outbox]\nmax_age_s = {YEAR_S}\n[repository]\nurl = "file:///nowhere"\nroot = "{{root}}"\npoll_s = 3600\n'
)
"""Nobody helps: what serves comes from the store. What waits there is as old as the file that is kept of it."""


@pytest.fixture(params=STORES, ids=[path.name.removesuffix(".tar.gz") for path in STORES])
def left(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder that an earlier agent was killed in."""
    subprocess.run(["tar", "-xzf", request.param, "--no-same-owner", "-C", tmp_path], check=True)
    return tmp_path


@pytest.fixture
def device(make_device: MakeDevice, left: Path) -> Device:
    made: Device = make_device(pipelines(left), extra=REPOSITORY.format(root=left / "root.json"))
    sensor(left)
    (left / "store").rename(made.store)
    _renew(made.store / "outbox.db")
    return made


def _renew(outbox: Path) -> None:
    """Results are dropped after a year at the latest: those of an older file are made a day old."""
    if time.time() - outbox.stat().st_mtime > 0.9 * YEAR_S:
        with sqlite3.connect(outbox) as database:
            database.execute("UPDATE message SET put_at = ?", (time.time() - 86_400.0,))
        database.close()


def earlier(revision: str, tree: Path) -> dict[str, str]:
    """The environment in which Python runs the agent of that revision, in the folder ``tree``."""
    tree.mkdir()
    try:
        environment = environment_of(checked_out(revision, tree))
    except FileNotFoundError as error:
        pytest.skip(f"the upgrade loses nothing; the way back cannot be tried: {error}")
    here = subprocess.run(
        [sys.executable, "-c", "import maas_agent; print(maas_agent.__file__)"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert here.stdout.startswith(str(tree)), "the tests would run today's agent in the place of the earlier one"
    return environment


def waiting(device: Device) -> set[str]:
    """The ids of the results in the outbox of an agent that does not run."""
    with sqlite3.connect(f"file:{device.store / 'outbox.db'}?mode=ro", uri=True) as database:
        bodies = database.execute("SELECT body FROM message").fetchall()
    database.close()
    messages = [msgspec.msgpack.decode(body) for (body,) in bodies]
    results = (message["payload"] for message in messages if message["topic"] == "maas/dev/sensor/out")
    return {msgspec.json.decode(payload)["id"] for payload in results}


def kept(device: Device) -> dict[str, Any]:
    """What is remembered of the pipeline that updates."""
    return dict(msgspec.json.decode((device.store / "pipelines" / "digits.json").read_bytes()))


def serves(console: Console, device: Device, name: str) -> None:
    """Serves the bundle that was active, at once, and has delivered what waited."""
    ids = waiting(device)
    assert len(ids) == QUEUED
    device.start()
    state = console.wait("maas/dev/digits/state", lambda state: state["serving"]).document
    assert state["active"]["version"] == "1.1.0" and state["previous"]["version"] == "1.0.0"
    console.publish(f"maas/dev/digits/in/{name}", SAMPLE)
    assert console.wait(f"maas/dev/digits/out/{name}").document["version"] == "1.1.0"
    console.wait_for_count("maas/dev/sensor/out", QUEUED)
    delivered = [message.document["id"] for message in console.on("maas/dev/sensor/out")]
    assert sorted(delivered) == sorted(ids), "each once"
    assert "damaged" not in device.log() and "afresh" not in device.log()


def queue(device: Device, folder: Path, broker: Mosquitto) -> None:
    """The broker is away, the sensor goes on, and the power is cut."""
    broker.stop()
    say(folder, QUEUED)
    wait_until(lambda: status(device)["outbox"]["on_disk_only"] >= QUEUED, "results are never on the disk")
    device.kill()


def test_an_upgrade_and_the_way_back_lose_nothing_and_need_nothing(
    device: Device, left: Path, broker: Mosquitto, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier, today's, the earlier one again, and today's for good."""
    before = kept(device)
    assert list(before["refused"]) and before["active"]["version"] == "1.1.0"
    for number in range(3):
        if number == 1:
            revision = request.node.callspec.params["left"].name.removesuffix(".tar.gz").removeprefix("store-")
            for key, value in earlier(revision, left / "earlier").items():
                monkeypatch.setenv(key, value)
        if number == 2:
            monkeypatch.undo()
        console = Console(broker.port, f"console-{number}")
        serves(console, device, f"run-{number}")
        now = kept(device)
        assert {name: now[name]["digest"] for name in ("active", "previous")} == {
            name: before[name]["digest"] for name in ("active", "previous")
        }
        assert now["refused"] == before["refused"]
        if number < 2:
            console.close()
            queue(device, left, broker)
            broker.start()
    command = [sys.executable, "-m", "maas_agent", "rollback", "digits", "--config", device.config]
    assert subprocess.run(command, capture_output=True).returncode == 0
    console.wait("maas/dev/digits/state", lambda state: (state["active"] or {}).get("version") == "1.0.0")
    console.close()
    device.stop()
    assert {re.split("[.-]", path.name)[0] for path in device.store.iterdir()} <= CONTENTS, (
        "as docs/updates.md knows them"
    )
