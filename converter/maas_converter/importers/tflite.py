"""The last step of every import, and all there is to one of a ``.tflite`` file. A program, see `importers.task`.

Whatever the source was, what is handed on has a batch of 1, fixed shapes, a SignatureDef in whose order its inputs and
outputs are, no op that LiteRT lacks, and gives the same answer to the same sample. TensorFlow is not needed.
"""

import re
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np

from maas_agent.bundle.manifest import Tensor
from maas_agent.errors import DataError, RuntimeFailure
from maas_agent.runtime.interface import Model
from maas_agent.runtime.selection import accelerator
from maas_converter.importers.agreement import answer
from maas_converter.importers.asking import Array, Converted
from maas_converter.importers.inputs import fixed_shape, only_input
from maas_converter.importers.refusal import note
from maas_converter.importers.resizing import Shape, resized
from maas_converter.importers.task import Importing, Task, run
from maas_converter.tflite.contents import Contents, TensorFacts, contents_of
from maas_converter.tflite.metadata import Metadata, metadata_of
from maas_converter.tflite.signature import fixed_batch, in_signature_order, with_signature

HANDED_ON = "handed-on.json"
"""See `HandedOn`."""
_SELECT = "Flex"
"""What names of Select TF ops begin with."""
_STATE = {"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"}


class HandedOn(msgspec.Struct, frozen=True):
    """What is known of the model beside its bytes, as JSON in a file beside it."""

    metadata: Metadata
    inputs: tuple[Tensor, ...]
    """As the interpreter found them."""


class _Imported:
    """The model as it was imported, run by LiteRT; loaded when it is asked for the first time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _model(self) -> Model:
        return accelerator("cpu").load(self._path, 1)

    def __call__(self, inputs: list[Array]) -> list[Array]:
        """In real values (float64)."""
        return answer(self._model, inputs)


def convert(task: Task) -> Converted:
    """Check ``task.source`` and make it complete; raises a `MaasError`."""
    data = in_signature_order(with_signature(task.source.read_bytes()))
    check_kind(contents_of(data), task.options)
    data = _of_one_sample(data, task.options.input_shape)
    check(contents_of(data))
    inputs = _try(data)
    # The source's metadata: what is made of it does not hold them any more.
    handed = HandedOn(metadata_of(task.source.read_bytes()), inputs)
    task.out.with_name(HANDED_ON).write_bytes(msgspec.json.encode(handed))
    return Converted(data, _Imported(task.out))


def _of_one_sample(data: bytes, wanted: Shape | None) -> bytes:
    """``data`` with inputs for one sample, every size fixed; raises `DataError` if they stay open or do not fit."""
    inputs = contents_of(data).inputs
    shapes = [_shape_of_one(tensor, wanted) for tensor in inputs]
    changed = [(tensor, shape) for tensor, shape in zip(inputs, shapes, strict=True) if tensor.shape != shape]
    if not changed:
        return data
    if all(len(shape) > 1 and tensor.shape == (-1, *shape[1:]) for tensor, shape in changed):
        # Only then: the open sizes of a loop's body are steps that are counted while it runs, and no batch.
        return fixed_batch(data)
    tensor, shape = changed[0]
    try:
        made = resized(data, shapes)
    except DataError as error:
        raise DataError(
            f"its input {tensor.name!r}, {list(tensor.shape)}, cannot be made {list(shape)} in the file: {error}; "
            "convert the model it was made of to a .tflite again, with an input of "
            f"{list(shape)}, or give that model to this program"
        ) from None
    if tensor.shape[0] > 1:
        note(f"its batch of {tensor.shape[0]} samples was made a batch of 1; the answers to a sample are the same")
    return made


def _shape_of_one(tensor: TensorFacts, wanted: Shape | None) -> Shape:
    """A fixed input of up to three sizes is a sample, all of it, unless something else is asked for."""
    if wanted is None and -1 not in tensor.shape and len(tensor.shape) < 4:
        return tensor.shape
    return fixed_shape(tensor.shape, wanted)


def check_kind(contents: Contents, options: Importing) -> None:
    """Raise `DataError` for ops that LiteRT lacks, several signatures or inputs, or a state that is kept."""
    _refuse([op for op in contents.custom_ops if op.startswith(_SELECT)])
    if len(contents.signatures) != 1:
        raise DataError(
            f"it has {len(contents.signatures)} signatures ({', '.join(contents.signatures)}), a bundle has one"
        )
    if not options.several_inputs:
        only_input([tensor.name for tensor in contents.inputs])
    kept = sorted({op.name for op in contents.ops} & _STATE)
    if kept:
        raise DataError(
            f"it remembers earlier samples ({', '.join(kept)}; a stateful layer): a device must give the same answer "
            "to the same sample"
        )


def check(contents: Contents) -> None:
    """Raise `DataError` for outputs whose sizes are open still."""
    for tensor in contents.outputs:
        if -1 in tensor.shape:
            raise DataError(
                f"its output {tensor.name!r} has open sizes, {list(tensor.shape)}: a device needs fixed ones"
            )


def _refuse(lacking: Sequence[str]) -> None:
    if lacking:
        raise DataError(
            f"it has ops that LiteRT has not: {', '.join(lacking)} ('Flex' ops are TensorFlow's own); "
            "replace the layers that use them and convert it again"
        )


def _try(data: bytes) -> tuple[Tensor, ...]:
    """Run it on ones, zeros and ones, and return its inputs.

    What LiteRT cannot load or run ends here, and a crash of it in this process.

    A model whose second answer to the ones is another remembers something, or draws random numbers. The state of
    TFLite's own LSTM is reset before each run, see `maas_agent.runtime.cpu`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(data)
        try:
            model = accelerator("cpu").load(path, 1)
            first, _, again = (
                model.run([np.full(tensor.shape, value, tensor.dtype) for tensor in model.inputs])
                for value in (1, 0, 1)
            )
        except RuntimeFailure as error:
            # Some custom ops come with LiteRT (TFLite_Detection_PostProcess does): it says itself which it lacks.
            _refuse(re.findall(r"unresolved custom op: (\S+?)\.?(?:\s|$)", str(error)))
            raise RuntimeFailure(f"LiteRT cannot run it: {error}") from None
    if not all(np.array_equal(one, other, equal_nan=True) for one, other in zip(first, again, strict=True)):
        raise DataError(
            "it answers the same sample differently after another one: it keeps a state (a stateful layer) or draws "
            "random numbers; convert the model it was made of, without that"
        )
    return model.inputs


if __name__ == "__main__":
    run(convert)
