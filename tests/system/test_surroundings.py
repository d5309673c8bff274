"""Where an agent runs: on a root that is read-only, as process 1 of a container; and the signals that end it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bundles import samples
from tests.system.conftest import LOCAL, MakeDevice
from tests.system.console import Console
from tests.system.device import Device, wait_until
from tests.system.repositories import Repository
from tests.system.updating import check_for_updates

READ_ONLY = """
mount --bind "$1" "$1" && mount -o remount,bind,ro / && cd / || exit 99
for folder in /tmp /var/tmp /dev/shm /run; do
  mountpoint -q $folder && mount -o remount,bind,ro $folder
done
mount -o remount,bind,rw "$1" || exit 99
shift
exec env -u TMPDIR -u TEMP -u TMP "$@"
"""


def within_read_only_root(writable: Path) -> tuple[str, ...]:
    """The command that runs what follows where only this folder can be written."""
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c", READ_ONLY, "sh", str(writable))


def needs_namespaces(*options: str) -> None:
    tried = subprocess.run(["unshare", *options, "true"], capture_output=True, text=True)
    if os.geteuid() != 0 or tried.returncode:
        pytest.skip(f"namespaces need root: {tried.stderr.strip()}")


def test_a_device_with_a_read_only_root_updates_checks_and_infers(
    make_device: MakeDevice, console: Console, repository: Repository
) -> None:
    """Only the store can be written: there is no folder for temporary files."""
    needs_namespaces("--mount")
    pipeline = '[[pipeline]]\nname = "digits"\nmodel = "digits"\nthreads = 1\n[pipeline.update]\nprobation_s = 0\n'
    device: Device = make_device(pipeline, extra=repository.settings)
    bundle = repository.publish("digits", "1.0.0", seed=1)
    device.store.mkdir()
    read_only = within_read_only_root(device.store)
    no_place = [*read_only, sys.executable, "-c", "import tempfile; tempfile.gettempdir()"]
    assert b"No usable temporary directory" in subprocess.run(no_place, capture_output=True).stderr
    device.start(within=read_only)
    console.wait("maas/dev/digits/state", lambda state: state["serving"])
    repository.publish("digits", "1.1.0", seed=2)
    done = check_for_updates(console, "1")
    assert done["pipelines"] == {"digits": {"result": "tested", "version": "1.1.0"}}
    console.wait("maas/dev/digits/state", lambda s: s["serving"] and s["active"]["version"] == "1.1.0")
    assert "result" in console.ask("dev", "digits", samples(1)[0].tobytes(), "1")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*read_only, sys.executable, "-m", "maas_agent", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    found = run("check", "--config", str(device.config)).stdout
    assert "ok   repository: " in found and "ok   runtime" in found and "ok   store" in found
    inferred = run("infer", str(bundle), str(bundle))
    assert inferred.returncode == 69 and "TMPDIR=/path/to/folder" in inferred.stderr
    assert "Traceback" not in inferred.stderr


def test_a_device_whose_store_has_become_read_only_serves_what_is_there_with_an_alarm(
    serving: Device, console: Console
) -> None:
    """As a file system that was found to be damaged is mounted; the agent before was killed."""
    needs_namespaces("--mount")
    serving.kill()
    console.wait("maas/dev/status", lambda status: status["status"] == "offline")
    elsewhere = serving.folder / "elsewhere"
    elsewhere.mkdir()
    within = within_read_only_root(elsewhere)
    serving.start(within=within)
    told = console.wait(
        "maas/dev/status", lambda status: "store" in [each["code"] for each in status.get("alarms", [])]
    )
    assert f"the store {serving.store} is read-only" in told.document["alarms"][0]["text"]
    console.wait("maas/dev/digits/state", lambda state: state["serving"])
    assert "result" in console.ask("dev", "digits", samples(1)[0].tobytes(), "1")
    shown = subprocess.run(
        [*within, sys.executable, "-m", "maas_agent", "status", "--config", str(serving.config)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert shown.returncode == 1
    assert (
        "  digits: serving, 1.0.0" in shown.stdout
        and f"  ALARM: the store {serving.store} is read-only" in shown.stdout
    )
    assert serving.stop() == 0
    console.wait("maas/dev/status", lambda status: status["status"] == "stopped")


def test_as_process_1_the_agent_waits_for_whoever_loses_its_parent_and_ends_by_sigterm(
    make_device: MakeDevice, console: Console, bundle: Path, tmp_path: Path
) -> None:
    needs_namespaces("--pid", "--fork", "--mount-proc")
    line = str(samples(1)[0].tolist()).replace(" ", "")
    # Twice a second a process whose parent has gone, as daemons are made, and that ends.
    script = f"while :; do (sh -c 'exec sleep 0.05' > /dev/null &); echo '{line}'; sleep 0.1; done"
    source = f'[pipeline.source]\ntype = "command"\ncommand = ["sh", "-c", "{script}"]\n'
    device: Device = make_device(LOCAL.format(bundle=bundle) + source)
    device.start(within=("unshare", "--pid", "--fork", "--kill-child", "--mount-proc"))
    console.wait_for_count("maas/dev/digits/out", 20)
    (agent,) = _children(device.pid)

    def zombies() -> int:
        return sum(b"\nState:\tZ" in _status(pid) for pid in _children(agent))

    wait_until(lambda: zombies() <= 3, "nobody waits for them")  # of twenty or more: those that have ended just now
    os.kill(agent, signal.SIGTERM)
    assert device.wait() == 0
    assert console.wait("maas/dev/status", lambda status: status["status"] == "stopped")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
def test_a_signal_that_would_end_it_ends_it_with_a_farewell(
    make_device: MakeDevice, console: Console, bundle: Path, number: signal.Signals
) -> None:
    """The terminal has gone, somebody wants a configuration to be read again, a tool knows another daemon."""
    device: Device = make_device("")
    before = signal.signal(number, signal.SIG_DFL)  # whoever runs the tests with nohup has it ignored
    device.start()
    signal.signal(number, before)
    console.wait("maas/dev/status", lambda status: status["status"] == "online")
    os.kill(device.pid, number)
    assert device.wait() == 0
    console.wait("maas/dev/status", lambda status: status["status"] == "stopped")


def test_with_nohup_the_end_of_the_terminal_ends_nothing(make_device: MakeDevice, console: Console) -> None:
    device: Device = make_device("")
    device.start(within=("nohup",))
    console.wait("maas/dev/status", lambda status: status["status"] == "online")
    os.kill(device.pid, signal.SIGHUP)
    console.publish("maas/dev/cmd/nothing/1", '{"status": "init"}')
    console.wait("maas/dev/cmd/nothing/1", lambda command: command["status"] == "failed")
    assert not device.has_ended
    assert device.stop() == 0


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _status(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return b""
