"""The ways to quantize, by the name that ``--quantize`` takes and the manifest states."""

from collections.abc import Callable
from typing import Any

import msgspec

from maas_agent.errors import UsageError


class Recipe(msgspec.Struct, frozen=True):
    """One way to quantize."""

    name: str
    title: str
    quantized: bool
    """Whether the bundle computes with integers: its answers then move in steps, see `maas_converter.golden`."""
    build: Callable[[], Any] | None
    """Makes litert-quantizer's recipe; ``None`` ships the float32 model as it is."""
    calibrated: bool
    """Whether activations get fixed ranges, which have to be measured on data."""


def recipe(name: str) -> Recipe:
    """The recipe called ``name``; raises `UsageError` that lists the choices."""
    if name not in RECIPES:
        raise UsageError(f"--quantize {name}: choose one of {', '.join(RECIPES)}")
    return RECIPES[name]


def _static_int8() -> Any:
    # Imported late: the library costs 0.6 s, and --help needs the table only.
    from litert_quantizer import recipe as library

    return library.static_wi8_ai8()


RECIPES: dict[str, Recipe] = {
    "int8": Recipe("int8", "8-bit weights and activations, input and output", True, _static_int8, calibrated=True),
    "float32": Recipe("float32", "as it was trained", False, None, calibrated=False),
}
