"""A model has taken over a worker, what is fetched the puller: how far they get, on a whole device.

A driver of the device's owner stands for the model: it is loaded where the model is, and runs the attacker's program
in the very process that serves.
"""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from maas_agent.update.protocol import PullJob, RepositoryAccess, Wanted, line_of
from tests.attacks.taking_over import REFUSED, outcomes, program
from tests.bundles import make_bundle, samples
from tests.confining import needs_confinement
from tests.delegates import build_delegate
from tests.system.brokers import running
from tests.system.console import Console
from tests.system.device import Device

TakeOver = Callable[..., dict[str, str]]
SAMPLE = samples(1)[0].tobytes()
PIPELINE = """
[[pipeline]]
name = "digits"
bundle = "{bundle}"
allow_unsigned = true
accelerator = "delegate:{library}"
threads = 1
limits.confine = {confined}
options.python = {program}
"""


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    made = tmp_path / "mqtt-password"
    made.write_text("guessed\n")
    return made


@pytest.fixture
def take_over(tmp_path: Path, secret: Path) -> Iterator[TakeOver]:
    """Have the worker of a device ``dev`` run the attack as it loads its model; what came of it, while it serves."""

    with running(tmp_path) as broker, closing(Console(broker.port)) as console, ExitStack() as devices:

        def attack(*, confined: bool) -> dict[str, str]:
            store = tmp_path / "dev" / "store"
            read = {"password": secret, "outbox": store / "outbox.db", "state": store / "pipelines" / "digits.json"}
            write = {
                "the store": store / "left",
                "blobs": store / "blobs" / "left",
                "a folder for all": tmp_path / "left",
            }
            text = program(store, read | {"users": Path("/etc/passwd")}, write, broker.port, confined=confined)
            library = build_delegate(tmp_path)
            pipeline = PIPELINE.format(
                bundle=make_bundle(tmp_path / "digits.maas", "digits", "1.0.0", seed=1),
                library=library,
                confined=str(confined).lower(),
                program=json.dumps(text),
            )
            login = f'username = "device"\npassword_file = "{secret}"\nreconnect_max_s = 1.0'
            device = Device(tmp_path / "dev", broker.url, pipeline, broker=login)
            devices.callback(device.close)
            device.start()
            console.wait("maas/dev/digits/state", lambda s: s["serving"] and s["accelerator"] == f"delegate:{library}")
            assert "result" in console.ask("dev", "digits", SAMPLE, "x")
            (found,) = outcomes(device.log())
            return found

        yield attack


@needs_confinement
def test_a_model_that_has_taken_over_its_worker_reaches_nothing(take_over: TakeOver) -> None:
    assert {name: how for name, how in take_over(confined=True).items() if how not in REFUSED} == {}


def test_without_confinement_it_has_all_that_the_agents_user_has(take_over: TakeOver) -> None:
    """Or the attack would prove nothing."""
    found = take_over(confined=False)
    wanted = ("password", "outbox", "state", "users")
    assert {found[f"read {name}"] for name in wanted} == {"done"}
    assert found["TCP to the broker"] == found["the control socket"] == found["run a program"] == "done"
    assert found["signal the hub"] == found["list the store"] == found["write the store"] == "done"


_PULLER = """
import sys
import maas_agent.update.__main__ as puller
def taken_over(*_):
    exec(sys.argv[2], {})
puller.pull = taken_over
sys.exit(puller.main(sys.argv[1:2]))
"""
"""The puller as the hub starts it, until it begins with its job: then it is somebody else's."""


def taken_over_puller(folder: Path, secret: Path, *, confined: bool) -> dict[str, str]:
    """What a puller could do that somebody has taken over; it has the rights for a repository, and a bundle's."""
    store, key, root = folder / "store", folder / "device.key", folder / "root.json"
    (store / "pipelines").mkdir(parents=True)
    others = {"outbox": store / "outbox.db", "state": store / "pipelines" / "digits.json", "password": secret}
    own = {"root": root, "its password": folder / "repository-password", "key": key}
    for path in (store / "lock", *(others | own).values()):
        path.write_text("x")
    with socket.socket(socket.AF_UNIX) as control:
        control.bind(str(store / "control.sock"))
        control.listen()
        write = {"the store": store / "left", "other folders": folder / "left", "blobs": store / "blobs" / "left"}
        text = program(store, others | own | {"users": Path("/etc/passwd")}, write, confined=confined)
        access = RepositoryAccess(
            url="http://127.0.0.1:9", root=str(root), password_file=str(own["its password"]), confine=confined
        )
        wanted = Wanted(pipeline="p", model="digits", device_key=str(key))
        ours, theirs = socket.socketpair()
        with ours, theirs, (folder / "puller.log").open("ab") as log:
            command = [sys.executable, "-P", "-c", _PULLER, str(theirs.fileno()), text]
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=log)
            ours.sendall(line_of(PullJob(store=str(store), wanted=[wanted], repository=access)))
            assert process.wait(60) == 0
    (found,) = outcomes((folder / "puller.log").read_text())
    return found


@needs_confinement
def test_what_has_taken_over_the_puller_reaches_what_it_fetches_with_and_nothing_else(
    tmp_path: Path, secret: Path
) -> None:
    found = taken_over_puller(tmp_path, secret, confined=True)
    its_own = {"read root", "read its password", "read key", "write blobs"}
    assert {name for name, how in found.items() if how not in REFUSED} == its_own


def test_without_confinement_the_puller_has_all_that_the_agents_user_has(tmp_path: Path, secret: Path) -> None:
    found = taken_over_puller(tmp_path, secret, confined=False)
    assert {found[name] for name in ("read outbox", "read password", "the control socket", "run a program")} == {"done"}
