"""Keras files to float32 TFLite with Keras 3. A program, see `maas_converter.importers.task`.

Code inside a model file (a Lambda layer, a pickled function) is not run without ``trust``.
"""

from typing import Any

from maas_agent.errors import UnavailableError
from maas_converter.importers.asking import Converted
from maas_converter.importers.keras.configuration import older_keras, refuse_code
from maas_converter.importers.keras.model import loaded, prepared, traced_to_tflite
from maas_converter.importers.refusal import Passed
from maas_converter.importers.task import Task, run


def convert(task: Task) -> Converted:
    """Load ``task.source`` and convert it; raises a `MaasError`."""
    # (1) Before anything could run it: whether there is code in the file.
    refuse_code(task.source, trust=task.options.trust)
    older = older_keras(task.source)
    if older is not None:
        raise Passed(f"it was written by Keras {older}, some of whose layers compute otherwise here")
    keras, tensorflow = _libraries()
    # (2) Loading, and tracing with a batch of 1.
    model = _load(keras, task)
    taken = prepared(keras, model, task.options)
    return traced_to_tflite(tensorflow, model, [variable.value for variable in model.variables], taken)


def _libraries() -> tuple[Any, Any]:
    try:
        import keras
        import tensorflow
    except ImportError as error:
        raise UnavailableError(f"TensorFlow cannot be imported ({error}): pip install 'maas-edge[converter]'") from None
    return keras, tensorflow


def _load(keras: Any, task: Task) -> Any:
    if task.options.trust:
        keras.config.enable_unsafe_deserialization()  # safe_mode does not reach layers inside others
    load, safe_mode = keras.saving.load_model, not task.options.trust
    return loaded("Keras 3", task, lambda path, known: load(path, known, compile=False, safe_mode=safe_mode))


if __name__ == "__main__":
    run(convert)
