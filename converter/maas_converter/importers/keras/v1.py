"""Keras files that only TensorFlow 1's Keras reads, to float32 TFLite. A program, see `maas_converter.importers.task`.

The last rung of the ladder: layers are those of TensorFlow 1, in a graph and a session, as the file was written.
"""

import os
from typing import Any

import msgspec

from maas_agent.errors import UnavailableError
from maas_converter.importers.asking import Converted
from maas_converter.importers.keras.configuration import refuse_code
from maas_converter.importers.keras.model import loaded, prepared
from maas_converter.importers.refusal import Passed, first_sentence
from maas_converter.importers.task import Task, run
from maas_converter.importers.tensorflow.conversion import to_tflite
from maas_converter.importers.tensorflow.outputs import named_outputs
from maas_converter.importers.tensorflow.precision import coarsest_precision
from maas_converter.tflite.signature import with_outputs, with_signature


def convert(task: Task) -> Converted:
    """Load ``task.source`` and convert it; raises a `MaasError`."""
    refuse_code(task.source, trust=task.options.trust)
    tensorflow = _library()
    v1 = tensorflow.compat.v1
    session = v1.Session(graph=tensorflow.Graph())
    with session.graph.as_default(), session.as_default():
        v1.keras.backend.set_session(session)
        v1.keras.backend.set_learning_phase(0)  # traced once, as it is used
        with v1.name_scope("as_saved"):  # leaves the input's name for the one below
            model = _load(tensorflow, task)
        # Always unrolled: TFLite takes no loop of TensorFlow 1.
        taken = prepared(v1.keras, model, msgspec.structs.replace(task.options, unroll=True))
        batch = v1.placeholder(taken.dtype, taken.shape, name=taken.name)
        outputs = named_outputs(model, _called(model, batch))
        made = to_tflite(
            tensorflow, lambda: v1.lite.TFLiteConverter.from_session(session, [batch], list(outputs.values()))
        )
    # This converter writes no signature; it keeps the order.
    named_so = with_outputs(with_signature(made), list(outputs))
    return Converted(
        named_so,
        lambda inputs: session.run(list(outputs.values()), {batch: inputs[0]}),
        coarsest_precision(session.graph.as_graph_def()),
    )


def _library() -> Any:
    os.environ["TF_USE_LEGACY_KERAS"] = "1"  # without it tf.compat.v1.keras is Keras 3
    try:
        import tensorflow
        import tf_keras  # noqa: F401 - what tf.compat.v1.keras becomes
    except ImportError as error:
        raise UnavailableError(f"tf-keras cannot be imported ({error}): pip install 'maas-edge[converter]'") from None
    tensorflow.compat.v1.disable_v2_behavior()
    return tensorflow


def _load(tensorflow: Any, task: Task) -> Any:
    load = tensorflow.compat.v1.keras.models.load_model
    return loaded("tf.compat.v1.keras", task, lambda path, known: load(str(path), known, compile=False))


def _called(model: Any, batch: Any) -> Any:
    """The model once more, for a batch of 1: the graph that loading made has it open."""
    try:
        return model(batch)
    except Exception as error:  # layers raise whatever a shape that does not suit them makes them raise
        raise Passed(f"it cannot be run on an input of shape {list(batch.shape)}: {first_sentence(error)}") from None


if __name__ == "__main__":
    run(convert)
