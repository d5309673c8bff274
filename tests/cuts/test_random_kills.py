"""SIGKILL at random moments to hub, puller, trial and worker, while versions come and inputs never stop.

The moments are drawn from a fixed seed; what runs at each of them is the machine's affair. ``make cuts`` draws more.
"""

import os
import signal
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from tests.cuts.rig import STATE, Feed
from tests.system.brokers import Mosquitto
from tests.system.console import Console
from tests.system.device import Device, wait_until
from tests.system.repositories import Repository

ROUNDS = 20 if os.environ.get("MAAS_CUTS") == "all" else 2
KILLS = 5
"""In each round: while one version comes."""
PIPELINE = (
    '[[pipeline]]\nname = "digits"\nmodel = "digits"\nthreads = 1\nupdate = { probation_s = 0.5, max_crashes = 1000, '
    "max_drift = 1.0, max_error_rate = 1.0, max_latency_ratio = 1000.0 }\n"
)
_KINDS = {"maas_agent.update": "puller", "maas_agent.trials": "trial", "maas_agent.worker": "worker"}


def test_killed_at_random_a_device_always_comes_back_and_leaves_no_input_unanswered(
    broker: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random, killed = Random(1), Counter[str]()
    repository = Repository(tmp_path)
    device = Device(tmp_path / "dev", broker.url, PIPELINE, extra=repository.settings)
    with closing(repository), closing(Console(broker.port)) as console, closing(device):
        repository.publish("digits", "1.0.0", seed=1)
        device.start()
        console.wait(STATE, lambda state: state["serving"])
        feed = Feed(console, "fed")
        for minor in range(1, ROUNDS + 1):
            repository.publish("digits", f"1.{minor}.0", seed=minor + 1)
            console.publish(f"maas/dev/cmd/update/{minor}", '{"status": "init"}')
            for _ in range(KILLS):
                threading.Event().wait(random.uniform(0.0, 1.5))  # a random moment is what is tested
                killed[_kill_one(device, random)] += 1
        # What was killed in each of three probations may be set aside, so the last version comes in peace.
        last = f"1.{ROUNDS + 1}.0"
        repository.publish("digits", last, seed=ROUNDS + 2)
        console.publish("maas/dev/cmd/update/last", '{"status": "init"}')
        wait_until(lambda: _serves(console, last), f"{last} never becomes active", 120.0)
        feed.stop()
        wait_until(lambda: feed.ids <= feed.answered, "inputs are left without an answer")
        assert device.stop() == 0
    with capsys.disabled():
        print(f"\n{killed.total()} kills: {dict(killed)}; {feed.sent} inputs, all answered")
    # Which ones is drawn, from what runs at the moment: with both processors busy it may be the hub every time.
    assert killed.total() == ROUNDS * KILLS


def _serves(console: Console, version: str) -> bool:
    newest = [message.document for message in console.on(STATE) if message.payload][-1:]
    return any(state["serving"] and state["active"]["version"] == version for state in newest)


def _kill_one(device: Device, random: Random) -> str:
    """Kill a process of the agent, each kind that runs now as likely as another, and start the hub if it was that."""
    running: dict[str, list[int]] = {"hub": [device.pid]}
    for pid in _below(device.pid):
        for module, kind in _KINDS.items():
            if module.encode() in _read(pid, "cmdline"):
                running.setdefault(kind, []).append(pid)
    kind = random.choice(sorted(running))
    if kind == "hub":
        device.kill()
        device.start()
    else:
        try:
            os.kill(random.choice(running[kind]), signal.SIGKILL)
        except ProcessLookupError:
            return f"{kind}, which had just ended"
    return kind


def _below(pid: int) -> list[int]:
    children = [int(child) for child in _read(pid, f"task/{pid}/children").split()]
    return [*children, *(each for child in children for each in _below(child))]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
