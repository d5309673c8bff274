"""Keras 3 files to float32 TFLite. A program, run by `maas_converter.importers.process`:

    python -m maas_converter.importers.keras SOURCE.keras OUT.tflite

Code inside a model file (a Lambda layer, a pickled function) is never run: Keras' ``safe_mode`` refuses to load it.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from maas_converter.importers.refusal import refuse

_DATA, _UNAVAILABLE = 65, 69


def main() -> None:
    """Convert the file named by the first argument to the file named by the second."""
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        import keras
        import tensorflow
    except ImportError as error:
        refuse(_UNAVAILABLE, f"TensorFlow cannot be imported ({error}): pip install 'maas-edge[converter]'")
    model = _load(keras, source)
    _check_inputs(model)
    out.write_bytes(_convert(keras, tensorflow, model))


def _load(keras: Any, source: Path) -> Any:
    try:
        return keras.saving.load_model(source, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever a damaged or foreign file makes it raise
        text = str(error)
        if "Lambda" in text or "lambda" in text or "unsafe" in text:
            refuse(_DATA, "it holds Python code (a Lambda layer), which is never run: replace it by a layer")
        if "Could not locate" in text:
            refuse(_DATA, f"it needs a class of your own, which is not in the file: {_first_sentence(text)}")
        refuse(_DATA, f"Keras cannot load it, it is damaged or of another version: {_first_sentence(text)}")


def _check_inputs(model: Any) -> None:
    inputs = getattr(model, "inputs", None)
    if not inputs:
        refuse(_DATA, "its input has no shape: build the model (give it a keras.Input) before saving it")
    if len(inputs) != 1:
        refuse(_DATA, f"it has {len(inputs)} inputs ({', '.join(t.name for t in inputs)}), a bundle has one")
    shape = inputs[0].shape
    if any(size is None for size in shape[1:]):
        refuse(_DATA, f"its input has the shape {list(shape)}: save it with every size but the batch fixed")


def _convert(keras: Any, tensorflow: Any, model: Any) -> bytes:
    """Batch size 1 is fixed in the signature: no op is left that computes shapes, which quantizers and NPUs refuse."""
    tensor = model.inputs[0]
    signature = keras.InputSpec(shape=(1, *tensor.shape[1:]), dtype=tensor.dtype, name=tensor.name)
    try:
        with tempfile.TemporaryDirectory() as folder:
            archive = keras.export.ExportArchive()
            archive.track(model)
            archive.add_endpoint("serve", lambda batch: model(batch, training=False), input_signature=[signature])
            archive.write_out(folder, verbose=False)
            converted: bytes = tensorflow.lite.TFLiteConverter.from_saved_model(folder).convert()
    except Exception as error:  # the converter's own classes are not public
        refuse(_DATA, f"TensorFlow cannot convert it to TFLite: {_first_sentence(str(error))}")
    return converted


def _first_sentence(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else "no reason given")[:300]


if __name__ == "__main__":
    main()
