"""What a source is, before anything is started for it: by its contents, then by its name."""

import os
import pickle
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from maas_agent.base.untrusted import read_member
from maas_agent.errors import DataError, NoInputError
from maas_converter.importers.process import import_model
from maas_converter.importers.table import IMPORTERS, importer_for


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model"


def keras_file(path: Path, version: str = "3.8.0") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("metadata.json", f'{{"keras_version": "{version}"}}')
    return path


def hdf5_file(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["about"] = "no model"
    return path


def tflite_file(path: Path) -> Path:
    path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(64))
    return path


def saved_model_folder(path: Path) -> Path:
    path.mkdir()
    (path / "saved_model.pb").write_bytes(b"graph")
    return path


MADE = {
    "keras": keras_file,
    "keras2": lambda path: keras_file(path, "2.15.0"),
    "hdf5": hdf5_file,
    "tflite": tflite_file,
    "saved_model": saved_model_folder,
}


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("name", ["model", "model.keras", "model.h5", "model.tflite", "model.pkl"])
def test_what_is_in_it_counts_and_not_its_name(kind, name, tmp_path):
    assert importer_for(MADE[kind](tmp_path / name)) is IMPORTERS[kind]


PICKLE = pickle.dumps({"weights": [1, 2]})
BYTES = {
    "empty.keras": (b"", "is empty"),
    "empty": (b"", "is empty"),
    "weights.pkl": (PICKLE, r"a Python pickle, which is never opened.*model\.save"),
    "pickle.h5": (PICKLE, "a Python pickle"),
    "protocol0.keras": (pickle.dumps({"a": 1}, protocol=0), "a Python pickle"),
    "net.pt": (PICKLE, r"a PyTorch file.*litert-torch"),
    "net.onnx": (b"\x08\x07\x12\x07pytorch", "an ONNX model: .*SavedModel"),
    "renamed.bin": (b"\x08\x08\x12\x07pytorch\x1a\x051.8.1", "an ONNX model: .*SavedModel"),
    "engine.plan": (
        b"ptrt" + bytes(60),
        "a TensorRT engine, made for one kind of GPU: convert the model it",
    ),
    "unknown.engine": (b"\xa1\xb2\xc3\xd4", "a TensorRT engine"),
    "weights.bin": (
        (40).to_bytes(8, "little") + b'{"w":{"dtype":"F32","shape":[1],"data_of',
        r"weights without a model: load them into the model they belong to",
    ),
    "frozen.pb": (b"\x0a\x1c\x0a\x05input\x12\x0bPlaceholder", "a graph of TensorFlow 1"),
    "openvino.xml": (b'<?xml version="1.0"?>\n<net name="x" version="11">', "a model of OpenVINO"),
    "trees.json": (b'{"learner":{"attributes":{},"gradient_booster":{}}}', "a model of decision trees .XGBoost."),
    "trees.ubj": (b"{L\0\0\0\0\0\0\0\x07learnerS", "a model of decision trees .XGBoost."),
    "trees.txt": (b"tree\nversion=v4\nnum_class=1\n", "a model of decision trees .LightGBM."),
    "model.json": (
        b'{"class_name": "Sequential", "config": {"layers": []}}',
        "the configuration of a Keras model",
    ),
    "tfjs.json": (b'{"format":"layers-model","modelTopology":{}}', r"a model of TensorFlow\.js"),
    "net.mlmodel": (b"\x08\x04\x12\x0a\x0a\x01", "a Core ML model"),
    "net.pdmodel": (b"\x0a\x04", "a model of PaddlePaddle: .*paddle2onnx"),
    "net.pte": (b"\0\0\0\0ET12", "an ExecuTorch program"),
    "model.ckpt.index": (b"\0\0\1", "a checkpoint, weights without a model"),
    "saved_model.pb": (b"\x08\x01", "name the folder that holds saved_model.pb"),
    "language.bin": (b"GGUF\x03\0\0\0", "a GGUF language model"),
    "model.keras.gz": (b"\x1f\x8b\x08\0", "unpack it first"),
    "text.keras": (b"not a zip", r"text\.keras is no Keras 3 file, or is truncated"),
    "text.h5": (b"not HDF5", r"text\.h5 is no HDF5 file"),
    "text.tflite": (b"not TFLite, certainly", r"text\.tflite is no TFLite model: it has no 'TFL3' mark"),
    "notes.txt": (
        b"hello",
        r"no model this reads. Read are: Keras 3 \(\.keras\).*SavedModel \(a folder.*TFLite \(\.tflite",
    ),
}


@pytest.mark.parametrize("name", BYTES)
def test_a_file_that_is_no_model_is_told_what_it_is(name, tmp_path):
    content, words = BYTES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        importer_for(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_a_zip_of_pytorch_is_named(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", b"")
    with pytest.raises(DataError, match="a PyTorch file"):
        importer_for(path)


ARCHIVES = {
    "a TorchScript model: .*litert-torch": ["net/data.pkl", "net/constants.pkl", "net/code/__torch__.py"],
    r"a program of torch\.export": ["net/archive_format", "net/models/model.json", "net/data/weights/w.pt"],
    "a SavedModel in a ZIP archive: unpack it": ["model/saved_model.pb"],
    "a Core ML model": ["net.mlpackage/Manifest.json", "net.mlpackage/Data/com.apple.CoreML/model.mlmodel"],
}


@pytest.mark.parametrize("words", ARCHIVES)
def test_an_archive_is_told_by_what_is_in_it(words, path):
    with zipfile.ZipFile(path, "w") as archive:
        for name in ARCHIVES[words]:
            archive.writestr(name, b"")
    with pytest.raises(DataError, match=words):
        importer_for(path)


@pytest.mark.parametrize(
    ("name", "words"),
    [("Manifest.json", "a Core ML model"), ("checkpoint", "a checkpoint"), ("inference.pdmodel", "PaddlePaddle")],
)
def test_a_folder_of_another_format_is_named(name, words, path):
    path.mkdir()
    (path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=words):
        importer_for(path)


def test_a_cut_keras_file_and_another_zip(tmp_path):
    cut = keras_file(tmp_path / "cut.keras")
    cut.write_bytes(cut.read_bytes()[:100])
    with pytest.raises(DataError, match=r"cut\.keras is no Keras 3 file, or is truncated"):
        importer_for(cut)
    np.savez(tmp_path / "data.npz", x=np.zeros(3))
    (tmp_path / "data.npz").rename(tmp_path / "data.keras")
    with pytest.raises(DataError, match=r"data\.keras is no Keras 3 file: it holds no config\.json"):
        importer_for(tmp_path / "data.keras")


class TestFolders:
    def test_an_empty_one(self, path):
        path.mkdir()
        with pytest.raises(DataError, match=r"is a folder without saved_model\.pb"):
            importer_for(path)

    def test_one_above_the_model(self, path):
        path.mkdir()
        saved_model_folder(path / "1")
        with pytest.raises(DataError, match=r"but .*model/1 has one: name that"):
            importer_for(path)
        saved_model_folder(path / "2")
        with pytest.raises(DataError, match=r"name one of .*model/1, .*model/2"):
            importer_for(path)

    def test_a_loop_inside_is_not_followed(self, path, tmp_path):
        saved_model_folder(path)
        (path / "again").symlink_to(path)
        with pytest.raises(DataError, match=r"again is a link to a folder"):
            import_model(path, tmp_path)


class TestUnreadable:
    def test_nothing_there(self, path):
        with pytest.raises(NoInputError, match=r"there is no model .*model"):
            importer_for(path)

    def test_a_link_to_itself(self, path):
        path.symlink_to(path)
        with pytest.raises(NoInputError, match=r"cannot read .*model: Too many levels of symbolic links"):
            importer_for(path)

    def test_no_permission(self, path):
        keras_file(path)
        path.chmod(0)
        was = os.geteuid()
        if was == 0:
            os.seteuid(65534)  # root may read everything
        try:
            with pytest.raises(NoInputError, match=r"cannot read .*model: Permission denied"):
                importer_for(path)
        finally:
            os.seteuid(was)

    def test_a_pipe_is_not_waited_for(self, path):
        os.mkfifo(path)
        with pytest.raises(DataError, match="neither a file nor a folder"):
            importer_for(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [(hdf5_file, "no Keras model: it has no 'model_config'"), (tflite_file, "a damaged or truncated TFLite model")],
)
def test_what_only_looks_like_a_model_is_refused_by_its_importer(make, words, path, tmp_path):
    with pytest.raises(DataError, match=words) as caught:
        import_model(make(path), tmp_path)
    assert str(path) in str(caught.value)


def test_a_truncated_h5(path, tmp_path):
    hdf5_file(path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DataError, match=r"model: a damaged or truncated HDF5 file"):
        import_model(path, tmp_path)


@pytest.mark.parametrize("how", ["large", "nested"])
def test_what_a_keras_file_says_of_itself_is_read_within_bounds(tmp_path: Path, how: str) -> None:
    """A small file that expands to 64 MB, or brackets without an end: no memory, and no defect."""
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        with archive.open("metadata.json", "w", force_zip64=True) as file:
            for _ in range(64 if how == "large" else 1):
                file.write(b" " * (1 << 20) if how == "large" else b"[" * 200_000)
    usual = importer_for(keras_file(tmp_path / "usual.keras"))
    tracemalloc.start()
    try:
        assert importer_for(path) is usual
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_a_member_of_a_zip_is_bounded_whatever_the_zip_says(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    for how in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(path, "w", how) as archive:
            archive.writestr("a", b"x" * 1000)
        with zipfile.ZipFile(path) as archive:
            if how in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                assert read_member(archive, "a", 1000) == b"x" * 1000
            with pytest.raises(ValueError, match=r"more than 999 bytes|another way than"):
                read_member(archive, "a", 999)
