"""What a process that reads or runs somebody's model may do here, and the one door by which such a program is started.

It reads Python, the model and the data, and writes into a folder of scratch files: no other file, no network, no other
program or process, and no more than so much memory and time. What came of it is read by who started it.
"""

import os
import site
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

from maas_agent.confinement.access import Access
from maas_agent.confinement.confine import command, offered

_LEAST_MEMORY = 4 << 30
_FILE_BYTES = 16 << 30
_CPU_SECONDS = 8 * 3600
_TASKS = 16_384
_KEPT = (
    "LANG", "LC_", "LD_LIBRARY_PATH", "PATH", "PYTHON", "TZ", "VIRTUAL_ENV", "SOURCE_DATE_EPOCH",
    "TF_", "OMP_", "KMP_", "MKL_", "OPENBLAS_", "MALLOC_", "COLUMNS", "LINES", "TERM", "NO_COLOR", "MAAS_TRACEBACK",
)  # fmt: skip
"""Beginnings of the variables that are handed on: others may hold secrets."""


def access(read: Iterable[Path], scratch: Path, *, programs: bool = False) -> Access:
    """To read the files and folders ``read``, and what links in these lead to, and to write into ``scratch``."""
    return Access(
        read=tuple(path for given in read for path in _files_of(given)),
        write=(str(scratch),),
        programs=programs,
        memory_bytes=max(_LEAST_MEMORY, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4),
        file_bytes=_FILE_BYTES,
        cpu_seconds=_CPU_SECONDS,
        tasks=_TASKS,
    )


@cache
def lacking() -> str:
    """What this system cannot take away from such a process, as the rest of a sentence; empty if nothing."""
    return offered(Access()).sentence()


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


def _files_of(given: Path) -> Iterable[str]:
    """A file or folder, and what links in the folder lead to: downloads are often kept so."""
    yield str(given)
    links = (path for path in given.rglob("*") if path.is_symlink()) if given.is_dir() else ()
    yield from (str(link.resolve()) for link in links if link.is_file())
