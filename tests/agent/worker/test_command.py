"""A program as a source: lines in any pieces, and programs that do as they like."""

import os
import select
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas_agent.base.log import Log
from maas_agent.bundle.manifest import Decode
from maas_agent.config import CommandSource
from maas_agent.errors import DecodeError
from maas_agent.ipc import SourceIs
from maas_agent.processing.decode import decode
from maas_agent.worker.sources.command import CommandRunner, LineSplitter
from maas_agent.worker.sources.interface import Reading
from maas_agent.worker.sources.program import OwnProgram
from maas_agent.worker.sources.selection import local_source, program_of
from tests.system.device import alive

TOO_LONG = "more than 10 bytes"


def read_in(chunks: list[bytes], bound: int = 10) -> list[bytes | str]:
    """Payloads, and a word for each error."""
    splitter = LineSplitter(bound)
    readings = [reading for chunk in chunks for reading in splitter.feed(chunk)] + splitter.end()
    assert all(reading.error or reading.content_type == "application/json" for reading in readings)
    return ["error" if reading.error else reading.payload for reading in readings]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", []),
        (b"\n", []),
        (b"one\n", [b"one"]),
        (b"one\ntwo\n", [b"one", b"two"]),
        (b"one\ntwo", [b"one", b"two"]),
        (b"one\n\n  \n\r\ntwo\n", [b"one", b"two"]),
        (b"one\r\ntwo\n", [b"one\r", b"two"]),
        (b"\xef\xbb\xbf\r\none\n", [b"one"]),
        (b"0123456789\n", [b"0123456789"]),
        (b"0123456789a\nb\n", ["error", b"b"]),
        (b"x" * 1000 + b"\nb\n", ["error", b"b"]),
        (b"x" * 1000, ["error"]),
        (b"x" * 50 + b"\n" + b"y" * 50 + b"\nb", ["error", "error", b"b"]),
        (b"a\n" + b"x" * 50, [b"a", "error"]),
    ],
)
def test_lines_are_the_same_in_whatever_pieces_they_come(text: bytes, expected: list[bytes | str]) -> None:
    assert read_in([text]) == expected
    for size in range(1, len(text) + 1):
        assert read_in([text[start : start + size] for start in range(0, len(text), size)]) == expected


def test_a_line_is_a_number_where_a_sample_is_one_with_a_mark_or_without() -> None:
    """As scripts print it, and as editors begin a file."""
    lines = b"\xef\xbb\xbf21.5\n1013.250\r\n  -3\n1e3\n[4.5]\n\xef\xbb\xbf[5.5]\nON\n"
    readings = LineSplitter(100).feed(lines)
    one = Decode((1,), "float32")
    values = [decode(reading.payload, one, reading.content_type).samples.tolist() for reading in readings[:-1]]
    assert values == [[[21.5]], [[1013.25]], [[-3.0]], [[1000.0]], [[4.5]], [[5.5]]]
    with pytest.raises(DecodeError, match="not JSON"):
        decode(readings[-1].payload, one, readings[-1].content_type)


@given(st.lists(st.text("ab\n", max_size=30).map(str.encode), max_size=8))
def test_pieces_of_any_size_give_what_the_whole_gives(chunks: list[bytes]) -> None:
    assert read_in(chunks) == read_in([b"".join(chunks)])


def test_a_line_that_is_too_long_is_not_kept_in_memory() -> None:
    splitter = LineSplitter(1000)
    readings = [reading for _ in range(1000) for reading in splitter.feed(b"x" * 1000)]
    assert [bool(reading.error) for reading in readings] == [True]
    assert len(splitter._lines.rest) <= 2000
    assert splitter.feed(b"\nnext\n") == [Reading(b"next", "application/json")]


# ----------------------------------------------------------------- programs

Run = Callable[..., CommandRunner]


def runner_of(config: CommandSource, max_line_bytes: int, log: Log) -> CommandRunner:
    return CommandRunner(config, max_line_bytes, log, OwnProgram(config.command, uuid.uuid4().hex))


class Quiet(Log):
    """Keeps the events."""

    def __init__(self) -> None:
        super().__init__("test")
        self.events: list[tuple[str, dict[str, Any]]] = []

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        self.events.append((event, fields))


@pytest.fixture
def log() -> Quiet:
    return Quiet()


@pytest.fixture
def run(log: Quiet) -> Iterator[Run]:
    """Runs a piece of Python as the program."""
    runners: list[CommandRunner] = []

    def start(script: str, **options: Any) -> CommandRunner:
        options = {"restart_s": 0.01, "restart_max_s": 0.08} | options
        command = CommandSource((sys.executable, "-S", "-c", script), **options)
        runners.append(runner_of(command, 10_000, log))
        runners[-1].start()
        return runners[-1]

    yield start
    for runner in runners:
        runner.stop()


def wait_for_output(runner: CommandRunner) -> None:
    descriptor = runner.fileno()
    assert descriptor is not None
    assert select.select([descriptor], [], [], 10)[0]


def take(runner: CommandRunner, count: int) -> list[bytes]:
    """Turn as the worker's loop does until so many lines have come."""
    lines: list[bytes] = []
    deadline = time.monotonic() + 20
    while len(lines) < count:
        assert time.monotonic() < deadline
        descriptor, wake_in = runner.fileno(), runner.wake_in()
        select.select([descriptor] if descriptor is not None else [], [], [], wake_in)
        lines += [reading.payload for reading in runner.read()]
        runner.tick()
    return lines


def test_lines_of_a_program_are_readings(run: Run) -> None:
    assert take(run("print('[1]'); print('[2]')"), 2) == [b"[1]", b"[2]"]


def test_a_last_line_without_a_break_counts(run: Run) -> None:
    assert take(run("print('[1]', end='')"), 1) == [b"[1]"]


def test_a_program_that_ends_is_started_again_and_the_delay_grows_to_its_bound(run: Run, log: Quiet) -> None:
    runner = run("print('[1]')")
    delays: list[float] = []
    for _ in range(6):
        take(runner, 1)
        while runner.wake_in() is None:  # the line may come before the end
            wait_for_output(runner)
            runner.read()
        delays.append(runner.wake_in() or 0.0)
        take(runner, 0)
    assert [fields["status"] for event, fields in log.events if event == "source ended"] == [0] * 6
    # A delay is between a half and the whole of 0.01, 0.02, 0.04, 0.08, 0.08, …
    assert delays[0] <= 0.01 and delays[3] > 0.02
    assert max(delays) <= 0.08


def test_a_program_that_fails_is_logged_with_its_status(run: Run, log: Quiet) -> None:
    take(run("print('[1]', flush=True); import sys; sys.exit(3)"), 2)
    how = f"{sys.executable} ended with status 3"
    assert ("source ended", {"command": sys.executable, "status": 3, "reason": how}) in log.events


def test_a_program_that_cannot_be_started_is_tried_again(log: Quiet, tmp_path: Path) -> None:
    program = tmp_path / "program"
    runner = runner_of(CommandSource((str(program),), restart_s=0.001), 100, log)
    runner.start()
    assert runner.fileno() is None and runner.read() == []
    assert [event for event, _ in log.events] == ["cannot start the source"]
    program.write_text("#!/bin/sh\necho '[1]'\n")
    program.chmod(0o755)
    assert take(runner, 1) == [b"[1]"]
    runner.stop()


def test_stop_terminates_and_returns_what_was_printed(run: Run) -> None:
    """Whole lines: one that the end has cut in two is no sample."""
    runner = run("import os; os.write(1, b'[1]\\n[2]\\n[3')\nwhile True: pass")
    wait_for_output(runner)
    assert [reading.payload for reading in runner.stop()] == [b"[1]", b"[2]"]
    assert runner.fileno() is None and runner.wake_in() is None
    assert runner.stop() == [] == runner.read()


def test_what_a_program_says_when_it_is_told_to_end_is_returned(run: Run) -> None:
    script = (
        "import os, signal, sys, time\n"
        # os.write: the signal may come while print still holds its lock
        "signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'[9]\\n'), sys.exit(0)))\n"
        "print('[1]', flush=True)\n"
        "while True: time.sleep(60)"
    )
    runner = run(script)
    assert take(runner, 1) == [b"[1]"]
    assert [reading.payload for reading in runner.stop()] == [b"[9]"]


def test_a_program_that_does_not_listen_is_killed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maas_agent.worker.sources.program._TERMINATE_S", 0.1)
    script = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(os.getpid(), flush=True)\n"
        "while True: time.sleep(60)"
    )
    runner = run(script)
    (pid,) = take(runner, 1)
    runner.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def _pid(line: bytes) -> int:
    return int(line)


@pytest.mark.parametrize(
    "command",
    [
        "sh -c 'echo $$; exec sleep 600' | cat",
        "(sh -c 'echo $$; exec sleep 600' &) ; exec cat /dev/zero > /dev/null",
        "setsid sh -c 'echo $$; exec sleep 600' | cat",
        "timeout 600 sh -c 'echo $$; exec sleep 600' | cat",
        "setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' | cat",
        "env -i sh -c 'echo $$; exec sleep 600' | cat",
        "bash -c 'set -m; sh -c \"echo \\$\\$; exec sleep 600\" | cat'",
        "(setsid sh -c 'echo $$; exec sleep 600' < /dev/null &); exec sleep 600",
    ],
    ids=[
        "a reader before a filter",
        "in the background",
        "a session of its own",
        "timeout",
        "deaf",
        "no environment",
        "job control",
        "a daemon",
    ],
)
def test_everything_that_a_program_has_started_ends_with_it(
    log: Quiet, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """A reader that goes on keeps the device: the next program would wait for it."""
    monkeypatch.setattr("maas_agent.worker.sources.program._TERMINATE_S", 0.5 if "trap" in command else 10.0)
    runner = runner_of(CommandSource(("sh", "-c", command)), 100, log)
    runner.start()
    (line,) = take(runner, 1)
    assert alive(_pid(line))
    began = time.monotonic()
    runner.stop()
    assert not alive(_pid(line))
    assert "trap" in command or time.monotonic() - began < 9.0  # by SIGTERM, not by SIGKILL


def test_what_a_program_left_in_the_background_ends_before_it_is_started_again(log: Quiet) -> None:
    script = "sh -c 'exec > /dev/null; sleep 600' & echo $!"
    runner = runner_of(CommandSource(("sh", "-c", script), 0.01, 0.01), 100, log)
    runner.start()
    first, second = take(runner, 2)
    assert not alive(_pid(first))
    runner.stop()
    assert not alive(_pid(first)) and not alive(_pid(second))


def test_a_program_that_closes_its_output_and_goes_on_is_ended(run: Run, log: Quiet) -> None:
    """It is no source any more."""
    runner = run("import os, time\nprint('[1]', flush=True)\nos.close(1)\nwhile True: time.sleep(60)")
    take(runner, 2)
    how = f"{sys.executable} closed its output and went on: it was ended"
    assert ("source ended", {"command": sys.executable, "status": -signal.SIGTERM, "reason": how}) in log.events


def condition(runner: CommandRunner, state: str) -> SourceIs:
    """How it is, as soon as it is in this state."""
    deadline = time.monotonic() + 20
    while runner.condition.state != state:
        assert time.monotonic() < deadline, runner.condition
        descriptor, wake_in = runner.fileno(), runner.wake_in()
        select.select([descriptor] if descriptor is not None else [], [], [], wake_in)
        runner.read()
        runner.tick()
    return runner.condition


def test_a_source_says_how_it_is(run: Run, tmp_path: Path) -> None:
    runner = run("import time; time.sleep(0.2); print('[1]', flush=True); time.sleep(600)")
    assert runner.condition == SourceIs("waiting", "it has not printed a line yet")
    assert condition(runner, "running") == SourceIs("running")
    how = (
        f"{sys.executable} ended with status 7 without printing a line; what it printed on standard error is in the log"
    )
    assert condition(run("raise SystemExit(7)"), "failed").reason == how
    how = f"{sys.executable} was killed by SIGSEGV"
    broken = run("import os, signal; print('[1]', flush=True); os.kill(os.getpid(), signal.SIGSEGV)")
    assert condition(broken, "failed").reason == how
    assert "without printing a line, 3 times or more" in (condition(run("pass"), "failed").reason or "")


def test_a_program_that_is_silent_and_lives_is_well(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A door that nobody opens."""
    monkeypatch.setattr("maas_agent.worker.sources.command._HEALTHY_S", 0.3)
    runner = run("import time; time.sleep(600)")
    assert condition(runner, "running") == SourceIs("running")
    assert runner.wake_in() is None


def test_a_script_that_an_interpreter_cannot_find_is_the_reason(log: Quiet, tmp_path: Path) -> None:
    script = tmp_path / "read.py"
    runner = runner_of(CommandSource((sys.executable, str(script)), 0.01), 100, log)
    runner.start()
    reason = condition(runner, "failed").reason or ""
    assert f"ended with status 2: there is no {script}, which {sys.executable} is to run" in reason
    runner.stop()


def test_what_no_program_can_be_given_is_a_reason_too(log: Quiet) -> None:
    for command in (("a\0b",), ("",), ("/bin/echo", "a\0b"), ("/bin/echo", "x" * (1 << 22))):
        runner = runner_of(CommandSource(command), 100, log)
        runner.start()
        assert runner.condition.state == "failed" and runner.condition.reason
        runner.stop()


def test_a_program_inherits_no_descriptor_and_reads_nothing(run: Run) -> None:
    """Above all not the socket to the hub."""
    with open(os.devnull, "rb") as other:  # noqa: PTH123 - a descriptor is what this is about
        os.set_inheritable(other.fileno(), True)
        lines = take(run("import os, sys; print(sys.stdin.read() == '', os.listdir('/proc/self/fd'))"), 1)
    assert lines == [b"True ['0', '1', '2', '3']"]  # 3 is that of listdir itself


def test_the_configuration_says_which_source_runs_in_the_worker(log: Quiet) -> None:
    from maas_agent.config import MqttSource

    assert local_source(MqttSource(), 100, log, program_of(MqttSource(), "m", fork=False, close=())) is None
    source = CommandSource(("true",))
    assert isinstance(local_source(source, 100, log, program_of(source, "m", fork=False, close=())), CommandRunner)
