"""A sensor that is a program: its samples are answered on the out topic, whatever the program does."""

import json
import os
import signal
import sys
from pathlib import Path

from tests.bundles import samples
from tests.system.conftest import MakeDevice
from tests.system.console import Console
from tests.system.device import Device, alive, wait_until


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
    (worker,) = device.workers()
    return [int(pid) for pid in Path(f"/proc/{worker}/task/{worker}/children").read_text().split()]


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


def test_a_program_that_cannot_be_started_is_logged_and_tried_again(
    make_device: MakeDevice, console: Console, bundle: Path, tmp_path: Path
) -> None:
    device = make_device(pipeline(bundle, tmp_path / "x").replace(sys.executable, str(tmp_path / "no-such-program")))
    device.start()
    console.wait("maas/dev/sensor/state", lambda state: state["serving"])
    wait_until(lambda: device.log().count("cannot start the source") >= 2, "it is not tried again")
