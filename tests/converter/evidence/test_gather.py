"""A whole record of two real models."""

import msgspec
import numpy as np
import pytest

from maas_converter.base.console import SilentProgress
from maas_converter.base.json_output import whole
from maas_converter.evidence.gather import Pair, distribution_of, judged_of, record_of
from maas_converter.evidence.scoring import Truth
from tests.bundles import samples
from tests.converter.pairs import LABELS, gated, pair


@pytest.fixture(scope="module")
def gathered(tmp_path_factory):
    both, blobs = pair(tmp_path_factory.mktemp("pair"))
    return both, record_of(both, blobs, SilentProgress())


def test_both_models_are_described_by_their_files(gathered):
    both, record = gathered
    assert record.bundle.bytes == both.bundle.manifest.stages[0].size
    assert record.float32.bytes_by_dtype == {"float32": 4 * (64 * 10 + 10)}
    assert record.bundle.bytes_by_dtype == {"int8": 640, "int32": 40}
    assert 0 < record.bundle.arena_bytes < record.float32.arena_bytes
    assert record.bundle.ops == {"FULLY_CONNECTED": 1, "SOFTMAX": 1}
    assert record.bundle.inputs == ("image, [1, 8, 8, 1] int8",)


def test_outputs_layers_and_latencies_are_compared(gathered):
    _, record = gathered
    assert [signal.output for signal in record.signals] == ["scores"]
    assert record.signals[0].snr_db > 20
    assert len(record.layers.layers) == 2
    threads = [row.threads for row in record.latencies.by_threads]
    assert threads == list(range(1, len(threads) + 1))
    assert 1 <= len(threads) <= 4
    assert all(row.float32.p50_ms > 0 and row.bundle.p50_ms > 0 for row in record.latencies.by_threads)


def test_a_judgement_is_about_the_answers_and_the_truth(gathered):
    both, _ = gathered
    y = both.float32.answers["scores"].reshape(40, 10).argmax(axis=1)
    judged = judged_of(Truth("classification", y, LABELS, np.zeros((40, 0), np.float32)), "data", "scores", both)
    assert judged.float32.accuracy == 1.0
    assert judged.bundle.accuracy == judged.comparison.agreement.value
    assert (judged.output, judged.data, judged.unanswered) == ("scores", "data", 0)


def test_a_model_that_came_quantized_has_nothing_beside_it(tmp_path):
    both, blobs = pair(tmp_path, 8)
    alone = Pair(None, both.bundle, both.samples, both.origin)
    record = record_of(alone, blobs, SilentProgress())
    assert (record.float32, record.layers, record.signals) == (None, None, ())
    assert record.latencies.by_threads[0].float32 is None
    truth = Truth("classification", np.zeros(8, np.int64), LABELS, np.zeros((8, 0), np.float32))
    judged = judged_of(truth, "data", "scores", alone)
    assert (judged.float32, judged.comparison) == (None, None)
    assert judged.bundle.samples == 8


def test_a_graph_of_stages_has_no_layers_and_says_why(tmp_path):
    both, _ = pair(tmp_path, 8)
    manifest, blobs = gated(tmp_path, 0.5)
    side = msgspec.structs.replace(both.float32, manifest=manifest)
    record = record_of(Pair(side, side, both.samples, ""), blobs, SilentProgress())
    assert "one stage" in record.layers.skipped
    assert record.float32.bytes == sum(stage.size for stage in manifest.stages)


def test_a_look_sees_what_the_model_sees(gathered):
    both, _ = gathered
    shown = samples(20)
    look = distribution_of("calibration", both.bundle.manifest.inputs[0], shown)
    (channel,) = look.channels
    assert (channel.smallest, channel.largest) == pytest.approx((shown.min() / 255, shown.max() / 255))
    assert channel.mean == pytest.approx(shown.mean() / 255, rel=1e-5)
    assert sum(look.counts) == shown.size
    assert len(look.edges) == len(look.counts) + 1


def test_a_record_is_a_document(gathered):
    _, record = gathered
    document = msgspec.json.decode(msgspec.json.encode(whole(record)))
    assert document["bundle"]["bytes"] == record.bundle.bytes
    assert document["layers"]["layers"][0]["op"] == record.layers.layers[0].op
