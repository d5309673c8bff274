"""SavedModel folders of TensorFlow 2 and 1."""

import hashlib
import shutil

import numpy as np
import pytest

from maas_agent.errors import DataError
from maas_converter.importers.digest import digest_of
from maas_converter.tflite.contents import contents_of


def test_a_traced_open_batch_becomes_one_even_in_loops(models, bring, answer):
    imported = bring(models / "recurrent")
    contents = contents_of(imported.tflite)
    assert [tensor.shape for tensor in contents.inputs] == [(1, 8, 8)]
    assert contents.has_control_flow
    answers = np.load(models / "answers.npz")
    np.testing.assert_allclose(answer(imported.tflite, answers["x"]), answers["new"], atol=1e-5)


def test_a_loop_in_a_graph_cannot_be_unrolled(models, bring):
    with pytest.raises(DataError, match=r"recurrent: a loop is left.*\.keras"):
        bring(models / "recurrent", unroll=True)


def test_tensorflow_1_with_its_own_names_and_the_same_bytes_again(tensorflow_1, bring, answer):
    imported = bring(tensorflow_1 / "tf1")
    assert bring(tensorflow_1 / "tf1") == imported
    assert "images" in contents_of(imported.tflite).inputs[0].name
    answers = np.load(tensorflow_1 / "answers-tf1.npz")
    np.testing.assert_allclose(answer(imported.tflite, answers["x"]), answers["probs"], atol=1e-5)


class TestSignatures:
    def test_one_is_chosen(self, models, bring, answer):
        clipped = bring(models / "two", signature="clipped").tflite
        answers = answer(clipped, np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32))
        assert answers.min() == 0
        assert answers.max() > 0

    @pytest.mark.parametrize("wanted", [None, "other"])
    def test_without_a_choice_or_with_a_wrong_one_they_are_listed(self, models, bring, wanted):
        with pytest.raises(DataError, match=r"clipped, plain: choose one with --signature"):
            bring(models / "two", signature=wanted)


def test_a_graph_that_writes_files_is_not_loaded(models, mark, bring):
    with pytest.raises(DataError, match=r"writer: .*WriteFile.*--trust"):
        bring(models / "writer")
    assert not mark.exists()


class TestDamage:
    @pytest.fixture
    def copy(self, tensorflow_1, tmp_path):
        return shutil.copytree(tensorflow_1 / "tf1", tmp_path / "copy")

    def test_missing_variables(self, copy, bring):
        shutil.rmtree(copy / "variables")
        with pytest.raises(DataError, match=r"copy: its weights are missing.*variables\.index"):
            bring(copy)

    def test_truncated_variables(self, copy, bring):
        data = next((copy / "variables").glob("*.data-*"))
        data.write_bytes(data.read_bytes()[:100])
        with pytest.raises(DataError, match=r"copy: .*damaged or truncated"):
            bring(copy)

    def test_a_truncated_graph(self, copy, bring):
        graph = copy / "saved_model.pb"
        graph.write_bytes(graph.read_bytes()[:1000])
        with pytest.raises(DataError, match=r"copy: saved_model\.pb in it is damaged or truncated"):
            bring(copy)

    def test_an_empty_graph(self, copy, bring):
        (copy / "saved_model.pb").write_bytes(b"")
        with pytest.raises(DataError, match=r"saved_model\.pb is empty"):
            bring(copy)


def test_the_digest_of_a_folder_is_that_of_its_files_and_their_names(tmp_path):
    folder = tmp_path / "model"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "2").write_bytes(b"two")
    (folder / "a").write_bytes(b"one")
    text = f"{hashlib.sha256(b'one').hexdigest()}  a\n{hashlib.sha256(b'two').hexdigest()}  b/2\n"
    assert digest_of(folder) == hashlib.sha256(text.encode()).hexdigest()
    (folder / "a").rename(folder / "c")
    assert digest_of(folder) != hashlib.sha256(text.encode()).hexdigest()
