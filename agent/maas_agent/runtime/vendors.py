"""NPU vendors that LiteRT knows, and what of each has to be on a machine. Plain facts, nothing native is loaded.

The folders are those of the ``ai-edge-litert`` package (``vendors/<vendor>/dispatch``, ``…/compiler``). A vendor whose
libraries are not in the package ships them with its SDK: the options ``dispatch`` and ``compiler`` name their folders.
"""

import importlib.util
from pathlib import Path

import msgspec


class Vendor(msgspec.Struct, frozen=True):
    """One vendor. ``devices`` are the kernel's nodes, ``package`` the Python package of its runtime, if it has one.

    ``driver`` is the kernel's driver, where nodes of that name are those of other vendors too.
    """

    name: str
    devices: tuple[str, ...]
    package: str = ""
    mend: str = ""
    driver: str = ""


VENDORS: dict[str, Vendor] = {
    vendor.name: vendor
    for vendor in (
        Vendor("intel_openvino", ("/dev/accel/accel*",), "openvino", "pip install 'maas-edge[npu-intel]'", "intel_vpu"),
        Vendor("qualcomm", ("/dev/fastrpc-cdsp*", "/dev/adsprpc-smd*"), mend="install Qualcomm's QNN runtime (QAIRT)"),
        Vendor("mediatek", ("/dev/apusys*",), mend="install MediaTek's NeuroPilot runtime"),
        Vendor("google_tensor", ("/dev/edgetpu*",), mend="use an image for Google Tensor that brings its runtime"),
        Vendor("samsung", ("/dev/enn*", "/dev/vertex*"), mend="install Samsung's ENN runtime"),
    )
}


def litert_folder() -> Path | None:
    """Where the ``ai-edge-litert`` package lies; ``None`` if it is not installed."""
    package = importlib.util.find_spec("ai_edge_litert")
    return Path(package.origin).parent if package is not None and package.origin is not None else None


def folder_of(vendor: str, kind: str) -> Path | None:
    """Where the package keeps a vendor's ``dispatch`` or ``compiler`` library; ``None`` if it ships none."""
    package = litert_folder()
    if package is None:
        return None
    folder = package / "vendors" / vendor / kind
    return folder if any(folder.glob("*.so")) else None


def default_vendor() -> str | None:
    """The first vendor whose dispatch library the package brings."""
    return next((name for name in VENDORS if folder_of(name, "dispatch") is not None), None)
