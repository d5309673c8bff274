"""Models that a device must not serve, and the sentence that says why; each in the child of its trial."""

from collections.abc import Callable
from pathlib import Path

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from maas_agent.runtime.setup import Setup
from maas_agent.trials.record import Trial
from maas_agent.trials.run import run
from maas_agent.trials.task import TrialTask
from tests.agent.staging import stage
from tests.bundles import make_bundle
from tests.models import crashing_tflite, endless_tflite, tiny_classifier_tflite
from tests.runtimes import RUNTIME

HEALTHY = tiny_classifier_tflite()
Edit = Callable[[schema.ModelT], None]


def tried(folder: Path, model: bytes, seconds: float = 20.0) -> Trial:
    digest = stage(make_bundle(folder / "b.maas", swap=model), folder)
    return run(TrialTask(str(folder), digest, Setup(library=RUNTIME), seconds=seconds)).trial


def changed(edit: Edit, model: bytes = HEALTHY) -> bytes:
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    edit(tree)
    builder = flatbuffers.Builder(4096)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def flipped(model: bytes) -> bytes:
    """The same with every byte of its largest weights inverted."""

    def edit(tree: schema.ModelT) -> None:
        buffer = max((b for b in tree.buffers if b.data is not None), key=lambda b: len(b.data))
        buffer.data = ~np.array(buffer.data, np.uint8)

    return changed(edit, model)


def unknown_builtin(tree: schema.ModelT) -> None:
    tree.operatorCodes[1].builtinCode, tree.operatorCodes[1].deprecatedBuiltinCode = 1000, 127


def unknown_custom(tree: schema.ModelT) -> None:
    code = tree.operatorCodes[1]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = b"Mystery"


def unknown_version(tree: schema.ModelT) -> None:
    tree.operatorCodes[0].version = 99


def huge(tree: schema.ModelT) -> None:
    """An op beside the others enlarges the image to 32768 x 32768 float values: 4 GiB of arena."""
    graph = tree.subgraphs[0]
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.array([32768, 32768], np.int32).tobytes(), np.uint8)
    tree.buffers.append(buffer)
    size, made = schema.TensorT(), schema.TensorT()
    size.name, size.shape, size.type, size.buffer = b"size", [2], schema.TensorType.INT32, len(tree.buffers) - 1
    made.name, made.shape, made.type = b"huge", [1, 32768, 32768, 1], schema.TensorType.FLOAT32
    graph.tensors += [size, made]
    code, operator = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RESIZE_NEAREST_NEIGHBOR
    code.version = 1
    tree.operatorCodes.append(code)
    operator.opcodeIndex = len(tree.operatorCodes) - 1
    operator.inputs, operator.outputs = [graph.inputs[0], len(graph.tensors) - 2], [len(graph.tensors) - 1]
    operator.builtinOptionsType = schema.BuiltinOptions.ResizeNearestNeighborOptions
    operator.builtinOptions = schema.ResizeNearestNeighborOptionsT()
    graph.operators.insert(0, operator)


def shaped(*shape: int) -> Edit:
    def edit(tree: schema.ModelT) -> None:
        tree.subgraphs[0].tensors[tree.subgraphs[0].inputs[0]].shape = list(shape)

    return edit


def no_inputs(tree: schema.ModelT) -> None:
    tree.subgraphs[0].inputs = []


def no_outputs(tree: schema.ModelT) -> None:
    tree.subgraphs[0].outputs = []


def no_graph(tree: schema.ModelT) -> None:
    tree.subgraphs = []


def graph_twice(tree: schema.ModelT) -> None:
    tree.subgraphs.append(tree.subgraphs[0])


def empty_graph_first(tree: schema.ModelT) -> None:
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [], [], [], []
    tree.subgraphs.insert(0, graph)


def cycle(tree: schema.ModelT) -> None:
    """The first op takes what the last one makes."""
    first, last = tree.subgraphs[0].operators
    first.inputs = [int(last.outputs[0]), *map(int, first.inputs[1:])]


A_CYCLE = [] if RUNTIME == "tflite-runtime" else ["the manifest says [1, 10] float32"]
"""LiteRT finds no rows in what was never made; the older interpreter does not look: what it finds there differs
from run to run, and mostly it crashes in its child."""


def no_weights(tree: schema.ModelT) -> None:
    graph = tree.subgraphs[0]
    graph.tensors[graph.operators[0].inputs[1]].shape = [0, 64]


def output_is_nothing(tree: schema.ModelT) -> None:
    tree.subgraphs[0].outputs = [1000]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (b"TFL3 it is not", ["cannot be loaded"]),
        (HEALTHY[:-300], ["cannot be loaded"]),
        (HEALTHY[: len(HEALTHY) // 2], ["cannot be loaded"]),
        (HEALTHY[:200] + HEALTHY[260:], ["cannot be loaded"]),
        (flipped(HEALTHY), ["the golden samples deviate by", "allowed is 0.02"]),
        (changed(unknown_builtin), ["cannot be loaded", "1000"]),
        (changed(unknown_custom), ["cannot be loaded", "Mystery"]),
        (changed(unknown_version), ["cannot be loaded", "version"]),
        (changed(shaped(1, 0, 8, 1)), ["the manifest says"]),
        (changed(shaped(1, 8, 8, 0)), ["the manifest says"]),
        (changed(shaped(0)), ["the manifest says"]),
        (changed(shaped(1, 64)), ["the manifest says"]),
        (changed(shaped(1, 8, 8, 2)), ["the manifest says"]),
        (changed(shaped(1, -1, 8, 1)), ["cannot be loaded"]),
        (changed(no_inputs), ["has 0 inputs and 1 outputs, the manifest says 1 and 1"]),
        (changed(no_outputs), ["has 1 inputs and 0 outputs, the manifest says 1 and 1"]),
        (changed(no_graph), ["cannot be loaded"]),
        (changed(output_is_nothing), ["cannot be loaded"]),
        (changed(empty_graph_first), ["has 0 inputs and 0 outputs, the manifest says 1 and 1"]),
        (changed(cycle), A_CYCLE),
        (changed(no_weights), ["cannot be loaded"]),
        (tiny_classifier_tflite(dtype="int8"), ["the manifest says", "float32"]),
        (tiny_classifier_tflite(classes=7), ["the manifest says"]),
        (tiny_classifier_tflite(seed=5), ["the golden samples deviate by"]),
        (crashing_tflite(), ["killed by SIGSEGV: the model crashes this device"]),
    ],
    ids=[
        "no model", "300 bytes missing at the end", "half of it", "60 bytes missing inside", "flipped bytes",
        "unknown op", "unknown custom op", "unknown version of an op", "no rows", "no channels", "empty input",
        "other rank", "other channels", "open size", "no inputs", "no outputs", "no graph", "output is no tensor",
        "an empty graph first", "a cycle", "no weights",
        "int8 for float", "other number of classes", "other weights", "endless recursion",
    ],
)  # fmt: skip
def test_a_model_that_must_not_serve_is_refused_with_the_reason(tmp_path: Path, model: bytes, words: list[str]) -> None:
    refused = tried(tmp_path, model).refused
    assert refused is not None
    if RUNTIME != "tflite-runtime" or "cannot be loaded" not in words:
        for word in words:
            assert word in refused
    # tflite-runtime does not check a file before it reads it: what is cut off crashes it, or asks for all memory.
    assert any(word in refused for word in (*words, "killed by SIG", "MiB of memory", "the manifest says"))
    assert "\n" not in refused and len(refused) < 700


def test_a_float_model_for_an_int8_one_is_refused_too(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b.maas", dtype="int8", swap=HEALTHY)
    trial = run(TrialTask(str(tmp_path), stage(bundle, tmp_path), Setup(library=RUNTIME))).trial
    assert trial.refused is not None and "the manifest says" in trial.refused and "int8" in trial.refused


def test_a_graph_that_nobody_calls_changes_nothing(tmp_path: Path) -> None:
    trial = tried(tmp_path, changed(graph_twice))
    assert trial.refused is None and trial.deviation == 0.0


def test_an_arena_of_4_gb_is_refused_with_the_figure_and_takes_none_of_it(tmp_path: Path) -> None:
    trial = tried(tmp_path, changed(huge))
    assert trial.refused is not None and trial.refused.startswith("it needs more than ")
    assert trial.refused.endswith(" MiB of memory")
    assert trial.peak_bytes is not None and trial.peak_bytes < 1 << 30


def test_a_loop_without_an_end_is_refused_when_its_time_is_up(tmp_path: Path) -> None:
    trial = tried(tmp_path, endless_tflite(), seconds=1.0)
    assert trial.refused == "it did not end within 1 s: the model hangs or is far too slow for this device"
