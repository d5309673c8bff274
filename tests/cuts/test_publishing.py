"""kill -9 and a full disk at every change that a publisher makes to the repository: a device takes what is left.

``MAAS_CUTS=all`` (``make cuts``) tries every change; otherwise some of them, others in each scenario.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from maas_agent.errors import MaasError
from maas_converter.publishing.keys.key_files import create_keys
from maas_converter.publishing.keys.key_ring import KeyRing
from maas_converter.publishing.pending import discard
from maas_converter.publishing.repository import init_repository, publish
from maas_converter.publishing.trust import delegate
from maas_converter.publishing.verify import verify
from tests.converter.publisher import bundle, offered
from tests.cuts.publisher import CHANGES, FAR, keys_of
from tests.cuts.rig import compiled

STEP = 1 if os.environ.get("MAAS_CUTS") == "all" else 11
OLD = frozenset({"digits 1.0.0", "digits 1.0.1"})
AFTER = {
    "init": frozenset[str](),
    "publish": OLD | {"digits 1.1.0"},
    "sign": OLD | {"digits 1.1.0"},
    "revoke": frozenset({"digits 1.0.0"}),
}
"""What a device is offered when the change has come to its end; what is not here changes nothing for it."""

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler: apt install gcc")


@pytest.fixture(params=CHANGES)
def change(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path, change: str) -> Path:
    """Keys of two people, two versions published, and what the change presupposes."""
    create_keys(tmp_path / "keys")
    create_keys(tmp_path / "keys", roles=("team",))
    create_keys(tmp_path / "bob", roles=("targets",), name="bob")
    shutil.copy(tmp_path / "bob" / "targets@bob.pub", tmp_path / "keys")
    create_keys(tmp_path / "new", roles=("root", "targets", "timestamp"))
    bundles = [bundle(tmp_path, version) for version in ("1.0.0", "1.0.1", "1.1.0", "1.2.0")]
    prepared = tmp_path / "prepared"
    if change == "init":
        prepared.mkdir()
        return tmp_path
    two = change in ("sign", "publish, to be signed")
    init_repository(prepared, keys_of(tmp_path), {"targets": 2} if two else {})
    for path in bundles[:2]:
        publish(path, prepared, keys_of(tmp_path))
    if change == "sign":
        publish(bundles[2], prepared, tmp_path / "keys")
    if change == "take back":
        delegate(prepared, "team", ["digits"], keys_of(tmp_path))
    if change == "clean":
        for name in ("blobs/abc", "targets/digits/x.json", "blobs/.abc.1.new"):
            (prepared / name).write_bytes(b"left by a crash")
    offered(prepared, tmp_path / "device")
    return tmp_path


def run(folder: Path, change: str, how: str, first: int) -> int:
    """Make the change in copies of the repository, each cut somewhere else; how many were cut."""
    (folder / "cuts").mkdir()
    (folder / "counter").write_bytes(bytes(8))
    environment = os.environ | {
        "LD_PRELOAD": str(compiled(folder)),
        "CUTS_FOLDER": str(folder / "cuts"),
        "CUTS_COUNTER": str(folder / "counter"),
        "CUTS_AT": str(FAR),
        "CUTS_HOW": how,
        "CUTS_REFUSALS": "1000",
    }
    command = [sys.executable, "-m", "tests.cuts.publisher", str(folder), change, str(first), str(STEP)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    return int(ended.stdout)


@pytest.mark.parametrize("how", ["kill", "full"])
def test_wherever_a_publisher_is_cut_devices_take_what_is_left(folder: Path, change: str, how: str) -> None:
    """A device that was there before, and a new one; the change can be made again, and the next one after it."""
    first = 1 if STEP == 1 else 1 + list(CHANGES).index(change) % 3
    cuts = run(folder, change, how, first)
    assert cuts > 0 or (change, how) == ("clean", "full")  # to remove takes no room
    before, after = (frozenset() if change == "init" else OLD), AFTER.get(change, OLD)
    for copy in [folder / "cuts" / str(first + index * STEP) for index in range(cuts + 1)]:
        old, new = folder / f"old-{copy.name}", folder / f"new-{copy.name}"
        if change != "init":
            shutil.copytree(folder / "device", old, symlinks=True)
            assert offered(copy, old) == offered(copy, new) and offered(copy, old) in (before, after)
            assert verify(copy).problems == ()
        done = (copy / "metadata" / "timestamp.json").exists() and offered(copy, old) == after
        try:
            CHANGES[change](copy, folder)
        except MaasError:
            assert done or copy.name == str(first + cuts * STEP)
        discard(copy)
        assert offered(copy, old) == (after if change != "publish, to be signed" else before)
        publish(folder / "digits-1.2.0.maas", copy, KeyRing([folder / each for each in ("new", "keys", "bob")]))
        assert offered(copy, old) == offered(copy, new) == after | {"digits 1.2.0"}
        assert verify(copy).problems == ()
