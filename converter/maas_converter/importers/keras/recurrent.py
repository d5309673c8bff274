"""Recurrent layers: as a plain loop, or written out step by step."""

from typing import Any

from maas_agent.errors import DataError
from maas_converter.importers.refusal import note


def set_loops(library: Any, model: Any, *, unroll: bool) -> None:
    """Say how every recurrent layer of ``model`` is to compute when it is called next.

    ``library`` is the Keras that made the model: Keras 3 or tf-keras. Layers inside others (Bidirectional, nested
    models) count too. Unrolled there are as many copies of the cell as there are steps, and no loop. Raises `DataError`
    for a layer that keeps its state from one sample to the next.
    """
    names = []
    for layer in model._flatten_layers():
        if isinstance(layer, library.layers.RNN):
            if layer.stateful:
                raise DataError(
                    f"its layer {layer.name!r} is stateful: the same sample gets another answer each time; make the "
                    "model with stateful=False and load these weights into it"
                )
            # tf-keras' own kernel becomes TFLite's UNIDIRECTIONAL_SEQUENCE_LSTM, whose state lasts from one sample to
            # the next: the same sample would get another answer each time.
            layer._could_use_gpu_kernel = False
            layer.unroll = layer.unroll or unroll
            names.append(layer.name)
    if names and unroll:
        note(f"recurrent layers are unrolled: {', '.join(sorted(set(names)))}")
