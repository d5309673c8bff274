"""Recurrent layers written out step by step: as many copies of the cell as there are steps, and no loop."""

from typing import Any

from maas_converter.importers.refusal import note


def unroll(library: Any, model: Any) -> None:
    """Make every recurrent layer of ``model`` unroll when it is called next.

    ``library`` is the Keras that made the model: Keras 3 or tf-keras. Layers inside others (Bidirectional, nested
    models) count too.
    """
    names = []
    for layer in model._flatten_layers():
        if isinstance(layer, library.layers.RNN):
            layer.unroll = True
            # tf-keras decides when the layer is made whether to use its fused kernel, which is a loop.
            layer._could_use_gpu_kernel = False
            names.append(layer.name)
    if names:
        note(f"recurrent layers are unrolled: {', '.join(sorted(set(names)))}")
