"""What quantizing lost is said first, and `--max-drop` stops a build, whatever the recipe and the task."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maas_agent.errors import DataError, UsageError
from maas_converter.base.console import SilentProgress
from maas_converter.base.json_output import whole
from maas_converter.cli import summary
from maas_converter.convert.conversion import Conversion, convert
from maas_converter.convert.request import ConversionRequest, limits_of
from tests.converter.tflite.graphs import Body, Op, tflite
from tests.models import SHAPE, tiny_classifier_tflite

RANDOM = np.random.default_rng(3)


def _dense(outputs: int) -> bytes:
    weights = RANDOM.normal(0, 1, (outputs, 4)).astype(np.float32)
    constants = {"w": weights, "b": np.zeros(outputs, np.float32)}
    op = Op("FULLY_CONNECTED", ("x", "w", "b"), ("y",), options={"keepNumDims": True})
    return tflite(Body((op,), ("x",), ("y",), constants, {"y": (1, outputs)}))


class Place:
    """A model with data: calibrated on much smaller values than it is judged on, int8 clips and loses most."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def request(
        self, model: bytes, shape: tuple[int, ...], task: str, shrink: float, **wanted: Any
    ) -> ConversionRequest:
        (self.folder / "m.tflite").write_bytes(model)
        x = RANDOM.normal(0, 1, (200, *shape)).astype(np.float32)
        np.savez(self.folder / "c.npz", x=x * shrink)
        answers = self._answers(model, x)
        y = {"classification": answers.argmax(1), "anomaly": (answers[:, 0] > 0.5).astype(int), "regression": answers}
        np.savez(self.folder / "e.npz", x=x, **({"y": y[task]} if task else {}))
        plain = {
            "source": self.folder / "m.tflite", "name": "m", "version": "1.0.0", "out": self.folder / "m.maas",
            "calibration": self.folder / "c.npz", "evaluation": self.folder / "e.npz", "force": True,
        }  # fmt: skip
        return ConversionRequest(**(plain | wanted))

    def _answers(self, model: bytes, x: np.ndarray) -> np.ndarray:
        from tests.converter.quantize.running import answers

        return answers(model, x, self.folder)

    @property
    def written(self) -> bool:
        return (self.folder / "m.maas").exists()


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


CASES = {
    "classification": (tiny_classifier_tflite(), SHAPE[1:], "accuracy"),
    "anomaly": (_dense(1), (4,), "ROC AUC"),
    "regression": (_dense(2), (4,), "mean absolute error"),
}


@pytest.mark.parametrize("recipe", ["int8", "int16x8", "int4"])
@pytest.mark.parametrize("task", list(CASES))
def test_more_loss_than_the_bound_stops_a_build_in_every_task(task, recipe, place):
    model, shape, of = CASES[task]
    request = place.request(model, shape, task, 0.02, quantize=recipe, max_drop=1.0)
    with pytest.raises(
        DataError, match=rf"--max-drop 1: {recipe} loses \d+\.\d\d points \({of}\), so nothing"
    ) as caught:
        convert(request, SilentProgress())
    assert caught.value.exit_code == 65
    assert not place.written


@pytest.mark.parametrize("task", list(CASES))
def test_without_a_bound_the_loss_is_said(task, place):
    model, shape, of = CASES[task]
    made = convert(place.request(model, shape, task, 0.02), SilentProgress())
    assert made.warning == f"int8 loses {made.lost_points:.2f} points ({of}), more than 1"
    assert made.lost_points > 1


@pytest.mark.parametrize("task", list(CASES))
def test_a_good_bundle_is_written_under_the_bound_without_a_warning(task, place):
    model, shape, _ = CASES[task]
    made = convert(place.request(model, shape, task, 1.0, quantize="int16x8", max_drop=3.0), SilentProgress())
    assert (made.warning, place.written) == ("", True)
    assert made.lost_points < 3


def test_float32_loses_nothing(place):
    model, shape, _ = CASES["classification"]
    made = convert(
        place.request(model, shape, "classification", 1.0, quantize="float32", max_drop=0.0), SilentProgress()
    )
    assert (made.warning, made.lost_points) == ("", 0.0)


def test_the_points_are_those_of_the_metrics(place):
    made: Conversion = convert(place.request(*CASES["classification"][:2], "classification", 0.02), SilentProgress())
    accuracy = made.metrics.accuracy["e"]
    assert made.lost_points == pytest.approx(100 * (accuracy.float32 - accuracy.bundle))


def test_without_evaluation_data_that_is_said_first(place, capsys):
    model, shape, _ = CASES["classification"]
    summary.show_conversion(convert(place.request(model, shape, "", 1.0, evaluation=None), SilentProgress()))
    first = capsys.readouterr().err.splitlines()[0]
    assert first == "warning: nothing shows what int8 costs: give --evaluation DATA"


def test_without_classes_agreement_is_what_is_bounded(place):
    model, shape, _ = CASES["classification"]
    made = convert(place.request(model, shape, "", 0.02), SilentProgress())
    assert made.warning.startswith("what int8 costs was not judged by classes or targets 'y', and int8 loses ")
    with pytest.raises(DataError, match="answers that name the float model's class"):
        convert(place.request(model, shape, "", 0.02, max_drop=1.0), SilentProgress())


def test_a_bound_needs_something_to_see_the_loss_by(place):
    with pytest.raises(UsageError, match="--max-drop 1 needs --evaluation DATA"):
        convert(
            place.request(tiny_classifier_tflite(), SHAPE[1:], "", 1.0, max_drop=1.0, evaluation=None), SilentProgress()
        )
    quantized = place.request(tiny_classifier_tflite(dtype="int8"), SHAPE[1:], "", 1.0, max_drop=1.0)
    with pytest.raises(DataError, match="--max-drop 1: there is no float model to compare with"):
        convert(quantized, SilentProgress())


def test_size_and_latency_are_still_limits_of_a_search(place):
    request = place.request(*CASES["classification"][:2], "classification", 1.0, limits=limits_of(None, 1000, None))
    with pytest.raises(UsageError, match="--max-size and --max-latency are limits of a search"):
        convert(request, SilentProgress())


def test_the_json_document_has_the_warning(place):
    model, shape, _ = CASES["classification"]
    document = whole(convert(place.request(model, shape, "classification", 0.02), SilentProgress()))
    assert document["warning"].startswith("int8 loses ")
    assert document["lost_points"] > 1
