"""One stage of a loaded bundle: whether it runs, and how what was made before it becomes what its model takes."""

from collections.abc import Callable, Mapping

from maas_agent.bundle.manifest import Stage, Tensor, check_index, squeezed
from maas_agent.errors import BundleError, RuntimeFailure
from maas_agent.processing.postprocess import dequantizer
from maas_agent.processing.preprocess import quantize
from maas_agent.runtime.interface import Array, Model

Edges = dict[str, Array]
"""What was made so far for one sample, by name."""


class LoadedStage:
    """A stage and its model. ``made`` are the tensors of all edges that can be made before it."""

    def __init__(self, stage: Stage, model: Model, made: Mapping[str, Tensor]) -> None:
        """Raises `RuntimeFailure` if the model is not what the stage says, or cannot take what is made for it."""
        check_count(stage, model)
        self.conditional = stage.when is not None
        self.share = model.share
        self._model = model
        self._inputs, self._outputs = stage.inputs, stage.outputs
        fits = [_fit(stage, name, made[name], tensor) for name, tensor in zip(stage.inputs, model.inputs, strict=True)]
        self._fits = fits if any(fits) else None
        self._holds = _condition(stage, made)

    def wanted(self, edges: Edges) -> bool:
        """Whether all it needs was made and its condition, if it has one, holds."""
        return all(name in edges for name in self._inputs) and self._holds(edges)

    def run(self, edges: Edges) -> None:
        """Add what the model makes to ``edges``; raises `RuntimeFailure`."""
        inputs = [edges[name] for name in self._inputs]
        if self._fits is not None:
            inputs = [fit(values) if fit else values for fit, values in zip(self._fits, inputs, strict=True)]
        edges.update(zip(self._outputs, self._model.run(inputs), strict=True))


def check_count(stage: Stage, model: Model) -> None:
    """Raise `RuntimeFailure` unless the model has as many inputs and outputs as the stage says."""
    if (len(model.inputs), len(model.outputs)) != (len(stage.inputs), len(stage.outputs)):
        raise RuntimeFailure(
            f"stage {stage.name!r} has {len(model.inputs)} inputs and {len(model.outputs)} outputs, "
            f"the manifest says {len(stage.inputs)} and {len(stage.outputs)}"
        )


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same bytes for the same values, whatever they are called."""
    return (one.shape, one.dtype, one.quantization) == (other.shape, other.dtype, other.quantization)


def _fit(stage: Stage, name: str, made: Tensor, taken: Tensor) -> Callable[[Array], Array] | None:
    """What makes the tensor that a model takes of the one that was made; ``None`` where they are the same.

    Models that were quantized apart from each other have scales of their own, or one is float: real values are passed.
    """
    if same(made, taken):
        return None
    if squeezed(made.shape) != squeezed(taken.shape):
        raise RuntimeFailure(
            f"tensor {name!r} of stage {stage.name!r} is {list(taken.shape)} {taken.dtype}, "
            f"but is made as {list(made.shape)} {made.dtype}"
        )
    if (made.dtype, made.quantization) == (taken.dtype, taken.quantization):
        return lambda values: values.reshape(taken.shape)
    real = dequantizer(made)
    return lambda values: quantize(real(values), taken.quantization, taken.dtype).reshape(taken.shape)


def _condition(stage: Stage, made: Mapping[str, Tensor]) -> Callable[[Edges], bool]:
    """What `maas_agent.bundle.manifest.When` says, as a function; NaN is neither above nor below anything."""
    when = stage.when
    if when is None:
        return lambda _edges: True
    tensor = made[when.edge]
    try:
        check_index(stage, tensor)
    except BundleError as error:
        raise RuntimeFailure(str(error)) from None
    edge, index, at_least, below = when.edge, when.index, when.at_least, when.below
    real = dequantizer(tensor)

    def holds(edges: Edges) -> bool:
        if edge not in edges:
            return False
        values = real(edges[edge])
        value = float(values.max() if index is None else values.reshape(-1)[index])
        return value >= at_least if at_least is not None else below is not None and value < below

    return holds
