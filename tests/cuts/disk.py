"""The disk as a power cut may have left it, built from what was written and what was synced: a strict model.

- What was written to a file after its last fsync may be lost: all of it, half of it, or replaced by zeros. Where it
  went over bytes that were safe, each write is made, half made or not made, in any order.
- A name that was made, replaced or removed after the last fsync of its folder may be as it was. An fsync of a file
  says nothing of its name, one of a folder nothing of the folder's own name.
- A rename inside a folder is made or not made, never half. Nothing else is in any order: of two changes that were not
  synced the later one may be on the disk and the earlier one not.

ext4, F2FS and Btrfs promise more; nothing may depend on that. `VARIANTS` are the disks that are built for one cut.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple


class Change(NamedTuple):
    """A line of the log that the library in ``cuts.c`` writes. ``to``: the other name; ``at``: a byte in the file."""

    number: int
    what: str
    path: str
    to: str
    at: int


def read_log(log: Path) -> list[Change]:
    """The changes, in the order in which they were made."""
    rows = (line.split("\t") for line in log.read_text().splitlines())
    return sorted(Change(int(number), what, path, to, int(at)) for number, what, path, to, at in rows)


class File:
    """A file: its bytes, those of them that are safe, and the writes that lead from these to those."""

    def __init__(self, data: bytes = b"", synced: bytes = b"") -> None:
        self.data, self.synced = data, synced
        self.pending: list[tuple[bytes, int]] = []
        self.was_cut_short = False

    def write(self, data: bytes, offset: int) -> None:
        self.data = _overwritten(self.data, data, offset)
        self.pending.append((data, offset))

    def truncate(self, length: int) -> None:
        self.was_cut_short |= length < len(self.data)
        self.data = self.data[:length].ljust(length, b"\0")

    def sync(self) -> None:
        self.synced, self.pending, self.was_cut_short = self.data, [], False

    @property
    def was_rewritten(self) -> bool:
        """Whether bytes that are safe were written over: then each of them is as it was, or as it was written."""
        return not self.was_cut_short and not self.data.startswith(self.synced)


class Link(NamedTuple):
    """A symbolic link."""

    goal: str


class Folder:
    """A folder: its names, those of them that are safe, and the changes that lead from these to those."""

    def __init__(self) -> None:
        self.names: dict[str, Node] = {}
        self.synced: dict[str, Node] = {}
        self.pending: list[dict[str, Node | None]] = []

    def change(self, names: dict[str, "Node | None"]) -> None:
        """Set names, and remove those that are ``None``, in one."""
        self.pending.append(names)
        _apply(self.names, names)

    def sync(self) -> None:
        self.synced, self.pending = dict(self.names), []


Node = File | Folder | Link
Names = Callable[[Folder, Random], dict[str, Node]]
Content = Callable[[File, Random], bytes]


def _overwritten(data: bytes, piece: bytes, offset: int) -> bytes:
    return data[:offset].ljust(offset, b"\0") + piece + data[offset + len(piece) :]


def _with(file: File, pieces: Iterable[tuple[bytes, int]]) -> bytes:
    """The safe bytes with these writes over them; what lies behind them in the file is zeros."""
    data = file.synced
    for piece, offset in pieces:
        data = _overwritten(data, piece, offset)
    return data.ljust(len(file.data), b"\0")


def _apply(names: dict[str, Node], change: dict[str, Node | None]) -> None:
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _some_names(folder: Folder, random: Random) -> dict[str, Node]:
    names = dict(folder.synced)
    for change in folder.pending:
        if random.random() < 0.5:
            _apply(names, change)
    return names


def _zeros(file: File, _: Random) -> bytes:
    if file.was_rewritten:
        return _with(file, [])
    safe = file.synced if file.data.startswith(file.synced) else b""
    return safe + bytes(len(file.data) - len(safe))


def _half(file: File, _: Random) -> bytes:
    if file.data == file.synced:
        return file.data
    if file.was_rewritten:
        return _with(file, [(piece[: len(piece) // 2], offset) for piece, offset in file.pending])
    safe = len(file.synced) if file.data.startswith(file.synced) else 0
    return file.data[: safe + (len(file.data) - safe) // 2]


def _some_writes(file: File, random: Random) -> bytes:
    if not file.was_rewritten:
        return file.data
    return _with(file, [piece for piece in file.pending if random.random() < 0.5])


def _some_bytes(file: File, random: Random) -> bytes:
    return random.choice([_kept, _lost, _zeros, _half, _some_writes])(file, random)


def _kept(file: File, _: Random) -> bytes:
    return file.data


def _lost(file: File, _: Random) -> bytes:
    return file.synced


def _names_kept(folder: Folder, _: Random) -> dict[str, Node]:
    return folder.names


def _names_lost(folder: Folder, _: Random) -> dict[str, Node]:
    return folder.synced


VARIANTS: dict[str, tuple[Names, Content]] = {
    "all kept": (_names_kept, _kept),
    "all lost": (_names_lost, _lost),
    "names kept, data lost": (_names_kept, _lost),
    "names kept, data zeroed": (_names_kept, _zeros),
    "names kept, half of the data": (_names_kept, _half),
    "names lost, data kept": (_names_lost, _kept),
    "at random": (_some_names, _some_bytes),
    "at random again": (_some_names, _some_bytes),
    "at random once more": (_some_names, _some_bytes),
}
"""What is there of the names and of the data that were not synced."""


_MAKE: dict[str, Callable[[Change], Node]] = {
    "create": lambda _: File(),
    "mkdir": lambda _: Folder(),
    "symlink": lambda change: Link(change.to),
}


class Disk:
    """The folder ``root`` as changes make it, from ``start``, which is safe; their bytes are in ``saved``."""

    def __init__(self, root: Path, saved: Path, start: Path | None) -> None:
        self._root, self._saved = str(root), saved
        self._top = _read(start) if start is not None else Folder()

    def make(self, change: Change) -> None:
        """One more change; raises ``KeyError`` if it does not follow from those before: then one was not recorded."""
        if change.path == self._root:
            if change.what == "fsync":
                self._top.sync()
            return
        folder, name = self._at(change.path)
        if change.what in _MAKE:
            folder.change({name: _MAKE[change.what](change)})
            return
        node = folder.names[name]
        if change.what == "unlink":
            folder.change({name: None})
        elif change.what in ("rename", "link"):
            self._move(folder, name, change.to, keep=change.what == "link")
        elif isinstance(node, File):
            self._rewrite(node, change)
        elif isinstance(node, Folder):
            node.sync()

    def _rewrite(self, file: File, change: Change) -> None:
        if change.what == "write":
            file.write((self._saved / str(change.number)).read_bytes(), change.at)
        elif change.what == "truncate":
            file.truncate(change.at)
        else:
            file.sync()

    def build(self, folder: Path, variant: str, seed: int = 0) -> None:
        """Write what a cut now leaves, in this variant, to ``folder``, which is made."""
        names, content = VARIANTS[variant]
        _write(self._top, folder, names, content, Random(f"{variant} {seed}"))

    def _move(self, folder: Folder, name: str, to: str, *, keep: bool) -> None:
        node = folder.names[name]
        goal, new = self._at(to)
        gone: dict[str, Node | None] = {} if keep else {name: None}
        if goal is folder:
            folder.change({**gone, new: node})
        else:
            goal.change({new: node})
            folder.change(gone)

    def _at(self, path: str) -> tuple[Folder, str]:
        *folders, name = path.removeprefix(f"{self._root}/").split("/")
        at = self._top
        for part in folders:
            below = at.names[part]
            assert isinstance(below, Folder), path
            at = below
        return at, name


def _read(path: Path) -> Folder:
    folder = Folder()
    for entry in path.iterdir():
        if entry.is_symlink():
            folder.names[entry.name] = Link(str(entry.readlink()))
        elif entry.is_dir():
            folder.names[entry.name] = _read(entry)
        elif entry.is_file():
            data = entry.read_bytes()
            folder.names[entry.name] = File(data, data)
    folder.sync()
    return folder


def _write(node: Folder, path: Path, names: Names, content: Content, random: Random) -> None:
    path.mkdir()
    for name, below in names(node, random).items():
        if isinstance(below, Folder):
            _write(below, path / name, names, content, random)
        elif isinstance(below, Link):
            (path / name).symlink_to(below.goal)
        else:
            (path / name).write_bytes(content(below, random))


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file and link below ``folder`` that is recorded, by its path in it, for a comparison."""
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name.startswith("outbox.db"):
            continue
        if path.is_symlink():
            yield name, str(path.readlink()).encode()
        elif path.is_file():
            yield name, path.read_bytes()
