"""Graph files: what is written is read and put in order, and what does not fit is refused by table, key and edge."""

import re
from pathlib import Path

import pytest

from maas_agent.bundle.manifest import When
from maas_agent.errors import DataError, NoInputError
from maas_converter.convert.graph_file import GraphFile, OutputPlan, read_graph


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("gate.tflite", "faces.keras", "labels.txt"):
        (tmp_path / name).write_text("")
    return tmp_path


def stage(name: str, takes: str, makes: str, more: str = "", model: str = "gate.tflite") -> str:
    quoted = [", ".join(f'"{edge}"' for edge in edges.split()) for edges in (takes, makes)]
    return f'[[stage]]\nname = "{name}"\nmodel = "{model}"\ninputs = [{quoted[0]}]\noutputs = [{quoted[1]}]\n{more}\n'


GATE = stage("gate", "image", "person")
FACES = stage("faces", "image", "face", 'when = { edge = "person", index = 1, at_least = 0.5 }', "faces.keras")
CASCADE = GATE + FACES


def read(folder: Path, text: str) -> GraphFile:
    path = folder / "graph.toml"
    path.write_text(text)
    return read_graph(path)


def test_a_cascade_is_read(folder: Path) -> None:
    text = CASCADE + '[[output]]\nedge = "face"\notherwise = "person"\nlabels = "labels.txt"\n'
    graph = read(folder, text)
    gate, faces = graph.stages
    assert (gate.name, gate.model, gate.inputs, gate.outputs) == (
        "gate",
        folder / "gate.tflite",
        ("image",),
        ("person",),
    )
    assert (gate.quantize, gate.when) == ("", None)
    assert (faces.model, faces.when) == (folder / "faces.keras", When("person", 1, at_least=0.5))
    assert graph.outputs == (OutputPlan("face", "person", folder / "labels.txt"),)
    assert graph.input == "image"


def test_without_outputs_they_are_what_no_stage_takes(folder: Path) -> None:
    """A condition is no taking: what it looks at is still an answer."""
    heads = stage("backbone", "image", "features") + stage("a", "features", "one") + stage("b", "features", "two three")
    assert read(folder, heads).outputs == (OutputPlan("one"), OutputPlan("two"), OutputPlan("three"))
    assert read(folder, CASCADE).outputs == (OutputPlan("person"), OutputPlan("face"))


def test_a_stage_may_have_a_recipe_of_its_own(folder: Path) -> None:
    assert read(folder, stage("gate", "image", "person", 'quantize = "int8"')).stages[0].quantize == "int8"


def test_stages_are_put_in_the_order_of_the_data(folder: Path) -> None:
    """Conditions included; where there is a choice they stay as they are written."""
    text = stage("last", "a b", "y", 'when = { edge = "g", below = 1.0 }') + stage("b", "x", "b") + stage("a", "x", "a")
    assert [one.name for one in read(folder, text + stage("g", "b", "g")).stages] == ["b", "a", "g", "last"]


def test_a_condition_may_be_on_the_input_itself(folder: Path) -> None:
    text = stage("one", "x", "a") + stage("two", "x", "b", 'when = { edge = "x", at_least = 3 }')
    assert read(folder, text).stages[1].when == When("x", at_least=3.0)


REFUSED = [
    # text, words of the sentence
    ("[[stage]\n", "is no TOML"),
    ("", "has no stage"),
    ("[stage]\nname = 'a'\n", "in double brackets"),
    ("stage = [1]\n", "[[stage]] 1 has to be a table"),
    (
        GATE + "[[ouput]]\nedge = 'person'\n",
        "the file has no key 'ouput': choose from stage, output (did you mean 'output'?)",
    ),
    (GATE.replace("model", "modle"), "[[stage]] 1 has no key 'modle'"),
    (GATE.replace('name = "gate"\n', ""), "[[stage]] 1: Object missing required field `name`"),
    (GATE.replace('"gate"', '"The Gate"'), "[[stage]] 1: "),
    (GATE.replace('"gate.tflite"', "3"), "Expected the path of a file - at `$.model`"),
    (GATE.replace('"gate.tflite"', '""'), "Expected the path of a file"),
    (GATE.replace('["image"]', "[]"), "[[stage]] 1: "),
    (GATE.replace('["image"]', '"image"'), "[[stage]] 1: Expected `array`, got `str` - at `$.inputs`"),
    (CASCADE.replace("at_least", "atleast"), "[[stage]] 2 when has no key 'atleast'"),
    (CASCADE.replace("at_least = 0.5", "at_least = 0.5, below = 1.0"), "either at_least or below"),
    (CASCADE.replace(", at_least = 0.5", ""), "either at_least or below"),
    (CASCADE.replace("0.5", "nan"), "has to be finite"),
    (CASCADE.replace("index = 1", "index = -1"), "[[stage]] 2: "),
    (CASCADE.replace('edge = "person"', 'edge = "persom"'), "'persom', which no stage makes (did you mean 'person'?)"),
    (GATE + GATE.replace('"person"', '"other"'), "two stages are called 'gate'"),
    (CASCADE.replace('"face"', '"person"'), "'person', which is there already"),
    (stage("a", "x", "y y"), "'y', which is there already"),
    (stage("a", "x z", "y"), "one input, but no stage makes any of the edges 'x', 'z'"),
    (stage("a", "x", "features") + stage("b", "featurs", "y"), "'featurs' (did you mean 'features'?)"),
    (stage("a", "y", "x") + stage("b", "x", "y"), "the bundle's input"),
    (stage("a", "x c", "b") + stage("b", "b", "c"), "stages 'a', 'b' need what only they"),
    (CASCADE + '[[output]]\nedge = "fase"\n', "[[output]] 1 edge = 'fase': no stage makes it (did you mean 'face'?)"),
    (CASCADE + '[[output]]\nedge = "image"\n', "no stage makes it"),
    (CASCADE + '[[output]]\nedge = "face"\notherwise = "nobody"\n', "otherwise = 'nobody': no stage makes it"),
    (CASCADE + '[[output]]\nedge = "face"\n', "no output is always made"),
    (CASCADE + '[[output]]\nedge = "person"\notherwise = "person"\n', "stand in for itself"),
    (GATE + '[[output]]\nedge = "person"\n' * 2, "an output twice: person, person"),
    (GATE + '[[output]]\nedge = "person"\nlabel = "a"\n', "[[output]] 1 has no key 'label'"),
]


@pytest.mark.parametrize(("text", "words"), REFUSED)
def test_what_does_not_fit_is_refused(folder: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=re.escape(words)) as refusal:
        read(folder, text)
    assert "graph.toml" in str(refusal.value)


def test_files_that_are_not_there_are_named(folder: Path) -> None:
    with pytest.raises(NoInputError, match=r"\[\[stage\]\] 1 model = 'none.keras'"):
        read(folder, stage("a", "x", "y", model="none.keras"))
    with pytest.raises(NoInputError, match=r"\[\[output\]\] 1 labels = 'none.txt'"):
        read(folder, GATE + '[[output]]\nedge = "person"\nlabels = "none.txt"\n')
    with pytest.raises(NoInputError, match="cannot read"):
        read_graph(folder / "none.toml")


def test_bytes_that_are_no_text_are_refused(folder: Path) -> None:
    (folder / "graph.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="is no TOML"):
        read_graph(folder / "graph.toml")
