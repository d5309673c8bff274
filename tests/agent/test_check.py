"""``maas-agent check`` where it meets what is broken; a device that is well is tested in tests/system."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from maas_agent.check import check
from tests.bundles import make_bundle


class Peer:
    """A server on the loopback that says one thing to whoever connects, and hangs up."""

    def __init__(self, words: bytes) -> None:
        self._words = words
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            # A client that gave up may leave its connection open and silent: that must not hold the end of a test.
            client.settimeout(2.0)
            with client, contextlib.suppress(OSError):
                client.recv(1 << 16)
                client.sendall(self._words)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def deaf() -> Iterator[Peer]:
    """A broker that hangs up without a word."""
    peer = Peer(b"")
    yield peer
    peer.close()


def findings(
    folder: Path, broker: Peer, more: str, capsys: pytest.CaptureFixture[str]
) -> tuple[int, dict[str, dict[str, Any]]]:
    config = folder / "agent.toml"
    config.write_text(
        f'[device]\nid = "d"\n[store]\npath = "{folder}/store"\n[broker]\nurl = "mqtt://127.0.0.1:{broker.port}"\n'
        f'protocol = "5"\nreconnect_max_s = 0.01\n{more}'
    )
    status = check(config, as_json=True)
    return status, {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)}


def test_a_broker_that_hangs_up_is_told_with_what_to_try(
    tmp_path: Path, deaf: Peer, capsys: pytest.CaptureFixture[str]
) -> None:
    status, found = findings(tmp_path, deaf, "", capsys)
    assert status == 69
    assert not found["broker"]["passed"] and "mosquitto_sub" in found["broker"]["mend"]
    assert [name for name in found if not found[name]["passed"]] == ["broker"]


@pytest.mark.parametrize(
    "words",
    [b"", b"garbage\r\n\r\n", b"HTTP/1.1 404 Not Found\r\n\r\n"],
    ids=["silence", "garbage", "404"],
)
def test_a_repository_that_does_not_answer_as_one_is_told(
    tmp_path: Path, deaf: Peer, capsys: pytest.CaptureFixture[str], words: bytes
) -> None:
    server = Peer(words)
    (tmp_path / "root.json").write_text("{}")
    more = f'[repository]\nurl = "http://127.0.0.1:{server.port}"\nroot = "{tmp_path}/root.json"\n'
    _, found = findings(tmp_path, deaf, more, capsys)
    server.close()
    assert found["repository root"]["passed"]
    assert not found["repository"]["passed"] and "curl" in found["repository"]["mend"]


@pytest.mark.parametrize("url", ["http://with space/", "nonsense", "http://[::1", "http://127.0.0.1:port/"])
def test_a_repository_url_that_is_none_is_told(
    tmp_path: Path, deaf: Peer, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    _, found = findings(tmp_path, deaf, f'[repository]\nurl = "{url}"\nroot = "/none"\n', capsys)
    assert not found["repository"]["passed"]
    assert not found["repository root"]["passed"]


def test_a_bundle_is_there_or_is_told(tmp_path: Path, deaf: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = make_bundle(tmp_path / "a.maas")
    pipelines = "".join(
        f'[[pipeline]]\nname = "{name}"\nbundle = "{path}"\n'
        for name, path in (("there", bundle), ("missing", tmp_path / "none.maas"), ("folder", tmp_path))
    )
    _, found = findings(tmp_path, deaf, pipelines, capsys)
    assert found["bundle of there"]["passed"]
    assert not found["bundle of missing"]["passed"] and "No such file" in found["bundle of missing"]["found"]
    assert not found["bundle of folder"]["passed"] and "directory" in found["bundle of folder"]["found"]
