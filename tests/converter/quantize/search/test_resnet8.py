"""A real network and real pictures: small enough, and no less accurate than the budget on pictures not searched on."""

import pickle

import numpy as np
import pytest

from maas_agent.bundle.manifest import Decode, Input, Tensor
from maas_agent.runtime.selection import accelerator
from maas_converter.base.console import SilentProgress
from maas_converter.quantize.search.candidates.outcome import SearchLimits, SearchOutcome
from maas_converter.quantize.search.measuring.runner import RunnableModel
from maas_converter.quantize.search.search import search
from tests.once import once

SPEC = Input(Tensor("input_1", (1, 32, 32, 3), "float32"), Decode((32, 32, 3), "uint8"))


@pytest.fixture(scope="module")
def found(cifar, tmp_path_factory) -> SearchOutcome:
    pictures = cifar.evaluation[:1000], cifar.evaluation_y[:1000]

    def look(folder):
        data = (cifar.float32, SPEC, cifar.calibration, *pictures)
        made = search(*data, SearchLimits(1.0, 76_000), folder, folder / "journal", SilentProgress())
        (folder / "found.pickle").write_bytes(pickle.dumps(made))

    return pickle.loads((once(tmp_path_factory, "resnet8-search", look) / "found.pickle").read_bytes())


def _right(tflite: bytes, pictures: np.ndarray, y: np.ndarray, folder) -> np.ndarray:
    path = folder / f"{len(tflite)}.tflite"
    path.write_bytes(tflite)
    answers = RunnableModel(accelerator("cpu").load(path, 1), SPEC, ("out",)).answers(pictures)["out"]
    return answers.reshape(len(y), -1).argmax(axis=1) == y


def test_it_is_small_enough_and_holds_on_the_held_out_part(found):
    assert len(found.tflite) <= 76_000
    assert found.held_out.samples == 500
    assert found.held_out.drop_points <= 1.0


def test_it_holds_on_pictures_that_were_not_given_to_the_search_at_all(found, cifar, tmp_path):
    pictures, y = cifar.evaluation[1000:], cifar.evaluation_y[1000:]
    before = _right(cifar.float32, pictures, y, tmp_path)
    after = _right(found.tflite, pictures, y, tmp_path)
    assert np.mean(before) - np.mean(after) <= 0.01


def test_clipped_ranges_make_int8_clearly_more_like_the_float_model(found):
    noise = {candidate.title: candidate.noise for candidate in found.candidates}
    assert noise["int8, ranges clipped"] < 0.8 * noise["int8"]
