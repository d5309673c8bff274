"""Bundles of every task on data of every kind; the tiny model's answers are known, so figures can be stated."""

import msgspec
import numpy as np
import pytest

from maas_agent.bundle.archive import open_bundle
from maas_agent.errors import DataError, UsageError
from maas_converter.base.console import SilentProgress
from maas_converter.base.json_output import whole
from maas_converter.bench import measure
from maas_converter.bench.blobs import unpack
from maas_converter.evidence.evaluate import evaluate_bundle
from tests.bundles import make_bundle, samples


@pytest.fixture
def bundle(tmp_path):
    """A bundle of ``classes`` output values over 64 pixels."""
    return lambda classes=10: make_bundle(tmp_path / f"{classes}.maas", classes=classes)


@pytest.fixture
def data(tmp_path):
    def written(y, **more):
        path = tmp_path / "data.npz"
        np.savez(path, x=samples(len(y), seed=1), y=np.asarray(y), **more)
        return path

    return written


def answers(path, folder, count):
    with open_bundle(path) as opened:
        graph = measure.load_graph(opened.manifest, unpack(opened, folder))
    return measure.answers(graph, samples(count, seed=1), SilentProgress(), "")["scores"].reshape(count, -1)


def test_a_classifier_is_judged_by_its_classes(bundle, data, tmp_path):
    path = bundle()
    y = answers(path, tmp_path, 30).argmax(axis=1)
    y[:3] = (y[:3] + 1) % 10
    found = evaluate_bundle(path, data(y), SilentProgress())
    assert (found.score.samples, found.score.correct) == (30, 27)
    assert (found.score.classes[0].label, found.output, found.unanswered) == ("class-0", "scores", 0)
    document = msgspec.json.decode(msgspec.json.encode(whole(found)))
    assert document["score"]["task"] == "classification"
    assert document["score"]["f1"]["interval"][0] <= document["score"]["f1"]["value"]


def test_one_value_and_real_targets_are_a_regression(bundle, data):
    """A softmax of one value is 1."""
    found = evaluate_bundle(bundle(1), data([0.5, 1.0, 1.5, 3.0]), SilentProgress())
    assert whole(found)["score"]["task"] == "regression"
    assert found.score.mae.value == pytest.approx(0.75)


def test_one_value_and_two_kinds_of_samples_are_an_anomaly_score(bundle, data):
    found = evaluate_bundle(bundle(1), data([0, 0, 1, 1], classes=np.array(["fine", "broken"])), SilentProgress())
    assert found.score.auc.value == 0.5, "the same answer to everything ranks nothing"
    assert found.score.found == "broken"


def test_as_many_values_as_pixels_are_a_reconstruction(bundle, data, tmp_path):
    path = bundle(64)
    y = np.arange(20) % 2
    found = evaluate_bundle(path, data(y), SilentProgress())
    pixels = samples(20, seed=1).reshape(20, 64) / 255
    errors = np.mean((answers(path, tmp_path, 20) - pixels) ** 2, axis=1)
    assert found.score.mse.value == pytest.approx(errors[y == 0].mean(), rel=1e-4)
    assert found.score.mse_anomalies.value == pytest.approx(errors[y == 1].mean(), rel=1e-4)


def test_what_was_asked_for_wins(bundle, data):
    found = evaluate_bundle(bundle(64), data(np.arange(20) % 2), SilentProgress(), task="classification")
    assert whole(found)["score"]["task"] == "classification"


def test_wishes_that_cannot_be_met_are_one_sentence(bundle, data, tmp_path):
    path, known = bundle(), data(np.arange(10))
    with pytest.raises(UsageError, match="choose one of classification, regression, anomaly"):
        evaluate_bundle(path, known, SilentProgress(), task="ranking")
    with pytest.raises(UsageError, match="--output other: the bundle has scores"):
        evaluate_bundle(path, known, SilentProgress(), output="other")
    with pytest.raises(DataError, match=r"data\.npz: .*both kinds"):
        evaluate_bundle(path, known, SilentProgress(), task="anomaly")
    bare = tmp_path / "bare.npz"
    np.savez(bare, x=samples(3))
    with pytest.raises(DataError, match=r"bare\.npz: no classes 'y'"):
        evaluate_bundle(path, bare, SilentProgress())
    assert evaluate_bundle(path, known, SilentProgress(), output="scores").output == "scores"
