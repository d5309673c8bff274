"""A short-lived process of the hub: however much it is told, and however it ends, the hub goes on."""

import os
from collections.abc import Iterator

import pytest

from maas_agent.hub.system.job_process import JobProcess
from maas_agent.hub.system.loop import Loop

MODULE = "tests.agent.hub.system.jobs"
LARGE = 5 << 20
"""More than a socket takes at once."""


class Told:
    """What a job process said, and how it ended."""

    def __init__(self, loop: Loop, job: bytes) -> None:
        self.said, self.how = b"", ""
        self._loop = loop
        self.process = JobProcess(loop, MODULE, job, 60.0, self._hear, self._end)

    def _hear(self, chunk: bytes) -> None:
        self.said += chunk
        if chunk.endswith(b"\n"):
            self._loop.stop()

    def _end(self, how: str) -> None:
        self.how = how
        self._loop.stop()


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _finds_the_tests(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setenv("PYTHONPATH", str(request.config.rootpath), prepend=os.pathsep)


def test_a_job_that_is_larger_than_a_socket_is_told_while_the_loop_turns(loop: Loop) -> None:
    job = b"count " + b"x" * LARGE + b"\n"
    told = Told(loop, job)
    loop.run()
    assert (told.said, told.how) == (str(len(job)).encode(), "exited with 0")


def test_one_that_never_listens_holds_nobody_up(loop: Loop) -> None:
    told = Told(loop, b"deaf " + b"x" * LARGE)
    loop.run()
    assert told.said == b"deaf\n"
    told.process.kill()
    loop.run()
    assert told.how == "was killed by SIGKILL"


def test_what_is_said_to_one_that_has_just_been_killed_is_lost_with_it(loop: Loop) -> None:
    """It had announced a step, and is dead when the hub says go: that ended the hub."""
    told = Told(loop, b"announce " + b"x" * LARGE)
    loop.run()
    assert told.said == b"announced\n"
    if not told.how:  # else its end was in the same turn
        os.waitid(os.P_PID, told.process.pid, os.WEXITED | os.WNOWAIT)
        told.process.send(b"go\n" * 1000)
        loop.run()
    assert told.how == "was killed by SIGKILL"
    told.process.send(b"go\n")  # and afterwards
