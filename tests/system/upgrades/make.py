"""``python -m tests.system.upgrades.make REVISION``: keep a store as the agent of that revision writes it.

The revision's own code runs, out of ``git archive``. What it leaves is packed into ``store-REVISION.tar.gz`` here, on
which `tests.system.upgrades.test_upgrades` starts today's agent. Add one when a file of the store changes, and keep the
old ones.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).parent
_LEFT_OUT = {"lock", "control.sock"}


def checked_out(revision: str, tree: Path) -> Path:
    """The tree of a revision in the folder ``tree``; raises ``FileNotFoundError`` if git does not have it."""
    command = ["git", "-C", str(ROOT), "archive", revision, "agent", "converter", "tests"]
    archive = subprocess.run(command, capture_output=True)
    if archive.returncode:
        raise FileNotFoundError(f"git has no {revision} here: {archive.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", tree], input=archive.stdout, check=True)
    return tree


def environment_of(tree: Path) -> dict[str, str]:
    """In which Python takes maas-edge from that tree, and not from where it is installed."""
    return {"PYTHONPATH": os.pathsep.join(str(tree / part) for part in ("", "agent", "converter"))}


def main(revision: str) -> None:
    """Make the file."""
    with tempfile.TemporaryDirectory() as folder:
        tree, work = Path(folder, "tree"), Path(folder, "work")
        tree.mkdir()
        work.mkdir()
        environment = os.environ | environment_of(checked_out(revision, tree))
        command = [sys.executable, HERE / "scenario.py", work]
        subprocess.run(command, env=environment, cwd=tree, check=True)
        packed = HERE / f"store-{revision}.tar.gz"
        with tarfile.open(packed, "w:gz") as archive:
            archive.add(work / "device" / "store", "store", filter=_anonymous)
            archive.add(work / "sensor.maas", "sensor.maas", filter=_anonymous)
            archive.add(work / "root.json", "root.json", filter=_anonymous)
    print(f"{packed}: {packed.stat().st_size} bytes")


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Nobody's file, and no lock or socket of a run."""
    if Path(entry.name).name in _LEFT_OUT:
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main(sys.argv[1])
