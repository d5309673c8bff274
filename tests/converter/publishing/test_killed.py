"""kill -9 before every change that a command makes to a repository's folder, and what TUF's own client makes of it."""

import functools
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Container, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tuf.ngclient import Updater

from maas_agent.bundle.delivery import DeliveredBlob, decode_delivery
from maas_agent.bundle.manifest import decode_manifest, digest_of
from maas_converter.publishing.keys.key_files import create_keys
from maas_converter.publishing.keys.key_ring import KeyRing
from maas_converter.publishing.reading import load
from maas_converter.publishing.repository import init_repository, publish
from maas_converter.publishing.state import TOP
from maas_converter.publishing.trust import delegate
from maas_converter.publishing.verify import verify
from tests.converter.publisher import bundle

CHANGES = {
    "publish": "publish(work / 'digits-1.2.0.maas', repository, everyone)",
    "publish for a team": "publish(work / 'cats-1.1.0.maas', repository, everyone)",
    "revoke": "revoke('digits', '1.1.0', repository, everyone)",
    "delegate": "delegate(repository, 'other', ['digits'], ring)",
    "undelegate": "undelegate(repository, 'team', ring)",
    "refresh": "refresh_repository(repository, everyone)",
    "sign": "complete(repository, ring)",
    **{f"rotate {role}": f"rotate(repository, {role!r}, ring, KeyRing(work / 'new'))" for role in (*TOP, "team")},
}

PROGRAM = """
import os, shutil, signal, sys
from pathlib import Path

import maas_converter.publishing.repository
from maas_agent.errors import MaasError
from maas_converter.publishing.release import complete
from maas_converter.publishing.keys.key_ring import KeyRing
from maas_converter.publishing.trust import delegate, rotate, undelegate
from maas_converter.publishing.repository import publish, refresh_repository, revoke

work, change = Path(sys.argv[1]), sys.argv[2]
everyone = [work / "alice", work / "bob", work / "team", work / "other"]
maas_converter.publishing.repository.SOON = 2.0  # everything is due


def changes(event, args, repository):
    if not isinstance(args[0], str | bytes | os.PathLike) or repository not in os.fsdecode(args[0]):
        return False
    if event == "open":
        return bool(args[2] & (os.O_WRONLY | os.O_RDWR)) and not os.fsdecode(args[0]).endswith(".lock")
    return event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate")


def run(repository, survived):
    left = survived

    def kill(event, args):
        nonlocal left
        if args and changes(event, args, str(repository)):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    child = os.fork()
    if child == 0:
        ring = KeyRing(everyone)
        sys.addaudithook(kill)
        try:
            eval(change)
        except MaasError as error:
            print(error, file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


cuts = 0
while True:
    repository = work / f"cut-{cuts}"
    shutil.copytree(work / "repository", repository)
    ended = run(repository, cuts)
    if ended == 0:
        repository.rename(work / "whole")
        break
    assert ended == -signal.SIGKILL, ended
    again = work / f"again-{cuts}"
    shutil.copytree(repository, again)
    assert run(again, -1) in (0, 1)  # 1: it was done already, and says so
    cuts += 1
print(cuts)
"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A web server, as plain as they come."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _prepare(work: Path, change: str) -> None:
    """Two keys of root and targets, both needed; a team with a model; two versions of another one."""
    create_keys(work / "alice")
    create_keys(work / "bob", roles=("root", "targets"), name="bob")
    for role in ("team", "other"):
        create_keys(work / role, roles=(role,))
    everyone = [work / name for name in ("alice", "bob", "team", "other")]
    repository = work / "repository"
    init_repository(repository, everyone, {"root": 2, "targets": 2})
    delegate(repository, "team", ["cats"], KeyRing(everyone))
    for path in (bundle(work), bundle(work, "1.1.0"), bundle(work, name="cats")):
        publish(path, repository, everyone)
    bundle(work, "1.2.0")
    bundle(work, "1.1.0", "cats")
    if change == "sign":
        publish(work / "digits-1.2.0.maas", repository, work / "alice")
    if change.startswith("rotate"):
        role = change.split()[1]
        create_keys(work / "new", roles=(role,))
        if role in ("root", "targets"):
            create_keys(work / "new", roles=(role,), name="bob")


def _downloaded(url: str, repository: Path, store: Path) -> dict[str, object]:
    """Follow the repository from what this store has seen, and fetch all there is; what it says."""
    store.mkdir(parents=True, exist_ok=True)
    updater = Updater(
        str(store),
        f"{url}/{repository.name}/metadata/",
        target_dir=str(store),
        target_base_url=f"{url}/{repository.name}/targets/",
        bootstrap=(repository / "metadata" / "1.root.json").read_bytes(),
    )
    updater.refresh()
    state = load(repository)
    there: dict[str, object] = {f"keys of {name}": state.trust(name) for name in state.names}
    for targets in state.targets.values():
        for path in [path for path in targets.targets if path.endswith("/manifest.json")]:
            _fetch(updater, f"{url}/{repository.name}", path, targets.targets, store)
        for field in ("channels", "revoked"):
            there |= {f"{field} of {model}": said for model, said in targets.unrecognized_fields.get(field, {}).items()}
    return there


def _fetch(updater: Updater, url: str, path: str, targets: Container[str], store: Path) -> None:
    stored = dict[str, DeliveredBlob]()
    delivery = path.replace("manifest", "delivery")
    if delivery in targets:
        stored = dict(decode_delivery(_target(updater, delivery, store)).blobs)
    for digest in decode_manifest(_target(updater, path, store)).blobs():
        name = stored[digest].stored if digest in stored else digest
        with urllib.request.urlopen(f"{url}/blobs/{name}") as answer:
            assert digest_of(answer.read()) == name


def _target(updater: Updater, path: str, store: Path) -> bytes:
    found = updater.get_targetinfo(path)
    assert found is not None, f"the device is not offered {path}"
    return Path(updater.download_target(found, str(store / "target"))).read_bytes()


@pytest.mark.parametrize("change", CHANGES)
def test_a_command_that_is_killed_leaves_the_old_or_the_new_repository_and_can_be_run_again(
    tmp_path: Path, url: str, change: str
) -> None:
    """By SIGKILL, before each file that is opened for writing, renamed or removed, and each folder made."""
    _prepare(tmp_path, change)
    before = _downloaded(url, tmp_path / "repository", tmp_path / "known")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), CHANGES[change]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    after = _downloaded(url, tmp_path / "whole", tmp_path / "last")
    cuts = int(done.stdout)
    assert cuts >= 4
    for number in range(cuts):
        for kind, states in (("cut", (before, after)), ("again", (after,))):
            repository = tmp_path / f"{kind}-{number}"
            # One device that knows the old state, and goes on from the cut to the second run; and one that is new.
            old, new = tmp_path / f"device-{number}", tmp_path / f"new-{kind}-{number}"
            if not old.exists():
                shutil.copytree(tmp_path / "known", old, symlinks=True)
            assert _downloaded(url, repository, old) in states, f"{kind} {number}"
            assert _downloaded(url, repository, new) in states, f"{kind} {number}"
            found = verify(repository)
            assert found.problems == (), f"{kind} {number}"
            assert kind == "cut" or found.pending is None, f"what {number} cut is done and waits all the same"
