"""A float model to a quantized one: run it over real samples, note each tensor's range, write integers.

A tensor's range is the smallest and largest value that any sample gave it. litert-quantizer's default, a moving average
over samples, depends on their order and clips what is rare: ResNet8 on 500 CIFAR-10 images, tested on
1,500, agreed with the float model on 94.3 % with the average and on 95.5 % with the full range (x86, LiteRT 2.3).
"""

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Input
from maas_agent.errors import DataError, RuntimeFailure
from maas_agent.processing.preprocess import preprocessor
from maas_agent.runtime.interface import Model
from maas_agent.runtime.selection import accelerator
from maas_converter.base.console import Progress
from maas_converter.quantize import quantizer
from maas_converter.quantize.entries import Entry, static
from maas_converter.quantize.io import chosen_io, io_entries, named_as
from maas_converter.quantize.kept_float import KeptFloat, kept_in
from maas_converter.quantize.plain import plain
from maas_converter.quantize.quantizer import Feed
from maas_converter.quantize.recipes import Recipe
from maas_converter.quantize.search.candidates import layer_inputs, rounding
from maas_converter.quantize.search.candidates.layers import Layer, layers_of
from maas_converter.tflite.contents import contents_of

Array = NDArray[np.generic]

_ROUNDING_SAMPLES = 512
"""With 128 of them, int4 ResNet-8 varied by 0.7 points with the choice; more than these cost time only."""


def quantize(
    float32: bytes, recipe: Recipe, spec: Input, samples: Array | None, io: str | None, progress: Progress
) -> bytes:
    """Quantize a model as ``recipe`` and ``--io`` say; the same arguments always give the same bytes.

    ``spec`` and ``samples`` (N, …sample) are the float model's input and real data. Raises `UsageError` if the recipe
    has no such ``io``, `DataError` for want of samples, `RuntimeFailure` if the library cannot quantize this model.
    """
    prepare, rows = preprocessor(spec), samples if samples is not None else np.empty(0)
    return quantize_fed(float32, recipe, Feed(len(rows), lambda number: [prepare(rows[number])]), io, progress)


def quantize_fed(
    float32: bytes, recipe: Recipe, feed: Feed, io: str | None, progress: Progress, kept: KeptFloat | None = None
) -> bytes:
    """Quantize a model whose inputs come from ``feed``, as from the stages before it if it is one of several.

    ``kept`` is what `kept_in` found in the plain model, if that was asked already.
    """
    chosen = chosen_io(recipe, io)
    if recipe.build is None:
        return float32
    if recipe.calibrated and feed.count == 0:
        raise DataError(f"--quantize {recipe.name} needs samples to calibrate with: give --calibration DATA")
    model = plain(float32)
    contents = contents_of(model.tflite)
    entries = recipe.build(contents)
    kept = kept if kept is not None else kept_in(model.tflite, recipe, feed)
    if not recipe.calibrated:
        made = quantizer.apply(model.tflite, [*entries, *kept.entries(contents)], None, model.steps)
        return _loadable(made, recipe)
    source, finer = _rounded(model.tflite, recipe, feed, kept, progress)
    numbers = progress.track("calibrating", np.arange(feed.count))
    ranges = quantizer.ranges_of(source, (feed.at(int(number)) for number in numbers)) | model.ranges
    wanted = [*entries, *finer, *io_entries(recipe, chosen), *kept.entries(contents)]
    # Of two entries for the same op the library takes the later one, and writes a warning.
    told = {(entry["regex"], entry["operation"]): entry for entry in wanted}
    made = quantizer.apply(source, list(told.values()), ranges, model.steps)
    return _loadable(named_as(float32, made), recipe)


def _rounded(
    float32: bytes, recipe: Recipe, feed: Feed, kept: KeptFloat, progress: Progress
) -> tuple[bytes, list[Entry]]:
    """The float model with the weights that ``recipe`` rounds on their grid, and the entries that then find it."""
    contents = contents_of(float32)
    wanted = {op.index for op in recipe.rounds(contents)} if recipe.rounds is not None else set()
    wanted -= set(kept.ops)
    layers = [layer for layer in layers_of(contents) if layer.op in wanted and layer_inputs.can_round(float32, layer)]
    if not layers or len(contents.inputs) != 1:
        return float32, []
    rows = np.linspace(0, feed.count - 1, min(feed.count, _ROUNDING_SAMPLES)).astype(np.int64)
    fed = [feed.at(int(row))[0] for row in rows]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in progress.track("rounding weights", np.arange(len(layers))):
            layer = layers[int(number)]
            found[layer.op] = _round(float32, layer, fed, Path(folder))
    return layer_inputs.with_weights(float32, found), [static(8, 4, layer.name, layer.regex) for layer in layers]


def _round(float32: bytes, layer: Layer, fed: list[Array], folder: Path) -> rounding.Rounded:
    moments = layer_inputs.moments(float32, layer, fed, lambda tflite: _load(tflite, folder))
    try:
        return rounding.rounded(layer_inputs.weights_of(float32, layer), moments)
    except np.linalg.LinAlgError as error:
        raise RuntimeFailure(f"the weights of {layer.label} cannot be rounded ({error}); try --quantize int8") from None


def _loadable(tflite: bytes, recipe: Recipe) -> bytes:
    """``tflite``, if LiteRT's kernels take what the library wrote: not all of them take every scale."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            _load(tflite, Path(folder))
        except RuntimeFailure as error:
            reason = str(error).partition(" cannot be loaded: ")[2] or str(error)
            others = " or ".join(name for name in ("int8", "dynamic") if name != recipe.name)
            raise RuntimeFailure(f"LiteRT cannot run this model as {recipe.name}: {reason}; try {others}") from None
    return tflite


def _load(tflite: bytes, folder: Path) -> Model:
    path = folder / "probe.tflite"
    path.write_bytes(tflite)
    return accelerator("cpu").load(path, 1)
