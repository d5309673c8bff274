"""What is measured where stages are skipped, and what is refused."""

import numpy as np
import pytest

from maas_agent.errors import DataError
from maas_converter.base.console import SilentProgress
from maas_converter.bench import measure
from tests.bundles import samples
from tests.converter.pairs import gated, pair
from tests.models import tiny_classifier_tflite


def answers(manifest, blobs, count=30):
    return measure.answers(measure.load_graph(manifest, blobs), samples(count, seed=1), SilentProgress(), "evaluating")


def test_an_output_that_was_skipped_is_a_row_of_nan(tmp_path):
    whole, _ = pair(tmp_path, 30)
    best = whole.float32.answers["scores"].reshape(30, 10).max(axis=1)
    bound = float(np.median(best))
    values = answers(*gated(tmp_path, bound))["scores"]
    assert values.shape == (30, 1, 10)
    assert measure.answered(values).tolist() == (best < bound).tolist()
    assert np.isfinite(values[best < bound]).all()


def test_an_output_that_never_came_still_has_its_shape(tmp_path):
    values = answers(*gated(tmp_path, 0.0))["scores"]
    assert values.shape == (30, 1, 10)
    assert not measure.answered(values).any()


def test_an_answer_that_is_not_finite_is_refused(tmp_path):
    """A model whose weights are NaN is well-formed; only its answers tell."""
    whole, blobs = pair(tmp_path, 2)
    stage = whole.float32.manifest.stages[0]
    weights = np.float32(np.nan).tobytes() * 10
    broken = tiny_classifier_tflite().replace(_bias(), weights)
    blobs.path(stage.blob).write_bytes(broken)
    with pytest.raises(DataError, match="'scores' is NaN or infinite"):
        answers(whole.float32.manifest, blobs)


def test_latencies_are_those_of_each_graph(tmp_path):
    whole, blobs = pair(tmp_path, 4)
    graphs = [measure.load_graph(side.manifest, blobs) for side in (whole.float32, whole.bundle)]
    times = measure.times_of(graphs, whole.samples)
    assert len(times) == 2
    assert all(0 < time.p50_ms <= time.p99_ms for time in times)


def _bias() -> bytes:
    random = np.random.default_rng(0)
    random.normal(0, 2 / 8, (10, 64))
    return random.normal(0, 0.2, 10).astype(np.float32).tobytes()
