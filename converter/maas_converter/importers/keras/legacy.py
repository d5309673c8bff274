"""Files of Keras 1 and 2 to float32 TFLite with tf-keras. A program, see `maas_converter.importers.task`."""

import os
from typing import Any

from maas_agent.errors import UnavailableError
from maas_converter.importers.asking import Converted
from maas_converter.importers.keras.configuration import refuse_code
from maas_converter.importers.keras.model import loaded, prepared, traced_to_tflite
from maas_converter.importers.task import Task, run


def convert(task: Task) -> Converted:
    """Load ``task.source`` and convert it; raises a `MaasError`."""
    # Before tf-keras sees the file: it runs the code of a Lambda layer while loading, whatever its own safe_mode says.
    refuse_code(task.source, trust=task.options.trust)
    tf_keras, tensorflow = _libraries()
    model = _load(tf_keras, task)
    taken = prepared(tf_keras, model, task.options)
    return traced_to_tflite(tensorflow, model, model.variables, taken)


def _libraries() -> tuple[Any, Any]:
    os.environ["TF_USE_LEGACY_KERAS"] = "1"  # what the user's own classes mean by tensorflow.keras
    try:
        import tensorflow
        import tf_keras
    except ImportError as error:
        raise UnavailableError(f"tf-keras cannot be imported ({error}): pip install 'maas-edge[converter]'") from None
    return tf_keras, tensorflow


def _load(tf_keras: Any, task: Task) -> Any:
    load, safe_mode = tf_keras.models.load_model, not task.options.trust
    return loaded("tf-keras", task, lambda path, known: load(path, known, compile=False, safe_mode=safe_mode))


if __name__ == "__main__":
    run(convert)
