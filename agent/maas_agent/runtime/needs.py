"""Which files an accelerator needs beside the libraries of the system and of Python, found by looking.

What drivers were seen to open (docs/security.md has the table), and what their documentation says. Nothing native is
loaded.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from maas_agent.runtime.machine import DELEGATES, ICD_VARIABLES, library_folders, matching
from maas_agent.runtime.setup import CPU, DELEGATE, GPU, NPU, Setup
from maas_agent.runtime.vendors import VENDORS

_BUFFERS = ("/dev/dma_heap", "/dev/ion", "/dev/udmabuf")
"""Memory that devices share."""
_WHAT_IS_PLUGGED_IN = ("/sys/devices", "/sys/class", "/sys/bus", "/sys/dev", "/sys/module", "/proc/devices")
_GPUS = ("/dev/dri", "/dev/mali*", "/dev/kgsl*", "/dev/pvr*", "/dev/galcore", "/dev/kfd", "/dev/nvidia*", "/dev/dxg")
_GRAPHICS = ("/etc/vulkan", "/etc/xdg/vulkan", "/etc/OpenCL", "/etc/glvnd", "/etc/drirc")
_USB = ("/dev/bus/usb",)
_USB_RECORDS = ("/run/udev",)


class Needs(msgspec.Struct, frozen=True):
    """What is ``read``, and what is ``written``, devices above all; ``hotplug`` if it hears of what is plugged in."""

    read: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    hotplug: bool = False


def needs_of(setup: Setup) -> Needs:
    """What ``setup`` needs on this machine; the processor nothing."""
    if setup.accelerator == CPU:
        return Needs()
    found = _of(setup)
    named = tuple(_named_in(setup.options))
    return Needs(
        (*found.read, *_WHAT_IS_PLUGGED_IN, *named),
        (*_there(_BUFFERS), *found.written, *named),
        found.hotplug,
    )


def _of(setup: Setup) -> Needs:
    if setup.accelerator == GPU:
        drivers = (Path(path) for variable in ICD_VARIABLES for path in os.environ.get(variable, "").split(":") if path)
        return Needs((*_GRAPHICS, *_with_its_neighbours(drivers)), tuple(_there(_GPUS)))
    if setup.accelerator == NPU:
        vendor = setup.options.get("vendor")
        devices = [pattern for one in VENDORS.values() if vendor in (None, one.name) for pattern in one.devices]
        return Needs((), tuple(_there(devices)))
    path = Path(setup.accelerator.removeprefix(DELEGATE))
    known = next((known for known in DELEGATES if known.file == path.name), None)
    libraries = [path] if path.is_absolute() or len(path.parts) > 1 else [folder / path for folder in library_folders()]
    read = tuple(_with_its_neighbours(libraries))
    if known is None:
        return Needs(read)
    if not known.usb:
        return Needs(read, tuple(_there(known.devices)))
    return Needs((*read, *_USB_RECORDS), (*_there(known.devices), *_USB), hotplug=True)


def _with_its_neighbours(files: Iterable[Path]) -> Iterator[str]:
    """The files, where links lead to, and the libraries beside them. Not their folders: anything may lie there."""
    for file in files:
        for place in dict.fromkeys((file.absolute(), file.resolve())):
            yield str(place)
            if place.exists():
                yield from map(str, sorted(place.parent.glob("*.so*")))


def _named_in(options: dict[str, str]) -> Iterator[str]:
    """Options that are paths: folders of libraries, caches, files of settings."""
    return (value for value in options.values() if value.startswith("/") and Path(value) != Path("/"))


def _there(patterns: Iterable[str]) -> Iterator[str]:
    return (str(path) for pattern in patterns for path in matching(pattern))
