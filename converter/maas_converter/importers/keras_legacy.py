"""Files of Keras 1 and 2 to float32 TFLite with tf-keras. A program, see `maas_converter.importers.task`."""

import tempfile
from typing import Any

from maas_agent.errors import UnavailableError
from maas_converter.importers.configuration import refuse_code
from maas_converter.importers.conversion import to_tflite
from maas_converter.importers.keras_model import FixedInput, cannot_load, named, prepared
from maas_converter.importers.refusal import Passed, first_sentence
from maas_converter.importers.task import Task, run


def convert(task: Task) -> bytes:
    """Load ``task.source`` and convert it; raises a `MaasError`."""
    # Before tf-keras sees the file: it runs the code of a Lambda layer while loading, whatever its own safe_mode says.
    refuse_code(task.source, trust=task.options.trust)
    tf_keras, tensorflow = _libraries()
    model = _load(tf_keras, task)
    taken = prepared(tf_keras, model, task.options)
    with tempfile.TemporaryDirectory() as folder:
        _export(tensorflow, model, taken, folder)
        return to_tflite(
            tensorflow, lambda: tensorflow.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serve"])
        )


def _libraries() -> tuple[Any, Any]:
    try:
        import tensorflow
        import tf_keras
    except ImportError as error:
        raise UnavailableError(f"tf-keras cannot be imported ({error}): pip install 'maas-edge[converter]'") from None
    return tf_keras, tensorflow


def _load(tf_keras: Any, task: Task) -> Any:
    with named(task.source) as path:
        try:
            return tf_keras.models.load_model(path, compile=False, safe_mode=not task.options.trust)
        except Exception as error:  # Keras raises whatever a damaged or foreign file makes it raise
            cannot_load("tf-keras", error)


def _export(tensorflow: Any, model: Any, taken: FixedInput, folder: str) -> None:
    """As in `maas_converter.importers.keras`: the signature fixes a batch of 1."""
    signature = tensorflow.TensorSpec(taken.shape, taken.dtype, name=taken.name)
    served = tensorflow.function(lambda batch: model(batch, training=False), input_signature=[signature])
    try:
        tensorflow.saved_model.save(model, folder, signatures={"serve": served})
    except Exception as error:  # layers raise whatever a shape that does not suit them makes them raise
        raise Passed(f"it cannot be run on an input of shape {list(taken.shape)}: {first_sentence(error)}") from None


if __name__ == "__main__":
    run(convert)
