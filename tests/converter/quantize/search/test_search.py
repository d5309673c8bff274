"""Whole searches on a small real model."""

import pickle
import signal
import subprocess
import sys
import textwrap

import pytest

from maas_agent.bundle.manifest import Classification
from maas_agent.errors import DataError
from maas_agent.runtime.selection import accelerator
from maas_converter.base.console import SilentProgress
from maas_converter.quantize.plain import PlainModel
from maas_converter.quantize.search.candidates.layers import Layer, layers_of, supported
from maas_converter.quantize.search.candidates.outcome import SearchLimits
from maas_converter.quantize.search.candidates.precision_plan import FLOAT32, INT8, Change, PrecisionPlan
from maas_converter.quantize.search.measuring.runner import CandidateRunner
from maas_converter.quantize.search.search import search
from maas_converter.tflite.contents import contents_of


@pytest.fixture(scope="module")
def plain(given, tmp_path_factory) -> int:
    """Bytes of plain int8."""
    folder = tmp_path_factory.mktemp("plain")
    contents = contents_of(given.float32)
    return len(
        CandidateRunner(PlainModel(given.float32), layers_of(contents), given.spec, given.calibration, folder).build(
            INT8
        )
    )


@pytest.fixture
def look(given, tmp_path):
    """Run a search; the journal is ``tmp_path / journal``."""

    def run(limits: SearchLimits, journal: str = "journal", progress=None, y=given.y, seed: int = 1):
        data = (given.calibration, given.evaluation, y)
        places = (tmp_path, tmp_path / journal)
        return search(
            given.float32, given.spec, *data, limits, *places, progress or SilentProgress(), seed, told=Classification()
        )

    return run


class Interrupting(SilentProgress):
    """Presses Ctrl-C so many rows into the search."""

    def __init__(self, rows: int) -> None:
        self.left = rows

    def track(self, what, samples):
        for row in samples:
            if what != "running the float model":
                self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            yield row


def test_a_size_that_int8_misses_is_met_and_the_loss_is_judged_on_unseen_samples(look, plain, tmp_path):
    limits = SearchLimits(2.0, plain - 1500)
    found = look(limits)
    assert len(found.tflite) == found.chosen.size <= limits.max_size
    assert found.held_out.drop_points <= 2.0
    assert found.held_out.samples > 250
    assert found.held_out.interval_points[0] <= found.held_out.drop_points <= found.held_out.interval_points[1]
    assert any(words.startswith("int4 (") for words in found.precision.values())
    held = {candidate.plan for candidate in found.candidates}
    assert {INT8, FLOAT32, PrecisionPlan("dynamic"), PrecisionPlan("float16")} <= held
    assert found.chosen in found.candidates
    path = tmp_path / "found.tflite"
    path.write_bytes(found.tflite)
    assert accelerator("cpu").load(path, 1).inputs[0].dtype == "int8"


def test_the_same_inputs_give_the_same_bytes(look, plain):
    limits = SearchLimits(2.0, plain - 1500)
    first, second = look(limits, "one"), look(limits, "two")
    assert first.tflite == second.tflite
    assert first.resumed == second.resumed == 0
    assert first.held_out == second.held_out
    assert [candidate.plan for candidate in first.candidates] == [candidate.plan for candidate in second.candidates]


@pytest.mark.parametrize("rows", [3, 15, 25])
def test_an_interrupted_search_goes_on_and_finds_the_same(look, plain, rows):
    limits = SearchLimits(2.0, plain - 1500)
    whole = look(limits, "whole")
    with pytest.raises(KeyboardInterrupt):
        look(limits, progress=Interrupting(rows))
    resumed = look(limits)
    assert resumed.resumed >= rows - 2
    assert resumed.evaluations < whole.evaluations
    assert resumed.tflite == whole.tflite


def test_a_search_that_is_killed_goes_on(look, given, plain, tmp_path):
    (tmp_path / "given").write_bytes(pickle.dumps(tuple(given)))
    program = textwrap.dedent("""
        import os, pickle, signal, sys
        from pathlib import Path
        from maas_agent.bundle.manifest import Classification
        from maas_converter.base.console import SilentProgress
        from maas_converter.quantize.search.candidates.outcome import SearchLimits
        from maas_converter.quantize.search.search import search
        class Killing(SilentProgress):
            def track(self, what, samples):
                for number, row in enumerate(samples):
                    if what == "sensitivity to int4" and number == 2:
                        os.kill(os.getpid(), signal.SIGKILL)
                    yield row
        folder, size = Path(sys.argv[1]), int(sys.argv[2])
        given = pickle.loads((folder / "given").read_bytes())
        search(*given, SearchLimits(2.0, size), folder, folder / "journal", Killing(), told=Classification())
    """)
    command = [sys.executable, "-c", program, str(tmp_path), str(plain - 1500)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == -signal.SIGKILL, done.stderr
    resumed, whole = look(SearchLimits(2.0, plain - 1500)), look(SearchLimits(2.0, plain - 1500), "whole")
    assert resumed.resumed > 5
    assert resumed.evaluations < whole.evaluations
    assert resumed.tflite == whole.tflite


def test_other_budgets_use_the_same_journal(look, plain):
    look(SearchLimits(2.0, plain - 1500))
    again = look(SearchLimits(2.0, plain - 1000))
    assert again.resumed > 20
    assert again.evaluations < again.resumed


def test_without_a_size_budget_the_choice_is_not_slower_than_int8(look):
    found = look(SearchLimits(2.0))
    assert found.chosen.ratio <= 1.05
    assert found.held_out.drop_points <= 2.0


def test_the_front_is_not_beaten(look, plain):
    found = look(SearchLimits(2.0, plain - 1500))
    assert set(found.pareto) <= set(found.candidates)
    for one in found.pareto:
        for other in found.candidates:
            figures = [(one.size, other.size), (one.p50_ms, other.p50_ms), (one.drop_points, other.drop_points)]
            assert not all(b < a for a, b in figures)


def test_a_size_that_cannot_be_met_is_refused_with_the_nearest(look):
    with pytest.raises(DataError, match=r"auto found nothing within --max-drop 2 and --max-size 2000: of \d+ models"):
        look(SearchLimits(2.0, 2000))


def test_without_classes_the_answers_of_the_float_model_stand_in(look):
    found = look(SearchLimits(5.0), y=None)
    assert any("no classes 'y' are known" in note for note in found.notes)


def test_a_model_that_cannot_be_int8_is_searched_among_the_others(look, monkeypatch):
    from maas_agent.errors import RuntimeFailure

    built = CandidateRunner.build

    def refuse(self, plan):
        if plan.whole in ("int8", "int16x8"):
            raise RuntimeFailure("this model cannot be quantized: loops")
        return built(self, plan)

    monkeypatch.setattr(CandidateRunner, "build", refuse)
    found = look(SearchLimits(2.0))
    assert found.chosen.plan.whole in ("dynamic", "float16", "float32")
    assert any("no int8 candidates: this model cannot be quantized: loops" in note for note in found.notes)


def test_precisions_that_an_op_does_not_have_are_not_tried():
    depthwise = Layer(0, "depthwise", "DEPTHWISE_CONV_2D", "^a;?$", 900)
    convolution = Layer(1, "convolution", "CONV_2D", "^b;?$", 900)
    swish = Layer(2, "swish", "HARD_SWISH", "^c;?$", 0)
    can = {
        (layer.label, precision): supported(layer, Change(layer.op, precision))
        for layer in (depthwise, convolution, swish)
        for precision in ("int4", "int8", "int16", "float")
    }
    # What has no weights is never asked for 4-bit ones.
    del can["swish", "int4"]
    assert [what for what, possible in can.items() if not possible] == [("depthwise", "int4"), ("swish", "int16")]


def test_the_ops_of_a_model_are_told_apart_by_name(given):
    layers = layers_of(contents_of(given.float32))
    assert len({layer.label for layer in layers}) == len({layer.regex for layer in layers}) == len(layers)
    assert sum(layer.weights > 0 for layer in layers) >= 2
