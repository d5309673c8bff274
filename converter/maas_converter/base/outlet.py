"""What leaves a confined command: it cannot write files itself, so its parent does, for files that it has named before.

A command says what it will make before it reads a model (`Promise`). Then it is confined, and whatever the model makes
of it, no other file is written, and nothing is signed under another name. In a process that is no such child (a program
or a test that calls the converter's functions) the same functions do it themselves.
"""

import errno
import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from maas_agent.errors import DataError, MaasError, NoInputError, RuntimeFailure, UnavailableError, UsageError
from maas_agent.host.files import sync_folder

_MOST = 4 << 20
"""Bytes of a request or a reply: a manifest has at most one MiB."""
_LENGTH = 4
_ERRORS: dict[int, type[MaasError]] = {
    kind.exit_code: kind for kind in (RuntimeFailure, DataError, NoInputError, UnavailableError, UsageError)
}


class Promise(msgspec.Struct, frozen=True, tag=True):
    """What a command will make. Paths of what is written are absolute."""

    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    """Those that come whole, and are not there yet or empty."""
    into: tuple[str, ...] = ()
    """Those that single files come into; made if they are not there."""
    journals: str = ""
    """A folder with a file of which lines are kept for another time."""
    keys: str = ""
    """What signs: a folder."""
    passphrase_file: str = ""
    name: str = ""
    version: str = ""


class _Deliver(msgspec.Struct, frozen=True, tag=True):
    made: str
    path: str


class _Append(msgspec.Struct, frozen=True, tag=True):
    path: str
    line: bytes


class _Question(msgspec.Struct, frozen=True, tag=True):
    what: str
    content: bytes


class _Reply(msgspec.Struct, frozen=True):
    """What came of a request: an error of the system, or one for a person, or what was asked for."""

    errno: int = 0
    exit_code: int = 0
    sentence: str = ""
    content: bytes = b""


_Request = Promise | _Deliver | _Append | _Question
Answers = dict[str, Callable[[Promise, bytes], bytes]]
"""What the parent is asked besides, by name: such as a signature. Each raises a `MaasError` for a person."""


def journals_folder() -> Path:
    """Where journals are kept: the cache folder of the XDG base directory specification."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "maas-edge" / "search"


_parent: socket.socket | None = None


def use(parent: socket.socket) -> None:
    """Have the process at the other end of ``parent`` write what leaves this one."""
    global _parent
    _parent = parent


def has_parent() -> bool:
    """Whether another process writes for this one."""
    return _parent is not None


def promise(promised: Promise) -> None:
    """Say what will be made; only once."""
    if _parent is not None:
        _asked(promised)


def deliver(made: Path, path: Path) -> None:
    """Put ``made``, a file or a folder of files, in the place of ``path``, durably.

    Raises ``OSError`` with what was there untouched.
    """
    if _parent is None:
        _put(made, path.absolute())
    else:
        _asked(_Deliver(str(made), str(path.absolute())))


def deliver_into(made: Path, folder: Path) -> None:
    """Put the file ``made`` into ``folder`` under its own name, and make that if it is not there; else as `deliver`."""
    if _parent is None:
        folder.mkdir(parents=True, exist_ok=True)
    deliver(made, folder / made.name)


def append(path: Path, line: bytes) -> None:
    """Add a line to a journal, durably; with an empty one, only see to its folder. Raises ``OSError``."""
    if _parent is None:
        _add(path, line)
    else:
        _asked(_Append(str(path), line))


def asked(what: str, content: bytes) -> bytes | None:
    """What the parent answers; ``None`` without one. Raises what it raises."""
    return _asked(_Question(what, content)).content if _parent is not None else None


def _asked(request: _Request) -> _Reply:
    if _parent is None:
        raise RuntimeFailure("there is no process that writes for this one")
    _send(_parent, msgspec.msgpack.encode(request))
    data = _received(_parent)
    if data is None:
        raise RuntimeFailure("the process that writes for this one has ended")
    reply = msgspec.msgpack.decode(data, type=_Reply)
    if reply.errno:
        raise OSError(reply.errno, os.strerror(reply.errno))
    if reply.exit_code:
        raise _ERRORS.get(reply.exit_code, RuntimeFailure)(reply.sentence)
    return reply


# The parent's side. What is asked may come from a model.


def serve(child: socket.socket, scratch: Path, answers: Answers) -> None:
    """Do what the child asks, as far as it has promised it, until it ends or says what is no request."""
    parent = _Parent(scratch, answers)
    while (data := _received(child)) is not None:
        try:
            request = msgspec.msgpack.decode(data, type=_Request)
        except msgspec.DecodeError:
            break
        try:
            _send(child, msgspec.msgpack.encode(parent.reply(request)))
        except OSError:
            break
    child.close()


class _Parent:
    """Whatever was promised, and what may be done of it."""

    def __init__(self, scratch: Path, answers: Answers) -> None:
        self._scratch, self._answers = scratch, answers
        self._promised: Promise | None = None
        self._journal = ""

    def reply(self, request: _Request) -> _Reply:
        try:
            return _Reply(content=self._done(request))
        except MaasError as error:
            return _Reply(exit_code=error.exit_code, sentence=str(error))
        except OSError as error:
            return _Reply(errno=error.errno or errno.EIO)

    def _done(self, request: _Request) -> bytes:
        if isinstance(request, Promise):
            if self._promised is not None:
                raise _refusal()
            self._promised = request
            return b""
        if self._promised is None:
            raise _refusal()
        match request:
            case _Deliver(made, path):
                self._deliver(Path(made), Path(path), self._promised)
            case _Append(path, line):
                self._append(Path(path), line, self._promised)
            case _Question(what, content):
                if what not in self._answers:
                    raise _refusal()
                return self._answers[what](self._promised, content)
        return b""

    def _deliver(self, made: Path, path: Path, promised: Promise) -> None:
        if ".." in made.parts or not made.is_relative_to(self._scratch):
            raise _refusal()
        whole = str(path) in promised.folders
        if not whole and str(path) not in promised.files and str(path.parent) not in promised.into:
            raise _refusal()
        if str(path.parent) in promised.into:
            path.parent.mkdir(parents=True, exist_ok=True)
        _put(made, path)

    def _append(self, path: Path, line: bytes, promised: Promise) -> None:
        # One file: others are of other models.
        self._journal = self._journal or path.name
        if str(path.parent) != promised.journals or path.name != self._journal or not path.name.endswith(".jsonl"):
            raise _refusal()
        _add(path, line)


def _refusal() -> OSError:
    return PermissionError(errno.EPERM, "it was not promised")


def _put(made: Path, path: Path) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        if made.is_dir():
            beside.mkdir(parents=True)
            for file in sorted(made.iterdir()):
                _copy(file, beside / file.name)
            sync_folder(beside)
        else:
            beside.unlink(missing_ok=True)
            _copy(made, beside)
        beside.replace(path)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _copy(made: Path, path: Path) -> None:
    with _plain(made) as source, path.open("xb") as file:
        shutil.copyfileobj(source, file)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _plain(made: Path) -> Iterator[IO[bytes]]:
    """A plain file that ``made`` itself is: no link, which would lead to what the child may not read."""
    descriptor = os.open(made, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _refusal()
        yield file


def _add(path: Path, line: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not line:
        return
    with path.open("ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _send(to: socket.socket, data: bytes) -> None:
    to.sendall(len(data).to_bytes(_LENGTH, "big") + data)


def _received(of: socket.socket) -> bytes | None:
    """One message; ``None`` at the end, or where a message is longer than any."""
    head = _exactly(of, _LENGTH)
    length = int.from_bytes(head, "big") if head is not None else _MOST + 1
    return _exactly(of, length) if length <= _MOST else None


def _exactly(of: socket.socket, count: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < count:
        try:
            piece = of.recv(count - len(parts))
        except OSError:
            return None
        if not piece:
            return None
        parts += piece
    return bytes(parts)
