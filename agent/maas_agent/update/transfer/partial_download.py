"""Keeps what was fetched of a blob before a cut, so that only the rest is asked for.

A part is a file ``.<digest>.part`` beside the blobs. Nothing in it is believed: when all is here, its SHA-256 is that
of the name, or the part goes. So it needs no fsync on the way, and a power cut that garbles it costs one download.
"""

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from io import BufferedRandom
from pathlib import Path

import msgspec

from maas_agent.errors import PullError

SUFFIX = ".part"
_CHUNK = 1 << 20


class Body(msgspec.Struct, frozen=True):
    """Bytes as they arrive, from byte ``start`` of the whole on."""

    start: int
    chunks: Iterator[bytes]


Request = Callable[[int], Body]
"""Asks for a blob from this byte on; the answer begins there, or at 0. Raises `PullError`, as do its chunks."""


class WrongContent(PullError):  # noqa: N818 - it reads as what it is
    """What arrived is not what its digest promises."""


class PartialDownload:
    """Keeps what is here of the blob called ``digest``, of ``size`` bytes, in the folder ``blobs``."""

    def __init__(self, blobs: Path, digest: str, size: int) -> None:
        self.path = blobs / f".{digest}{SUFFIX}"
        self._digest, self._size = digest, size

    def complete(self, request: Request) -> Path:
        """Fetch what is missing; return the file, complete, checked and fsynced.

        Raises `PullError`: the part stays if the source broke off, and goes if it is wrong or the disk is full.
        """
        try:
            with self._opened() as file:
                held = self._held(file)
                body = request(held) if held < self._size else Body(held, iter(()))
                self._take(file, body)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            self.drop()
            raise PullError(what_the_disk_said(error, self.path.parent, self._size)) from None
        except WrongContent:
            self.drop()
            raise
        except PullError:
            if not self.held:
                self.drop()
            raise
        return self.path

    @property
    def held(self) -> int:
        """The bytes that are here."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def drop(self) -> None:
        """Forget what is here."""
        with suppress(OSError):
            self.path.unlink()

    def _opened(self) -> BufferedRandom:
        return os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+b")

    def _held(self, file: BufferedRandom) -> int:
        held = os.fstat(file.fileno()).st_size
        return held if held <= self._size else 0

    def _take(self, file: BufferedRandom, body: Body) -> None:
        state, received = _digested(file, body.start), body.start
        file.truncate(received)
        for chunk in body.chunks:
            received += len(chunk)
            if received > self._size:
                raise WrongContent(f"blob {self._digest[:12]}… is longer than the {self._size} bytes that were signed")
            state.update(chunk)
            file.write(chunk)
        if received < self._size:
            raise PullError(f"blob {self._digest[:12]}… ended after {received} of {self._size} bytes")
        if state.hexdigest() != self._digest:
            raise WrongContent(f"blob {self._digest[:12]}… arrived damaged: its SHA-256 is not the one that was signed")


def whole(chunks: Iterable[bytes]) -> Request:
    """A request for what is here anyway, a file on the device for example."""
    return lambda _start: Body(0, iter(chunks))


def what_the_disk_said(error: OSError, folder: Path, size: int) -> str:
    """Why ``size`` bytes could not be written, as a sentence."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"there is no room for {size} bytes in {folder}: free some space"
    return f"cannot write to {folder}: {error.strerror}"


def _digested(file: BufferedRandom, length: int) -> "hashlib._Hash":
    """The state of the digest after the first ``length`` bytes of ``file``, which then stands there."""
    file.seek(0)
    state = hashlib.sha256()
    while length > 0 and (chunk := file.read(min(length, _CHUNK))):
        state.update(chunk)
        length -= len(chunk)
    return state
