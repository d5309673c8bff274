"""What all Keras libraries have in common: loading a file, and a model with a fixed input as TFLite."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import msgspec
import numpy as np

from maas_agent.errors import DataError
from maas_converter.importers.asking import Array, Converted
from maas_converter.importers.inputs import fixed_shape, only_input, refuse_text
from maas_converter.importers.keras.allowed import YOUR_OWN
from maas_converter.importers.keras.configuration import is_hdf5
from maas_converter.importers.keras.custom import custom_objects
from maas_converter.importers.refusal import Passed, first_sentence, note
from maas_converter.importers.task import Importing, Task
from maas_converter.importers.tensorflow.answering import answering_only
from maas_converter.importers.tensorflow.conversion import save, to_tflite
from maas_converter.importers.tensorflow.outputs import keyed, named_outputs
from maas_converter.importers.tensorflow.precision import coarsest_precision
from maas_converter.importers.tensorflow.spelling import spell_out
from maas_converter.tflite.signature import with_outputs

_CODE = re.compile(r"\bLambda\b|\blambdas?\b|\bunsafe\b")  # not TFOpLambda, which computes


_UNKNOWN = re.compile(r"(?:Could not locate (?:class|function)|Unknown \w+(?: \w+)?:) '?(?P<name>[^'\s]*\w)")


class FixedInput(msgspec.Struct, frozen=True):
    """The model's only input, for a batch of 1."""

    name: str
    shape: tuple[int, ...]
    dtype: Any


def loaded(library: str, task: Task, load: Callable[[Path, dict[str, Any]], Any]) -> Any:
    """Load the model of ``task`` by ``load``, which gets the file and the classes that the user defines.

    Raises `Passed` or `DataError`; ``library`` is what the sentence calls the Keras that cannot load it.
    """
    known = custom_objects(task.options)
    with _named(task.source) as path:
        try:
            return load(path, known)
        except Exception as error:  # Keras raises whatever a damaged or foreign file makes it raise
            _cannot_load(library, error, trust=task.options.trust)


@contextmanager
def _named(source: Path) -> Iterator[Path]:
    """``source`` under a name that ends as Keras wants: it goes by the suffix, not by the contents."""
    with source.open("rb") as file:
        suffix = ".h5" if is_hdf5(file.read(8)) else ".keras"
    if source.suffix == suffix:
        yield source
        return
    with TemporaryDirectory(prefix="maas-keras-") as folder:
        # Not a link: a confined process makes none, see `maas_agent.confinement`.
        yield Path(shutil.copyfile(source, Path(folder) / f"model{suffix}"))


def _cannot_load(library: str, error: Exception, *, trust: bool) -> NoReturn:
    """Raise `Passed` or `DataError` for whatever Keras raised on a damaged or foreign file."""
    text = str(error)
    # What `refuse_code` did not see, Keras 3 may.
    if _UNKNOWN.search(text):
        raise Passed(f"it needs {_unknown(text)}, which is not in the file: {YOUR_OWN}") from None
    if trust:
        raise Passed(f"{library} cannot load it: {first_sentence(text)}") from None
    if _CODE.search(text):
        raise DataError(
            f"it holds Python code, which is not run without --trust (Lambda): {first_sentence(text)}"
        ) from None
    raise Passed(f"{library} cannot load it, it is damaged or of another version: {first_sentence(text)}") from None


def prepared(library: Any, model: Any, options: Importing) -> FixedInput:
    """The input to trace ``model`` with; raises `DataError` if it has not one input or its sizes stay open."""
    _set_loops(library, model, unroll=options.unroll)
    spell_out(library, model)
    inputs = getattr(model, "inputs", None) or []
    names = list(getattr(model, "input_names", None) or [tensor.name for tensor in inputs])
    only_input(names)
    refuse_text(names[0], inputs[0].dtype)
    return FixedInput(names[0], fixed_shape(tuple(inputs[0].shape), options.input_shape), inputs[0].dtype)


def traced_to_tflite(tensorflow: Any, model: Any, variables: list[Any], taken: FixedInput) -> Converted:
    """Convert ``model``, traced on ``taken``; raises `Passed` or `DataError`. Asked, TensorFlow runs that trace.

    Batch size 1 is fixed in the signature: no op is left that computes shapes, which quantizers and NPUs refuse. Only
    this trace is saved: a Keras model saved whole is traced with an open batch as well.
    """
    signature = tensorflow.TensorSpec(taken.shape, taken.dtype, name=taken.name)
    holder = tensorflow.Module()
    names: list[str] = []

    def called(batch: Any) -> dict[str, Any]:
        outputs = named_outputs(model, model(batch, training=False))
        names[:] = outputs
        return keyed(list(outputs.values()))

    with TemporaryDirectory() as folder:
        try:
            served = tensorflow.function(called, input_signature=[signature])
            concrete = served.get_concrete_function()
            precision = coarsest_precision(concrete.graph.as_graph_def())
            holder.served, holder.kept = answering_only(tensorflow, concrete, variables)
            save(tensorflow, holder, folder)
        except DataError:
            raise
        except Exception as error:  # layers raise whatever a shape that does not suit them makes them raise
            raise Passed(
                f"it cannot be run on an input of shape {list(taken.shape)}: {first_sentence(error)}"
            ) from None
        made = to_tflite(
            tensorflow, lambda: tensorflow.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serve"])
        )

    def answer(inputs: list[Array]) -> list[Array]:
        # A trace runs many times as fast as the layers of a recurrent model do one by one.
        returned = served(tensorflow.cast(inputs[0], taken.dtype))
        return [np.asarray(returned[key]) for key in keyed(names)]

    return Converted(with_outputs(made, names, list(keyed(names))), answer, precision)


def _unknown(text: str) -> str:
    found = _UNKNOWN.search(text)
    return f"the class {found['name']!r}" if found else "a class"


def _set_loops(library: Any, model: Any, *, unroll: bool) -> None:
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
