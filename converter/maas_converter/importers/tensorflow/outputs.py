"""A Keras model's outputs: in which order, and under which names, they leave the importer.

The order is that of what the model returns when it is called: a list's own, a dict's insertion. Names are a dict's
keys, for a list those that Keras gives its outputs, the layers'.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from maas_converter.tflite.model import distinct

KEY = "output_{:05d}"
"""What an output is called on its way through TensorFlow, which sorts by it and knows no other order."""


def named_outputs(model: Any, returned: Any) -> dict[str, Any]:
    """What the call of ``model`` returned, flat, by name and in order."""
    if not isinstance(returned, dict | list | tuple):
        return {_only_name(model): returned}
    flat = list(_flat(returned, ""))
    names = [name for name, _ in flat]
    if all(re.fullmatch(r"[\d_]+", name) for name in names):
        known = [str(name) for name in getattr(model, "output_names", None) or ()]
        names = known if len(known) == len(flat) else [f"output_{number}" for number in range(len(flat))]
    return dict(zip(distinct(names), (value for _, value in flat), strict=True))


def keyed(values: Sequence[Any]) -> dict[str, Any]:
    """``values`` under the keys that keep their order."""
    return {KEY.format(number): value for number, value in enumerate(values)}


def _flat(structure: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Each tensor, under the keys and numbers that lead to it."""
    if isinstance(structure, dict):
        parts = [(str(key), part) for key, part in structure.items()]
    elif isinstance(structure, list | tuple):
        parts = [(str(number), part) for number, part in enumerate(structure)]
    else:
        yield name, structure
        return
    for key, part in parts:
        yield from _flat(part, f"{name}_{key}" if name else key)


def _only_name(model: Any) -> str:
    """The name of the layer that makes the only output, if a person gave it; Keras' own are numbered as it pleases."""
    names = list(getattr(model, "output_names", None) or ())
    if len(names) != 1 or _is_automatic(model, names[0]):
        return "output"
    return str(names[0])


def _is_automatic(model: Any, name: str) -> bool:
    layers = [*model._flatten_layers(), *getattr(model, "operations", ())]
    kinds = {_snake(type(layer).__name__) for layer in layers if layer.name == name}
    return not kinds or re.sub(r"_\d+$", "", name) in kinds


def _snake(name: str) -> str:
    """``LeakyReLU`` as Keras writes it: ``leaky_re_lu``."""
    parted = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", parted).lower()
