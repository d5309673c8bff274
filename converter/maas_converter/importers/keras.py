"""Keras files to float32 TFLite with Keras 3. A program, see `maas_converter.importers.task`.

Code inside a model file (a Lambda layer, a pickled function) is not run without ``trust``.
"""

import tempfile
from pathlib import Path
from typing import Any

from maas_agent.errors import UnavailableError
from maas_converter.importers.configuration import refuse_code
from maas_converter.importers.conversion import to_tflite
from maas_converter.importers.keras_model import FixedInput, cannot_load, named, prepared
from maas_converter.importers.refusal import Passed, first_sentence
from maas_converter.importers.task import Task, run


def convert(task: Task) -> bytes:
    """Load ``task.source`` and convert it; raises a `MaasError`."""
    # (1) Before anything could run it: whether there is code in the file.
    refuse_code(task.source, trust=task.options.trust)
    keras, tensorflow = _libraries()
    # (2) Loading, and tracing with a batch of 1.
    model = _load(keras, task)
    taken = prepared(keras, model, task.options)
    with tempfile.TemporaryDirectory() as folder:
        _export(keras, model, taken, folder)
        return to_tflite(
            tensorflow, lambda: tensorflow.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serve"])
        )


def _libraries() -> tuple[Any, Any]:
    try:
        import keras
        import tensorflow
    except ImportError as error:
        raise UnavailableError(f"TensorFlow cannot be imported ({error}): pip install 'maas-edge[converter]'") from None
    return keras, tensorflow


def _load(keras: Any, task: Task) -> Any:
    with named(task.source) as path:
        try:
            return keras.saving.load_model(path, compile=False, safe_mode=not task.options.trust)
        except Exception as error:  # Keras raises whatever a damaged or foreign file makes it raise
            cannot_load("Keras 3", error)


def _export(keras: Any, model: Any, taken: FixedInput, folder: str | Path) -> None:
    """Batch size 1 is fixed in the signature: no op is left that computes shapes, which quantizers and NPUs refuse."""
    signature = keras.InputSpec(shape=taken.shape, dtype=taken.dtype, name=taken.name)
    try:
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serve", lambda batch: model(batch, training=False), input_signature=[signature])
        archive.write_out(folder, verbose=False)
    except Exception as error:  # layers raise whatever a shape that does not suit them makes them raise
        raise Passed(f"it cannot be run on an input of shape {list(taken.shape)}: {first_sentence(error)}") from None


if __name__ == "__main__":
    run(convert)
