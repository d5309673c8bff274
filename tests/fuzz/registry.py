"""The targets: what parses bytes from outside, and what it may raise. Everything else that is raised is a defect."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

Feed = Callable[[bytes], object]
Seeds = Callable[[], Sequence[bytes]]

LONGEST_SENTENCE = 4096
"""Characters of an error. It goes into logs, retained topics and the state on the disk: what was wrong is not repeated
in full."""


class Target(msgspec.Struct, frozen=True):
    """``feed`` takes the bytes as they come from outside. ``raises`` are the errors that it documents."""

    name: str
    feed: Feed
    raises: tuple[type[Exception], ...]
    seeds: Seeds
    form: str
    """Of `tests.fuzz.edits`: how inputs are made of the seeds."""
    parses: str
    """For people: what the bytes are, and whose."""
    words: tuple[bytes, ...]
    share: float
    """How many inputs it gets beside the others: less where one takes long."""
    module: str


MEMORY = Path("/dev/shm")

TARGETS: dict[str, Target] = {}


def target(
    name: str,
    parses: str,
    seeds: Seeds,
    *raises: type[Exception],
    form: str = "bytes",
    words: Sequence[bytes] = (),
    share: float = 1.0,
) -> Callable[[Feed], Feed]:
    """Register the function below as a target."""

    def register(feed: Feed) -> Feed:
        assert name not in TARGETS, name
        kept = lru_cache(maxsize=1)(seeds)
        TARGETS[name] = Target(name, feed, raises, kept, form, parses, tuple(words), share, feed.__module__)
        return feed

    return register


def attempt(tried: Target, data: bytes) -> None:
    """Feed one input. Raises what it should not have raised, or ``AssertionError`` if its error is no sentence."""
    try:
        tried.feed(data)
    except tried.raises as error:
        check_sentence(str(error))


def check_sentence(said: str) -> None:
    """An error can be sent as JSON, and does not repeat the input."""
    assert len(said) <= LONGEST_SENTENCE, f"an error of {len(said)} characters: {said[:200]}"
    said.encode()  # a lone surrogate could not be sent


@lru_cache(maxsize=1)
def scratch() -> Path:
    """A folder for files that targets read: in memory, where there is such a thing."""
    folder = Path(tempfile.mkdtemp(prefix=f"maas-fuzz-{os.getpid()}-", dir=MEMORY if MEMORY.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def emptied(name: str) -> Path:
    """The folder ``name`` below `scratch`, new."""
    folder = scratch() / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def sweep(pid: int) -> None:
    """Remove what `scratch` made in a process that has ended without tidying up."""
    for folder in (MEMORY if MEMORY.is_dir() else Path(tempfile.gettempdir())).glob(f"maas-fuzz-{pid}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def pieces(data: bytes) -> tuple[bytes, list[bytes]]:
    """``data`` after its first byte, whole and cut into pieces as that byte says: a stream comes in any."""
    rest, cut = data[1:], data[0] if data else 0
    sizes = (1, 2, 3, 7, 61, 1000, 1 << 16)
    found, at = [], 0
    while at < len(rest):
        size = sizes[(cut + at) % len(sizes)] if len(rest) < 5000 else 1 << 12
        found.append(rest[at : at + size])
        at += size
    return rest, found
