"""Lets root work in a folder of somebody else's as that one.

Whoever owns a folder chooses what its names lead to, at any moment: links to any file, hard links, other folders. As
himself he gets no further by them than he would without root.
"""

import errno
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maas_agent.errors import UnavailableError

_ROOT = 0
_NO_GROUP = 65534
_MAX_LINKS = 40
"""As many as Linux follows on the way to a file (path_resolution(7))."""
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@contextmanager
def as_owner_of(folder: Path, *, even_open: bool = False) -> Iterator[None]:
    """Be whoever decides what is in ``folder``, within this block; only root becomes anybody else.

    That is the first on the way to it who is not root: he could put another folder there. Import what the block needs
    before it: others may not be able to read this Python.

    Raises ``OSError`` if it is not there, `UnavailableError` if it is root's and others may write there (unless
    ``even_open``), or if root cannot become its owner.
    """
    if os.geteuid() != _ROOT:
        yield
        return
    owner, is_open = _owner(folder)
    if is_open and not even_open:
        raise UnavailableError(
            f"{folder} belongs to root and others may write there, so nothing is written there as root: "
            f"sudo chown maas-agent: {folder}, or sudo chmod go-w {folder}"
        )
    before = os.getegid(), os.getgroups()
    if owner.st_uid != _ROOT:
        _become(folder, owner)
    try:
        yield
    finally:
        if owner.st_uid != _ROOT:
            _be_root(*before)


def _become(folder: Path, owner: os.stat_result) -> None:
    """Become him, with the groups that he has by himself."""
    before = os.getegid(), os.getgroups()
    try:
        entry = pwd.getpwuid(owner.st_uid)
        group, groups = entry.pw_gid, os.getgrouplist(entry.pw_name, entry.pw_gid)
    except KeyError:  # a container, or a user who is gone
        group, groups = owner.st_gid or _NO_GROUP, []
    try:
        os.setgroups(groups)
        os.setegid(group)
        os.seteuid(owner.st_uid)
    except OSError as error:
        _be_root(*before)
        raise UnavailableError(
            f"{folder} belongs to user {owner.st_uid}, and root cannot act as that one here: {error.strerror}. "
            "Run this as that user"
        ) from None


def _be_root(group: int, groups: list[int]) -> None:
    os.seteuid(_ROOT)
    os.setegid(group)
    os.setgroups(groups)


def _owner(folder: Path) -> tuple[os.stat_result, bool]:
    """Whose ``folder`` is, or the way to it; and, where all of that is root's, whether others may change it still."""
    here, names, links = Path("/"), list(folder.absolute().parts[:0:-1]), 0
    found, is_open = here.lstat(), False
    while names:
        # In a folder with the sticky bit others may add names, and change none of root's.
        is_open = is_open or bool(_is_writable(found) and not found.st_mode & stat.S_ISVTX)
        name = names.pop()
        if name == "..":
            here = here.parent
            found = here.lstat()
            continue
        there = here / name
        found = there.lstat()
        if found.st_uid != _ROOT:
            return found, False
        if not stat.S_ISLNK(found.st_mode):
            here = there
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder))
        target = there.readlink()
        names.extend(reversed(target.parts[1:] if target.is_absolute() else target.parts))
        here = Path("/") if target.is_absolute() else here
        found = here.lstat()
    return found, is_open or _is_writable(found)


def _is_writable(found: os.stat_result) -> bool:
    """Whether others than its owner, and root's own group, may write it."""
    others = _OTHERS_WRITE if found.st_gid != _ROOT else stat.S_IWOTH
    return bool(found.st_mode & others)
