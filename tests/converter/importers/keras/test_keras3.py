"""Keras files, new and old: which library reads them, loops, open sizes, ops that LiteRT lacks, code in the file."""

import shutil

import numpy as np
import pytest

from maas_agent.errors import DataError
from maas_converter.importers import table
from maas_converter.tflite.contents import contents_of
from tests.converter.importers.conftest import SHARED


@pytest.fixture(scope="module")
def answers(models):
    return np.load(models / "answers.npz")


@pytest.fixture
def only(monkeypatch):
    """Leave one rung of a format's ladder, so that a test pays for one process."""

    def keep(kind: str, number: int) -> None:
        importer = table.IMPORTERS[kind]
        values = {field: getattr(importer, field) for field in importer.__struct_fields__}
        left = table.Importer(**values | {"rungs": (importer.rungs[number],)})
        monkeypatch.setitem(table.IMPORTERS, kind, left)

    return keep


def test_a_recurrent_model_takes_one_sample_and_answers_as_keras_does(models, bring, answer, answers):
    imported = bring(models / "recurrent.keras")
    contents = contents_of(imported.tflite)
    assert [tensor.shape for tensor in contents.inputs] == [(1, 8, 8)]
    assert "steps" in contents.inputs[0].name
    assert contents.has_control_flow
    assert [tensor.shape for tensor in contents.outputs] == [(1, 3)]
    assert not imported.quantized
    np.testing.assert_allclose(answer(imported.tflite, answers["x"]), answers["new"], atol=1e-5)


def test_unrolled_there_is_no_loop_and_the_answers_stay(models, bring, answer, answers):
    imported = bring(models / "recurrent.keras", unroll=True)
    assert not contents_of(imported.tflite).has_control_flow
    assert any("unrolled: " in note and "lstm" in note and "gru" in note for note in imported.notes)
    np.testing.assert_allclose(answer(imported.tflite, answers["x"]), answers["new"], atol=1e-5)


def test_an_h5_of_keras_3_is_read_by_keras_3_and_gives_the_same_bytes_again(models, bring, answer, answers):
    imported = bring(models / "recurrent.h5")
    assert imported.notes[0] == "recurrent.h5 was read by Keras 3"
    assert bring(models / "recurrent.h5") == imported
    np.testing.assert_allclose(answer(imported.tflite, answers["x"]), answers["new"], atol=1e-5)


def test_a_legacy_h5_is_read_by_tf_keras_whatever_it_is_called(models, bring, answer, answers, tmp_path):
    source = tmp_path / "legacy.keras"
    shutil.copy(models / "legacy.h5", source)
    imported = bring(source, unroll=True)
    assert "was read by tf-keras (Keras 3: " in imported.notes[0]
    assert "it was written by Keras 2." in imported.notes[0]
    assert not contents_of(imported.tflite).has_control_flow
    np.testing.assert_allclose(answer(imported.tflite, answers["x"]), answers["old"], atol=1e-5)


def test_a_word_that_means_something_else_in_keras_3_means_what_it_meant(models, bring, answer):
    """Both read the file; ``hard_sigmoid`` has another slope since Keras 3."""
    given = np.load(models / "answers-hard-sigmoid.npz")
    imported = bring(models / "hard-sigmoid.h5")
    np.testing.assert_allclose(answer(imported.tflite, given["x"]), given["y"], atol=1e-6)


def test_a_legacy_lstm_keeps_its_loop_unless_asked(models, bring, answer, answers, only):
    only("hdf5", 1)
    imported = bring(models / "legacy.h5")
    contents = contents_of(imported.tflite)
    assert [tensor.shape for tensor in contents.inputs] == [(1, 8, 8)]
    np.testing.assert_allclose(answer(imported.tflite, answers["x"]), answers["old"], atol=1e-5)


def test_tensorflow_1_is_the_last_rung(models, bring, answer, answers, only):
    only("hdf5", 2)
    imported = bring(models / "legacy.h5")
    assert contents_of(imported.tflite).inputs[0].name == "steps"
    np.testing.assert_allclose(answer(imported.tflite, answers["x"]), answers["old"], atol=1e-5)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data")
def test_the_visual_wake_words_model_is_read_by_tf_keras(bring, only):
    only("hdf5", 1)
    imported = bring(SHARED / "vww" / "vww_96.h5")
    assert contents_of(imported.tflite).inputs[0].shape == (1, 96, 96, 3)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data")
def test_resnet8_imports_from_its_legacy_file_and_classifies_as_the_benchmark_s_own_file(bring, answer):
    imported = bring(SHARED / "resnet8" / "pretrainedResnet.h5")
    data = np.load(SHARED / "resnet8" / "cifar10-evaluation-1500.npz")
    x = data["x"][:100].astype(np.float32)
    theirs = (SHARED / "resnet8" / "pretrainedResnet.tflite").read_bytes()
    assert np.array_equal(answer(imported.tflite, x).argmax(1), answer(theirs, x).argmax(1))


def test_an_archive_of_keras_2_is_read_by_tf_keras(models, bring, answer, answers):
    imported = bring(models / "old.keras")
    assert imported.notes[0] == "old.keras was read by tf-keras"
    np.testing.assert_allclose(answer(imported.tflite, answers["x"]), answers["old"], atol=1e-5)


def test_a_stateful_layer_is_refused(models, bring):
    with pytest.raises(DataError, match=r"stateful\.keras: its layer 'lstm\w*' is stateful.*stateful=False"):
        bring(models / "stateful.keras")


def test_ops_that_litert_lacks_are_named(models, bring):
    with pytest.raises(DataError, match=r"inverse\.keras.*ops that LiteRT has not: MatrixInverse.*replace"):
        bring(models / "inverse.keras")


class TestOpenSizes:
    def test_given_they_are_fixed(self, models, bring):
        imported = bring(models / "any-steps.keras", input_shape=(5, 8), unroll=True)
        contents = contents_of(imported.tflite)
        assert contents.inputs[0].shape == (1, 5, 8)
        assert not contents.has_control_flow

    def test_wrong_they_are_refused(self, models, bring):
        with pytest.raises(DataError, match=r"any-steps\.keras: --input-shape 5,9 does not fit.*\(any, 8\)"):
            bring(models / "any-steps.keras", input_shape=(5, 9))


class TestCode:
    """A Lambda layer, nested in a model in a wrapper, leaves a mark when it runs."""

    @pytest.mark.parametrize("name", ["new-lambda.h5", "old-lambda.h5", "new-lambda.keras"])
    def test_it_never_runs_by_itself(self, models, mark, bring, name):
        with pytest.raises(DataError, match=rf"{name}.*Lambda: innocent.*--trust"):
            bring(models / name)
        assert not mark.exists()

    @pytest.mark.parametrize("name", ["old-lambda.h5", "new-lambda.keras"])
    def test_it_runs_when_trusted(self, models, mark, bring, only, name):
        only("hdf5", 1)
        assert bring(models / name, trust=True).tflite
        assert mark.exists()


@pytest.mark.parametrize("name", ["new.weights.h5", "old_weights.h5"])
def test_weights_alone_are_no_model(models, bring, name):
    with pytest.raises(DataError, match=rf"{name}: it holds weights only.*model\.save\(\)"):
        bring(models / name)
