"""The interpreter library: LiteRT, or ``tflite-runtime`` where there is no LiteRT (32-bit ARM) or it is asked for."""

import importlib
import importlib.metadata
from typing import Any

from maas_agent.errors import UnavailableError
from maas_agent.runtime.setup import Library, how_to_get

LITERT: Library = "ai-edge-litert"

MODULES: dict[Library, str] = {
    LITERT: "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
}
"""By distribution, the module; the first that is installed is taken unless one is asked for."""


def interpreter_module(wanted: Library) -> Any:
    """The module with ``Interpreter`` and ``load_delegate``; raises `UnavailableError` with what to type."""
    return _found(wanted)[1]


def version_of(wanted: Library) -> str:
    """Name and version of the library that `interpreter_module` gives; it is loaded to be sure that it can be."""
    distribution, _ = _found(wanted)
    return f"{distribution} {importlib.metadata.version(distribution)}"


def litert_version(wanted: Library, accelerator: str) -> str:
    """Name and version of LiteRT, for what only it has; raises `UnavailableError` if it is not to be had."""
    if wanted not in ("auto", LITERT):
        raise UnavailableError(f"{accelerator} needs ai-edge-litert, and runtime = {wanted!r} is asked for")
    return version_of(LITERT)


def _found(wanted: Library) -> tuple[Library, Any]:
    reasons = []
    for distribution in MODULES if wanted == "auto" else (wanted,):
        try:
            module = importlib.import_module(MODULES[distribution])
            _check_numpy(distribution)
            return distribution, module
        except ModuleNotFoundError as error:
            if error.name is not None and not MODULES[distribution].startswith(error.name):
                reasons.append(f"{distribution} needs {error.name}, which is not installed: pip install {error.name}")
        except (ImportError, AttributeError) as error:
            reasons.append(_unloadable(distribution, error))
    if reasons:
        raise UnavailableError("; ".join(reasons))
    if wanted != "auto":
        raise UnavailableError(f"{wanted} is not installed: {how_to_get(wanted)}")
    raise UnavailableError("no interpreter is installed: pip install ai-edge-litert (32-bit ARM: tflite-runtime)")


def _check_numpy(distribution: Library) -> None:
    """Raise `ImportError` for what imports well and then fails on every model: measured with 2.14.0 and NumPy 2.4.6."""
    version = importlib.import_module("numpy").__version__
    if distribution != LITERT and int(version.partition(".")[0]) >= 2:
        raise ImportError(f"it was built for NumPy 1, this is {version}")


def _unloadable(distribution: Library, error: Exception) -> str:
    if "numpy" in str(error).lower() or isinstance(error, AttributeError):
        # Built for NumPy 1: its import fails with a different error in almost every version of NumPy 2.
        return f"{distribution} does not load with this NumPy: pip install 'numpy<2'"
    return f"{distribution} does not load: {error}"
