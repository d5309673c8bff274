"""Checks that a manifest is consistent in itself, which no type of it can say. All raise `BundleError`."""

from math import prod

import msgspec

from maas_agent.bundle.edges import check_answers, check_stages
from maas_agent.bundle.manifest.model import Input, Manifest, Output, Stage, Tensor
from maas_agent.bundle.manifest.parts import ITEM_BYTES
from maas_agent.bundle.manifest.steps import Classification, Decode, LogMel, Multilabel, Normalize, Preprocess, Raw
from maas_agent.bundle.version import parse_version
from maas_agent.errors import BundleError, DataError

MAX_TENSOR_BYTES = 1 << 28
_SMALLEST, _LARGEST = 2.0**-126, (2 - 2.0**-23) * 2.0**127
"""Of float32, in which devices compute: less is 0, and more is infinite."""


def check_input(spec: Input) -> None:
    """Raise `BundleError` unless a sample is one that is decoded here, and fills the tensor after its steps."""
    _check_sound(spec.decode)
    shape = spec.decode.shape
    for position, step in enumerate(spec.preprocess):
        _check_finite(step)
        match step:
            case Normalize():
                _check_normalize(step, channels=shape[-1] if shape else 1)
            case LogMel():
                if position:
                    raise BundleError("log_mel has to be the first step: it takes sound as it was decoded")
                _check_log_mel(step, spec.decode)
                shape = step.shape_of(shape[0])
            case _:
                pass  # it asks for nothing, and keeps the shape
    if prod(shape) != prod(spec.tensor.shape):
        after = f", {list(shape)} after log_mel," if shape != spec.decode.shape else ""
        raise BundleError(
            f"input {spec.tensor.name!r}: a sample {list(spec.decode.shape)}{after} does not fill "
            f"the model's input {list(spec.tensor.shape)}"
        )


def check_consistency(manifest: Manifest) -> None:
    """Raise `BundleError` if a manifest contradicts itself."""
    try:
        parse_version(manifest.version)
    except DataError as error:
        raise BundleError(f"manifest: {error}") from None
    _check_graph(manifest)
    for tensor in [i.tensor for i in manifest.inputs] + [o.tensor for o in manifest.outputs]:
        _check_tensor(tensor)
    for spec in manifest.inputs:
        check_input(spec)
    for output in manifest.outputs:
        _check_labels(output)
    sizes = [(stage.blob, stage.size) for stage in manifest.stages] + [(manifest.golden.blob, manifest.golden.size)]
    if len(set(sizes)) != len({blob for blob, _ in sizes}):
        raise BundleError("manifest gives one blob two sizes")


def _check_graph(manifest: Manifest) -> None:
    given = [spec.tensor.name for spec in manifest.inputs]
    check_stages(manifest.stages, given)
    names = [output.tensor.name for output in manifest.outputs]
    if len(set(names)) < len(names):
        raise BundleError(f"manifest has an output twice: {', '.join(sorted(names))}")
    check_answers(manifest.stages, given, {output.tensor.name: output.otherwise for output in manifest.outputs})
    tensors = {spec.tensor.name: spec.tensor for spec in manifest.inputs}
    tensors |= {output.tensor.name: output.tensor for output in manifest.outputs}
    for stage in manifest.stages:
        if stage.when is not None and stage.when.edge in tensors:
            check_index(stage, tensors[stage.when.edge])
    for output in manifest.outputs:
        if output.otherwise in tensors:
            check_stand_in(output, tensors[output.otherwise])


def check_index(stage: Stage, tensor: Tensor) -> None:
    """Raise `BundleError` if a stage's condition is on an element that ``tensor`` does not have."""
    count = prod(tensor.shape)
    if stage.when is not None and stage.when.index is not None and stage.when.index >= count:
        raise BundleError(
            f"stage {stage.name!r} has a condition on element {stage.when.index} of {tensor.name!r}, "
            f"which has {count}, counted from 0"
        )


def check_stand_in(output: Output, tensor: Tensor) -> None:
    """Raise `BundleError` if ``tensor`` cannot stand in for an output: sizes differ in more than dimensions of 1."""
    if squeezed(tensor.shape) != squeezed(output.tensor.shape):
        raise BundleError(
            f"output {output.tensor.name!r} is {list(output.tensor.shape)}, "
            f"its otherwise {tensor.name!r} is {list(tensor.shape)}: they have to be alike"
        )


def squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """``shape`` without its dimensions of size 1: tensors that agree in it hold the same values in the same order."""
    return tuple(size for size in shape if size != 1)


def _check_tensor(tensor: Tensor) -> None:
    if prod(tensor.shape) * ITEM_BYTES[tensor.dtype] > MAX_TENSOR_BYTES:
        raise BundleError(f"tensor {tensor.name!r} has more than {MAX_TENSOR_BYTES} bytes")
    if tensor.quantization is None:
        return
    scale, zero_point = tensor.quantization.scale, tensor.quantization.zero_point
    if not _SMALLEST <= scale <= _LARGEST:
        raise BundleError(f"tensor {tensor.name!r} has quantization scale {scale}")
    if abs(zero_point) > 1 << 31:
        raise BundleError(f"tensor {tensor.name!r} has quantization zero_point {zero_point}")


def _check_sound(decode: Decode) -> None:
    if len(decode.background) == 2:
        raise BundleError("a background has 1 value (gray) or 3 (red, green, blue)")
    if not decode.sample_rate:
        return
    if len(decode.shape) != 1:
        raise BundleError(f"a sample with a sample_rate is sound: its shape is [samples], not {list(decode.shape)}")
    if decode.dtype not in ("float32", "float16", "int16"):
        raise BundleError(f"a sample with a sample_rate is sound: float32, float16 or int16, not {decode.dtype}")


def _check_finite(step: Preprocess) -> None:
    for name, value in msgspec.structs.asdict(step).items():
        if not all(abs(number) <= _LARGEST for number in (value if isinstance(value, tuple) else (value,))):
            raise BundleError(f"a preprocessing step has {name} {value}: it has to be finite, as float32")


def _check_normalize(step: Normalize, channels: int) -> None:
    if len(step.mean) not in (1, channels) or len(step.std) not in (1, channels):
        raise BundleError(
            f"normalize has {len(step.mean)} means and {len(step.std)} deviations for {channels} channels"
        )
    if not all(value >= _SMALLEST for value in step.std):
        raise BundleError("normalize divides by a standard deviation that is not positive")


def _check_log_mel(step: LogMel, decode: Decode) -> None:
    if len(decode.shape) != 1 or decode.sample_rate != step.sample_rate:
        raise BundleError(
            f"log_mel takes sound, [samples] at its own sample_rate {step.sample_rate}, "
            f"not {list(decode.shape)} at sample_rate {decode.sample_rate}"
        )
    if step.frame > decode.shape[0]:
        raise BundleError(f"log_mel has frames of {step.frame} samples, the sound has {decode.shape[0]}")
    if not step.low_hz < step.top_hz <= step.sample_rate / 2:
        raise BundleError(
            f"log_mel has bands from {step.low_hz} to {step.top_hz} Hz: "
            f"they have to rise, to {step.sample_rate / 2} (half of the sample rate) at most"
        )
    if step.bands > step.frame // 2:
        raise BundleError(f"log_mel has {step.bands} bands, a frame of {step.frame} has {step.frame // 2} frequencies")
    if step.coefficients > step.bands:
        raise BundleError(f"log_mel has {step.coefficients} coefficients of {step.bands} bands")


def _check_labels(output: Output) -> None:
    name, kind, values = output.tensor.name, output.postprocess, prod(output.tensor.shape)
    if isinstance(kind, Raw):
        return
    binary = isinstance(kind, Classification) and kind.binary
    if binary and (values != 1 or kind.activation == "softmax"):
        raise BundleError(f"output {name!r} is binary: that is one value, with a sigmoid or none; it has {values}")
    classes = 2 if binary else values
    if output.labels and classes != len(output.labels):
        raise BundleError(f"output {name!r} has {classes} classes and {len(output.labels)} labels")
    if isinstance(kind, Multilabel) and len(set(output.labels)) < len(output.labels):
        raise BundleError(f"output {name!r} has two labels of one name, and a score for each name")
