"""sd_notify(3): datagrams on a real socket."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from maas_agent.hub.system.systemd import ServiceManager

NAMES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


@pytest.fixture(autouse=True)
def _no_service_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind("\0" + name if request.param == "abstract" else name)
        end.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if request.param == "abstract" else name)
        yield end


def heard(end: socket.socket) -> list[str]:
    messages: list[str] = []
    try:
        while True:
            messages.append(end.recv(4096).decode())
    except BlockingIOError:
        return messages


def test_each_word_is_a_datagram(systemd: socket.socket) -> None:
    manager = ServiceManager()
    manager.ready()
    manager.alive()
    manager.status("serving digits")
    manager.stopping()
    assert heard(systemd) == ["READY=1", "WATCHDOG=1", "STATUS=serving digits", "STOPPING=1"]


def test_a_status_is_sent_when_it_changes(systemd: socket.socket) -> None:
    manager = ServiceManager()
    for text in ("one", "one", "two", "one"):
        manager.status(text)
    assert heard(systemd) == ["STATUS=one", "STATUS=two", "STATUS=one"]


def test_a_status_is_one_line_whatever_is_in_it(systemd: socket.socket) -> None:
    """A model's own words may be in it; behind a line break they would be another assignment."""
    ServiceManager().status("not digits (cannot be loaded:\nWATCHDOG=trigger\r\n)")
    (message,) = heard(systemd)
    assert message == "STATUS=not digits (cannot be loaded: WATCHDOG=trigger )"


def test_a_status_writes_to_no_terminal(systemd: socket.socket) -> None:
    """``systemctl status`` shows it as it is."""
    ServiceManager().status("not digits (\x1b]0;owned\x07\u202e\ud800)")
    assert heard(systemd) == ["STATUS=not digits (\\x1b]0;owned\\x07\\u202e\\ud800)"]


def test_without_systemd_nothing_happens() -> None:
    manager = ServiceManager()
    manager.ready()
    manager.status("x")
    assert manager.watchdog_s is None


def test_a_socket_that_is_gone_or_full_does_not_hold_anybody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    manager = ServiceManager()
    manager.alive()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(path)
        # Nobody reads: the queue fills long before.
        many = threading.Thread(target=lambda: [manager.alive() for _ in range(10_000)], daemon=True)
        many.start()
        many.join(20)
        assert not many.is_alive()
        end.setblocking(False)
        assert 0 < len(heard(end)) < 10_000


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("30000000", None, 30.0),
        ("500000", "mine", 0.5),
        ("30000000", "1", None),
        ("", None, None),
        ("soon", None, None),
    ],
)
def test_the_watchdog_is_that_of_this_process(
    monkeypatch: pytest.MonkeyPatch, usec: str, pid: str | None, seconds: float | None
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    if pid:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "mine" else pid)
    assert ServiceManager().watchdog_s == seconds
