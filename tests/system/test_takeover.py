"""A new bundle takes over: first in the shadow of the active one, then on probation; and what brings that one back."""

import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bundles import samples
from tests.models import large_classifier_tflite
from tests.system.conftest import MakeDevice
from tests.system.console import Console
from tests.system.device import Device, wait_until
from tests.system.repositories import Repository
from tests.system.updating import Load, check_for_updates, update_state

SAMPLE = samples(1)[0].tobytes()
HOUR = "probation_s = 3600\n"
Start = Callable[[str], Device]


@pytest.fixture
def start(make_device: MakeDevice, console: Console, repository: Repository) -> Start:
    """Starts a device that serves digits 1.0.0, with these lines in [pipeline.update] and below."""

    def started(update: str) -> Device:
        repository.publish("digits", "1.0.0", seed=1)
        pipeline = f'[[pipeline]]\nname = "digits"\nmodel = "digits"\nthreads = 1\n[pipeline.update]\n{update}'
        device: Device = make_device(pipeline, extra=repository.settings)
        device.start()
        console.wait("maas/dev/digits/state", lambda state: state["serving"])
        return device

    return started


def ask(console: Console, count: int, prefix: str = "ask") -> list[dict[str, Any]]:
    """Answers to ``count`` inputs, all different."""
    inputs = samples(count, seed=7)
    return [console.ask("dev", "digits", inputs[number].tobytes(), f"{prefix}-{number}") for number in range(count)]


def on_probation(console: Console, version: str) -> dict[str, Any]:
    return console.wait(
        "maas/dev/digits/state",
        lambda s: s["update"]["probation"] and s["candidate"]["version"] == version and s["serving"],
    ).document


def active(version: str) -> Callable[[dict[str, Any]], bool]:
    return lambda state: bool(state["active"]) and state["active"]["version"] == version


def told(console: Console, version: str) -> list[str]:
    updates = [message.document["update"] for message in console.on("maas/dev/digits/state")]
    return [state for state, _ in itertools.groupby(u["state"] for u in updates if u["version"] == version)]


# ------------------------------------------------------------- shadow


def test_a_candidate_that_agrees_is_promoted_and_until_then_only_the_active_bundle_is_heard(
    start: Start, repository: Repository, console: Console
) -> None:
    start("probation_s = 0.3\nshadow = { samples = 30, max_latency_ratio = 100.0 }\n")
    repository.publish("digits", "1.1.0", seed=1)
    check_for_updates(console, "x")
    update_state(console, "shadow")
    load = Load(console)
    state = console.wait("maas/dev/digits/state", active("1.1.0")).document
    load.stop()
    figures = state["update"]["shadow"]
    assert (figures["samples"], figures["wanted"], figures["agreement"]) == (30, 30, 1.0)
    assert figures["latency_ratio"] > 0
    assert told(console, "1.1.0") == ["pulling", "verifying", "staged", "testing", "shadow", "probation", "active"]
    answers = [answer.document for answer in console.wait_for_count("maas/dev/digits/out/", load.sent)]
    assert [answer["id"] for answer in answers] == [str(number) for number in range(load.sent)]
    versions = [answer["version"] for answer in answers]
    assert versions == sorted(versions)
    assert versions.count("1.0.0") >= 30  # those it was compared on


def test_a_candidate_that_disagrees_is_refused_with_the_figures_and_set_aside(
    start: Start, repository: Repository, console: Console
) -> None:
    device = start("shadow = { samples = 20, max_latency_ratio = 100.0 }\n")
    repository.publish("digits", "1.1.0", seed=2)
    check_for_updates(console, "x")
    update_state(console, "shadow")
    load = Load(console)
    update = update_state(console, "failed")["update"]
    load.stop()
    assert "in the shadow of the active bundle it agreed on" in update["reason"]
    assert "asked for is 98.0%" in update["reason"]
    assert 0 < update["shadow"]["samples"] <= 20
    answers = console.wait_for_count("maas/dev/digits/out/", load.sent)
    assert {answer.document["version"] for answer in answers} == {"1.0.0"}
    assert check_for_updates(console, "again")["pipelines"]["digits"]["result"] == "current"
    wait_until(lambda: len(device.workers()) == 1, "the candidate's worker lives on")


def test_a_candidate_that_is_slower_than_asked_is_refused(
    start: Start, repository: Repository, console: Console
) -> None:
    start("shadow = { samples = 15, min_agreement = 0.0, max_latency_ratio = 1.5 }\n")
    repository.publish("digits", "1.1.0", seed=1, model=large_classifier_tflite(100_000))
    check_for_updates(console, "x")
    update_state(console, "shadow")
    load = Load(console, window=2)
    reason = update_state(console, "failed")["update"]["reason"]
    load.stop()
    assert "times as long (median of 15); allowed is 1.5" in reason


def test_a_candidate_that_crashes_in_the_shadow_is_refused_and_nobody_notices(
    start: Start, repository: Repository, console: Console
) -> None:
    device = start("shadow = {}\n")
    repository.publish("digits", "1.1.0", seed=1)
    (serving,) = device.workers()
    check_for_updates(console, "x")
    update_state(console, "shadow")
    load = Load(console)
    wait_until(lambda: "worker ready" in device.log().rpartition("in the shadow")[2], "the candidate never loads")
    (candidate,) = set(device.workers()) - {serving}
    os.kill(candidate, signal.SIGSEGV)
    reason = update_state(console, "failed")["update"]["reason"]
    load.stop()
    assert reason == "in the shadow of the active bundle its worker was killed by SIGSEGV"
    answers = console.wait_for_count("maas/dev/digits/out/", load.sent)
    assert all("result" in answer.document for answer in answers)
    assert device.workers() == [serving]


def test_a_newer_version_takes_the_place_of_one_in_the_shadow(
    start: Start, repository: Repository, console: Console
) -> None:
    start("probation_s = 0.3\nshadow = { samples = 10, max_latency_ratio = 100.0 }\n")
    repository.publish("digits", "1.1.0", seed=2)
    check_for_updates(console, "x")
    update_state(console, "shadow")
    assert check_for_updates(console, "same")["pipelines"]["digits"]["result"] == "current"
    assert update_state(console, "shadow")["candidate"]["version"] == "1.1.0"
    repository.publish("digits", "1.2.0", seed=1)
    check_for_updates(console, "newer")
    load = Load(console)
    console.wait("maas/dev/digits/state", active("1.2.0"))
    load.stop()
    assert "1.1.0" not in {answer.document["version"] for answer in console.on("maas/dev/digits/out/")}


def test_a_candidate_sees_the_samples_of_a_local_source_too(
    make_device: MakeDevice, repository: Repository, console: Console, tmp_path: Path
) -> None:
    lines = json.dumps([json.dumps(sample.tolist()) for sample in samples(20)])
    script = tmp_path / "sensor.py"
    script.write_text(
        f"import itertools, time\nfor line in itertools.cycle({lines}):\n"
        "    print(line, flush=True)\n    time.sleep(0.02)\n"
    )
    repository.publish("digits", "1.0.0", seed=1)
    make_device(
        '[[pipeline]]\nname = "digits"\nmodel = "digits"\n'
        "update = { probation_s = 0.3, shadow = { samples = 25, max_latency_ratio = 100.0 } }\n"
        f'[pipeline.source]\ntype = "command"\ncommand = ["{sys.executable}", "{script}"]\n',
        extra=repository.settings,
    ).start()
    console.wait("maas/dev/digits/state", lambda state: state["serving"])
    repository.publish("digits", "1.1.0", seed=1)
    check_for_updates(console, "x")
    state = console.wait("maas/dev/digits/state", active("1.1.0")).document
    assert state["update"]["shadow"]["samples"] == 25 and state["update"]["shadow"]["agreement"] == 1.0
    console.wait("maas/dev/digits/out", lambda d: d.get("version") == "1.1.0")


# ------------------------------------------------------------- probation


@pytest.mark.alone
def test_a_crash_on_probation_brings_the_bundle_before_it_back_at_once_and_no_input_is_lost(
    start: Start, repository: Repository, console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the worker that stood by: none is started. That takes well below a second where there is time for it."""
    device = start(HOUR)
    repository.publish("digits", "1.1.0", seed=1)
    (before,) = device.workers()
    check_for_updates(console, "x")
    state = on_probation(console, "1.1.0")
    assert (state["active"]["version"], state["update"]["state"]) == ("1.0.0", "probation")
    load = Load(console)
    console.wait("maas/dev/digits/out/20", lambda d: d["version"] == "1.1.0")
    (candidate,) = set(device.workers()) - {before}
    os.kill(candidate, signal.SIGSEGV)
    killed_at = time.monotonic()
    console.wait("maas/dev/digits/state", lambda s: s["update"]["state"] == "rolled_back" and s["serving"])
    known = len(console.on("maas/dev/digits/out/"))
    console.wait_for_count("maas/dev/digits/out/", known + 1)
    with capsys.disabled():
        print(f"\nthe bundle before it was back after {time.monotonic() - killed_at:.3f} s")
    load.stop()
    answers = [answer.document for answer in console.wait_for_count("maas/dev/digits/out/", load.sent)]
    assert sorted(int(answer["id"]) for answer in answers) == list(range(load.sent))
    assert all("result" in answer for answer in answers)
    state = update_state(console, "rolled_back")
    assert state["update"]["reason"] == "on probation its worker was killed by SIGSEGV; allowed is 0"
    assert (state["active"]["version"], state["candidate"]) == ("1.0.0", None)
    assert device.workers() == [before]
    # Set aside until a newer one comes.
    assert check_for_updates(console, "again")["pipelines"]["digits"]["result"] == "current"
    repository.publish("digits", "1.2.0", seed=1)
    check_for_updates(console, "newer")
    on_probation(console, "1.2.0")


@pytest.mark.parametrize(
    ("bundle", "bounds", "reason"),
    [
        ({"seed": 2}, "", "the answers have drifted by"),
        ({"seed": 1, "sample_dtype": "float32"}, "", "answers are errors, before it were 0 of"),
        ({"seed": 1, "model": large_classifier_tflite(100_000)}, "max_drift = 1.0\n", "an answer takes"),
    ],
    ids=["other answers", "errors", "slower"],
)
def test_a_bundle_that_is_worse_on_probation_is_rolled_back_with_the_figures(
    start: Start, repository: Repository, console: Console, bundle: dict[str, Any], bounds: str, reason: str
) -> None:
    start(HOUR + bounds)
    assert {answer["version"] for answer in ask(console, 60, "before")} == {"1.0.0"}
    repository.publish("digits", "1.1.0", **bundle)
    check_for_updates(console, "x")
    on_probation(console, "1.1.0")
    load = Load(console, window=1)
    update = update_state(console, "rolled_back")["update"]
    load.stop()
    assert update["reason"].startswith("on probation ") and reason in update["reason"]
    assert ask(console, 1, "after")[0]["version"] == "1.0.0"


@pytest.mark.alone
@pytest.mark.parametrize("standby", ["true", "false"])
def test_a_bundle_that_is_no_worse_becomes_active_when_its_probation_ends(
    start: Start, repository: Repository, console: Console, standby: str
) -> None:
    device = start(f"probation_s = 1.0\nstandby = {standby}\n")
    ask(console, 60, "before")
    repository.publish("digits", "1.1.0", seed=1)
    check_for_updates(console, "x")
    on_probation(console, "1.1.0")
    wanted = 2 if standby == "true" else 1
    wait_until(lambda: len(device.workers()) == wanted, f"there are not {wanted} workers on probation")
    load = Load(console)
    state = console.wait("maas/dev/digits/state", active("1.1.0")).document
    load.stop()
    assert (state["update"]["state"], state["previous"]["version"]) == ("active", "1.0.0")
    wait_until(lambda: len(device.workers()) == 1, "the bundle before it still stands by")


def test_without_a_standby_the_bundle_before_it_is_loaded_again(
    start: Start, repository: Repository, console: Console
) -> None:
    device = start(HOUR + "standby = false\n")
    repository.publish("digits", "1.1.0", seed=1)
    check_for_updates(console, "x")
    on_probation(console, "1.1.0")
    wait_until(lambda: len(device.workers()) == 1, "something stands by")
    (candidate,) = device.workers()
    os.kill(candidate, signal.SIGKILL)
    update_state(console, "rolled_back")
    assert ask(console, 1)[0]["version"] == "1.0.0"


def test_a_standby_that_dies_costs_nothing_and_is_loaded_when_it_is_needed(
    start: Start, repository: Repository, console: Console
) -> None:
    device = start(HOUR)
    (before,) = device.workers()
    repository.publish("digits", "1.1.0", seed=1)
    check_for_updates(console, "x")
    on_probation(console, "1.1.0")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: before not in device.workers(), "it does not die")
    assert ask(console, 1, "still")[0]["version"] == "1.1.0"
    (candidate,) = device.workers()
    os.kill(candidate, signal.SIGKILL)
    update_state(console, "rolled_back")
    assert ask(console, 1, "back")[0]["version"] == "1.0.0"


def test_a_bundle_whose_device_goes_down_three_times_is_set_aside_and_a_stop_in_good_order_does_not_count(
    start: Start, repository: Repository, console: Console
) -> None:
    device = start(HOUR)
    repository.publish("digits", "1.1.0", seed=1)
    check_for_updates(console, "x")
    on_probation(console, "1.1.0")
    assert device.stop() == 0
    for _ in range(3):
        console.forget()
        device.start()
        assert on_probation(console, "1.1.0")["active"]["version"] == "1.0.0"
        device.kill()
    console.forget()
    device.start()
    state = console.wait("maas/dev/digits/state", lambda s: s["serving"]).document
    assert state["active"]["version"] == "1.0.0"
    state = update_state(console, "rolled_back")
    assert state["update"]["reason"] == "the device went down 3 times while it was on probation"
    assert check_for_updates(console, "again")["pipelines"]["digits"]["result"] == "current"


def test_a_restart_on_probation_restarts_what_serves(start: Start, repository: Repository, console: Console) -> None:
    device = start(HOUR)
    repository.publish("digits", "1.1.0", seed=1)
    check_for_updates(console, "x")
    on_probation(console, "1.1.0")
    known = set(device.workers())
    console.publish("maas/dev/cmd/restart/1", '{"status": "init", "pipeline": "digits"}', retain=True)
    console.wait("maas/dev/cmd/restart/1", lambda d: d["status"] == "successful")
    assert ask(console, 1)[0]["version"] == "1.1.0"
    assert len(set(device.workers()) - known) == 1
