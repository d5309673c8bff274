"""What this machine can run models on, found by looking: nothing native is loaded, because a driver may crash."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from maas_agent.runtime.setup import CPU, DELEGATE, GPU, NPU, Library, how_to_get
from maas_agent.runtime.vendors import VENDORS, Vendor, folder_of, litert_folder

ROOT = Path("/")
"""Where devices and drivers are looked for."""

_LITERT: Library = "ai-edge-litert"
_LIBRARIES: tuple[Library, ...] = (_LITERT, "tflite-runtime")
ICD_VARIABLES = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
_ICD_FOLDERS = ("/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d")
"""Where drivers of GPUs register with the Vulkan loader (LoaderDriverInterface.md of Vulkan-Loader)."""
_CORAL_USB = (("1a6e", "089a"), ("18d1", "9302"))
"""Vendor and product of a Coral stick, before and after its firmware was loaded (coral.ai, edgetpu's udev rules)."""


class AcceleratorFinding(msgspec.Struct, frozen=True):
    """An accelerator, and why this machine does not have it (``None`` if it seems to).

    ``found`` names what was found, such as a library and its version; ``mend`` is the line to type that mends it.
    """

    accelerator: str
    found: str = ""
    missing: str | None = None
    mend: str | None = None


class _Known(msgspec.Struct, frozen=True):
    """A well-known external delegate: its file, whose it is, how it is installed, and its device if that is needed."""

    file: str
    what: str
    mend: str
    devices: tuple[str, ...] = ()
    usb: tuple[tuple[str, str], ...] = ()


DELEGATES = (
    _Known(
        "libedgetpu.so.1",
        "Coral Edge TPU",
        "sudo apt install libedgetpu1-std   (coral.ai/docs/accelerator/get-started has the package source)",
        ("/dev/apex_*",),
        _CORAL_USB,
    ),
    _Known("libarmnnDelegate.so", "Arm NN", "install Arm NN's delegate: github.com/ARM-software/armnn"),
    _Known("libvx_delegate.so", "VeriSilicon NPU (NXP i.MX 8M Plus)", "use an image of NXP's BSP", ("/dev/galcore",)),
    _Known("libethosu_delegate.so", "Arm Ethos-U (NXP i.MX 93)", "use an image of NXP's BSP", ("/dev/ethosu*",)),
    _Known("libhexagon_delegate.so", "Qualcomm Hexagon", "install Qualcomm's delegate", ("/dev/*dsprpc-smd*",)),
)
"""What ``auto`` looks for; any other one can be named by its path."""


def look(library: Library = "auto") -> list[AcceleratorFinding]:
    """Every accelerator there could be, the processor first."""
    return [processor(library), _gpu(library), _npu(library), *(_delegate(known) for known in DELEGATES)]


def library_folders() -> Iterator[Path]:
    """The folders in which the loader finds shared libraries."""
    triplet = getattr(sys.implementation, "_multiarch", "")
    named = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    usual = [
        f"/usr/local/lib/{triplet}",
        "/usr/local/lib",
        f"/usr/lib/{triplet}",
        "/usr/lib",
        f"/lib/{triplet}",
        "/lib",
    ]
    yield from (Path(folder) for folder in dict.fromkeys([*named, *usual]) if folder)


def processor(library: Library = "auto") -> AcceleratorFinding:
    """The processor: it is there, but perhaps no interpreter is; ``found`` is its name and version."""
    for distribution in _LIBRARIES if library == "auto" else (library,):
        if version := _version(distribution):
            return AcceleratorFinding(CPU, version)
    return AcceleratorFinding(CPU, missing="no interpreter is installed", mend=how_to_get(library))


def _gpu(library: Library) -> AcceleratorFinding:
    if lacks := _lacks_litert(GPU, library):
        return lacks
    if not _package_files("libLiteRt*Accelerator.so"):
        return AcceleratorFinding(GPU, missing="ai-edge-litert has no GPU library for this machine")
    drivers = _vulkan_drivers()
    nodes = matching("/dev/dri/renderD*")
    if not drivers:
        there = f"there is {nodes[0]}, but " if nodes else ""
        missing = f"{there}there is no Vulkan driver"
        return AcceleratorFinding(GPU, missing=missing, mend="sudo apt install libvulkan1 mesa-vulkan-drivers")
    if not _library_file("libvulkan.so.1"):
        return AcceleratorFinding(
            GPU, missing="there is no Vulkan loader (libvulkan.so.1)", mend="sudo apt install libvulkan1"
        )
    if nodes and not any(os.access(node, os.R_OK | os.W_OK) for node in nodes):
        return AcceleratorFinding(
            GPU, missing=f"{nodes[0]} is not for this user", mend="sudo usermod -aG render maas-agent"
        )
    return AcceleratorFinding(GPU, f"Vulkan: {', '.join(drivers)}")


def _npu(library: Library) -> AcceleratorFinding:
    if lacks := _lacks_litert(NPU, library):
        return lacks
    there = [vendor for vendor in VENDORS.values() if _nodes(vendor)]
    if not there:
        patterns = ", ".join(pattern for vendor in VENDORS.values() for pattern in vendor.devices)
        mend = "install the kernel's driver of the NPU, if this machine has one"
        return AcceleratorFinding(NPU, missing=f"there is no NPU device (none of {patterns})", mend=mend)
    # ``auto`` takes a vendor whose libraries the package has: one that needs more is only told of.
    return _npu_of(next((vendor for vendor in there if folder_of(vendor.name, "dispatch")), there[0]))


def _npu_of(vendor: Vendor) -> AcceleratorFinding:
    """What the NPU of a vendor whose device is there lacks still."""
    node = _nodes(vendor)[0]
    if folder_of(vendor.name, "dispatch") is None:
        missing = f"there is {node} ({vendor.name}), but ai-edge-litert brings no dispatch library for it"
        mend = f'{vendor.mend}, then [pipeline.options] vendor = "{vendor.name}", dispatch = "…", compiler = "…"'
        return AcceleratorFinding(NPU, missing=missing, mend=mend)
    if vendor.package and importlib.util.find_spec(vendor.package) is None:
        return AcceleratorFinding(
            NPU, missing=f"the Python package {vendor.package} is not installed", mend=vendor.mend
        )
    if not os.access(node, os.R_OK | os.W_OK):
        return AcceleratorFinding(
            NPU, missing=f"{node} is not for this user", mend="sudo usermod -aG render maas-agent"
        )
    return AcceleratorFinding(NPU, f"{vendor.name}, {_version(vendor.package)}" if vendor.package else vendor.name)


def _nodes(vendor: Vendor) -> list[Path]:
    """The vendor's device nodes: of ``/dev/accel``, which vendors share, those of its kernel driver."""
    nodes = [node for pattern in vendor.devices for node in matching(pattern)]
    return [node for node in nodes if not vendor.driver or _driver(node) in (vendor.driver, "")]


def _driver(node: Path) -> str:
    """The kernel driver of a node in ``/dev/accel``; empty where that is not to be seen."""
    link = ROOT / "sys/class/accel" / node.name / "device/driver"
    return link.resolve().name if link.exists() else ""


def _delegate(known: _Known) -> AcceleratorFinding:
    path = _library_file(known.file)
    if path is None:
        missing = f"there is no {known.file} ({known.what})"
        return AcceleratorFinding(DELEGATE + known.file, missing=missing, mend=known.mend)
    name = f"{DELEGATE}{path}"
    needed = bool(known.devices or known.usb)
    if needed and not any(matching(pattern) for pattern in known.devices) and not _plugged_in(known.usb):
        return AcceleratorFinding(
            name, missing=f"no {known.what} is there", mend="plug it in, or load its kernel module"
        )
    return AcceleratorFinding(name, known.what)


def _lacks_litert(accelerator: str, library: Library) -> AcceleratorFinding | None:
    if library not in ("auto", _LITERT):
        missing = f"it needs ai-edge-litert, and runtime = {library!r} is asked for"
        return AcceleratorFinding(accelerator, missing=missing, mend='runtime = "auto"')
    if not _version(_LITERT):
        return AcceleratorFinding(
            accelerator, missing="ai-edge-litert is not installed", mend="pip install ai-edge-litert"
        )
    return None


def _vulkan_drivers() -> list[str]:
    """The drivers' names: those of their files, without the ending."""
    named = [path for variable in ICD_VARIABLES for path in os.environ.get(variable, "").split(":") if path]
    files = [Path(path) for path in named] or [path for folder in _ICD_FOLDERS for path in matching(f"{folder}/*.json")]
    return [path.name.removesuffix(".json") for path in files if path.is_file()]


def _plugged_in(usb: tuple[tuple[str, str], ...]) -> bool:
    for device in matching("/sys/bus/usb/devices/*/idVendor"):
        with suppress(OSError):
            vendor, product = device.read_text().strip(), device.with_name("idProduct").read_text().strip()
            if (vendor, product) in usb:
                return True
    return False


def matching(pattern: str) -> list[Path]:
    """What there is of that name on this machine."""
    return sorted(ROOT.glob(pattern.lstrip("/")))


def _library_file(name: str) -> Path | None:
    return next((folder / name for folder in library_folders() if (folder / name).exists()), None)


def _package_files(pattern: str) -> list[Path]:
    package = litert_folder()
    return list(package.glob(pattern)) if package is not None else []


def _version(distribution: str) -> str:
    """Name and version of an installed distribution; empty if it is not there.

    Read off the folder that holds its metadata (packaging.python.org, "Recording installed projects"): the module of
    the standard library that does so costs the hub half a megabyte.
    """
    stem = distribution.replace("-", "_")
    for folder in filter(None, sys.path):
        for found in sorted(Path(folder).glob(f"{stem}-*.*-info")):
            return f"{distribution} {found.name.removeprefix(f'{stem}-').rpartition('.')[0]}"
    return ""
