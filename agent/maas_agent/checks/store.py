"""Checks the store by writing in it, because permissions and free space promise little."""

import errno
import os
import tempfile
from contextlib import nullcontext
from pathlib import Path

from maas_agent.checks.finding import CheckResult
from maas_agent.errors import UnavailableError
from maas_agent.host.ownership import strangers
from maas_agent.host.privileges import as_owner_of
from maas_agent.hub.api.control_socket import NAME

_LOW_BYTES = 64 << 20
_LOW_FILES = 1000
_WRITTEN_BYTES = 1 << 16
_MOST_PATH_BYTES = 107
"""Of the path of a socket: 108 with the zero that ends it (unix(7))."""


def store(path: Path) -> CheckResult:
    """Free space and a file that is really written; in the nearest folder that exists if there is no store yet."""
    path_bytes = len(os.fsencode(path / NAME))
    if path_bytes > _MOST_PATH_BYTES:
        long = f"{path} is too long: with the socket {NAME} it has {path_bytes} bytes, Linux takes {_MOST_PATH_BYTES}"
        return CheckResult("store", False, long, "set a shorter store.path in the configuration")
    folder = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    for stranger in strangers(path, _user(path)):
        return CheckResult("store", False, stranger.why, stranger.mend)
    try:
        _try_to_write(folder, is_store=folder == path)
        room = os.statvfs(folder)
    except UnavailableError as error:
        return CheckResult("store", False, str(error), None)
    except OSError as error:
        return CheckResult("store", False, f"{path} cannot be written: {error.strerror}", _mend(path, folder, error))
    free_bytes = room.f_bavail * room.f_frsize
    found = f"{path}, {free_bytes >> 20} MiB free, {_held(path)}"
    if free_bytes < _LOW_BYTES:
        return CheckResult("store", False, found, _more_room(folder))
    if room.f_files and room.f_favail < _LOW_FILES:  # file systems without a table of inodes say 0
        few = f"{found}, but only {room.f_favail} files more"
        return CheckResult(
            "store", False, few, f"remove files: df -i {folder}; du --inodes -xs {_mount_point(folder)}/*"
        )
    return CheckResult("store", True, found)


def _user(path: Path) -> int:
    """Who uses the store: who asks, or whose it is where root asks."""
    user = os.geteuid()
    return path.stat().st_uid if user == 0 and path.is_dir() else user


def _try_to_write(folder: Path, *, is_store: bool) -> None:
    """By whoever owns the store: root may write where the agent may not."""
    with as_owner_of(folder, even_open=True) if is_store else nullcontext():
        _write(folder)


def _write(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder, prefix=".maas-check-") as file:
        file.write(bytes(_WRITTEN_BYTES))
        file.flush()
        os.fsync(file.fileno())


def _held(path: Path) -> str:
    try:
        sizes = [entry.stat().st_size for entry in os.scandir(path / "blobs")]
    except FileNotFoundError:
        return "no bundles yet"
    except OSError as error:
        return f"bundles: {error.strerror}"
    return f"bundles take {sum(sizes) / (1 << 20):.1f} MiB"


def _mend(path: Path, folder: Path, error: OSError) -> str:
    if error.errno == errno.EROFS:
        return f"sudo mount -o remount,rw {_mount_point(folder)}   (or set store.path)"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _more_room(folder)
    return f"sudo install -d -o maas-agent -g maas-agent {path}   (or set store.path)"


def _more_room(folder: Path) -> str:
    return f"free some space, bundles are staged there: du -xhd1 {_mount_point(folder)} | sort -h"


def _mount_point(folder: Path) -> Path:
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_mount())
