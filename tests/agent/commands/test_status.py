"""``maas-agent status`` against a real control socket; with a real agent it is tested in tests/system."""

import json
import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from maas_agent.commands.install import roll_back
from maas_agent.commands.status import show_status
from maas_agent.errors import ConfigError, UnavailableError
from maas_agent.hub.api import control_client, control_socket
from maas_agent.hub.api.control_socket import ControlSocket
from maas_agent.hub.system.loop import Loop
from maas_agent.hub.system.store_folder import own
from tests.system.device import wait_until

SLOT = {"version": "1.0.0", "digest": "d" * 64}


def pipeline(**fields: Any) -> dict[str, Any]:
    return {
        "pipeline": "digits",
        "serving": True,
        "active": SLOT,
        "candidate": None,
        "accelerator": "cpu",
        "threads": 2,
        "options": {},
        "replicas": {"wanted": 1, "ready": 1},
        "quarantine": [],
        "trials": [],
        "trouble": None,
        "source": None,
        "update": {"state": "active", "version": "1.0.0", "reason": None, "shadow": None, "probation": None},
        "counters": {"answered": 7, "errors": {"empty": 1, "bad_json": 2}, "worker_restarts": 3},
    } | fields


def status(*pipelines: dict[str, Any], connected: bool = True, trouble: str | None = None) -> dict[str, Any]:
    outbox = {"results": 4, "bytes": 999, "dropped": 5}
    return {
        "device": "dev",
        "connected": connected,
        "broker": "mqtt://h",
        "trouble": trouble,
        "outbox": outbox,
        "alarms": [],
        "pipelines": [*pipelines],
    }


class Agent:
    """A loop with a control socket, on a thread; ``says`` is what it describes itself as."""

    def __init__(self, store: Path) -> None:
        self.says: dict[str, Any] = status()
        self.config = store / "agent.toml"
        self.config.write_text(f'[device]\nid = "dev"\n[store]\npath = "{store}"\n')
        self.loop = Loop()
        handlers = {"status": lambda _request, finish: finish(None, self.says)}
        self.door = ControlSocket(self.loop, store, handlers)
        self._thread = threading.Thread(target=self.loop.run)
        self._thread.start()

    def stop(self) -> None:
        self.loop.call(self.loop.stop)
        self._thread.join()
        self.door.close()
        self.loop.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path)
    yield agent
    agent.stop()


def test_a_device_that_is_well_is_0_and_shown(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    agent.says = status(pipeline())
    assert show_status(agent.config, as_json=False) == 0
    assert capsys.readouterr().out.splitlines() == [
        "dev: connected to mqtt://h; 4 results waiting (999 bytes), 5 dropped",
        "  digits: serving, 1.0.0 (dddddddddddd), cpu, 2 threads",
        "    7 answered, 3 errors, 3 restarts",
        "    update: active 1.0.0",
    ]


def test_a_device_that_is_not_well_is_1_and_says_why(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    trouble = pipeline(
        serving=False,
        active=None,
        accelerator=None,
        trouble="waiting for the first bundle",
        update={"state": "failed", "version": None, "reason": "no server", "shadow": None, "probation": None},
    )
    agent.says = status(pipeline(), trouble)
    assert show_status(agent.config, as_json=False) == 1
    shown = capsys.readouterr().out
    assert "NOT serving (waiting for the first bundle), no bundle" in shown
    assert "update: failed : no server" in shown
    agent.says = status(pipeline(), connected=False)
    assert show_status(agent.config, as_json=True) == 1
    assert json.loads(capsys.readouterr().out) == agent.says


def test_an_alarm_is_1_and_shown(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    agent.says = status(pipeline()) | {"alarms": ["the outbox cannot be written: database or disk is full"]}
    assert show_status(agent.config, as_json=False) == 1
    assert "  ALARM: the outbox cannot be written: database or disk is full" in capsys.readouterr().out.splitlines()


def test_a_source_that_has_failed_is_1_and_shown(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    failed = {"state": "failed", "reason": "there is no /usr/local/bin/reader"}
    alarm = "the source of pipeline digits has failed: there is no /usr/local/bin/reader"
    agent.says = status(pipeline(source=failed)) | {"alarms": [alarm]}
    assert show_status(agent.config, as_json=False) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"  ALARM: {alarm}"
    assert lines[4] == "    source: FAILED: there is no /usr/local/bin/reader"
    agent.says = status(pipeline(source={"state": "running", "reason": None}))
    assert show_status(agent.config, as_json=False) == 0
    assert capsys.readouterr().out.splitlines()[3] == "    source: running"


def test_the_trial_table_and_the_quarantine_are_shown(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"options": {}, "p50_ms": 0.5, "p99_ms": 1.25, "peak_bytes": 64 << 20, "deviation": 0.001, "refused": None}
    cpu = row | {"accelerator": "cpu", "threads": 2, "accelerated": None}
    gpu = row | {"accelerator": "gpu", "threads": 1, "accelerated": 0.75, "p50_ms": 0.25}
    npu = row | {"accelerator": "npu", "threads": 1, "accelerated": None, "p50_ms": None, "refused": "there is none"}
    rest = {"accelerator": "gpu", "tried_again": "2026-01-01T00:00:00Z", "reason": "its workers died twice"}
    agent.says = status(
        pipeline(trials=[cpu, gpu, npu], quarantine=[rest], replicas={"wanted": 3, "ready": 2}),
    )
    assert show_status(agent.config, as_json=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("cpu, 2 threads, 2 of 3 replicas")
    assert "    quarantine: gpu until 2026-01-01T00:00:00Z: its workers died twice" in lines
    table = lines[-4:]
    assert table[0].split() == [
        "accelerator",
        "threads",
        "p50",
        "ms",
        "p99",
        "ms",
        "peak",
        "MiB",
        "deviation",
        "accelerated",
    ]
    assert table[1].split() == ["*", "cpu", "2", "0.500", "1.250", "64.0", "0.001", "-"]
    assert table[2].split() == ["gpu", "1", "0.250", "1.250", "64.0", "0.001", "75%"]
    assert table[3].endswith("refused: there is none")


def test_a_long_status_arrives_whole(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    agent.says = status(*[pipeline() for _ in range(5000)])
    assert show_status(agent.config, as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == agent.says


def test_an_agent_that_is_asked_by_too_many_says_so(agent: Agent) -> None:
    """None of them reads: they cost the agent eight descriptors and no more."""
    agent.says = status(*[pipeline() for _ in range(5000)])
    with ExitStack() as stack:
        for _ in range(8):
            idle = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            idle.connect(str(agent.config.with_name("control.sock")))
            idle.sendall(b'{"do": "status"}\n')
            assert idle.recv(1)
        with pytest.raises(UnavailableError, match="asked too often"):
            show_status(agent.config, as_json=False)


def test_an_agent_that_was_killed_left_a_socket_and_does_not_answer(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    agent.loop.call(agent.loop.stop)
    agent._thread.join()
    agent.door._listener.close()  # as a kill would: the file stays
    with pytest.raises(UnavailableError, match="no agent runs here"):
        show_status(agent.config, as_json=False)
    again = Agent(tmp_path)  # and the next agent takes its place
    again.says = status(pipeline())
    assert show_status(again.config, as_json=False) == 0
    again.stop()
    assert not (tmp_path / "control.sock").exists()


def test_what_is_on_probation_and_in_the_shadow_is_shown(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    figures = {"samples": 12, "wanted": 500, "agreement": 0.9167, "latency_ratio": 1.234}
    probation = {
        "until": "2026-11-25T20:00:00.000Z",
        "answers": 70,
        "errors": 2,
        "crashes": 1,
        "waits_for_samples": True,
    }
    update = {"state": "probation", "version": "2.0.0", "reason": None, "shadow": figures, "probation": probation}
    agent.says = status(pipeline(candidate={"version": "2.0.0", "digest": "e" * 64}, update=update))
    assert show_status(agent.config, as_json=False) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == "digits: serving, 2.0.0 (eeeeeeeeeeee), cpu, 2 threads"
    assert lines[3:] == [
        "update: probation 2.0.0",
        "shadow: 12 of 500 inputs compared, 91.7% agree, 1.23 times the latency",
        "probation until 2026-11-25T20:00:00.000Z: 70 answers, 2 errors, 1 crashes; "
        "it goes on until the source gives a sample",
    ]


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"\xff\n", "this is no JSON object"),
        (b"[]\n", "this is no JSON object"),
        (b"[" * 4000 + b"\n", "this is no JSON object"),
        (b'{"do": "reboot"}\n', "unknown request: this agent knows status"),
        (b'{"do": ["status"]}\n', "unknown request: this agent knows status"),
    ],
)
def test_a_request_that_is_none_is_answered_with_the_reason(agent: Agent, said: bytes, answer: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.connect(str(agent.config.with_name("control.sock")))
        door.sendall(said)
        assert json.loads(b"".join(iter(lambda: door.recv(65536), b""))) == {"reason": answer}


def test_who_talks_without_end_is_let_go(agent: Agent) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.connect(str(agent.config.with_name("control.sock")))
        with pytest.raises(OSError):
            while True:
                door.sendall(b"x" * 65536)
    agent.says = status(pipeline())
    assert show_status(agent.config, as_json=True) == 0


def test_only_the_agents_own_user_and_group_may_ask(agent: Agent) -> None:
    assert agent.config.with_name("control.sock").stat().st_mode & 0o777 == 0o660


def test_a_store_whose_path_is_too_long_for_a_socket_is_a_configuration_error(tmp_path: Path) -> None:
    store = tmp_path / ("x" * 100)
    store.mkdir()
    loop = Loop()
    with pytest.raises(ConfigError, match=r"store\.path: cannot make"):
        ControlSocket(loop, store, dict)
    loop.close()


def test_what_a_person_has_to_mend_is_shown_although_it_is_connected(
    agent: Agent, capsys: pytest.CaptureFixture[str]
) -> None:
    agent.says = status(pipeline(), trouble="another client uses the client id maas-dev")
    assert show_status(agent.config, as_json=False) == 0
    assert "\n  WARNING: another client uses the client id maas-dev\n" in capsys.readouterr().out


def test_a_warning_is_no_failure_and_an_error_is(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    """The one list: errors first, and what does not serve is told where its pipeline is."""
    warning = {"severity": "warning", "code": "connection", "text": "two devices", "since": "2026-12-01T10:00:00.000Z"}
    down = {"severity": "error", "code": "not_serving", "text": "digits does not serve: it died", "since": ""}
    error = {"severity": "error", "code": "outbox", "text": "disk full", "since": "2026-12-01T10:00:00.000Z"}
    said = status(pipeline())
    del said["trouble"]
    agent.says = said | {"alarms": [warning, {"severity": "odd"}, 7]}
    assert show_status(agent.config, as_json=False) == 0
    assert "\n  WARNING: two devices\n" in capsys.readouterr().out
    agent.says = said | {"alarms": [warning, error, down]}
    assert show_status(agent.config, as_json=False) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == ["  ALARM: disk full", "  WARNING: two devices"]
    assert "does not serve" not in "\n".join(lines)


def test_a_request_may_name_hundreds_of_pipelines(agent: Agent) -> None:
    """As ``install`` does for all that run a model; and the folder of a store that is made is for nobody else."""
    request = {"do": "status", "pipelines": [f"{number:03}-{'n' * 60}" for number in range(500)]}
    assert control_client.ask(agent.config.parent, request, 10) == agent.says


def test_a_store_that_is_made_is_closed_to_others(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        os.close(own(tmp_path / "made"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o750


@pytest.mark.parametrize(
    "said",
    [b"[]\n", b"null\n", b'{"connected": 1}\n', b"[" * 100_000, b'{"pipelines": {"a": 1}, "alarms": 5}\n', b"\xff"],
)
def test_what_answers_there_may_be_anything(tmp_path: Path, said: bytes) -> None:
    """Root asks whatever the agent's user lets listen: it gets a sentence, and no traceback."""
    (tmp_path / "agent.toml").write_text(f'[device]\nid = "dev"\n[store]\npath = "{tmp_path}"\n')
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()

        def answer() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        for ask in (
            lambda: show_status(tmp_path / "agent.toml", as_json=False),
            lambda: roll_back(tmp_path / "agent.toml", "digits", "why", as_json=False),
        ):
            with pytest.raises(UnavailableError, match=r"no maas-agent|ended while it answered"):
                ask()
        thread.join()


def test_a_request_is_carried_out_once_whatever_follows_it(agent: Agent) -> None:
    """A line break after it, and another one, are no further requests, while its answer takes time."""
    asked, finish = threading.Semaphore(0), list[Any]()

    def slowly(_request: object, finished: Any) -> None:
        finish.append(finished)
        asked.release()

    agent.door._handlers["slowly"] = slowly
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(agent.config.parent / "control.sock"))
        client.sendall(b'{"do": "slowly"}\n')
        assert asked.acquire(timeout=60)
        for _ in range(20):
            client.sendall(b"\n")
            control_client.ask(agent.config.parent, {"do": "status"}, 60.0)  # the loop has turned
        agent.loop.call(lambda: finish[0](None, {"done": True}))
        client.settimeout(60)
        assert json.loads(client.recv(65536)) == {"done": True} and len(finish) == 1


def test_who_does_not_take_its_answer_keeps_nobody_out(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight who ask and do not listen would be all that the agent speaks to."""
    monkeypatch.setattr(control_socket, "_TAKEN_S", 0.2)
    agent.says = status() | {"more": "x" * (4 << 20)}
    with ExitStack() as stack:
        for _ in range(8):
            client = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            client.connect(str(agent.config.parent / "control.sock"))
            client.sendall(b'{"do": "status"}\n')

        def is_answered() -> bool:
            try:
                return bool(control_client.ask(agent.config.parent, {"do": "status"}, 60.0))
            except UnavailableError:
                return False

        wait_until(is_answered, "it speaks to nobody any more")
