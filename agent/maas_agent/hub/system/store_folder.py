"""Takes the store for this process alone, and tells what a person should know of its disk."""

import errno
import fcntl
import os
import re
import shlex
import stat
from contextlib import suppress
from pathlib import Path

from maas_agent.errors import ConfigError, UnavailableError
from maas_agent.host.ownership import strangers

TAKES_NOTHING = (errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""The disk is read-only, full or failing. What is on it may be good: to serve that is better than to end."""

_LOCK = "lock"
CONTENTS = frozenset(
    {"aside", "blobs", "commands", "control", "deliveries", "desired", "device", "install", "lock"}
) | {"maas", "marks", "outbox", "pipelines", "pulling", "tuf", "updates"}
"""How the names of everything in a store begin; ``maas`` is what `check` writes there."""
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


def own(store: Path) -> int:
    """Make the store and take it for this process; two agents on one store would undo each other's work.

    Returns the descriptor that holds it. A disk that takes nothing is no obstacle where there is a store. Raises
    `ConfigError` if the store cannot be used until somebody changes that, `UnavailableError` if another agent has it or
    it cannot be made now.
    """
    for stranger in strangers(store, os.geteuid()):
        raise ConfigError(f"store.path: {stranger.why}. Type: {stranger.mend}")
    try:
        descriptor = _opened(store)
    except OSError as error:
        why = f"store.path: cannot use {store}: {error.strerror}"
        raise (UnavailableError if error.errno in TAKES_NOTHING else ConfigError)(why) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UnavailableError(
            f"another maas-agent runs on {store}: stop it first, or set another store.path"
        ) from None
    return descriptor


def _opened(store: Path) -> int:
    try:
        store.mkdir(0o750, parents=True, exist_ok=True)  # results and models: nothing for others
        return os.open(store / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    except OSError as error:
        if error.errno not in TAKES_NOTHING or not store.is_dir():
            raise
    with suppress(FileNotFoundError):
        return os.open(store / _LOCK, _READ)
    return os.open(store, _READ | os.O_DIRECTORY)


def left_open(store: Path) -> tuple[str, str] | None:
    """What others than the store's user and group may see there, as a sentence, and what closes it."""
    try:
        mode = stat.S_IMODE(store.stat().st_mode)
    except OSError:
        return None
    if not mode & stat.S_IRWXO:
        return None
    what = f"everybody on this machine may look into the store {store} (mode {mode:04o}): results and models are in it"
    return what, f"chmod o-rwx {shlex.quote(str(store))}"


def close_to_others(store: Path) -> bool:
    """Close a store that is open to others, as one that was made by hand; whether that was done.

    Not a folder that holds something else too: ``/tmp`` or a home is nothing to take away from others.
    """
    try:
        found = store.stat()
        if found.st_mode & stat.S_ISVTX or not all(_is_ours(path.name) for path in store.iterdir()):
            return False
        store.chmod(stat.S_IMODE(found.st_mode) & ~stat.S_IRWXO)
    except OSError:  # somebody else's, or a disk that takes nothing
        return False
    return True


def _is_ours(name: str) -> bool:
    """Whether it is a file or folder of a store, one of its copies, or of a file system of its own."""
    return name == "lost+found" or re.split(r"[.-]", name.lstrip("."))[0] in CONTENTS


def alarms(store: Path) -> list[str]:
    """That it is read-only, if it is: then nothing is remembered of what is new."""
    try:
        is_read_only = os.statvfs(store).f_flag & os.ST_RDONLY
    except OSError as error:
        return [f"the store {store} cannot be looked at: {error.strerror}"]
    return (
        [f"the store {store} is read-only: no update can be taken, and nothing be remembered"] if is_read_only else []
    )
