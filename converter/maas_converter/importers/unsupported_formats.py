"""Files that are models, or look it, but not of a format that is read: what they are and what to do with them."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_PICKLE_0 = re.compile(rb"(\(dp\d|\(lp\d|c[a-z_.]+\n[A-Za-z_]+\n)")

_WITH_TFLITE = "convert the .tflite file that gives"
_ONNX = (
    "an ONNX model: convert it to a SavedModel first, such as with onnx2tf, or export the model it was made of from "
    "its own framework"
)
_TORCH = (
    "a PyTorch file, a pickle, which is never opened because it can run code: export the model with litert-torch and "
    f"{_WITH_TFLITE}"
)
_TORCHSCRIPT = f"a TorchScript model: export the PyTorch model it was made of with litert-torch and {_WITH_TFLITE}"
_PT2 = (
    "a program of torch.export (.pt2): load it with torch.export.load, convert that with litert-torch and "
    f"{_WITH_TFLITE}"
)
_EXECUTORCH = f"an ExecuTorch program: export the PyTorch model it was made of with litert-torch and {_WITH_TFLITE}"
_PICKLED = (
    "a Python pickle, which is never opened because it can run code: save the model with model.save('NAME.keras') "
    "instead"
)
_CORE_ML = "a Core ML model, for Apple's devices: convert the model it was made of"
_TENSORRT = "a TensorRT engine, made for one kind of GPU: convert the model it was made of"
_OPENVINO = "a model of OpenVINO (.xml with its .bin): convert the model it was made of"
_PADDLE = "a model of PaddlePaddle: convert it to ONNX with paddle2onnx, and that to a SavedModel with onnx2tf"
_TREES = (
    "a model of decision trees ({}), and LiteRT runs networks: train a network instead, such as a Keras model of Dense "
    "layers that learns what the trees answer"
)
_WEIGHTS = "weights without a model: load them into the model they belong to, and save that with model.save()"
_CHECKPOINT = "a checkpoint, weights without a model: save the whole model with model.save()"
_FROZEN = (
    "a graph of TensorFlow 1 (a frozen graph, .pb) or a part of a SavedModel: name the folder that holds "
    "saved_model.pb; a graph alone becomes one by tf.import_graph_def and tf.compat.v1.saved_model.simple_save"
)
_PB = "one file of a SavedModel, or a frozen graph of TensorFlow 1: name the folder that holds saved_model.pb"

_STARTS = {
    b"GGUF": "a GGUF language model, which TFLite bundles cannot hold",
    b"\x93NUMPY": "a NumPy array, data and not a model",
    b"\x1f\x8b": "compressed with gzip: unpack it first",
    b"BZh": "compressed with bzip2: unpack it first",
    b"\xfd7zXZ\x00": "compressed with xz: unpack it first",
    b"7z\xbc\xaf\x27\x1c": "an archive of 7-Zip: unpack it first",
    b"(\xb5/\xfd": "compressed with zstd: unpack it first",
    b"ptrt": _TENSORRT,
    b"ftrt": _TENSORRT,
    b"binf": _TREES.format("XGBoost"),
    b"tree\nversion=": _TREES.format("LightGBM"),
    b"CBM1": _TREES.format("CatBoost"),
    b"7767517\n": "a network of ncnn: convert the model it was made of",
}
_SUFFIXES = {
    ".onnx": _ONNX,
    ".ort": _ONNX,
    ".pt": _TORCH,
    ".pth": _TORCH,
    ".torchscript": _TORCHSCRIPT,
    ".pt2": _PT2,
    ".pte": _EXECUTORCH,
    ".pkl": _PICKLED,
    ".pickle": _PICKLED,
    ".joblib": _PICKLED,
    ".pb": _PB,
    ".pbtxt": _FROZEN,
    ".ckpt": _CHECKPOINT,
    ".index": _CHECKPOINT,
    ".meta": _CHECKPOINT,
    ".safetensors": _WEIGHTS,
    ".mlmodel": _CORE_ML,
    ".engine": _TENSORRT,
    ".plan": _TENSORRT,
    ".trt": _TENSORRT,
    ".pdmodel": _PADDLE,
    ".pdiparams": _PADDLE,
    ".pdparams": _PADDLE,
    ".ubj": _TREES.format("XGBoost"),
    ".caffemodel": "a model of Caffe: convert the model it was made of",
    ".mnn": "a model of MNN: convert the model it was made of",
    ".tar": "an archive: unpack it first",
}
_INSIDE: dict[str, str] = {
    "data.pkl": _TORCH,
    "constants.pkl": _TORCHSCRIPT,
    "serialized_exported_program.json": _PT2,
    "archive_format": _PT2,
    "models/model.json": _PT2,
    "saved_model.pb": "a SavedModel in a ZIP archive: unpack it and name the folder that holds saved_model.pb",
    "model.mlmodel": _CORE_ML,
    "Manifest.json": _CORE_ML,
}
"""How a name in a ZIP archive ends, and what the archive then is; the last that is found counts."""
_FOLDERS: dict[str, str] = {
    "Manifest.json": _CORE_ML,
    "coremldata.bin": _CORE_ML,
    "checkpoint": _CHECKPOINT,
    "inference.pdmodel": _PADDLE,
    "model.safetensors": "a folder of Hugging Face with weights: export the model to a SavedModel or to ONNX first",
    "pytorch_model.bin": "a folder of Hugging Face with weights: export the model to a SavedModel or to ONNX first",
    "model.json": "a model of TensorFlow.js: convert the model it was made of",
}


def unsupported_file(source: Path, head: bytes) -> str | None:
    """What a file that begins with ``head`` is and what to do, or ``None`` if nothing is known about it.

    What is in it counts for more than what it is called.
    """
    for start, sentence in _STARTS.items():
        if head.startswith(start):
            return sentence
    if head.startswith(b"PK"):
        return _in_archive(source)
    if _PICKLE.match(head) or _PICKLE_0.match(head):
        return _PICKLED if source.suffix.lower() not in (".pt", ".pth") else _TORCH
    for looks_like, sentence in _LOOKS:
        if looks_like(head):
            return sentence
    return _in_text(source, head) or _SUFFIXES.get(source.suffix.lower())


def unsupported_folder(source: Path) -> str | None:
    """What a folder is that is no SavedModel, or ``None`` if nothing is known about it."""
    return next((sentence for name, sentence in _FOLDERS.items() if (source / name).exists()), None)


def _is_onnx(head: bytes) -> bool:
    """A ``ModelProto``: its version, then the name of what produced it."""
    return len(head) > 6 and head[0] == 0x08 and 3 <= head[1] <= 30 and head[2] == 0x12 and head[4:7].isalnum()


def _is_graph(head: bytes) -> bool:
    """A ``GraphDef``: a node, which begins with its name and its op."""
    if len(head) < 8 or head[0] != 0x0A:
        return False
    at = 2 if head[1] < 0x80 else 3
    name = head[at + 1] if head[at : at + 1] == b"\n" else 0
    return bool(name) and head[at + 2 + name : at + 3 + name] == b"\x12"


def _is_safetensors(head: bytes) -> bool:
    """The length of a JSON header, then that."""
    return len(head) > 9 and head[8:10] in (b'{"', b"{ ") and int.from_bytes(head[:8], "little") < 1 << 30


_LOOKS: tuple[tuple[Callable[[bytes], bool], str], ...] = (
    (_is_safetensors, _WEIGHTS),
    (_is_graph, _FROZEN),
    (_is_onnx, _ONNX),
)


def _in_archive(source: Path) -> str | None:
    try:
        with zipfile.ZipFile(source) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, EOFError):
        return None
    found = [sentence for end, sentence in _INSIDE.items() if any(name.endswith(end) for name in names)]
    return found[-1] if found else None


def _in_text(source: Path, head: bytes) -> str | None:
    """What JSON and XML say of themselves at their beginning."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith((b"<?xml", b"<net")):
        return _OPENVINO if b"<net" in _beginning(source) else None
    if not text.startswith(b"{"):
        return None
    start = _beginning(source)
    if b'"learner"' in start or b"gradient_booster" in start:
        return _TREES.format("XGBoost")
    if b'"oblivious_trees"' in start:
        return _TREES.format("CatBoost")
    if b'"tree_info"' in start or b'"tree_sizes"' in start:
        return _TREES.format("LightGBM")
    if b'"modelTopology"' in start:
        return "a model of TensorFlow.js: convert the model it was made of"
    if b'"class_name"' in start and _is_json_of_keras(start):
        return "the configuration of a Keras model, without its weights: save the whole model with model.save()"
    return None


def _is_json_of_keras(start: bytes) -> bool:
    return any(word in start for word in (b'"layers"', b'"keras_version"', b'"Functional"'))


def _beginning(source: Path) -> bytes:
    try:
        with source.open("rb") as file:
            return file.read(1 << 16)
    except OSError:
        return b""
