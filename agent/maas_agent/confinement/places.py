"""Where Python, the system's libraries and what they look at are."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from maas_agent.confinement.access import Access

_LIBRARIES = (
    "/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store", "/gnu/store", "/etc/ld.so.cache",
    "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.preload", "/etc/localtime", "/etc/timezone",
)  # fmt: skip
_THE_MACHINE = (
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/filesystems",
    "/proc/sys/vm/overcommit_memory", "/sys/devices/system/cpu", "/sys/devices/system/node",
    "/sys/kernel/mm/transparent_hugepage", "/sys/fs/cgroup", "/dev/urandom", "/dev/random", "/dev/zero",
)  # fmt: skip
_NAMES_OF_OTHERS = (
    "/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/services",
    "/etc/protocols", "/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/ca-certificates.conf",
    "/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager/resolv.conf", "/run/nscd", "/var/run/nscd",
)  # fmt: skip


def readable(access: Access) -> Iterator[str]:
    """Whatever is read, with what ``access`` implies."""
    yield from access.read
    if access.python:
        yield from _LIBRARIES
        yield from _THE_MACHINE
        yield from _python()
    if access.programs or access.processes:
        yield "/proc"  # /proc/self is another one in a child; Landlock closes what is secret there of others
    if access.network:
        yield from _NAMES_OF_OTHERS


def writable(access: Access) -> Iterator[str]:
    """Whatever is written to."""
    yield from access.write
    yield "/dev/null"


def _current_folder() -> str:
    """What ``python -m`` looks for modules in, unless somebody named it: it is the user's, who may be at home there."""
    named = os.environ.get("PYTHONPATH", "").split(":")
    here = str(Path.cwd())
    return "" if sys.flags.safe_path or here in named else here


def _python() -> Iterator[str]:
    """Python, its packages and this program, wherever they are installed, for editing too."""
    yield from (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)
    yield from (path for path in sys.path if path not in ("", "/", _current_folder()))
    yield from filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))
    yield str(Path(__file__).parents[1])
    for name, module in list(sys.modules.items()):
        if "." not in name:  # wherever it was found
            yield from map(str, getattr(module, "__path__", ()))
        if name.startswith("__editable__"):  # setuptools finds packages that are installed for editing so
            yield from map(str, getattr(module, "MAPPING", {}).values())
