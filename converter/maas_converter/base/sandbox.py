"""What a process that reads or runs somebody's model may do here, and the one door by which such a program is started.

It reads Python, the model and the data, and writes into a folder of scratch files: no other file, no network, no other
program or process, and no more than so much memory and time. What came of it is read by who started it.
"""

import os
import site
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

from maas_agent.base.terminal import write_line
from maas_agent.confinement.access import Access
from maas_agent.confinement.confine import command, confine, forbid_programs, offered
from maas_agent.errors import RuntimeFailure
from maas_converter.base import outlet

ACCEPTED = "MAAS_UNCONFINED"
"""The variable by which somebody says so."""
UNCONFINED = "the model is read and run with what you may do yourself"
"""What is said where this system cannot confine a process."""

_MOVES_NOTHING = 1
_LEAST_MEMORY = 4 << 30
_FILE_BYTES = 16 << 30
_CPU_SECONDS = 8 * 3600
_TASKS = 16_384
_KEPT = (
    "LANG", "LC_", "LD_LIBRARY_PATH", "PATH", "PYTHON", "TZ", "VIRTUAL_ENV", "SOURCE_DATE_EPOCH",
    "TF_", "OMP_", "KMP_", "MKL_", "OPENBLAS_", "MALLOC_", "COLUMNS", "LINES", "TERM", "NO_COLOR", "MAAS_TRACEBACK",
)  # fmt: skip
"""Beginnings of the variables that are handed on: others may hold secrets."""


def access(models: Iterable[Path], scratch: Path, data: Iterable[Path] = (), *, programs: bool = False) -> Access:
    """To read ``models`` and ``data``, files and folders, and to write into ``scratch``.

    What links in data lead to is read too, wherever it is. Those in a model are of who made it, and lead to it alone.
    """
    return Access(
        read=(
            *(path for model in models for path in _with_links(model, stays)),
            *(path for given in data for path in _with_links(given, _is_small)),
        ),
        write=(str(scratch),),
        programs=programs,
        memory_bytes=max(_LEAST_MEMORY, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4),
        file_bytes=_FILE_BYTES,
        cpu_seconds=_CPU_SECONDS,
        tasks=_TASKS,
    )


def confine_command(
    models: Iterable[Path],
    data: Iterable[Path | None],
    promised: outlet.Promise,
    *,
    trusted: bool = False,
    programs: bool = False,
    told: bool = False,
) -> None:
    """Keep this child of the program to reading what it was given, before it reads any of ``models``.

    What it will make it has its parent write, see `maas_converter.base.outlet`. It does nothing in a process that is
    no such child, nor where the model is ``trusted``: what is started from here could do no more than this. What this
    system cannot hold is said, if it is to be ``told``.
    """
    global _confined
    if not outlet.has_parent():
        return
    outlet.promise(promised)
    if trusted:
        return
    if told and lacking():
        write_line(f"note: {UNCONFINED}: {lacking()}", error=True)
    if goes_without():
        return
    scratch = Path(tempfile.gettempdir())
    given = [path for path in (*data, Path(promised.journals or os.devnull)) if path is not None]
    os.environ["MPLCONFIGDIR"] = str(scratch)  # for what Matplotlib keeps at home
    _confined = access(models, scratch, given, programs=programs)
    held = confine(_confined)
    if held.lacking and not lacking():
        raise RuntimeFailure(f"this process could not be confined: {held.sentence()}")


def start_no_more() -> None:
    """From here on models are run in this process: it starts no program any more, if it is confined."""
    if _confined is not None:
        forbid_programs(_confined)


_confined: Access | None = None


@cache
def lacking(*, moving: bool = False) -> str:
    """What this system cannot take away from such a process, as a sentence; empty if nothing.

    So is what it takes away too much from one that is ``moving`` files between folders, as TensorFlow is when it saves.
    """
    found = offered(Access())
    if moving and found.landlock == _MOVES_NOTHING:
        return f"Landlock {found.landlock}, that of Linux before 5.19, does not let TensorFlow move the files it writes"
    return found.sentence()


def goes_without() -> bool:
    """Whether this system cannot confine what reads a model, and somebody has said that it may be read all the same.

    Such a system may be a container, which is thrown away; code in a model is refused there as elsewhere.
    """
    return os.environ.get(ACCEPTED) == "1" and bool(lacking(moving=True))


def environment(scratch: Path) -> dict[str, str]:
    """This process's variables without those that are none of a model's business; home is the folder ``scratch``."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(_KEPT)}
    home = str(scratch)
    # Packages that were installed for one user are found by his home.
    users = {"PYTHONUSERBASE": site.getuserbase()} if site.ENABLE_USER_SITE else {}
    return users | kept | {"HOME": home, "KERAS_HOME": home, "TMPDIR": home}


def start(
    module: str,
    arguments: Sequence[str],
    given: Access | None,
    scratch: Path,
    variables: Mapping[str, str],
    words: IO[bytes],
) -> "subprocess.Popen[str]":
    """Start ``python -m MODULE``, kept to ``given``; to nothing but its user's rights if that is ``None``.

    It talks by its standard input and output; what it writes to standard error goes into ``words``.
    """
    if given is not None:
        allowed = offered(given).lacking  # whoever calls has looked at `lacking`
        line, around = command(given, module, arguments, allowed), environment(scratch)
    else:
        # -P: the current folder is the user's, and a keras.py in it must not become ours.
        line, around = [sys.executable, "-P", "-m", module, *arguments], dict(os.environ)
    return subprocess.Popen(
        line,
        env=around | dict(variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=words,
        text=True,
        errors="replace",
    )


def stays(target: Path, folder: Path) -> bool:
    """Whether a link leads to its own model: into ``folder``, or to where a cache of downloads keeps its contents.

    Such a cache has ``snapshots/REVISION/…``, made of links, beside ``blobs/…``.
    """
    return folder in target.parents or target.parent in (folder.parent / "blobs", folder.parent.parent / "blobs")


def _is_small(target: Path, folder: Path) -> bool:
    """Whether a link of data leads to less than all there is: above the data, or to somebody's home, it does not."""
    home = Path(os.path.realpath(os.path.expanduser("~")))  # noqa: PTH111 - where there is none, it is ~
    return target not in (*folder.parents, folder, home, *home.parents)


def _with_links(given: Path, allowed: Callable[[Path, Path], bool]) -> Iterable[str]:
    """A file or folder, and what links in the folder lead to, where that is ``allowed``: both are often kept so."""
    yield str(given)
    whole, folders, seen = Path(os.path.realpath(given)), [str(given)], set[Path]()
    while folders:
        for found in _links_in(folders.pop()):
            target = Path(os.path.realpath(found))
            if target not in seen and allowed(target, whole):
                seen.add(target)
                yield str(target)
                folders.append(str(target))


def _links_in(folder: str) -> Iterable[str]:
    """Links below a folder, of which there may be a hundred thousand files: no file is asked for what it is."""
    folders = [folder]
    while folders:
        # What cannot be entered or leads nowhere is told by who reads it.
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    yield entry.path
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
