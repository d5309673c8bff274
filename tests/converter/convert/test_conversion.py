"""The main job, end to end: a real Keras model, TensorFlow, litert-quantizer and LiteRT."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.golden import decode_golden
from maas_agent.bundle.manifest import Classification, Scale
from maas_agent.runtime.cpu import CpuAccelerator
from maas_agent.runtime.graph import Graph, deviation
from maas_converter.bench.blobs import unpack
from maas_converter.cli import main


def test_json_is_one_document_on_standard_output(digits_conversion):
    document = json.loads(digits_conversion.stdout)
    assert document["name"] == "digits"
    assert document["path"] == str(digits_conversion.path)
    with open_bundle(digits_conversion.path) as bundle:
        assert document["digest"] == bundle.digest


def test_the_import_is_proven_on_the_evaluation_data_by_keras_itself(digits_conversion):
    proven = json.loads(digits_conversion.stdout)["agreements"]["model"]
    assert (proven["framework"], proven["samples"], proven["origin"]) == ("Keras 3", 32, "evaluation.npz")
    assert all(share < 1e-4 for share in proven["shares"].values())


def test_the_frameworks_noise_is_not_shown(digits_conversion):
    assert digits_conversion.stderr == ""


def test_an_int8_bundle_is_int8_from_input_to_output(digits_bundle, tmp_path):
    with open_bundle(digits_bundle) as bundle:
        manifest = bundle.manifest
        model = CpuAccelerator().load(unpack(bundle, tmp_path).path(manifest.stages[0].blob), 1)
    assert [tensor.dtype for tensor in (*model.inputs, *model.outputs)] == ["int8", "int8"]
    assert [tensor.shape for tensor in (*model.inputs, *model.outputs)] == [(1, 8, 8, 1), (1, 10)]
    assert manifest.inputs[0].tensor.quantization == model.inputs[0].quantization


def test_quantization_costs_little_accuracy_and_saves_most_of_the_size(digits_bundle):
    with open_bundle(digits_bundle) as bundle:
        metrics = bundle.manifest.metrics
    accuracy = metrics.accuracy["evaluation"]
    assert accuracy.samples == 597
    assert accuracy.float32 > 0.9
    assert abs(accuracy.drop_points) < 2
    assert accuracy.interval_points[0] <= accuracy.drop_points <= accuracy.interval_points[1]
    assert metrics.bundle_bytes < metrics.float32_bytes / 2
    assert metrics.latency is not None
    assert 0 < metrics.latency.bundle_p50_ms <= metrics.latency.bundle_p99_ms


def test_the_manifest_says_what_a_device_has_to_do(digits_bundle, digits):
    with open_bundle(digits_bundle) as bundle:
        manifest = bundle.manifest
    assert manifest.inputs[0].decode.shape == (8, 8, 1)
    assert manifest.inputs[0].decode.dtype == "uint8"
    assert manifest.inputs[0].preprocess == (Scale(scale=0.0625),)
    assert manifest.inputs[0].tensor.name == "image"
    assert manifest.outputs[0].postprocess == Classification(activation="none")
    assert manifest.outputs[0].labels == tuple(f"digit {number}" for number in range(10))


def test_the_lineage_names_what_it_was_made_of(digits_bundle, digits):
    with open_bundle(digits_bundle) as bundle:
        lineage = bundle.manifest.lineage
    assert lineage.source_sha256 == hashlib.sha256(digits.model.read_bytes()).hexdigest()
    assert lineage.calibration_sha256 == hashlib.sha256(digits.calibration.read_bytes()).hexdigest()
    assert (lineage.source, lineage.recipe) == ("digits.keras", "int8")


def test_the_shipped_file_reproduces_its_golden_samples(digits_bundle, tmp_path):
    with open_bundle(digits_bundle) as bundle:
        manifest = bundle.manifest
        golden = decode_golden(bundle.blob(manifest.golden.blob))
        graph = Graph(manifest, unpack(bundle, tmp_path).path, CpuAccelerator())
    assert len(golden.samples) == manifest.golden.samples == 16
    assert deviation(graph, golden.samples, golden.outputs) == 0
    classes = next(iter(golden.outputs.values())).reshape(16, 10).argmax(axis=1)
    assert len(set(classes.tolist())) >= 8, "golden samples are spread over the classes"
    assert 0 < manifest.golden.tolerance <= 0.5


def test_the_same_inputs_give_the_same_file_but_for_latencies(digits, digits_bundle, maas_converter, tmp_path):
    again = tmp_path / "again.maas"
    done = maas_converter(*digits.arguments(again), SOURCE_DATE_EPOCH="1700000000")
    assert done.returncode == 0, done.stderr
    with open_bundle(digits_bundle) as first, open_bundle(again) as second:
        assert first.manifest.blobs() == second.manifest.blobs()
        assert second.manifest.created == "2023-11-14T22:13:20Z"
    assert done.stdout == ""
    assert "accuracy on evaluation (597)" in done.stderr
    assert "unsigned" in done.stderr


def test_a_conversion_signs_the_bundle_and_never_imports_tensorflow_itself(digits, tmp_path, capsys):
    before = set(sys.modules)
    keys, word = tmp_path / "keys", tmp_path / "word"
    word.write_text("correct horse")
    assert main.run(["keys", "create", str(keys), "--passphrase-file", str(word)]) == 0
    out = tmp_path / "logits.maas"
    arguments = ["convert", str(digits.logits), "--name", "logits", "--version", "2.0.0", "-o", str(out)]
    labels = [
        "--labels",
        str(digits.labels),
        "--keys",
        str(keys),
        "--passphrase-file",
        str(word),
        "--quantize",
        "float32",
    ]
    assert main.run([*arguments, *labels, "--evaluation", str(digits.evaluation)]) == 0
    assert not {"tensorflow", "keras"} & (set(sys.modules) - before)
    with open_bundle(out) as bundle:
        assert bundle.signature() is not None
        output = bundle.manifest.outputs[0]
        assert bundle.manifest.inputs[0].decode.dtype == "uint8", "the data's own type"
        assert bundle.manifest.metrics.accuracy["evaluation"].drop_points == 0
        assert bundle.manifest.lineage.calibration_sha256 is None
    assert output.postprocess == Classification(activation="softmax"), "logits are no probabilities"
    assert output.labels[3] == "digit 3"
    assert "softmax" in capsys.readouterr().err


def test_without_any_data_golden_samples_are_seeded_noise_and_it_is_said(digits, tmp_path, capsys):
    out = tmp_path / "plain.maas"
    named = ["--name", "plain", "--version", "1.0.0", "-o", str(out), "--quantize", "float32", "--json"]
    assert main.run(["convert", str(digits.model), *named]) == 0
    document = json.loads(capsys.readouterr().out)
    assert any("random" in note for note in document["notes"])
    with open_bundle(out) as bundle:
        golden = decode_golden(bundle.blob(bundle.manifest.golden.blob))
        assert bundle.manifest.inputs[0].decode.dtype == "float32"
    assert golden.samples.shape == (16, 8, 8, 1)
    assert golden.samples.dtype == np.float32


REFUSED_MODELS = {
    "lambda.keras": "Lambda",
    "two-inputs.keras": "2 inputs",
    "any-size.keras": "every size but the batch",
}


@pytest.mark.parametrize("name", REFUSED_MODELS)
def test_a_model_that_no_bundle_can_hold_is_refused_in_a_sentence(name, digits, tmp_path, capsys):
    arguments = digits.arguments(tmp_path / "out.maas")
    arguments[1] = str(digits.folder / name)
    _assert_refused(arguments, 65, REFUSED_MODELS[name], capsys)
    assert list(tmp_path.iterdir()) == []
    assert not (digits.folder / "code-of-the-model-ran").exists()


def test_a_model_with_damaged_weights_is_refused_and_an_existing_bundle_stays(digits, tmp_path, capsys):
    """An existing bundle is replaced only by a complete one."""
    import zipfile

    broken = tmp_path / "broken.keras"
    with zipfile.ZipFile(digits.model) as source, zipfile.ZipFile(broken, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data[: len(data) // 2] if name.endswith(".h5") else data)
    out = tmp_path / "out.maas"
    out.write_bytes(b"what was there before")
    arguments = digits.arguments(out)
    arguments[1] = str(broken)
    _assert_refused(arguments, 65, "broken.keras", capsys)
    assert out.read_bytes() == b"what was there before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.keras", "out.maas"]


def _assert_refused(arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([str(argument) for argument in arguments]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("maas-converter: error: ")
    assert printed.err.count("\n") == 1
    assert words in printed.err


class TestBadInput:
    """Each is refused with one sentence, before TensorFlow is started, and nothing is written."""

    @pytest.fixture
    def refused(self, digits, tmp_path, capsys, monkeypatch):
        def run(code: int, words: str, **replaced: Path) -> None:
            monkeypatch.setattr("subprocess.run", _never)
            out = tmp_path / "out.maas"
            arguments = digits.arguments(out)
            for option, value in replaced.items():
                if option == "source":
                    arguments[1] = str(value)
                else:
                    arguments += [f"--{option}", str(value)]
            _assert_refused(arguments, code, words, capsys)
            assert not out.exists()

        return run

    def test_a_model_that_is_not_there(self, refused, tmp_path):
        refused(66, "no-such.keras", source=tmp_path / "no-such.keras")

    def test_a_file_that_is_no_model(self, refused, digits):
        refused(65, "Keras 3 (.keras)", source=digits.labels)

    def test_a_text_that_calls_itself_keras(self, refused, tmp_path):
        path = tmp_path / "text.keras"
        path.write_text("not a zip")
        refused(65, "no Keras 3 file", source=path)

    def test_a_truncated_model(self, refused, digits, tmp_path):
        path = tmp_path / "cut.keras"
        path.write_bytes(digits.model.read_bytes()[:5000])
        refused(65, "truncated", source=path)

    def test_a_zip_that_is_no_model(self, refused, digits, tmp_path):
        path = tmp_path / "zip.keras"
        path.write_bytes(digits.evaluation.read_bytes())
        refused(65, "config.json", source=path)

    def test_a_folder_for_a_model(self, refused, tmp_path):
        (tmp_path / "folder.keras").mkdir()
        refused(65, "is a folder", source=tmp_path / "folder.keras")

    def test_calibration_that_is_not_there(self, refused, tmp_path):
        refused(66, "none.npz", calibration=tmp_path / "none.npz")

    def test_labels_that_are_not_there(self, refused, tmp_path):
        refused(66, "none.txt", labels=tmp_path / "none.txt")

    def test_a_name_no_topic_can_hold(self, refused):
        refused(64, "--name", name="Digits/1")

    def test_a_version_that_is_none(self, refused):
        refused(64, "1.2.0", version="new")

    def test_a_recipe_that_is_none(self, refused):
        refused(64, "float32", quantize="int3")

    def test_an_output_folder_that_is_not_there(self, refused, tmp_path):
        refused(66, "no folder", out=tmp_path / "none" / "out.maas")

    def test_int8_without_calibration(self, digits, tmp_path, capsys):
        out = tmp_path / "out.maas"
        named = ["--name", "digits", "--version", "1.0.0", "-o", str(out)]
        _assert_refused(["convert", str(digits.model), *named], 64, "--calibration", capsys)


class TestDataThatDoesNotFitTheModel:
    """Known only once the model is: refused before anything is quantized, and nothing is written."""

    @pytest.fixture(autouse=True)
    def imported_before(self, digits_tflite, monkeypatch):
        """The real import, done once for all of these: it costs 6 s, and is not what they are about."""
        from maas_converter.convert import importing
        from maas_converter.importers.process import ImportedModel

        imported = ImportedModel(digits_tflite.read_bytes(), "0" * 64)
        monkeypatch.setattr(importing, "import_model", lambda *given: imported)

    def test_samples_of_another_shape(self, digits, tmp_path, capsys):
        data = _npz(tmp_path, x=np.zeros((5, 9, 9, 1), np.uint8), y=np.zeros(5, int))
        self._refused(digits, tmp_path, capsys, "[9, 9, 1]", evaluation=data)

    def test_values_that_the_sample_type_cannot_hold(self, digits, tmp_path, capsys):
        data = _npz(tmp_path, x=np.full((5, 8, 8, 1), 0.5, np.float32), y=np.zeros(5, int))
        self._refused(digits, tmp_path, capsys, "uint8", evaluation=data)

    def test_a_class_the_model_does_not_have(self, digits, tmp_path, capsys):
        data = _npz(tmp_path, x=np.zeros((5, 8, 8, 1), np.uint8), y=np.array([0, 1, 2, 3, 10]))
        self._refused(digits, tmp_path, capsys, "10 classes", evaluation=data)

    def test_labels_of_another_number(self, digits, tmp_path, capsys):
        labels = tmp_path / "labels.txt"
        labels.write_text("one\ntwo\n")
        self._refused(digits, tmp_path, capsys, "2 labels", labels=labels)

    def test_a_sample_that_does_not_fill_the_model(self, digits, tmp_path, capsys):
        preprocess = tmp_path / "preprocess.toml"
        preprocess.write_text('[decode]\nshape = [4, 4, 1]\ndtype = "uint8"\n')
        self._refused(digits, tmp_path, capsys, "does not fill", preprocess=preprocess)

    def test_gray_images_without_a_channel_are_forgiven(self, digits, tmp_path):
        with np.load(digits.evaluation) as file:
            data = _npz(tmp_path, x=file["x"][:50, :, :, 0], y=file["y"][:50])
        out = tmp_path / "out.maas"
        assert main.run([*digits.arguments(out), "--evaluation", str(data)]) == 0
        with open_bundle(out) as bundle:
            assert bundle.manifest.metrics.accuracy["data"].samples == 50

    @staticmethod
    def _refused(digits, tmp_path, capsys, words, **replaced):
        out = tmp_path / "out.maas"
        more = [text for option, value in replaced.items() for text in (f"--{option}", str(value))]
        _assert_refused([*digits.arguments(out), *more], 65, words, capsys)
        assert not out.exists()


def _npz(folder: Path, **arrays: np.ndarray) -> Path:
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return path


def _never(*_: object, **__: object) -> None:
    raise AssertionError("a process was started for input that can be refused without one")
