"""Bundles of several models: split and packed again, heads on a shared backbone, a small model before a large one."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.golden import decode_golden
from maas_agent.bundle.manifest import When
from maas_converter.bench import measure
from maas_converter.bench.blobs import unpack
from maas_converter.cli import main


@pytest.fixture(scope="module")
def stages(digits_tflite, tmp_path_factory) -> Path:
    """The digits model as float TFLite, and cut into a backbone and a head."""
    folder = tmp_path_factory.mktemp("stages")
    shutil.copy(digits_tflite, folder / "digits.tflite")
    arguments = ["split", folder / "digits.tflite", "--at", "RESHAPE", "-o", folder / "cut", "--json"]
    assert main.run([str(argument) for argument in arguments]) == 0
    return folder


def _convert(digits, graph: Path, out: Path, capsys, *more: str) -> dict:
    capsys.readouterr()
    arguments = digits.arguments(out)
    arguments[1] = str(graph)
    assert main.run([*arguments, *more, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def _run(path: Path, samples: np.ndarray, folder: Path) -> list[dict[str, np.ndarray]]:
    with open_bundle(path) as bundle:
        graph = measure.load_graph(bundle.manifest, unpack(bundle, folder))
    return [graph.run(sample) for sample in samples]


def test_a_split_model_is_packed_as_one_bundle(digits, stages, tmp_path, capsys):
    found = _convert(digits, stages / "cut" / "graph.toml", tmp_path / "cut.maas", capsys)
    with open_bundle(tmp_path / "cut.maas") as bundle:
        manifest = bundle.manifest
    assert len(manifest.stages) == 2
    assert set(found["lineage"]["stage_sources"]) == {stage.name for stage in manifest.stages}
    assert abs(found["metrics"]["accuracy"]["evaluation"]["drop_points"]) < 2


def test_float_stages_answer_as_the_whole_model(digits, stages, tmp_path, capsys):
    _convert(digits, stages / "cut" / "graph.toml", tmp_path / "cut.maas", capsys, "--quantize", "float32")
    _convert(digits, stages / "digits.tflite", tmp_path / "whole.maas", capsys, "--quantize", "float32")
    samples = np.load(digits.evaluation)["x"][:50]
    cut, whole = (_run(tmp_path / name, samples, tmp_path) for name in ("cut.maas", "whole.maas"))
    for a, b in zip(cut, whole, strict=True):
        np.testing.assert_array_equal(next(iter(a.values())), next(iter(b.values())))


def _edges(stages: Path) -> tuple[list[str], list[str], list[str], list[Path]]:
    import tomllib

    first, second = tomllib.loads((stages / "cut" / "graph.toml").read_text())["stage"]
    files = [stages / "cut" / part["model"] for part in (first, second)]
    return first["inputs"], first["outputs"], second["outputs"], files


def test_heads_share_a_backbone_and_bundles_share_its_blob(digits, stages, tmp_path, capsys):
    given, shared_edges, _, (backbone, head) = _edges(stages)
    text = f"""
[[stage]]
name = "backbone"
model = "{backbone}"
inputs = {json.dumps(given)}
outputs = {json.dumps(shared_edges)}
"""
    one = text + _stage("digit", head, shared_edges, "digit")
    two = one + _stage("again", head, shared_edges, "again")
    for name, graph in (("one", one), ("two", two)):
        (tmp_path / f"{name}.toml").write_text(graph)
        _convert(digits, tmp_path / f"{name}.toml", tmp_path / f"{name}.maas", capsys)
    with open_bundle(tmp_path / "one.maas") as single, open_bundle(tmp_path / "two.maas") as double:
        first, second = single.manifest, double.manifest
    assert [output.tensor.name for output in second.outputs] == ["digit", "again"]
    assert first.stages[0].blob == second.stages[0].blob
    assert len({stage.blob for stage in second.stages}) == 2
    answer = _run(tmp_path / "two.maas", np.load(digits.evaluation)["x"][:1], tmp_path)[0]
    np.testing.assert_array_equal(answer["digit"], answer["again"])


def _stage(name: str, model: Path, inputs: list[str], output: str, more: str = "") -> str:
    return f"""
[[stage]]
name = "{name}"
model = "{model}"
inputs = {json.dumps(inputs)}
outputs = ["{output}"]
{more}
"""


def test_a_cascade_asks_the_large_model_only_where_the_small_one_is_unsure(digits, stages, tmp_path, capsys):
    """One answer: the large model's where it ran, else the small one's."""
    small = _stage("small", stages / "digits.tflite", ["image"], "quick")
    large = _stage("large", digits.model, ["image"], "slow", 'when = { edge = "quick", below = 0.9 }')
    (tmp_path / "cascade.toml").write_text(f'{small}{large}\n[[output]]\nedge = "slow"\notherwise = "quick"\n')
    found = _convert(digits, tmp_path / "cascade.toml", tmp_path / "cascade.maas", capsys)
    with open_bundle(tmp_path / "cascade.maas") as bundle:
        manifest = bundle.manifest
    assert manifest.stages[1].when == When(edge="quick", below=0.9)
    assert manifest.outputs[0].otherwise == "quick"
    assert found["metrics"]["accuracy"]["evaluation"]["samples"] == 597
    assert found["metrics"]["accuracy"]["evaluation"]["bundle"] > 0.9


def test_an_output_whose_stage_was_skipped_is_left_out(digits, stages, tmp_path, capsys):
    gate = _stage("gate", stages / "digits.tflite", ["image"], "gate")
    large = _stage(
        "large", stages / "digits.tflite", ["image"], "digit", 'when = { edge = "gate", index = 3, at_least = 0.5 }'
    )
    outputs = '[[output]]\nedge = "gate"\n[[output]]\nedge = "digit"\n'
    (tmp_path / "gate.toml").write_text(f"{gate}{large}\n{outputs}")
    _convert(digits, tmp_path / "gate.toml", tmp_path / "gate.maas", capsys)
    samples = np.load(digits.evaluation)["x"][:60]
    answers = _run(tmp_path / "gate.maas", samples, tmp_path)
    for answer in answers:
        assert ("digit" in answer) == (answer["gate"].reshape(-1)[3] >= 0.5)
    assert {"digit" in answer for answer in answers} == {True, False}
    with open_bundle(tmp_path / "gate.maas") as bundle:
        golden = decode_golden(bundle.blob(bundle.manifest.golden.blob))
    skipped = np.isnan(golden.outputs["digit"]).all(axis=tuple(range(1, golden.outputs["digit"].ndim)))
    assert 0 < skipped.sum() < len(skipped), "a device has to prove both ways"


def test_a_tflite_model_is_converted_without_tensorflow(digits, stages, maas_converter, tmp_path):
    """Whoever has only a ``.tflite`` needs no framework: here importing one fails."""
    (tmp_path / "absent").mkdir()
    for name in ("tensorflow", "keras", "tf_keras"):
        (tmp_path / "absent" / f"{name}.py").write_text("raise ImportError('it is not installed')\n")
    arguments = digits.arguments(tmp_path / "out.maas")
    arguments[1] = str(stages / "digits.tflite")
    done = maas_converter(*arguments, PYTHONPATH=str(tmp_path / "absent"))
    assert done.returncode == 0, done.stderr
    refused = maas_converter(*digits.arguments(tmp_path / "keras.maas"), PYTHONPATH=str(tmp_path / "absent"))
    assert refused.returncode != 0
    assert not (tmp_path / "keras.maas").exists()


class TestGraphFilesThatAreRefused:
    """With exit 65 or 66, a sentence, and nothing written."""

    @pytest.fixture
    def refused(self, digits, tmp_path, capsys):
        def run(code: int, words: str, text: str) -> None:
            (tmp_path / "graph.toml").write_text(text)
            arguments = digits.arguments(tmp_path / "out.maas")
            arguments[1] = str(tmp_path / "graph.toml")
            assert main.run(arguments) == code
            assert words in capsys.readouterr().err
            assert not (tmp_path / "out.maas").exists()

        return run

    def test_a_model_that_is_not_there(self, refused):
        refused(66, "none.tflite", _stage("one", Path("none.tflite"), ["image"], "label"))

    def test_an_unknown_key(self, refused, stages):
        refused(65, "colour", _stage("one", stages / "digits.tflite", ["image"], "label", 'colour = "red"'))

    def test_no_toml(self, refused):
        refused(65, "graph.toml", "[[stage]\n")

    def test_auto_for_one_stage(self, refused, stages):
        refused(64, "auto", _stage("one", stages / "digits.tflite", ["image"], "label", 'quantize = "auto"'))
