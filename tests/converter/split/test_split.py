"""``split``: stages in a folder that answer exactly as the whole does, or nothing at all."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from maas_agent.errors import DataError, NoInputError, RuntimeFailure, UnavailableError, UsageError
from maas_converter.base.console import SilentProgress
from maas_converter.base.json_output import whole
from maas_converter.cli.summary import show_cuts, show_split
from maas_converter.convert.graph_file import read_graph
from maas_converter.split import validation
from maas_converter.split.split import GRAPH_FILE, Split, SplitRequest, chosen_cuts, list_cuts, split
from maas_converter.tflite.cut import cut, places_of
from tests.converter.shared import FOLDER
from tests.converter.tflite.chains import loaded, noise, run_chain
from tests.converter.tflite.graphs import Body, Op, chain, tflite
from tests.models import tiny_classifier_tflite

SHARED = FOLDER / "resnet8"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="no real models: ../shared/data is not there")

RESIDUAL = tflite(
    Body(
        (
            Op("RELU", ("x",), ("block/relu",)),
            Op("TANH", ("block/relu",), ("block/tanh",)),
            Op("ADD", ("block/tanh", "x"), ("sum",)),
            Op("TANH", ("sum",), ("y",)),
        ),
        ("x",),
        ("y",),
    )
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "Residual Net.tflite"
    path.write_bytes(RESIDUAL)
    return path


def run(source: Path, *at: str, out: Path | None = None, **more: Path) -> Split:
    return split(SplitRequest(source, at, out or source.parent / "out", **more), SilentProgress())


def test_the_folder_holds_the_stages_and_a_graph_file_that_connects_them(model: Path) -> None:
    made = run(model, "0", "sum")
    out = model.parent / "out"
    assert sorted(file.name for file in out.iterdir()) == [
        GRAPH_FILE,
        "residual-net-0.tflite",
        "residual-net-1.tflite",
        "residual-net-2.tflite",
    ]
    graph = read_graph(out / GRAPH_FILE)
    assert graph.input == "x"
    assert [(stage.name, stage.inputs, stage.outputs) for stage in graph.stages] == [
        ("residual-net-0", ("x",), ("block/relu",)),
        ("residual-net-1", ("x", "block/relu"), ("sum",)),
        ("residual-net-2", ("sum",), ("y",)),
    ]
    assert [output.edge for output in graph.outputs] == ["y"]
    for stage, part, described in zip(graph.stages, cut(RESIDUAL, [0, 2]), made.stages, strict=True):
        assert stage.model.read_bytes() == part.tflite
        assert (described.file, described.bytes) == (stage.model.name, len(part.tflite))
    assert made.evidence == validation.ComparedSamples(16, "seeded random samples, for want of data")


def test_what_was_written_answers_as_the_whole(model: Path) -> None:
    run(model, "1")
    graph = read_graph(model.parent / "out" / GRAPH_FILE)
    (sample,) = noise(RESIDUAL, 1)
    edges = {"x": sample[0]}
    for stage in graph.stages:
        made = loaded(stage.model.read_bytes()).run([edges[edge] for edge in stage.inputs])
        edges.update(zip(stage.outputs, made, strict=True))
    np.testing.assert_array_equal(edges["y"], loaded(RESIDUAL).run(sample)[0])


@needs_shared
def test_resnet8_is_proven_on_its_evaluation_data(tmp_path: Path) -> None:
    data = tmp_path / "photos.npz"
    np.savez(data, x=np.load(SHARED / "cifar10-evaluation-1500.npz")["x"][:50])
    made = run(SHARED / "pretrainedResnet.tflite", "3", "AVERAGE_POOL_2D", out=tmp_path / "out", evaluation=data)
    assert [place.position for place in made.cuts] == [3, 12]
    assert made.evidence == validation.ComparedSamples(50, "photos.npz")
    assert sum(stage.bytes for stage in made.stages) < made.bytes * 1.01


def test_samples_are_preprocessed_as_a_device_would(tmp_path: Path) -> None:
    model, data, processing = (tmp_path / name for name in ("m.tflite", "d.npz", "p.toml"))
    model.write_bytes(tiny_classifier_tflite(dtype="int8"))
    np.savez(data, x=np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8, 1))
    processing.write_text(
        '[decode]\nshape = [8, 8, 1]\ndtype = "uint8"\n[[preprocess]]\nop = "scale"\nscale = 0.0039\n'
    )
    assert run(model, "0", evaluation=data, preprocess=processing).evidence.samples == 3
    assert run(model, "0", out=tmp_path / "again", preprocess=processing).evidence.samples == 16


def test_two_inputs_are_proven_on_noise_and_data_cannot_fill_them(tmp_path: Path) -> None:
    model, data = tmp_path / "two.tflite", tmp_path / "d.npz"
    ops = (Op("RELU", ("a",), ("r",)), Op("ADD", ("r", "b"), ("y",)))
    model.write_bytes(tflite(Body(ops, ("a", "b"), ("y",))))
    np.savez(data, x=np.zeros((3, 4), np.float32))
    with pytest.raises(DataError, match="2 inputs"):
        run(model, "0", evaluation=data)
    assert run(model, "0").stages[1].inputs == ("b", "r")


def test_stages_that_answer_otherwise_are_not_written(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of another model stand in for a kernel that differs."""
    wrong = cut(tflite(Body((Op("TANH", ("x",), ("sum",)), Op("RELU", ("sum",), ("y",))), ("x",), ("y",))), [0])
    monkeypatch.setattr("maas_converter.split.split.cut", lambda _data, _positions: wrong)
    with pytest.raises(RuntimeFailure, match=r"output 'y' differs on sample 1 by up to 0\.\d+; nothing was written"):
        run(model, "2")
    assert [file.name for file in model.parent.iterdir()] == [model.name]


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ((), "--list"),
        (("99",), "are 0, 1, 2"),
        (("-1",), "are 0, 1, 2"),
        (("block/relo",), "near are '0 RELU block/relu'"),
        (("TANH", "CONV_2D"), "--at CONV_2D"),
    ],
)
def test_an_op_that_is_not_there_is_refused_with_those_that_are(at: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        chosen_cuts(places_of(RESIDUAL), at)


def test_a_kind_of_op_names_a_cut_only_if_there_is_one() -> None:
    places = places_of(chain("RELU", "TANH", "TANH", "LOGISTIC"))
    assert [place.position for place in chosen_cuts(places, ["relu"])] == [0]
    with pytest.raises(UsageError, match="there are 2 such ops, give one of the numbers 1, 2"):
        chosen_cuts(places, ["TANH"])


def test_ops_are_found_by_number_edge_and_label_in_any_order() -> None:
    places = places_of(RESIDUAL)
    assert chosen_cuts(places, ["2 ADD sum", "block/relu", "0", "sum"]) == (places[0], places[2])


def test_a_place_that_cannot_be_cut_says_why(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    ops = (Op("RELU", ("x",), ("a",)), Op("TANH", ("a",), ("y",)))
    path.write_bytes(tflite(Body(ops, ("x",), ("y",), types={"a": "complex64"})))
    with pytest.raises(DataError, match="complex64"):
        run(path, "0")
    assert list_cuts(path).cuts[0].obstacle


def test_a_folder_that_holds_something_is_left_alone(model: Path) -> None:
    out = model.parent / "out"
    out.mkdir()
    (out / "mine").write_text("precious")
    with pytest.raises(UsageError, match="is there already"):
        run(model, "0")
    assert [file.name for file in out.iterdir()] == ["mine"]
    (out / "mine").unlink()
    assert len(run(model, "0").stages) == 2


def test_a_folder_that_cannot_be_written_leaves_nothing(model: Path) -> None:
    (model.parent / "file").write_text("")
    with pytest.raises(UnavailableError, match="cannot write"):
        run(model, "0", out=model.parent / "file" / "out")


def test_files_that_are_no_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="cannot read"):
        run(tmp_path / "none.tflite", "0")
    (tmp_path / "bundle.maas").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"no \.tflite file"):
        run(tmp_path / "bundle.maas", "0")
    (tmp_path / "broken.tflite").write_bytes(RESIDUAL[:100])
    with pytest.raises(DataError):
        list_cuts(tmp_path / "broken.tflite")


def test_people_see_cuts_and_stages(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_cuts(list_cuts(model))
    show_split(run(model, "0"))
    said = capsys.readouterr().err
    assert "0 RELU block/relu" in said and "bit-exact on 16 samples" in said
    document = whole(list_cuts(model))
    assert document["cuts"][0]["wire_bytes"] == 32
    assert msgspec.json.encode(document)


def test_a_chain_of_all_cuts_answers_as_the_whole() -> None:
    parts = cut(RESIDUAL, [place.position for place in places_of(RESIDUAL)])
    (sample,) = noise(RESIDUAL, 1)
    assert run_chain(parts, {"x": sample[0]})["y"].tobytes() == loaded(RESIDUAL).run(sample)[0].tobytes()
