"""Files that are models, or look it, but not of a format that is read: what they are and what to do with them."""

import re
import zipfile
from pathlib import Path

_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_PICKLE_0 = re.compile(rb"(\(dp\d|\(lp\d|c[a-z_.]+\n[A-Za-z_]+\n)")

_ONNX = "an ONNX model: convert it to a SavedModel first, such as with onnx2tf, or export it from its framework"
_TORCH = (
    "a PyTorch file, a pickle, which is never opened because it can run code: export the model with litert-torch and "
    "convert the .tflite file that gives"
)
_PICKLED = (
    "a Python pickle, which is never opened because it can run code: save the model with model.save('NAME.keras') "
    "instead"
)

_STARTS = {
    b"GGUF": "a GGUF language model, which TFLite bundles cannot hold",
    b"\x93NUMPY": "a NumPy array, data and not a model",
    b"\x1f\x8b": "compressed with gzip: unpack it first",
}
_SUFFIXES = {
    ".onnx": _ONNX,
    ".pt": _TORCH,
    ".pth": _TORCH,
    ".pkl": _PICKLED,
    ".pickle": _PICKLED,
    ".joblib": _PICKLED,
    ".pb": "one file of a SavedModel, or a frozen graph of TensorFlow 1: name the folder that holds saved_model.pb",
    ".ckpt": "a checkpoint, weights without a model: save the whole model with model.save()",
    ".index": "a checkpoint, weights without a model: save the whole model with model.save()",
    ".safetensors": "weights without a model: save the whole model with model.save()",
    ".mlmodel": "a Core ML model: convert the model it was made of",
    ".tar": "an archive: unpack it first",
}


def foreign(source: Path, head: bytes) -> str | None:
    """What a file that begins with ``head`` is and what to do, or ``None`` if nothing is known about it.

    What is in it counts for more than what it is called.
    """
    for start, sentence in _STARTS.items():
        if head.startswith(start):
            return sentence
    if head.startswith(b"PK"):
        return _TORCH if _is_torch(source) else None
    if _PICKLE.match(head) or _PICKLE_0.match(head):
        return _PICKLED if source.suffix.lower() not in (".pt", ".pth") else _TORCH
    return _SUFFIXES.get(source.suffix.lower())


def _is_torch(source: Path) -> bool:
    try:
        with zipfile.ZipFile(source) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, EOFError):
        return False
