"""How a sample becomes the model's input: what ``--preprocess FILE.toml`` says, or what follows from model and data.

    [decode]
    shape = [8, 8, 1]
    dtype = "uint8"
    color = "gray"

    [[preprocess]]
    op = "scale"
    scale = 0.0625

Sound has a ``sample_rate`` under ``[decode]``, and may have ``op = "log_mel"`` as its first step. The tables are the
manifest's own structs (`maas_agent.bundle.manifest`): what is written here is what a device does.
"""

from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from maas_agent.bundle.manifest import Decode, DType, Input, LogMel, Preprocess, Tensor, check_input
from maas_agent.errors import DataError
from maas_converter.base.user_files import check_keys, read_toml
from maas_converter.bench import pixels
from maas_converter.bench.pixels import ReadyMadeModel
from maas_converter.data.dataset import Dataset, SampleFiles

_STEPS: dict[str, type[msgspec.Struct]] = {str(step.__struct_config__.tag): step for step in get_args(Preprocess)}
"""By the name in a preprocess file, every step that there is."""


class Processing(msgspec.Struct, frozen=True):
    """What a preprocess file says; ``decode`` may be left out and then follows from model and data."""

    decode: Decode | None = None
    preprocess: tuple[Preprocess, ...] = ()


def read_processing(path: Path) -> Processing:
    """Read a preprocess file.

    Raises `NoInputError`, or `DataError` that names the key or value at fault and what may stand there.
    """
    document = read_toml(path)
    _check_table(path, "the file", document, Processing)
    if "decode" in document:
        _check_table(path, "[decode]", document["decode"], Decode)
    for step in _list(path, document.get("preprocess", [])):
        _check_step(path, step)
    try:
        return msgspec.convert(document, Processing)
    except msgspec.ValidationError as error:
        raise DataError(f"{path}: {error}") from None


def input_of(tensor: Tensor, processing: Processing | None, data: list[Dataset]) -> Input:
    """The bundle's input, as `chosen_input` has it, of a model that was made here."""
    return chosen_input(tensor, processing, data, ReadyMadeModel()).spec


class ChosenInput(msgspec.Struct, frozen=True):
    """The bundle's input, and what was decided about it without being asked."""

    spec: Input
    notes: tuple[str, ...] = ()


def chosen_input(
    tensor: Tensor, processing: Processing | None, data: list[Dataset], ready: ReadyMadeModel
) -> ChosenInput:
    """The bundle's input: ``tensor`` is the model's, ``data`` what it is calibrated and evaluated with.

    Without a decode table a sample has the model's shape without the batch, and the first data set's type: uint8 if
    it is stored so or pictures, else float32; a model that takes integers which stand for nothing else (tokens) gets
    samples of its own type. Sound has to have a decode table. Without a preprocess file (``None``) pixels become what
    a ``ready`` model wants, see `maas_converter.bench.pixels`.

    Raises `DataError` if a sample does not fill the tensor or a step does not fit.
    """
    asked = processing or Processing()
    decode = asked.decode or _decode_of(tensor, asked, data, ready)
    steps, note = asked.preprocess, ""
    if processing is None:
        steps, note = pixels.steps_for(ready, tensor, decode, data)
    spec = Input(tensor=tensor, decode=decode, preprocess=steps)
    check_input(spec)
    whole = f"input {tensor.name!r} has no batch of 1: a sample is all of it, {list(tensor.shape)}"
    if len(tensor.shape) > 1:
        rest = ",".join(map(str, tensor.shape[1:]))
        whole += f" (if {tensor.shape[0]} is a batch of samples, give --input-shape {rest})"
    notes = (whole,) if asked.decode is None and tensor.shape == decode.shape else ()
    return ChosenInput(spec, (*notes, note) if note else notes)


def _decode_of(tensor: Tensor, processing: Processing, data: list[Dataset], ready: ReadyMadeModel) -> Decode:
    sound = [one.path for one in data if isinstance(one.source, SampleFiles) and one.source.form == "audio"]
    if sound or any(isinstance(step, LogMel) for step in processing.preprocess):
        raise DataError(
            f"{sound[0] if sound else 'log_mel'} is sound: give --preprocess FILE with a table "
            '[decode] that has shape = [SAMPLES], dtype = "float32" and sample_rate = HZ'
        )
    return Decode(shape=sample_shape(tensor), dtype=_sample_dtype(tensor, data, ready))


def sample_shape(tensor: Tensor) -> tuple[int, ...]:
    """The shape of one sample: the tensor's without its batch of 1; all of it where it has no batch."""
    return tensor.shape[1:] if tensor.shape[:1] == (1,) or len(tensor.shape) > 3 else tensor.shape


def _sample_dtype(tensor: Tensor, data: list[Dataset], ready: ReadyMadeModel) -> DType:
    if not tensor.dtype.startswith("float") and tensor.quantization is None:
        return tensor.dtype
    if not data and pixels.takes_pixels(ready, tensor):
        return "uint8"
    return data[0].sample_dtype if data else "float32"


def _check_step(path: Path, step: Any) -> None:
    op = step.get("op") if isinstance(step, dict) else None
    if not isinstance(op, str) or op not in _STEPS:
        raise DataError(f"{path}: [[preprocess]] op = {op!r}: choose one of {', '.join(_STEPS)}")
    _check_table(path, f"[[preprocess]] {op}", {key: step[key] for key in step if key != "op"}, _STEPS[op])


def _check_table(path: Path, where: str, table: Any, kind: type[msgspec.Struct]) -> None:
    """Refuse keys that ``kind`` does not have, and words it does not know, by name and with the choices."""
    check_keys(path, where, table, kind.__struct_fields__)
    hints = get_type_hints(kind, include_extras=True)
    for key, value in table.items():
        choices = get_args(hints[key]) if get_origin(hints[key]) is Literal else ()
        if choices and value not in choices:
            raise DataError(f"{path}: {where} {key} = {value!r}: choose one of {', '.join(choices)}")


def _list(path: Path, steps: Any) -> list[Any]:
    if not isinstance(steps, list):
        raise DataError(f"{path}: write [[preprocess]], one table a step")
    return steps
