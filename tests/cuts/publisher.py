"""Changes a publisher makes, each cut at one change to the disk after the other.

Run as a program under the library of ``cuts.c``: ``FOLDER CHANGE FIRST STEP``. It copies ``FOLDER/prepared`` to
``FOLDER/cuts/N`` for each cut N, and forks a child that makes the change there and is killed, or finds the disk full,
at its Nth change to the disk. It ends with the first child that comes to its end, and prints how many were cut.
"""

import os
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path

from maas_agent.errors import MaasError
from maas_converter.publishing.folder import locked
from maas_converter.publishing.keys.key_ring import KeyRing
from maas_converter.publishing.release import complete
from maas_converter.publishing.repository import init_repository, publish, refresh_repository, revoke
from maas_converter.publishing.trust import delegate, rotate, undelegate
from maas_converter.publishing.verify import verify

FAR = 1_000_000
"""CUTS_AT: the count is set so that the Nth change from now is this one."""

_REFUSED = 65


def keys_of(folder: Path) -> KeyRing:
    """Those of both people."""
    return KeyRing([folder / "keys", folder / "bob"])


def _sign(repository: Path, folder: Path) -> None:
    with locked(repository):
        complete(repository, keys_of(folder))


CHANGES: dict[str, Callable[[Path, Path], object]] = {
    "init": lambda repository, folder: init_repository(repository, keys_of(folder)),
    "publish": lambda repository, folder: publish(folder / "digits-1.1.0.maas", repository, keys_of(folder)),
    "publish, to be signed": lambda repository, folder: publish(
        folder / "digits-1.1.0.maas", repository, folder / "keys"
    ),
    "sign": lambda repository, folder: _sign(repository, folder),
    "revoke": lambda repository, folder: revoke("digits", "1.0.1", repository, keys_of(folder)),
    "delegate": lambda repository, folder: delegate(repository, "team", ["digits"], keys_of(folder)),
    "take back": lambda repository, folder: undelegate(repository, "team", keys_of(folder)),
    "rotate root": lambda repository, folder: rotate(repository, "root", keys_of(folder), KeyRing(folder / "new")),
    "rotate targets": lambda repository, folder: rotate(
        repository, "targets", keys_of(folder), KeyRing(folder / "new")
    ),
    "rotate timestamp": lambda repository, folder: rotate(
        repository, "timestamp", keys_of(folder), KeyRing(folder / "new")
    ),
    "refresh": lambda repository, folder: refresh_repository(repository, keys_of(folder)),
    "clean": lambda repository, folder: verify(repository, clean=True),
}


def _cut(folder: Path, change: str, number: int) -> bool:
    """Make the change in a child, cut at change ``number``; whether it was cut, or refused for a full disk."""
    copy = folder / "cuts" / str(number)
    _count_from(0)
    shutil.copytree(folder / "prepared", copy)
    child = os.fork()
    if child == 0:
        code = 0
        try:
            _count_from(FAR - number)
            CHANGES[change](copy, folder)
        except MaasError:
            code = _REFUSED
        finally:
            os._exit(code if sys.exc_info()[0] is None else 70)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == _REFUSED:
        return True
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{change}, cut at {number}: an error that is not for a person")
    return False


def _count_from(number: int) -> None:
    """Say which number the last change had, and that this process is the one to be killed."""
    with Path(os.environ["CUTS_COUNTER"]).open("r+b") as counter:
        counter.write(struct.pack("=ii", number, os.getpid()))


def main(folder: Path, change: str, first: int, step: int) -> None:
    """Cut at change ``first``, and every ``step``th after it."""
    number = first
    while _cut(folder, change, number):
        number += step
    print((number - first) // step)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
