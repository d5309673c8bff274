"""``maas-agent check`` where it meets what is broken; a device that is well is tested in tests/system."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maas_agent.checks.clock import server_time
from maas_agent.checks.machine import PipelineSetup, accelerators, runtimes
from maas_agent.checks.store import store
from maas_agent.checks.store import store as store_finding
from maas_agent.commands.check import check
from maas_agent.config import load_config, unprotected
from maas_agent.errors import ConfigError
from maas_agent.hub.api.control_socket import NAME
from maas_agent.runtime.setup import Setup
from tests.bundles import make_bundle
from tests.system.repositories import Repository


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
    assert [name for name in found if found[name]["passed"] is False] == ["broker"]


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


def test_a_login_page_in_place_of_a_repository_is_told_and_no_token(
    tmp_path: Path, deaf: Peer, capsys: pytest.CaptureFixture[str]
) -> None:
    page = b"<html><title>Plant WiFi</title></html>"
    server = Peer(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b" % (len(page), page))
    more = f'[repository]\nurl = "http://127.0.0.1:{server.port}/?token=s3cret"\nroot = "/none"\nusername = "dev"\n'
    _, found = findings(tmp_path, deaf, more, capsys)
    server.close()
    row = found["repository"]
    assert row["passed"] is False and 'a web page ("Plant WiFi") came instead of timestamp.json' in row["found"]
    assert "captive portal" in row["found"] and "s3cret" not in json.dumps(found)
    assert row["mend"].endswith(f"curl -fsS -u dev 'http://127.0.0.1:{server.port}/metadata/timestamp.json?…'")


def test_a_bundle_is_there_or_is_told(tmp_path: Path, deaf: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = make_bundle(tmp_path / "a.maas")
    pipelines = "".join(
        f'[[pipeline]]\nname = "{name}"\nbundle = "{path}"\n'
        for name, path in (("there", bundle), ("missing", tmp_path / "none.maas"), ("folder", tmp_path))
    )
    _, found = findings(tmp_path, deaf, pipelines, capsys)
    assert found["bundle of there"]["passed"] and "digits 1.0.0" in found["bundle of there"]["found"]
    assert not found["bundle of missing"]["passed"] and "No such file" in found["bundle of missing"]["found"]
    assert not found["bundle of folder"]["passed"] and "is a folder" in found["bundle of folder"]["found"]


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts an empty file system in memory with the options that are given."""
    folders: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / f"mounted-{len(folders)}"
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True)
        if done.returncode:
            pytest.skip(f"only root may mount: {done.stderr.decode().strip()}")
        folders.append(folder)
        return folder

    yield mount
    for folder in folders:
        subprocess.run(["umount", folder], check=True)


def test_a_store_on_a_read_only_mount_is_told_with_its_mount_point(mounted: Callable[[str], Path]) -> None:
    folder = mounted("ro,size=128m")
    found = store(folder / "store")
    assert found.passed is False and "Read-only file system" in found.found
    assert found.mend is not None and f"remount,rw {folder} " in found.mend


def test_a_full_disk_is_told_whatever_its_permissions(mounted: Callable[[str], Path]) -> None:
    folder = mounted("size=1m")
    with pytest.raises(OSError, match="No space left"):
        (folder / "large").write_bytes(bytes(2 << 20))
    found = store(folder)
    assert found.passed is False and "No space left on device" in found.found
    assert found.mend is not None and str(folder) in found.mend


def test_little_space_and_few_files_are_told_before_there_are_none(mounted: Callable[[str], Path]) -> None:
    small = store(mounted("size=32m"))
    assert small.passed is False and "MiB free" in small.found and "du -xhd1" in (small.mend or "")
    few = store(mounted("size=128m,nr_inodes=500"))
    assert few.passed is False and "files more" in few.found and "df -i" in (few.mend or "")
    assert store(mounted("size=128m")).passed is True


def test_a_store_says_how_much_its_bundles_take_and_keeps_nothing_of_the_check(tmp_path: Path) -> None:
    assert "no bundles yet" in store(tmp_path / "store").found
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "a").write_bytes(bytes(3 << 20))
    assert "bundles take 3.0 MiB" in store(tmp_path).found
    assert [path.name for path in tmp_path.iterdir()] == ["blobs"]
    assert not (tmp_path / "store").exists()


def test_a_store_whose_path_is_too_long_for_its_socket_is_told() -> None:
    """Where the socket can be made there is nothing to tell, where it cannot there is."""
    with tempfile.TemporaryDirectory(dir="/tmp") as base, socket.socket(socket.AF_UNIX) as door:
        most, beyond = (Path(base) / ("x" * (length - len(f"{base}//{NAME}"))) for length in (107, 108))
        beyond.mkdir()
        most.mkdir()
        with pytest.raises(OSError, match="too long"):
            door.bind(str(beyond / NAME))
        door.bind(str(most / NAME))
        assert store(most).passed is True
        found = store(beyond)
    assert found.passed is False
    assert "108 bytes" in found.found and "store.path" in (found.mend or "")


def test_a_store_where_a_file_is_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    found = store(tmp_path / "store")
    assert found.passed is False and "Not a directory" in found.found


class Clocks:
    """A repository's files behind a server whose clock is ``ahead_s`` ahead."""

    def __init__(self, folder: Path, ahead_s: float) -> None:
        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *words: Any, **options: Any) -> None:
                super().__init__(*words, directory=str(folder), **options)

            def date_time_string(self, timestamp: float | None = None) -> str:
                return super().date_time_string(int(time.time() + ahead_s) if timestamp is None else int(timestamp))

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize(
    ("ahead_s", "words"), [(3600, "s behind the repository's server"), (-3600, "s ahead of"), (0, "as the repository")]
)
def test_a_clock_that_is_not_the_repositorys_is_told(
    tmp_path: Path, deaf: Peer, capsys: pytest.CaptureFixture[str], ahead_s: float, words: str
) -> None:
    repository = Repository(tmp_path / "published")
    server = Clocks(repository.folder, ahead_s)
    more = f'[repository]\nurl = "{server.url}"\nroot = "{repository.root}"\n'
    _, found = findings(tmp_path, deaf, more, capsys)
    server.close()
    repository.close()
    assert found["clock"]["passed"] is (ahead_s == 0) and words in found["clock"]["found"]
    assert "timedatectl" in found["clock"]["mend"] if ahead_s else found["clock"]["mend"] is None
    assert found["repository"]["passed"]


def test_the_time_of_an_answer_from_a_cache_is_as_old_as_the_cache_says() -> None:
    cached = server_time("Thu, 01 Jan 2026 00:00:00 GMT", "120", 1_767_225_720.0, 1_767_225_721.0)
    assert cached is not None and cached.skew_s == 0
    for date, age in ((None, None), ("yesterday", None), ("Thu, 01 Jan 2026 00:00:00 GMT", "old")):
        assert server_time(date, age, 0.0, 0.0) is None


def test_a_repository_is_verified_with_the_root_of_this_device(
    tmp_path: Path, deaf: Peer, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, other = Repository(tmp_path / "ours"), Repository(tmp_path / "other")
    ours.publish("digits", "1.0.0", seed=0)
    _, found = findings(tmp_path, deaf, ours.settings, capsys)
    assert found["repository"]["passed"] and "1 bundle" in found["repository"]["found"]
    _, found = findings(tmp_path, deaf, ours.settings.replace(str(ours.root), str(other.root)), capsys)
    assert found["repository root"]["passed"] and not found["repository"]["passed"]
    assert "not to be trusted" in found["repository"]["found"] and "root.json" in found["repository"]["mend"]
    assert not (tmp_path / "store").exists()
    ours.close()
    other.close()


BROKEN = {
    "SIGILL": ("import os, signal\nos.kill(os.getpid(), signal.SIGILL)", "crashes (SIGILL)", "pip install"),
    "SIGSEGV": ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "crashes (SIGSEGV)", "pip install"),
    "numpy": (
        "raise ImportError('numpy.core.multiarray failed to import')",
        "does not load with this NumPy",
        "pip install 'numpy<2'",
    ),
    "first model": (
        "class Interpreter:\n    def __init__(self, **_): raise SystemError('CreateWrapperFromFile')",
        "CreateWrapperFromFile",
        "pip install",
    ),
    "missing": ("raise ImportError('libfoo.so.1: cannot open shared object file')", "libfoo.so.1", "pip install"),
    "exit": ("import os\nos._exit(3)", "ended with status 3", "pip install"),
}


@pytest.fixture
def litert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a package in LiteRT's place, for child processes: what its interpreter module does is given."""

    def replace(code: str) -> None:
        package = tmp_path / "packages" / "ai_edge_litert"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "interpreter.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", f"{package.parent}:{os.environ.get('PYTHONPATH', '')}")

    return replace


@pytest.mark.parametrize("case", BROKEN)
def test_a_library_that_breaks_is_a_sentence_with_what_to_type(case: str, litert: Callable[[str], None]) -> None:
    code, words, mend = BROKEN[case]
    litert(code)
    (found,) = runtimes([PipelineSetup("p", Setup("auto", library="ai-edge-litert"))])
    assert found.passed is False and words in found.found and "ai-edge-litert" in found.found
    assert found.mend is not None and found.mend.startswith(mend)


def test_a_library_that_only_imports_with_this_numpy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if int(np.__version__.partition(".")[0]) < 2:
        pytest.skip("NumPy 1: tflite-runtime is at home here")
    (tmp_path / "tflite_runtime").mkdir()
    (tmp_path / "tflite_runtime" / "interpreter.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    (found,) = runtimes([PipelineSetup("p", Setup("auto", library="tflite-runtime"))])
    assert found.passed is False and "NumPy" in found.found and found.mend == "pip install 'numpy<2'"


def test_a_library_that_hangs_is_given_up(litert: Callable[[str], None]) -> None:
    litert("while True: pass")
    (found,) = runtimes([], seconds=1.0)
    assert found.passed is False and "no answer within 1 s" in found.found


def test_a_library_that_a_pipeline_asks_for_has_a_row_of_its_own() -> None:
    auto, other = runtimes(
        [PipelineSetup("a", Setup("auto")), PipelineSetup("b", Setup("auto", library="tflite-runtime"))]
    )
    assert auto.name == "runtime auto" and auto.passed and auto.found.startswith("ai-edge-litert ")
    assert other.name == "runtime tflite-runtime"
    assert other.passed or "tflite-runtime" in (other.mend or "")


def rows(*asked: PipelineSetup) -> dict[str, Any]:
    return {finding.name: finding for finding in accelerators(asked)}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose Vulkan driver is gone."""
    monkeypatch.setenv("VK_DRIVER_FILES", "/none.json")
    monkeypatch.setenv("VK_ICD_FILENAMES", "/none.json")


@pytest.mark.usefixtures("bare")
def test_a_missing_accelerator_fails_only_if_a_pipeline_names_it() -> None:
    found = rows(PipelineSetup("digits", Setup("auto")))
    assert found["cpu"].passed is True
    assert found["gpu"].passed is None and found["gpu"].found.startswith("not here: ") and found["gpu"].mend
    found = rows(PipelineSetup("digits", Setup("gpu")))
    assert found["gpu"].passed is False and "pipeline digits asks for it" in found["gpu"].found and found["gpu"].mend


@pytest.mark.usefixtures("bare")
def test_what_nobody_asks_for_does_not_fail_the_check(
    tmp_path: Path, deaf: Peer, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = f'[[pipeline]]\nname = "p"\nbundle = "{make_bundle(tmp_path / "a.maas")}"\n'
    findings(tmp_path, deaf, pipeline, capsys)
    assert check(tmp_path / "agent.toml", as_json=False) == 69
    shown = capsys.readouterr().out.splitlines()
    (failed,) = (line for line in shown if line.startswith("FAIL"))
    assert failed.startswith("FAIL broker: ")
    (gpu,) = (at for at, line in enumerate(shown) if line.startswith("--   gpu: not here: "))
    assert shown[gpu + 1].startswith("       -> ")


def test_a_delegate_that_a_pipeline_names_is_looked_for_at_its_path(tmp_path: Path) -> None:
    library = tmp_path / "libmine.so"
    name = f"delegate:{library}"
    assert rows(PipelineSetup("p", Setup(name)))[name].passed is False
    library.write_bytes(b"")
    assert rows(PipelineSetup("p", Setup(name)))[name].passed is True


def test_an_option_that_an_accelerator_does_not_have_is_told() -> None:
    found = rows(PipelineSetup("digits", Setup("cpu", options={"colour": "red"})))["cpu"]
    assert found.passed is False and "colour" in found.found and "pipeline digits" in found.found


def test_a_configuration_that_is_wrong_is_said_with_line_and_key(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('[device]\nid = "d"\n[brokr]\n')
    with pytest.raises(ConfigError, match=r"line 3.*brokr"):
        check(tmp_path / "agent.toml", as_json=False)
    assert ConfigError.exit_code == 78


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of two users")
class TestAStoreOfTwoUsers:
    """Root tried ``maas-agent run`` once, and the service's user starts afterwards."""

    USER = 65534

    @pytest.fixture
    def store(self) -> Iterator[Path]:
        # Not pytest's folder, which is for its own user only.
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            (Path(folder) / "store").mkdir()
            os.chown(Path(folder) / "store", self.USER, self.USER)
            yield Path(folder) / "store"

    def _run(self, store: Path, *, user: int) -> subprocess.CompletedProcess[str]:
        """``maas-agent run`` until it has taken the store, or ended before.

        Everything is imported by root: another user may not even read this Python.
        """
        config = store.parent / "agent.toml"
        config.write_text(f'[device]\nid = "d"\n[store]\npath = "{store}"\n[broker]\nurl = "mqtt://127.0.0.1:1"\n')
        program = """
import os, sys
from pathlib import Path
from maas_agent import cli, config
from maas_agent.hub import hub
from maas_agent.hub.system import loop
settings, user = config.load_config(Path(sys.argv[1])), int(sys.argv[2])
config.load_config, loop.Loop.run = lambda _path: settings, lambda _self: None
os.setgroups([])
os.setgid(user)
os.setuid(user)
os._exit(cli.main(["run", "--config", sys.argv[1]]))
"""
        command = [sys.executable, "-c", program, str(config), str(user)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/")

    def test_run_and_check_name_the_file_its_owner_and_what_to_type(self, store: Path) -> None:
        assert self._run(store, user=0).returncode == 0
        refused = self._run(store, user=self.USER)
        assert refused.returncode == 78
        assert f"{store}/" in refused.stderr
        assert f"belongs to root, and nobody cannot use it. Type: sudo chown -hR nobody: {store}" in refused.stderr
        found = store_finding(store)
        assert found.passed is False and "belongs to root, and nobody cannot use it" in found.found
        assert found.mend == f"sudo chown -hR nobody: {store}"

    def test_what_is_said_to_be_typed_mends_it(self, store: Path) -> None:
        self._run(store, user=0)
        subprocess.run((store_finding(store).mend or "").removeprefix("sudo ").split(), check=True)
        assert self._run(store, user=self.USER).returncode == 0
        assert store_finding(store).passed is True


# ----------------------------------------------------------------- programs of sources


def reader_of(folder: Path, command: list[str]) -> str:
    bundle = make_bundle(folder / "digits.maas", "digits", "1.0.0")
    return (
        f'[[pipeline]]\nname = "p"\nbundle = "{bundle}"\nallow_unsigned = true\n'
        f'[pipeline.source]\ntype = "command"\ncommand = {json.dumps(command)}\n'
    )


def test_a_source_whose_program_cannot_be_started_is_told_with_what_to_type(
    tmp_path: Path, deaf: Peer, capsys: pytest.CaptureFixture[str]
) -> None:
    reader = tmp_path / "reader"
    reader.write_text("#!/bin/sh\r\n")
    reader.chmod(0o755)
    status, found = findings(tmp_path, deaf, reader_of(tmp_path, [str(reader)]), capsys)
    assert status == 69 and found["source of p"]["passed"] is False
    assert "Windows line ends" in found["source of p"]["found"] and "sed -i" in found["source of p"]["mend"]
    reader.write_text("#!/bin/sh\n")
    assert findings(tmp_path, deaf, reader_of(tmp_path, [str(reader)]), capsys)[1]["source of p"]["passed"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: asks as another user")
def test_a_program_is_looked_at_as_whoever_owns_the_store(deaf: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    """Root may run what the service may not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        reader = Path(folder) / "reader"
        reader.write_text("#!/bin/sh\n")
        reader.chmod(0o744)
        (Path(folder) / "store").mkdir()
        more = reader_of(Path(folder), [str(reader)])
        assert findings(Path(folder), deaf, more, capsys)[1]["source of p"]["passed"]
        os.chown(Path(folder) / "store", 65534, 65534)
        found = findings(Path(folder), deaf, more, capsys)[1]["source of p"]
        assert (found["passed"], found["found"]) == (False, f"{reader} is not executable for nobody")
        reader.chmod(0o755)
        assert findings(Path(folder), deaf, more, capsys)[1]["source of p"]["found"] == f"{reader}, for nobody"


def test_what_is_left_open_is_told_and_is_no_failure(
    tmp_path: Path, deaf: Peer, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "word").write_text("secret")
    more = f'username = "d"\npassword_file = "{tmp_path}/word"\n'
    bundle = make_bundle(tmp_path / "a.maas")
    more += f'[[pipeline]]\nname = "a"\nbundle = "{bundle}"\nallow_unsigned = true\n'
    _, found = findings(tmp_path, deaf, more, capsys)
    assert found["not protected"]["passed"] is None and "allow_unsigned" in found["not protected"]["mend"]
    told = [what for what, _ in unprotected(load_config(tmp_path / "agent.toml"))]
    assert [each.partition(" ")[0] for each in told] == ["the", "pipeline"]
    assert "password" in told[0] and "secret" not in told[0]
    store_path = Path(load_config(tmp_path / "agent.toml").store.path)
    store_path.mkdir(exist_ok=True)
    store_path.chmod(0o755)
    _, found = findings(tmp_path, deaf, more, capsys)
    assert found["not protected"]["passed"] is None
    assert found["not protected"]["mend"] == f"chmod o-rwx {store_path}"
