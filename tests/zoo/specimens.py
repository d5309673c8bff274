"""What a specimen of the zoo is: a small model, how it is made, what it is fed and what is to become of it.

Making one takes its framework, so only the functions that do so import it: see `tests.zoo.breed`.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Framework = Literal["keras", "tf_keras", "tensorflow", "tflite"]
Array = NDArray[Any]

CALIBRATION, EVALUATION = 64, 48
"""Samples of each kind that a specimen is fed."""


@dataclass(frozen=True)
class Feed:
    """Seeded samples: ``normal`` and ``unit`` floats, ``pixels`` uint8, ``ids`` below ``high``, ``wide`` features of
    sizes 1 to 1000, ``steps`` floats that go through zero."""

    shape: tuple[int, ...]
    kind: Literal["normal", "unit", "pixels", "pixels_float", "ids", "ids_float", "wide"] = "normal"
    high: int = 10
    dtype: str = "int32"

    @property
    def model_dtype(self) -> str:
        """The type of the model's input."""
        if self.kind == "pixels":
            return "uint8"
        return self.dtype if self.kind == "ids" else "float32"

    def samples(self, seed: int, count: int) -> Array:
        """``count`` of them, (count, …shape), in the type that the model takes."""
        random = np.random.default_rng(seed)
        size = (count, *self.shape)
        match self.kind:
            case "normal":
                return random.normal(0, 1, size).astype(np.float32)
            case "unit":
                return random.random(size).astype(np.float32)
            case "pixels":
                return random.integers(0, 256, size).astype(np.uint8)
            case "pixels_float":
                return random.integers(0, 256, size).astype(np.float32)
            case "ids":
                return random.integers(0, self.high, size).astype(self.dtype)
            case "ids_float":
                return random.integers(0, self.high, size).astype(np.float32)
            case "wide":
                scale = np.logspace(0, 3, self.shape[-1])
                return (random.normal(0, 1, size) * scale + scale).astype(np.float32)


@dataclass(frozen=True)
class Specimen:
    """One model. ``make`` returns what its framework's breeder saves; it is called in that framework's process."""

    name: str
    framework: Framework
    make: Callable[[], Any]
    feed: Feed
    recipes: tuple[str, ...] = ("float32", "int8")
    form: str = ""
    """How it is saved: the suffix, or ``saved_model``; the framework's own unless given."""
    options: tuple[str, ...] = ()
    """More arguments for ``maas-converter convert``."""
    labels: tuple[str, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)
    """By recipe (or ``*``), words of the true reason for which it is refused."""
    differs: dict[str, str] = field(default_factory=dict)
    """By recipe, why its answers may lie outside of the tolerance if the converter says so."""
    rounded: float = 0.0
    """How far off the source's own answers are, as a part of their size, where it computes in 16 bits."""
    ordered: bool = True
    """Whether the order of the source's outputs is one that a person chose: a list's is, a SavedModel's is not."""

    @property
    def seed(self) -> int:
        """Its own, for samples and weights."""
        return zlib.crc32(self.name.encode())

    def reason(self, recipe: str) -> str | None:
        """Words of the reason for which ``recipe`` refuses it; ``None`` if it is to be converted."""
        return self.refused.get(recipe, self.refused.get("*"))


Zoo = dict[str, Specimen]


def house(zoo: Zoo, specimen: Specimen) -> None:
    """Add one; a name stands for one specimen."""
    assert specimen.name not in zoo, specimen.name
    zoo[specimen.name] = specimen
