"""Landlock: which files a process reaches, whether it uses TCP, and whom it may signal.

See linux/landlock.h and Documentation/userspace-api/landlock.rst. It holds the thread that calls it and all that this
one starts, for good, root too; ptrace and /proc of processes outside are closed with it.
"""

import os
import stat
import struct
from collections.abc import Iterable

from maas_agent.confinement import kernel
from maas_agent.confinement.access import Access

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every machine
_TELL_VERSION, _PATH_BENEATH = 1, 1
_ALL_THREADS = 1 << 3
_ALL_THREADS_SINCE = 8

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_DIR, _MAKE_REG, _REFER, _TRUNCATE, _IOCTL_DEV = 1 << 7, 1 << 8, 1 << 13, 1 << 14, 1 << 15
_READING = _READ_FILE | _READ_DIR
_WRITING = _READING | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE | _IOCTL_DEV
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights each version knows, from the lowest bit on; later ones add none that is needed here."""
_BIND_TCP, _CONNECT_TCP, _TCP_SINCE = 1, 2, 4
_ABSTRACT_SOCKETS, _SIGNALS, _SCOPES_SINCE = 1, 2, 6

SIGNALS_SINCE = _SCOPES_SINCE
TRUNCATE_SINCE = 3


def version() -> int:
    """The version of the kernel's Landlock; 0 if it has none, or it is switched off."""
    try:
        return kernel.call("landlock_create_ruleset", _CREATE_RULESET, None, 0, _TELL_VERSION)
    except kernel.Refused:
        return 0


def holds_all_threads(of: int) -> bool:
    """Whether version ``of`` holds threads that ran before."""
    return of >= _ALL_THREADS_SINCE


def restrict(access: Access, read: Iterable[str], write: Iterable[str], of: int) -> None:
    """Keep this thread to ``read`` and ``write``, and what else ``access`` says, by version ``of``.

    Raises `kernel.Refused`.
    """
    handled = (1 << _RIGHTS[min(of, max(_RIGHTS))]) - 1
    tcp = (_BIND_TCP if access.network else _BIND_TCP | _CONNECT_TCP) if of >= _TCP_SINCE else 0
    scopes = (_SIGNALS if access.network else _SIGNALS | _ABSTRACT_SOCKETS) if of >= _SCOPES_SINCE else 0
    # A kernel takes longer values than it knows if the rest is nought.
    attributes = struct.pack("=QQQ", handled, tcp, scopes)
    ruleset = kernel.call("landlock_create_ruleset", _CREATE_RULESET, attributes, len(attributes), 0)
    try:
        reading = _READING | (_EXECUTE if access.programs else 0)
        for path in read:
            _allow(ruleset, path, reading & handled)
        for path in write:
            _allow(ruleset, path, _WRITING & handled)
        flags = _ALL_THREADS if holds_all_threads(of) else 0
        kernel.call("landlock_restrict_self", _RESTRICT_SELF, ruleset, flags)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        # It follows links: the rule is about what they lead to now.
        found = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError):
        return  # what is not there needs no leave
    try:
        is_folder = stat.S_ISDIR(os.fstat(found).st_mode)
        rule = struct.pack("=Qi", rights if is_folder else rights & _OF_A_FILE, found)
        kernel.call("landlock_add_rule", _ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(found)
