"""A bundle's stages as one function, and how far it is off."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.golden import GoldenSamples, decode_golden
from maas_agent.bundle.manifest import Manifest, Quantization, Stage, digest_of
from maas_agent.errors import RuntimeFailure
from maas_agent.runtime.graph import Graph, deviation
from maas_agent.runtime.selection import accelerator
from tests.bundles import make_bundle, samples
from tests.models import tiny_classifier_tflite
from tests.runtimes import RUNTIME

replace = msgspec.structs.replace


class Unpacked:
    """A bundle whose blobs are files in a folder; `load` takes a changed manifest over the same blobs."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        with open_bundle(make_bundle(folder / "a.maas", **options)) as bundle:
            self.manifest = bundle.manifest
            for digest in bundle.manifest.blobs():
                (folder / digest).write_bytes(bundle.blob(digest))
            self.golden: GoldenSamples = decode_golden(bundle.blob(bundle.manifest.golden.blob))

    def load(self, manifest: Manifest | None = None) -> Graph:
        return Graph(
            manifest or self.manifest, lambda digest: self.folder / digest, accelerator("cpu", library=RUNTIME)
        )

    def with_stage(self, **fields: Any) -> Manifest:
        return replace(self.manifest, stages=(replace(self.manifest.stages[0], **fields),))

    def with_input(self, **fields: Any) -> Manifest:
        spec = self.manifest.inputs[0]
        return replace(self.manifest, inputs=(replace(spec, tensor=replace(spec.tensor, **fields)),))

    def with_output(self, **fields: Any) -> Manifest:
        spec = self.manifest.outputs[0]
        return replace(self.manifest, outputs=(replace(spec, tensor=replace(spec.tensor, **fields)),))


@pytest.fixture
def bundle(tmp_path: Path) -> Unpacked:
    return Unpacked(tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_bundle_does_not_deviate_from_itself(tmp_path: Path, dtype: str) -> None:
    bundle = Unpacked(tmp_path, dtype=dtype)
    assert deviation(bundle.load(), bundle.golden.samples, bundle.golden.outputs) == 0


def test_another_model_deviates_beyond_the_tolerance(bundle: Unpacked) -> None:
    other = tiny_classifier_tflite(seed=1)
    (bundle.folder / digest_of(other)).write_bytes(other)
    graph = bundle.load(bundle.with_stage(blob=digest_of(other), size=len(other)))
    assert deviation(graph, bundle.golden.samples, bundle.golden.outputs) > bundle.manifest.golden.tolerance


def test_a_deviation_is_the_largest_absolute_difference(bundle: Unpacked) -> None:
    outputs = {name: values.copy() for name, values in bundle.golden.outputs.items()}
    outputs["scores"][2, 7] -= 0.25
    outputs["scores"][0, 1] += 0.125
    assert deviation(bundle.load(), bundle.golden.samples, outputs) == pytest.approx(0.25, abs=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_infinitely_far_off(bundle: Unpacked, value: float) -> None:
    """Not "smaller than any tolerance", as NaN would compare."""
    outputs = {name: values.copy() for name, values in bundle.golden.outputs.items()}
    outputs["scores"][1, 3] = value
    assert deviation(bundle.load(), bundle.golden.samples, outputs) == float("inf")


def test_a_sample_is_answered_by_the_name_of_the_output(bundle: Unpacked) -> None:
    graph = bundle.load()
    graph.warm()
    (scores,) = graph.run(samples(1)[0]).values()
    assert [*graph.run(samples(1)[0])] == ["scores"]
    assert scores.dtype == np.float32 and scores.sum() == pytest.approx(1)


def test_a_quantized_bundle_answers_real_values(tmp_path: Path) -> None:
    (tmp_path / "int8").mkdir()
    (tmp_path / "float").mkdir()
    by_int8 = Unpacked(tmp_path / "int8", dtype="int8").load().run(samples(1)[0])["scores"]
    by_float = Unpacked(tmp_path / "float").load().run(samples(1)[0])["scores"]
    np.testing.assert_allclose(by_int8, by_float, atol=0.05)
    assert by_int8.dtype == np.float32


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b.with_input(shape=(1, 64)),
        lambda b: b.with_input(dtype="uint8"),
        lambda b: b.with_input(quantization=Quantization(0.5)),
        lambda b: b.with_output(shape=(10,)),
        lambda b: b.with_output(dtype="float16"),
        lambda b: b.with_output(quantization=Quantization(1 / 256, -128)),
        lambda b: b.with_stage(inputs=("image", "image")),
        lambda b: b.with_stage(outputs=("scores", "more")),
    ],
    ids=["shape", "dtype", "quantization", "out-shape", "out-dtype", "out-quantization", "inputs", "outputs"],
)
def test_a_model_that_is_not_what_the_manifest_says_is_refused(
    bundle: Unpacked, change: Callable[[Unpacked], Manifest]
) -> None:
    """Rather than answered with wrong numbers."""
    with pytest.raises(RuntimeFailure, match="the manifest says"):
        bundle.load(change(bundle))


def test_names_of_edges_are_the_manifests_own(bundle: Unpacked) -> None:
    """Those inside the model do not matter: converters make up strange ones."""
    renamed = replace(bundle.with_input(name="in"), stages=(replace(bundle.manifest.stages[0], inputs=("in",)),))
    assert bundle.load(renamed).run(samples(1)[0]).keys() == {"scores"}


def test_two_stages_run_one_after_the_other(tmp_path: Path) -> None:
    """Two classifiers over the same image: the graph answers with both."""
    first, second = Unpacked(tmp_path, seed=1), tiny_classifier_tflite(seed=2)
    (tmp_path / digest_of(second)).write_bytes(second)
    more = Stage("more", digest_of(second), len(second), ("image",), ("others",))
    output = first.manifest.outputs[0]
    both = replace(
        first.manifest,
        stages=(*first.manifest.stages, more),
        outputs=(output, replace(output, tensor=replace(output.tensor, name="others"))),
    )
    answer = first.load(both).run(samples(1)[0])
    np.testing.assert_array_equal(answer["scores"], first.load().run(samples(1)[0])["scores"])
    (tmp_path / "alone").mkdir()
    alone = Unpacked(tmp_path / "alone", seed=2).load().run(samples(1)[0])["scores"]
    np.testing.assert_array_equal(answer["others"], alone)


def test_a_stage_that_does_not_fit_the_one_before_it_is_refused(bundle: Unpacked) -> None:
    """The second stage wants an image and would get scores."""
    stage = bundle.manifest.stages[0]
    chained = (replace(stage, outputs=("middle",)), replace(stage, name="second", inputs=("middle",)))
    with pytest.raises(RuntimeFailure, match="tensor 'middle' of stage 'second'"):
        bundle.load(replace(bundle.manifest, stages=chained))


def test_a_blob_that_cannot_be_loaded_is_a_failure(bundle: Unpacked) -> None:
    (bundle.folder / bundle.manifest.stages[0].blob).write_bytes(b"damaged")
    with pytest.raises(RuntimeFailure, match="cannot be loaded"):
        bundle.load()
