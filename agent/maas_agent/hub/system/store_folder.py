"""The store of the hub: nobody else uses it meanwhile, and what a person should know of its disk."""

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

from maas_agent.errors import ConfigError, UnavailableError
from maas_agent.host.ownership import strangers

TAKES_NOTHING = (errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""The disk is read-only, full or failing. What is on it may be good: to serve that is better than to end."""

_LOCK = "lock"
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


def alarms(store: Path) -> list[str]:
    """That it is read-only, if it is: then nothing is remembered of what is new."""
    try:
        is_read_only = os.statvfs(store).f_flag & os.ST_RDONLY
    except OSError as error:
        return [f"the store {store} cannot be looked at: {error.strerror}"]
    return (
        [f"the store {store} is read-only: no update can be taken, and nothing be remembered"] if is_read_only else []
    )
