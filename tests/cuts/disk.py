"""What a power cut leaves of a folder, from what was written and what was synced: a strict model of a file system.

- What was written to a file after its last fsync is gone: the file is empty (data lost, name kept), or as it was.
- A name that was made, replaced or removed after the last fsync of its folder may be as it was before.

Both may hold or not, for each file on its own; tried are the two that hurt most: all unsynced data is gone while the
names stay (the classic empty file), and all unsynced names are as they were before.
"""

import shutil
from pathlib import Path
from typing import NamedTuple


class Change(NamedTuple):
    """A line of the log that the library in ``cuts.c`` writes."""

    number: int
    what: str
    path: Path
    to: Path | None


def read_log(log: Path) -> list[Change]:
    """The changes, in the order in which they were made."""
    changes = []
    for line in log.read_text().splitlines():
        number, what, path, to = line.split("\t")
        changes.append(Change(int(number), what, Path(path), Path(to) if to else None))
    return sorted(changes)


def lose_data(changes: list[Change]) -> int:
    """Empty every file whose content was not synced, under the name that it has now; returns how many."""
    dirty: set[Path] = set()
    for change in changes:
        if change.what in ("open", "write", "truncate"):
            dirty.add(change.path)
        elif change.what == "fsync":
            dirty.discard(change.path)
        elif change.what == "rename" and change.to is not None:
            if change.path in dirty:
                dirty.add(change.to)
            else:
                dirty.discard(change.to)
            dirty.discard(change.path)
        elif change.what == "unlink":
            dirty.discard(change.path)
    lost = [path for path in dirty if path.is_file() and not path.is_symlink() and path.name != "lock"]
    for path in lost:
        path.write_bytes(b"")
    return len(lost)


def lose_names(changes: list[Change], saved: Path) -> int:
    """Undo, from the last to the first, every rename whose folder was not synced after it; returns how many."""
    undone = 0
    synced: set[Path] = set()
    for change in reversed(changes):
        if change.what == "fsync":
            synced.add(change.path)
        elif change.what == "rename" and change.to is not None and change.to.parent not in synced:
            before = saved / str(change.number)
            change.to.unlink(missing_ok=True)
            if before.exists():
                shutil.copy2(before, change.to)
            undone += 1
    return undone
