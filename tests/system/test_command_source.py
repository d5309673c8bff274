"""A sensor that is a program: its samples are answered on the out topic, whatever the program does."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.bundles import samples
from tests.system.conftest import MakeDevice
from tests.system.console import Console
from tests.system.device import Device, alive, programs_of, starters_of, wait_until
from tests.system.repositories import Repository
from tests.system.updating import check_for_updates


def pipeline(bundle: Path, script: Path, more: str = "") -> str:
    return (
        f'[[pipeline]]\nname = "sensor"\nbundle = "{bundle}"\nallow_unsigned = true\n'
        f'[pipeline.source]\ntype = "command"\ncommand = ["{sys.executable}", "{script}"]\nrestart_s = 0.05\n{more}'
    )


def sensor(tmp_path: Path, body: str) -> Path:
    script = tmp_path / "sensor.py"
    lines = json.dumps([json.dumps(sample.tolist()) for sample in samples(5)])
    script.write_text(f"import os, signal, sys, time\nLINES = {lines}\n{body}")
    return script


def children_of(device: Device) -> list[int]:
    """The programs of its sources."""
    return [pid for worker in device.workers() for pid in programs_of(worker)]


def test_each_line_is_answered_and_the_program_is_started_again_when_it_ends(
    make_device: MakeDevice, console: Console, bundle: Path, tmp_path: Path
) -> None:
    script = sensor(tmp_path, "for line in LINES:\n    print(line, flush=True)\n")
    device = make_device(pipeline(bundle, script))
    device.start()
    answers = console.wait_for_count("maas/dev/sensor/out", 12)  # three runs
    assert all("result" in answer.document for answer in answers)
    assert len({answer.document["id"] for answer in answers}) == len(answers)
    results = [answer.document["result"] for answer in answers]
    assert results[:5] == results[5:10]
    assert "source ended" in device.log()


def test_a_bad_line_is_an_error_result_and_the_next_one_an_answer(
    make_device: MakeDevice, console: Console, bundle: Path, tmp_path: Path
) -> None:
    body = "print('not json')\nprint('x' * 3000)\nprint()\nprint(LINES[0], flush=True)\ntime.sleep(600)\n"
    device = make_device(
        pipeline(bundle, sensor(tmp_path, body)).replace(
            "[pipeline.source]", "max_payload_bytes = 2000\n[pipeline.source]"
        )
    )
    device.start()
    documents = [answer.document for answer in console.wait_for_count("maas/dev/sensor/out", 3)]
    assert documents[0]["error"]["code"] in ("bad_json", "wrong_shape")
    assert documents[1]["error"]["code"] == "too_large"
    assert "result" in documents[2]


def test_the_program_ends_with_the_agent_and_when_its_worker_is_killed(
    make_device: MakeDevice, console: Console, bundle: Path, tmp_path: Path
) -> None:
    body = "print(LINES[0], flush=True)\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(600)\n"
    device = make_device(pipeline(bundle, sensor(tmp_path, body)))
    device.start()
    console.wait_for_count("maas/dev/sensor/out", 1)
    (first,) = children_of(device)
    os.kill(device.workers()[0], signal.SIGKILL)
    console.wait_for_count("maas/dev/sensor/out", 2)
    wait_until(lambda: not alive(first), "the program outlives its worker")
    (second,) = children_of(device)
    assert device.stop() == 0
    wait_until(lambda: not alive(second), "the program outlives the agent")


def shell(bundle: str, command: str, more: str = "") -> str:
    """A pipeline whose source is a line for a shell."""
    return (
        f'[[pipeline]]\nname = "sensor"\n{bundle}\n{more}'
        f'[pipeline.source]\ntype = "command"\ncommand = ["sh", "-c", {json.dumps(command)}]\n'
        "restart_s = 0.05\nrestart_max_s = 0.2\n"
    )


def reader(tmp_path: Path) -> str:
    """Before a filter: a reader of a device that only one can open. It goes on when nobody listens any more."""
    script = tmp_path / "reader"
    script.write_text(
        f"#!/bin/sh\ntrap '' PIPE\nexec 9> {tmp_path}/device\nflock -n 9 || exit 1\necho $$ >> {tmp_path}/pids\n"
        f"while :; do echo '{json.dumps(samples(1)[0].tolist())}'; sleep 0.02; done 2> /dev/null\n"
    )
    script.chmod(0o755)
    return f"{script} | cat"


def readers(tmp_path: Path) -> list[int]:
    pids = tmp_path / "pids"
    return [int(line) for line in pids.read_text().split()] if pids.exists() else []


def active(version: str) -> Callable[[dict[str, Any]], bool]:
    return lambda state: bool(state["active"]) and state["active"]["version"] == version


def status_of(device: Device) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "maas_agent", "status", "--json", "--config", str(device.config)]
    asked = subprocess.run(command, capture_output=True, timeout=60)
    return asked.returncode, json.loads(asked.stdout)


def test_a_program_that_cannot_be_started_is_an_alarm_until_it_can(
    make_device: MakeDevice, console: Console, bundle: Path, tmp_path: Path
) -> None:
    program = tmp_path / "no-such-program"
    device = make_device(
        pipeline(bundle, tmp_path / "x", "restart_max_s = 0.2\n").replace(sys.executable, str(program))
    )
    device.start()
    state = console.wait("maas/dev/sensor/state", lambda s: s["serving"] and s["source"]["state"] == "failed").document
    reason = f"there is no {program} -> install it there, or mend command: ls -l {program}"
    assert state["source"]["reason"] == reason
    alarm = f"the source of pipeline sensor has failed: {reason}"
    console.wait("maas/dev/status", lambda status: [each["text"] for each in status["alarms"]] == [alarm])
    began_by = console.wait("maas/dev/status", lambda status: status["alarms"]).document["time"]
    wait_until(lambda: device.log().count("cannot start the source") >= 2, "it is not tried again")
    code, status = status_of(device)
    (told,) = status["alarms"]
    assert (told["severity"], told["code"], told["text"]) == ("error", "source", alarm)
    assert datetime.fromisoformat(told["since"]) <= datetime.fromisoformat(began_by), "it was there from the beginning"
    assert (code, status["pipelines"][0]["source"]["state"]) == (1, "failed")
    program.write_text(f"#!/bin/sh\necho '{json.dumps(samples(1)[0].tolist())}'\nexec sleep 600\n")
    program.chmod(0o755)
    console.wait("maas/dev/sensor/state", lambda state: state["source"] == {"state": "running", "reason": None})
    console.wait("maas/dev/status", lambda status: status["alarms"] == [])
    assert status_of(device)[0] == 0


def test_what_a_source_has_started_ends_when_its_worker_or_the_whole_agent_is_killed(
    make_device: MakeDevice, console: Console, bundle: Path, tmp_path: Path
) -> None:
    """A signal to the shell alone would leave the reader, and the reader the device."""
    device = make_device(shell(f'bundle = "{bundle}"\nallow_unsigned = true', reader(tmp_path)))
    device.start()
    console.wait_for_count("maas/dev/sensor/out", 3)
    os.kill(device.workers()[0], signal.SIGKILL)
    wait_until(lambda: len(readers(tmp_path)) == 2, "the next worker's reader does not get the device")
    first, second = readers(tmp_path)
    assert not alive(first) and alive(second)
    workers = device.workers()
    os.kill(device.pid, signal.SIGSTOP)  # nobody is to see to it
    for starter in starters_of(workers[0]):
        os.kill(starter, signal.SIGKILL)
    os.kill(workers[0], signal.SIGKILL)
    device.kill()
    assert alive(second)
    device.start()
    wait_until(lambda: len(readers(tmp_path)) == 3, "the next agent's reader does not get the device")
    assert not alive(second)
    console.wait("maas/dev/sensor/state", lambda state: state["source"]["state"] == "running")


def test_an_update_ends_the_whole_source_and_is_not_promoted_without_a_sample(
    make_device: MakeDevice, console: Console, repository: Repository, tmp_path: Path
) -> None:
    repository.publish("digits", "1.0.0", seed=1)
    mute = tmp_path / "mute"
    command = f"if [ -e {mute} ]; then exec sleep 600; fi; {reader(tmp_path)}"
    update = "[pipeline.update]\nprobation_s = 0.3\nmax_latency_ratio = 1000\nmax_drift = 1.0\n"
    device = make_device(shell('model = "digits"\nthreads = 1', command, update), extra=repository.settings)
    device.start()
    console.wait_for_count("maas/dev/sensor/out", 20)
    # The reader makes way for the next one, and the candidate is judged by what it answers.
    repository.publish("digits", "1.1.0", seed=1)
    check_for_updates(console, "1")
    console.wait("maas/dev/sensor/state", active("1.1.0"))
    answered = [m for m in console.on("maas/dev/sensor/out") if m.document.get("version") == "1.1.0"]
    assert answered and len(readers(tmp_path)) == 2 and not alive(readers(tmp_path)[0])
    # A sensor that says nothing: that is no reason for the candidate, nor against it.
    mute.touch()
    repository.publish("digits", "1.2.0", seed=1)
    check_for_updates(console, "2")
    state = console.wait(
        "maas/dev/sensor/state", lambda s: (s["update"]["probation"] or {}).get("waits_for_samples")
    ).document
    assert (state["active"]["version"], state["candidate"]["version"]) == ("1.1.0", "1.2.0")
    assert state["update"]["probation"]["answers"] == 0
    assert check_for_updates(console, "3")["pipelines"] == {"sensor": {"result": "current", "version": "1.2.0"}}
    # What is newer takes its place, and as soon as the sensor speaks it is judged.
    repository.publish("digits", "1.3.0", seed=1)
    check_for_updates(console, "4")
    console.wait(
        "maas/dev/sensor/state",
        lambda s: (
            s["candidate"]
            and s["candidate"]["version"] == "1.3.0"
            and (s["update"]["probation"] or {}).get("waits_for_samples")
        ),
    )
    mute.unlink()
    os.kill(children_of(device)[-1], signal.SIGKILL)
    state = console.wait("maas/dev/sensor/state", active("1.3.0")).document
    assert state["previous"]["version"] == "1.1.0"
    assert not any("1.2.0" in m.document["update"]["state"] for m in console.on("maas/dev/sensor/state"))
