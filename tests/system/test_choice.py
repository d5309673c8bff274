"""What a bundle runs on is measured on the device, told, remembered, and measured again when the device changes."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.bundles import samples
from tests.system.conftest import LOCAL, MakeDevice
from tests.system.console import Console
from tests.system.device import Device, wait_until

SAMPLE = samples(1)[0].tobytes()
COUNTS = [count for count in (1, 2, 4) if count <= len(os.sched_getaffinity(0))]
TRIED_AGAIN = "trying the bundle again"


def state_file(device: Device) -> Path:
    return device.store / "pipelines" / "digits.json"


def trials_of(device: Device) -> dict[str, object]:
    trials: dict[str, object] = json.loads(state_file(device).read_text())["active"]["trials"]
    return trials


def test_the_trial_table_is_on_the_state_topic_and_in_the_status(serving: Device, console: Console) -> None:
    state = console.wait("maas/dev/digits/state", lambda s: s["serving"]).document
    cpu = [row for row in state["trials"] if row["accelerator"] == "cpu"]
    assert [row["threads"] for row in cpu] == COUNTS
    for row in cpu:
        assert row["refused"] is None and row["deviation"] <= 0.02
        assert 0 < row["p50_ms"] <= row["p99_ms"] and row["peak_bytes"] > 10 << 20
    assert state["deadline_s"] == 5.0  # 30 times a p99 of microseconds is less than the least
    shown = subprocess.run(
        [sys.executable, "-m", "maas_agent", "status", "--config", serving.config],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    (head,) = (number for number, line in enumerate(shown) if "p50 ms" in line)
    assert sum(line.split()[0] == "*" for line in shown[head + 1 :]) == 1
    assert len(shown) - head - 1 == len(state["trials"])


def test_what_was_measured_is_remembered_over_a_restart(serving: Device, console: Console) -> None:
    before = trials_of(serving)
    serving.stop()
    console.forget()
    serving.start()
    console.wait("maas/dev/digits/state", lambda s: s["serving"] and s["trials"])
    console.ask("dev", "digits", SAMPLE, "on")
    assert trials_of(serving) == before
    assert TRIED_AGAIN not in serving.log()


def test_with_another_runtime_it_is_measured_again_while_the_bundle_serves(serving: Device, console: Console) -> None:
    serving.stop()
    path = state_file(serving)
    trials = trials_of(serving)
    path.write_text(path.read_text().replace(str(trials["runtime"]), "ai-edge-litert 1.0.0"))
    console.forget()
    serving.start()
    console.wait("maas/dev/digits/state", lambda s: s["serving"])
    console.ask("dev", "digits", SAMPLE, "meanwhile")
    wait_until(lambda: trials_of(serving)["runtime"] == trials["runtime"], "it is not measured again")
    assert serving.log().count(TRIED_AGAIN) == 1
    assert "result" in console.ask("dev", "digits", SAMPLE, "after")


def test_with_other_terms_it_is_measured_again_and_the_workers_move_without_losing_an_input(
    serving: Device, console: Console
) -> None:
    (before,) = {row["threads"] for row in [console.wait("maas/dev/digits/state", lambda s: s["serving"]).document]}
    wanted = 3 if before != 3 else 2
    serving.stop()
    serving.config.write_text(serving.config.read_text() + f"threads = {wanted}\n")
    console.forget()
    serving.start()
    console.wait("maas/dev/digits/state", lambda s: s["serving"])
    for number in range(200):
        console.publish(f"maas/dev/digits/in/{number}", SAMPLE)
    console.wait("maas/dev/digits/state", lambda s: s["threads"] == wanted)
    answers = console.wait_for_count("maas/dev/digits/out/", 200)
    assert sorted(int(answer.document["id"]) for answer in answers) == list(range(200))
    rows = console.wait("maas/dev/digits/state", lambda s: s["threads"] == wanted).document["trials"]
    assert {row["threads"] for row in rows} == {wanted}


def test_an_accelerator_that_is_not_there_is_a_row_with_the_reason_and_the_processor_serves(
    make_device: MakeDevice, console: Console, bundle: Path
) -> None:
    device = make_device(LOCAL.format(bundle=bundle) + 'accelerator = "delegate:/none/libnone.so.1"\n')
    device.start()
    state = console.wait("maas/dev/digits/state", lambda s: s["serving"]).document
    assert state["accelerator"] == "cpu"
    (row,) = (row for row in state["trials"] if row["accelerator"] == "delegate:/none/libnone.so.1")
    assert row["refused"]
    assert "result" in console.ask("dev", "digits", SAMPLE, "x")
