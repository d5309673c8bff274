"""Tells whose the files of a store are: what root made there, trying things out, is in the service's way."""

import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

_WRITTEN = (".db", ".db-wal", ".db-shm", "lock")
"""Ends of the names of files that are opened for writing; others are replaced as a whole, which takes the folder."""
_GUARD = "fs.protected_hardlinks"
_UNNAMED = "user "


class Stranger(msgspec.Struct, frozen=True):
    """A file or folder that ``user`` cannot use, and whose it is, by names of users."""

    path: Path
    owner: str
    user: str
    store: Path
    linked: Path | None = None
    """A file in the store that is somebody else's and has another name, which may be anywhere on its disk."""

    @property
    def why(self) -> str:
        """What is wrong, as a sentence without its end."""
        return f"{self.path} belongs to {self.owner}, and {self.user} cannot use it"

    @property
    def mend(self) -> str:
        """What to type: nothing that hands over more than what is in the store.

        ``chown -hR`` follows no symbolic link. By a hard link it would give away a file that is elsewhere too: such a
        name goes first, and while the kernel lets users make them to files of others, that is ended before.
        """
        number = self.user.removeprefix(_UNNAMED) if self.user.startswith(_UNNAMED) else None
        if self.linked is not None:
            user = f"'#{number}'" if number else self.user
            return f"sudo -u {user} rm {shlex.quote(str(self.linked))}   (it is a hard link; then check again)"
        change = f"sudo chown -hR {number or f'{self.user}:'} {shlex.quote(str(self.store))}"
        return change if _hard_links_are_guarded() else f"sudo sysctl -w {_GUARD}=1, check again, and then {change}"


def strangers(store: Path, user: int) -> Iterator[Stranger]:
    """What in ``store`` the user with this number cannot use because somebody else made it; root can use everything.

    Only who asks for himself, or root, is answered rightly: nobody else may look.
    """
    if user == 0:
        return
    for path, found in _entries(store):
        if found.st_uid != user and not _is_usable(path, found, user):
            yield Stranger(path, _name_of(found.st_uid), _name_of(user), store, _linked(store, user))


def _linked(store: Path, user: int) -> Path | None:
    """A file of somebody else's in the store that has more names than this one."""
    is_linked = (path for path, found in _entries(store) if found.st_uid != user and _has_other_names(found))
    return next(is_linked, None)


def _has_other_names(found: os.stat_result) -> bool:
    return not stat.S_ISDIR(found.st_mode) and found.st_nlink > 1


def _hard_links_are_guarded() -> bool:
    """Whether the kernel lets users make hard links only to files that they may write (proc(5))."""
    try:
        return Path("/proc/sys", *_GUARD.split(".")).read_text().strip() != "0"
    except OSError:
        return False


def _entries(store: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The store and everything below it, links themselves and not what they lead to; what has just gone is left out."""
    left = [store]
    while left:
        path = left.pop()
        try:
            found = path.lstat()
            yield path, found
            if stat.S_ISDIR(found.st_mode):
                left.extend(Path(entry) for entry in os.scandir(path))
        except OSError:
            continue


def _is_usable(path: Path, found: os.stat_result, user: int) -> bool:
    """Whether it can be used although it is somebody else's."""
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        return True  # a socket that was left is removed, which takes the folder
    if user != os.geteuid():
        return False  # root looks: to go by the owner is all that is simple
    wanted = os.R_OK
    if stat.S_ISDIR(found.st_mode):
        wanted |= os.W_OK | os.X_OK
    elif path.name.endswith(_WRITTEN):
        wanted |= os.W_OK
    return os.access(path, wanted)


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"{_UNNAMED}{user}"
