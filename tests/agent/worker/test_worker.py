"""A worker process, spoken to as the hub does: over a real socketpair."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.staged import blob_path
from maas_agent.config import CommandSource, MqttSource
from maas_agent.ipc import (
    Answer,
    Channel,
    Drain,
    Drained,
    Failed,
    InferenceRequest,
    Ping,
    Pong,
    Ready,
    Serve,
    SourceIs,
    Start,
    ToHub,
)
from maas_agent.runtime.setup import Setup
from maas_agent.trials.terms import WorkerLimits
from tests.agent.staging import stage
from tests.bundles import make_bundle, samples
from tests.confining import WITHOUT_LANDLOCK, WITHOUT_SECCOMP, needs_confinement, on_an_older_kernel
from tests.runtimes import RUNTIME
from tests.system.device import alive, programs_of

SAMPLE = samples(1)[0].tobytes()
WORKER = (sys.executable, "-P", "-m", "maas_agent.worker")


class Hub:
    """The hub's end, and the process at the other one."""

    def __init__(self, store: Path, digest: str, command: Sequence[str] = WORKER) -> None:
        self._store, self._digest = store, digest
        ours, theirs = socket.socketpair()
        ours.settimeout(30)
        with theirs:
            self.process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stderr=subprocess.PIPE,
            )
        self._socket = ours
        self._channel: Channel[ToHub] = Channel(ours, ToHub)
        self._waiting: list[Any] = []
        self.conditions: list[SourceIs] = []

    def start(self, **fields: Any) -> None:
        """The first frame."""
        start = {
            "device": "dev",
            "pipeline": "digits",
            "store": str(self._store),
            "manifest": self._digest,
            "setup": Setup(library=RUNTIME),
            "limits": WorkerLimits(),
            "form": None,
            "source": MqttSource(),
            "max_payload_bytes": 10_000,
            "heartbeat_s": 10.0,
        }
        self.say(Start(**(start | fields)))

    def say(self, *messages: Any) -> None:
        for message in messages:
            self._channel.put(message)
        self._channel.flush()

    def ask(self, number: int, payload: bytes = SAMPLE) -> None:
        self.say(InferenceRequest(number, f"id-{number}", payload, None, time.time(), time.monotonic()))

    def hear(self) -> Any:
        """The next message; ``None`` at the end. What it says of its source is kept in ``conditions``."""
        while not self._waiting:
            messages = self._channel.receive()
            if messages is None:
                return None
            self.conditions += [message for message in messages if isinstance(message, SourceIs)]
            self._waiting += [message for message in messages if not isinstance(message, SourceIs)]
        return self._waiting.pop(0)

    def learn(self, state: str) -> SourceIs:
        """How its source is, as soon as it is in this state."""
        while not self.conditions or self.conditions[-1].state != state:
            messages = self._channel.receive()
            assert messages is not None
            self.conditions += [message for message in messages if isinstance(message, SourceIs)]
            self._waiting += [message for message in messages if not isinstance(message, SourceIs)]
        return self.conditions[-1]

    def hang_up(self) -> tuple[int, str]:
        """Close this end; the exit status, and what the worker logged."""
        self._socket.close()
        _, log = self.process.communicate(timeout=30)
        return self.process.returncode, log.decode()


MakeHub = Callable[..., Hub]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def bundle(store: Path) -> Path:
    return make_bundle(store / "a.maas", "digits", "1.0.0")


@pytest.fixture
def hub(store: Path, bundle: Path) -> Iterator[Hub]:
    hub = Hub(store, stage(bundle, store))
    yield hub
    hub.hang_up()


@needs_confinement
def test_a_worker_that_is_confined_says_nothing_of_it(hub: Hub) -> None:
    hub.start(limits=WorkerLimits(confine=True))
    assert hub.hear().freedom == ""
    hub.ask(1)
    assert hub.hear().code is None


@needs_confinement
def test_on_a_kernel_that_cannot_confine_it_serves_and_says_so(store: Path, bundle: Path) -> None:
    """And a device whose owner has switched it off."""
    command = on_an_older_kernel("maas_agent.worker", WITHOUT_LANDLOCK, WITHOUT_SECCOMP)
    older, free = Hub(store, stage(bundle, store), command), Hub(store, stage(bundle, store))
    older.start(limits=WorkerLimits(confine=True))
    free.start(limits=WorkerLimits(confine=False))
    freedom = older.hear().freedom
    assert "Landlock is missing" in freedom and "seccomp is missing" in freedom
    assert free.hear().freedom == "limits.confine is false"
    for hub in (older, free):
        hub.ask(1)
        assert hub.hear().code is None
        hub.hang_up()


def test_a_worker_is_ready_then_answers_and_ends_with_the_hub(hub: Hub) -> None:
    hub.start()
    ready = hub.hear()
    assert isinstance(ready, Ready)
    assert ready.runtime.split()[0] in ("ai-edge-litert", "tflite-runtime")
    assert ready.load_ms > 0
    hub.ask(5)
    answer = hub.hear()
    assert isinstance(answer, Answer)
    assert (answer.sequence, answer.id, answer.code) == (5, "id-5", None)
    document = json.loads(answer.document)
    assert (document["pipeline"], document["version"]) == ("digits", "1.0.0")
    assert hub.hang_up() == (0, "")


def test_answers_and_pongs_come_in_the_order_of_what_they_answer(hub: Hub) -> None:
    hub.start()
    assert isinstance(hub.hear(), Ready)
    for number in range(1, 51):
        hub.ask(number, b"bad" if number % 10 == 0 else SAMPLE)
        if number % 25 == 0:
            hub.say(Ping(number))
    hub.say(Drain())
    heard = [hub.hear() for _ in range(53)]
    order = [m.sequence if isinstance(m, Answer) else m for m in heard]
    assert order == [*range(1, 26), Pong(25), *range(26, 51), Pong(50), Drained()]
    assert [m.sequence for m in heard if isinstance(m, Answer) and m.code] == [10, 20, 30, 40, 50]


def test_after_a_drain_the_worker_still_answers(hub: Hub) -> None:
    """Whoever drains may change its mind: the candidate may die before it takes over."""
    hub.start()
    hub.hear()
    hub.say(Drain())
    assert hub.hear() == Drained()
    hub.ask(1)
    assert hub.hear().sequence == 1


def test_a_hub_that_says_nothing_and_hangs_up_is_a_clean_end(hub: Hub) -> None:
    assert hub.hang_up() == (0, "")


@pytest.mark.parametrize("which", ["manifest", "model", "golden"])
def test_a_damaged_file_is_failed_with_the_reason_and_never_loaded(
    hub: Hub, store: Path, bundle: Path, which: str
) -> None:
    with open_bundle(bundle) as opened:
        digests = {
            "manifest": opened.digest,
            "model": opened.manifest.stages[0].blob,
            "golden": opened.manifest.golden.blob,
        }
    path = blob_path(store, digests[which])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    hub.start()
    failed = hub.hear()
    assert isinstance(failed, Failed)
    assert digests[which][:12] in failed.reason and "damaged" in failed.reason
    assert hub.hear() is None
    status, log = hub.hang_up()
    assert status == 1
    assert "cannot serve" in log and "Traceback" not in log


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"manifest": "0" * 64}, "No such file"),
        ({"setup": Setup("warp")}, "choose one of"),
        ({"store": "/none"}, "read"),
    ],
)
def test_what_cannot_be_served_is_failed_with_the_reason(hub: Hub, fields: dict[str, Any], word: str) -> None:
    hub.start(**fields)
    failed = hub.hear()
    assert isinstance(failed, Failed) and word in failed.reason
    assert hub.hear() is None


def test_a_model_that_is_not_what_its_manifest_says_is_failed(store: Path) -> None:
    from tests.models import tiny_classifier_tflite

    other = make_bundle(store / "b.maas", swap=tiny_classifier_tflite(classes=7))
    hub = Hub(store, stage(other, store))
    hub.start()
    failed = hub.hear()
    assert isinstance(failed, Failed) and "the manifest says" in failed.reason
    assert hub.hang_up()[0] == 1


def test_a_worker_that_is_not_started_first_ends_with_an_error(hub: Hub) -> None:
    hub.say(Ping(1))
    assert hub.hear() is None
    assert hub.hang_up()[0] == 1


# ----------------------------------------------------------------- a source of its own

LINE = json.dumps(samples(1)[0].tolist())


def command(body: str) -> CommandSource:
    return CommandSource((sys.executable, "-S", "-c", f"import os, time\nLINE = {LINE!r}\n{body}"), restart_s=0.01)


def test_a_local_source_waits_for_serve_and_is_answered_with_sequence_0(hub: Hub) -> None:
    """A candidate that warms up does not touch the sensor that the active worker reads."""
    hub.start(source=command("print(LINE); print('[1]'); print(LINE, flush=True); time.sleep(600)"))
    assert isinstance(hub.hear(), Ready)
    hub.say(Ping(1))
    assert hub.hear() == Pong(1)  # and no sample before it
    hub.say(Serve())
    answers = [hub.hear() for _ in range(3)]
    assert [(a.sequence, a.code) for a in answers] == [(0, None), (0, "wrong_shape"), (0, None)]
    run = answers[0].id.rpartition("-")[0]
    assert [a.id for a in answers] == [f"{run}-1", f"{run}-2", f"{run}-3"]


def test_a_program_that_ends_is_started_again_and_ids_go_on(hub: Hub) -> None:
    hub.start(source=command("print(LINE)"))
    hub.hear()
    hub.say(Serve())
    answers = [hub.hear() for _ in range(4)]
    assert [answer.id.rpartition("-")[2] for answer in answers] == ["1", "2", "3", "4"]


def test_a_line_beyond_the_bound_is_too_large_and_the_next_one_answered(hub: Hub) -> None:
    hub.start(source=command("print('[' + '1,' * 10000); print(LINE, flush=True); time.sleep(600)"))
    hub.hear()
    hub.say(Serve())
    assert [hub.hear().code for _ in range(2)] == ["too_large", None]


def test_a_drain_ends_the_program(hub: Hub) -> None:
    hub.start(source=command("print(1); print(LINE, flush=True); time.sleep(600)"))
    hub.hear()
    hub.say(Serve())
    heard = [hub.hear(), hub.hear()]
    hub.say(Drain())
    assert hub.hear() == Drained()
    assert programs_of(hub.process.pid) == []
    assert [answer.code for answer in heard] == ["bad_json", None]


def test_the_program_ends_when_the_hub_is_gone(hub: Hub) -> None:
    hub.start(source=command("os.write(1, LINE.encode() + b'\\n'); time.sleep(600)"))
    hub.hear()
    hub.say(Serve())
    hub.hear()
    (child,) = programs_of(hub.process.pid)
    assert hub.hang_up()[0] == 0
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_worker_tells_how_its_source_is_whenever_that_changes(hub: Hub, tmp_path: Path) -> None:
    program = tmp_path / "reader"
    hub.start(source=CommandSource((str(program),), restart_s=0.01, restart_max_s=0.05))
    hub.hear()
    hub.say(Serve())
    assert hub.learn("failed").reason == f"there is no {program} -> install it there, or mend command: ls -l {program}"
    program.write_text(f"#!/bin/sh\necho '{LINE}'\nexec sleep 600\n")
    program.chmod(0o755)
    hub.learn("running")
    assert hub.hear().code is None
    assert [condition.state for condition in hub.conditions] == ["failed", "running"]  # each once, not once an attempt


def test_the_program_ends_when_the_hub_goes_in_the_middle_of_an_answer(hub: Hub) -> None:
    """A program that does not notice would go on, with the device, and nobody would know of it."""
    script = (
        "while True:\n    try: os.write(1, LINE.encode() + b'\\n')\n    except OSError: pass\n    time.sleep(0.001)\n"
    )
    hub.start(source=command(script))
    hub.hear()
    hub.say(Serve())
    hub.hear()
    (child,) = programs_of(hub.process.pid)
    os.kill(hub.process.pid, signal.SIGSTOP)  # so that it does not hear of the end before it says something
    hub._socket.close()
    os.kill(hub.process.pid, signal.SIGCONT)
    assert hub.process.wait(30) == 0
    assert not alive(child)


def test_a_source_that_is_well_from_the_first_moment_says_so_too(hub: Hub) -> None:
    """The hub knows nothing of a source but what it is told."""
    hub.start(source=command("print(LINE, flush=True); time.sleep(600)"))
    hub.hear()
    hub.say(Ping(1))
    assert hub.hear() == Pong(1) and hub.conditions == []  # it is not open yet
    hub.say(Serve())
    hub.learn("running")
    hub.say(Drain())
    while hub.hear() != Drained():
        pass
    hub.conditions.clear()
    hub.say(Serve())
    hub.learn("running")
