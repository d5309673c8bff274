"""A power cut after any change that the outbox makes on its disk: what it has said to be safe is there.

A child writes and removes batches, with checkpoints of the log in between, and notes after which of its changes each
batch was safe. Then the disks are built that a power cut may leave after each change, and an outbox is opened on them.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from maas_agent.hub.mqtt.message import Outbound
from maas_agent.hub.outbox.journal import Journal, JournalDamaged, JournalRow
from tests.cuts.disk import VARIANTS, Disk, read_log
from tests.cuts.rig import compiled, recording

ALL = os.environ.get("MAAS_CUTS") == "all"
CHILD = """
import json, sys
from pathlib import Path
from maas_agent.hub.outbox import journal as module
from maas_agent.hub.mqtt.message import Outbound
from maas_agent.hub.outbox.journal import Journal, JournalRow

module._LOG_PAGES = 12
folder, log = Path(sys.argv[1]), Path(sys.argv[2])
journal = Journal(folder / "results.db", survives_power_cuts=sys.argv[3] == "power")
journal.open()
for batch in range(24):
    keys = range(batch * 10 + 1, batch * 10 + 11)
    gone = range(batch * 10 - 29, batch * 10 - 24) if batch >= 3 else []
    rows = [JournalRow(key, 5.0, 300, Outbound(f"out/{key}", bytes([key % 256]) * 300, 1)) for key in keys]
    journal.write(rows, gone)
    changes = len(log.read_text().splitlines())
    print(json.dumps({"changes": changes, "safe": list(keys), "gone": list(gone)}), flush=True)
journal.close()
"""


class Record:
    """The changes of one run of the child, and what it said after each batch."""

    def __init__(self, folder: Path, durability: str) -> None:
        self.store, self.saved, log = folder / "store", folder / "saved", folder / "log"
        self.store.mkdir(parents=True)
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(self.store), str(log), durability],
            env=os.environ | recording(compiled(folder), self.store, folder),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        self.changes = read_log(log)
        self.said: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]

    def safe_after(self, change: int) -> set[int]:
        """What the child had said to be safe, and had not asked to remove, when this change had been made."""
        safe: set[int] = set()
        begun_to_remove = set().union(*(s["gone"] for s in self.said[: self._said_by(change) + 1]))
        for said in self.said[: self._said_by(change)]:
            safe |= set(said["safe"])
        return safe - begun_to_remove

    def _said_by(self, change: int) -> int:
        return sum(said["changes"] <= change for said in self.said)


def found(folder: Path) -> dict[int, JournalRow]:
    journal = Journal(folder / "results.db", survives_power_cuts=True)
    totals = journal.open()
    rows = journal.page(0, 1 << 62, 10_000)
    journal.close()
    assert totals.rows == len(rows)
    return {row.key: row for row in rows}


def missing(record: Record, tmp_path: Path, every: int = 1) -> Iterator[bool]:
    """For each disk that is built, after every so many changes, whether it misses something that was safe."""
    disk = Disk(record.store, record.saved, None)
    for change in record.changes:
        disk.make(change)
        safe = record.safe_after(change.number)
        for variant in VARIANTS if change.number % every == 0 else []:
            folder = tmp_path / "disk"
            disk.build(folder, variant, change.number)
            try:
                rows = found(folder)
            except JournalDamaged:
                rows = {}
            shutil.rmtree(folder)
            for key, row in rows.items():
                assert row.message == Outbound(f"out/{key}", bytes([key % 256]) * 300, 1)
            yield not safe <= rows.keys()


def test_a_power_cut_at_any_change_leaves_what_was_safe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = Record(tmp_path / "run", "power")
    assert sum(change.what == "write" and change.path.endswith(".db") for change in record.changes) > 10  # checkpoints
    disks = list(missing(record, tmp_path, every=1 if ALL else 3))
    with capsys.disabled():
        print(f"\n{len(record.changes)} changes of the outbox, {len(disks)} disks that a power cut may leave")
    assert not any(disks)


def test_the_disks_tell_a_setting_that_does_not_survive(tmp_path: Path) -> None:
    """``process`` does not promise to survive a power cut, and on some of these disks it does not."""
    assert any(missing(Record(tmp_path / "run", "process"), tmp_path))
