"""Stages under conditions: what is skipped, what stands in for it, and what edges become on their way."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.manifest import Manifest, Output, Quantization, Stage, Tensor, When, digest_of
from maas_agent.errors import RuntimeFailure
from maas_agent.processing.postprocess import dequantize
from maas_agent.processing.preprocess import quantize
from maas_agent.runtime.graph import Graph, deviation
from maas_agent.runtime.selection import accelerator
from maas_converter.tflite import model as files
from maas_converter.tflite.cut import cut
from tests.bundles import make_bundle, samples
from tests.models import tiny_classifier_tflite
from tests.runtimes import RUNTIME

replace = msgspec.structs.replace

SCORES = Tensor("scores", (1, 10), "float32")
LOGITS_INT8 = Quantization(16 / 256, 0)


class Bench:
    """Models in a folder, and manifests over them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with open_bundle(make_bundle(folder / "a.maas")) as bundle:
            self.manifest = bundle.manifest

    def stage(self, name: str, model: bytes, inputs: str, outputs: str, when: When | None = None) -> Stage:
        (self.folder / digest_of(model)).write_bytes(model)
        return Stage(name, digest_of(model), len(model), tuple(inputs.split()), tuple(outputs.split()), when)

    def graph(self, stages: list[Stage], outputs: list[Output], **fields: Any) -> Graph:
        manifest: Manifest = replace(self.manifest, stages=tuple(stages), outputs=tuple(outputs), **fields)
        return Graph(manifest, lambda digest: self.folder / digest, accelerator("cpu", library=RUNTIME))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def output(name: str, otherwise: str = "", **fields: Any) -> Output:
    return Output(replace(SCORES, name=name, **fields), otherwise=otherwise)


def classifier(seed: int) -> bytes:
    return tiny_classifier_tflite(seed)


def alone(bench: Bench, seed: int) -> Graph:
    return bench.graph([bench.stage("only", classifier(seed), "image", "scores")], [output("scores")])


def cascade(bench: Bench, when: When, **otherwise: str) -> Graph:
    """A small model whose scores decide whether a large one runs on the same image."""
    stages = [
        bench.stage("small", classifier(1), "image", "few"),
        bench.stage("large", classifier(2), "image", "many", when),
    ]
    return bench.graph(stages, [output("few"), output("many", **otherwise)])


CONDITIONS: list[tuple[When, Callable[[np.ndarray], bool]]] = [
    (When("few", below=0.4), lambda few: few.max() < 0.4),
    (When("few", at_least=0.4), lambda few: few.max() >= 0.4),
    (When("few", index=7, at_least=0.2), lambda few: few.reshape(-1)[7] >= 0.2),
    (When("few", index=7, below=0.2), lambda few: few.reshape(-1)[7] < 0.2),
]


@pytest.mark.parametrize(("when", "holds"), CONDITIONS)
def test_a_stage_runs_where_its_condition_holds_and_only_there(
    bench: Bench, when: When, holds: Callable[[np.ndarray], bool]
) -> None:
    graph, small, large = cascade(bench, when), alone(bench, 1), alone(bench, 2)
    ran = []
    for sample in samples(60):
        answer, few = graph.run(sample), small.run(sample)["scores"]
        np.testing.assert_array_equal(answer["few"], few)
        ran.append("many" in answer)
        assert ran[-1] == holds(few)
        if ran[-1]:
            np.testing.assert_array_equal(answer["many"], large.run(sample)["scores"])
    assert set(ran) == {True, False}


def test_a_bound_belongs_to_at_least_and_not_to_below(bench: Bench) -> None:
    sample = samples(1)[0]
    exactly = float(alone(bench, 1).run(sample)["scores"].max())
    assert "many" in cascade(bench, When("few", at_least=exactly)).run(sample)
    assert "many" not in cascade(bench, When("few", below=exactly)).run(sample)


def test_what_stands_in_answers_under_the_name_of_the_output(bench: Bench) -> None:
    graph = cascade(bench, When("few", below=0.4), otherwise="few")
    small, large = alone(bench, 1), alone(bench, 2)
    for sample in samples(40):
        unsure = small.run(sample)["scores"].max() < 0.4
        expected = (large if unsure else small).run(sample)["scores"]
        np.testing.assert_array_equal(graph.run(sample)["many"], expected)


def test_what_stands_in_is_dequantized_by_its_own_tensor(bench: Bench) -> None:
    """An int8 model stands in for a float one: their scores are both real values."""
    small = bench.stage("small", tiny_classifier_tflite(1, dtype="int8"), "image", "few")
    never = bench.stage("large", classifier(2), "image", "many", When("few", at_least=2))
    stated = accelerator("cpu", library=RUNTIME).load(bench.folder / small.blob, 1)
    spec = replace(bench.manifest.inputs[0], tensor=replace(stated.inputs[0], name="image"))
    few = Output(replace(stated.outputs[0], name="few"))
    graph = bench.graph([small, never], [few, output("many", "few")], inputs=(spec,))
    for sample in samples(5):
        answer = graph.run(sample)
        np.testing.assert_array_equal(answer["many"], answer["few"])
        assert answer["few"].sum() == pytest.approx(1, abs=0.05)


def test_a_stage_that_needs_what_was_not_made_is_skipped_too(bench: Bench) -> None:
    """And what stands in does so in turn: the head's scores, else the other model's, else the small one's."""
    logits, softmax = (part.tflite for part in cut(classifier(2), [0]))
    sure, sometimes = When("few", below=0.5), When("few", below=0.3)
    stages = [
        bench.stage("small", classifier(1), "image", "few"),
        bench.stage("other", classifier(3), "image", "other", sure),
        bench.stage("backbone", logits, "image", "features", sometimes),
        bench.stage("head", softmax, "features", "many"),
    ]
    graph = bench.graph(stages, [output("few"), output("other", "few"), output("many", "other")])
    models = {name: alone(bench, seed) for name, seed in (("small", 1), ("other", 3), ("head", 2))}
    seen = set()
    for sample in samples(80):
        best = float(models["small"].run(sample)["scores"].max())
        by = "small" if best >= 0.5 else "other" if best >= 0.3 else "head"
        seen.add(by)
        np.testing.assert_array_equal(graph.run(sample)["many"], models[by].run(sample)["scores"])
    assert seen == set(models)


def test_a_condition_on_what_was_not_made_does_not_hold(bench: Bench) -> None:
    never = When("few", at_least=2)
    stages = [
        bench.stage("small", classifier(1), "image", "few"),
        bench.stage("a", classifier(2), "image", "a", never),
        bench.stage("b", classifier(3), "image", "b", When("a", below=100)),
    ]
    graph = bench.graph(stages, [output("few"), output("a"), output("b")])
    assert graph.run(samples(1)[0]).keys() == {"few"}


def test_warming_up_runs_every_stage(bench: Bench) -> None:
    graph = cascade(bench, When("few", at_least=2))
    ran: list[str] = []
    for name, stage in zip(("small", "large"), graph._stages, strict=True):
        run = stage.run
        stage.run = lambda edges, run=run, name=name: (ran.append(name), run(edges))[1]  # type: ignore[method-assign,misc]
    graph.run(samples(1)[0])
    assert ran == ["small"]
    graph.warm()
    assert ran == ["small", "small", "large"]


def test_an_element_that_the_tensor_does_not_have_is_refused(bench: Bench) -> None:
    with pytest.raises(RuntimeFailure, match="element 10 of 'scores', which has 10"):
        cascade(bench, When("few", index=10, below=1))


def test_a_stand_in_of_another_size_is_refused(bench: Bench) -> None:
    stages = [
        bench.stage("small", tiny_classifier_tflite(1, classes=2), "image", "few"),
        bench.stage("large", classifier(2), "image", "many", When("few", below=0.5)),
    ]
    with pytest.raises(RuntimeFailure, match=r"output 'many' is \[1, 10\], its otherwise .* is \[1, 2\]"):
        bench.graph(stages, [output("many", "few")])


# Golden samples.


def expected(graph: Graph, inputs: np.ndarray, name: str) -> np.ndarray:
    rows = [graph.run(sample).get(name, np.full((1, 10), np.nan, np.float32)) for sample in inputs]
    return np.stack(rows)


def test_outputs_that_are_left_out_do_not_deviate_where_none_is_expected(bench: Bench) -> None:
    graph, inputs = cascade(bench, When("few", below=0.4)), samples(20)
    golden = {name: expected(graph, inputs, name) for name in ("few", "many")}
    absent = np.isnan(golden["many"]).all(axis=(1, 2))
    assert absent.any() and not absent.all()
    assert deviation(graph, inputs, golden) == 0
    there = int(np.flatnonzero(~absent)[0])
    off = golden["many"].copy()
    off[there, 0, 2] += 0.25
    assert deviation(graph, inputs, golden | {"many": off}) == pytest.approx(0.25, abs=1e-6)


@pytest.mark.parametrize("missing", [True, False])
def test_an_output_that_is_there_or_not_against_expectation_is_infinitely_far_off(bench: Bench, missing: bool) -> None:
    graph, inputs = cascade(bench, When("few", below=0.4)), samples(20)
    golden = {name: expected(graph, inputs, name) for name in ("few", "many")}
    absent = np.isnan(golden["many"]).all(axis=(1, 2))
    row = int(np.flatnonzero(absent if missing else ~absent)[0])
    golden["many"][row] = 0.5 if missing else np.nan
    assert deviation(graph, inputs, golden) == float("inf")


def test_an_output_that_nobody_expects_is_infinitely_far_off(bench: Bench) -> None:
    graph, inputs = alone(bench, 1), samples(2)
    assert deviation(graph, inputs, {}) == float("inf")
    assert deviation(graph, inputs, {"scores": expected(graph, inputs, "scores")}) == 0


# Edges between models that were quantized apart from each other.


def parts(dtype: str) -> list[bytes]:
    return [part.tflite for part in cut(tiny_classifier_tflite(4, dtype=dtype), [0])]  # type: ignore[arg-type]


def chained(bench: Bench, first: bytes, second: bytes) -> Graph:
    stages = [bench.stage("first", first, "image", "logits"), bench.stage("second", second, "logits", "scores")]
    models = [accelerator("cpu", library=RUNTIME).load(bench.folder / stage.blob, 1) for stage in stages]
    spec = replace(bench.manifest.inputs[0], tensor=replace(models[0].inputs[0], name="image"))
    return bench.graph(stages, [Output(replace(models[1].outputs[0], name="scores"))], inputs=(spec,))


def rescaled(model: bytes, scale: float) -> bytes:
    """The same model, its input quantized otherwise."""
    parsed = files.parse(model)
    parsed.subgraphs[0].tensors[parsed.subgraphs[0].inputs[0]].quantization.scale = [scale]
    return files.serialize(parsed)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_chain_of_parts_answers_as_the_whole(bench: Bench, dtype: str) -> None:
    whole = tiny_classifier_tflite(4, dtype=dtype)  # type: ignore[arg-type]
    graph, path = chained(bench, *parts(dtype)), bench.folder / "whole"
    path.write_bytes(whole)
    model = accelerator("cpu", library=RUNTIME).load(path, 1)
    for sample in samples(10):
        (stored,) = model.run([graph._preprocess(sample)])
        np.testing.assert_array_equal(graph.run(sample)["scores"], dequantize(stored, model.outputs[0].quantization))


@pytest.mark.parametrize(("first", "second"), [("int8", "float32"), ("float32", "int8")])
def test_real_values_pass_between_float_and_quantized_models(bench: Bench, first: str, second: str) -> None:
    mixed, plain = chained(bench, parts(first)[0], parts(second)[1]), chained(bench, *parts("float32"))
    for sample in samples(10):
        np.testing.assert_allclose(mixed.run(sample)["scores"], plain.run(sample)["scores"], atol=0.05)


def test_real_values_pass_between_models_of_other_scales(bench: Bench) -> None:
    """To the bit what dequantizing and quantizing again makes of them."""
    first, second = parts("int8")
    wider = rescaled(second, 0.125)
    graph, sample = chained(bench, first, wider), samples(1)[0]
    models = [accelerator("cpu", library=RUNTIME).load(bench.folder / digest_of(model), 1) for model in (first, wider)]
    (logits,) = models[0].run([graph._preprocess(sample)])
    again = quantize(dequantize(logits, LOGITS_INT8), Quantization(0.125, 0), "int8")
    assert (again != logits).any()
    (stored,) = models[1].run([again])
    np.testing.assert_array_equal(graph.run(sample)["scores"], dequantize(stored, models[1].outputs[0].quantization))


def test_dimensions_of_one_are_no_difference(bench: Bench) -> None:
    """A head that takes (1, 1, 10) after a backbone that makes (1, 10)."""
    first, second = parts("float32")
    parsed = files.parse(second)
    for tensor in parsed.subgraphs[0].tensors:
        tensor.shape = [1, 1, 10]
    graph, plain = chained(bench, first, files.serialize(parsed)), chained(bench, first, second)
    sample = samples(1)[0]
    np.testing.assert_array_equal(graph.run(sample)["scores"].reshape(1, 10), plain.run(sample)["scores"])


def test_a_second_stage_may_take_the_input_in_its_own_way(bench: Bench) -> None:
    """The input is what the first stage takes of it; another one gets the same real values."""
    stages = [
        bench.stage("float", classifier(4), "image", "few"),
        bench.stage("int8", tiny_classifier_tflite(4, dtype="int8"), "image", "many"),
    ]
    stated = accelerator("cpu", library=RUNTIME).load(bench.folder / stages[1].blob, 1).outputs[0]
    graph = bench.graph(stages, [output("few"), Output(replace(stated, name="many"))])
    for sample in samples(5):
        answer = graph.run(sample)
        np.testing.assert_allclose(answer["few"], answer["many"], atol=0.05)
