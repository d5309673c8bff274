"""The one way from TensorFlow to TFLite, and what its failure means."""

from collections.abc import Callable
from typing import Any

from maas_agent.errors import DataError
from maas_converter.importers.causes import lacking_ops
from maas_converter.importers.refusal import Passed, first_sentence
from maas_converter.tflite.contents import contents_of

_FLEX = "Flex"  # the prefix of a Select TF op's name in a .tflite file


def save(tensorflow: Any, holder: Any, folder: str) -> None:
    """Save the signature ``holder.served`` for `to_tflite`; gradients of a model's own are not needed any more."""
    options = tensorflow.saved_model.SaveOptions(experimental_custom_gradients=False)
    tensorflow.saved_model.save(holder, folder, signatures={"serve": holder.served}, options=options)


def to_tflite(tensorflow: Any, converter: Callable[[], Any]) -> bytes:
    """Convert with ``converter()``, a new TFLiteConverter at each call, whose model takes a batch of 1.

    Raises `DataError` that lists the ops if it needs Select TF ops, and `Passed` if it cannot be converted.
    """
    try:
        return bytes(converter().convert())
    except Exception as error:  # the converter's own classes are not public
        ops = lacking_ops(str(error)) or _select_ops(tensorflow, converter())
        if ops:
            raise DataError(
                f"it needs TensorFlow ops that LiteRT has not: {', '.join(ops)}; replace the layers that use them"
            ) from None
        raise Passed(f"TensorFlow cannot convert it to TFLite: {first_sentence(error)}") from None


def _select_ops(tensorflow: Any, converter: Any) -> list[str]:
    """Names of the Select TF ops without which it cannot be converted, for telling; the result is thrown away."""
    chosen = tensorflow.lite.OpsSet
    converter.target_spec.supported_ops = [chosen.TFLITE_BUILTINS, chosen.SELECT_TF_OPS]
    converter._experimental_lower_tensor_list_ops = False
    try:
        ops = contents_of(bytes(converter.convert())).custom_ops
    except Exception:  # then the first attempt's words have to do
        return []
    return [op.removeprefix(_FLEX) for op in ops]
