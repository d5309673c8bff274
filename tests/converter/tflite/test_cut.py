"""A model that was cut answers to the bit as the whole does, and whatever cannot be cut is refused with the reason."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maas_agent.errors import DataError
from maas_converter.tflite import model as files
from maas_converter.tflite.contents import contents_of
from maas_converter.tflite.cut import cut, cuts_of, output_edges, places_of
from tests.converter.shared import FOLDER
from tests.converter.tflite.chains import assert_same, noise
from tests.converter.tflite.graphs import Body, Op, chain, tflite
from tests.models import tiny_classifier_tflite

SHARED = FOLDER
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="no real models: ../shared/data is not there")

ONES = np.ones((1, 4), np.float32)


def obstacles(data: bytes) -> dict[int, str]:
    return {place.position: place.obstacle for place in places_of(data) if place.obstacle}


def kinds(data: bytes) -> list[str]:
    return [op.name for op in contents_of(data).ops]


# The property.


@needs_shared
@pytest.mark.parametrize("file", ["pretrainedResnet.tflite", "pretrainedResnet_quant.tflite"])
def test_resnet8_answers_the_same_cut_anywhere(file: str) -> None:
    """On photographs, float and int8, at each of its 15 cuts and at all of them at once."""
    data = (SHARED / "resnet8" / file).read_bytes()
    images = np.load(SHARED / "resnet8" / "cifar10-evaluation-1500.npz")["x"][:4, None]
    samples = [
        [(image.astype(np.int16) - 128).astype(np.int8) if "quant" in file else image.astype(np.float32)]
        for image in images
    ]
    positions = [place.position for place in cuts_of(data)]
    assert positions == list(range(15))
    for position in positions:
        assert_same(data, [position], samples)
    assert_same(data, positions, samples)


@needs_shared
def test_mobilenet_of_bytes_answers_the_same_cut_anywhere() -> None:
    data = (SHARED / "mobilenet" / "mobilenet_v1_0.25_128_quant.tflite").read_bytes()
    positions = [place.position for place in cuts_of(data)]
    assert positions == list(range(30))
    for position in positions:
        assert_same(data, [position], noise(data, 2))


@st.composite
def graphs(draw: st.DrawFn) -> bytes:
    """Ops that read whatever was made before them, with several outputs and a constant."""
    names, ops = ["x", "ones"], []
    for number in range(draw(st.integers(2, 9))):
        kind = draw(st.sampled_from(["ADD", "MUL", "RELU", "LOGISTIC", "TANH"]))
        reads = tuple(draw(st.sampled_from(names)) for _ in range(2 if kind in ("ADD", "MUL") else 1))
        ops.append(Op(kind, reads, (f"t{number}",)))
        names.append(f"t{number}")
    last = names[-1]
    ops.append(Op("ADD", (last, "x"), ("y",)))
    more = draw(st.lists(st.sampled_from(names[2:]), unique=True, max_size=3))
    return tflite(Body(tuple(ops), ("x",), ("y", *more), constants={"ones": ONES}))


@given(graphs(), st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_graph_answers_the_same_cut_at_any_place(data: bytes, choice: st.DataObject) -> None:
    positions = [place.position for place in cuts_of(data)]
    if positions:
        chosen = choice.draw(st.lists(st.sampled_from(positions), min_size=1, unique=True))
        try:
            assert_same(data, chosen, noise(data))
        except DataError as error:  # each of two cuts is fine, but between them is nothing that is needed
            assert len(chosen) > 1 and "cut elsewhere" in str(error)


# What a part is.


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_each_part_has_its_own_weights_only_and_a_signature(dtype: str) -> None:
    data = tiny_classifier_tflite(dtype=dtype)  # type: ignore[arg-type]
    first, second = assert_same(data, [0], noise(data))
    assert (first.inputs, first.outputs) == (("image",), ("logits",))
    assert (second.inputs, second.outputs) == (("logits",), ("scores",))
    assert (kinds(first.tflite), kinds(second.tflite)) == (["FULLY_CONNECTED"], ["SOFTMAX"])
    assert sum(contents_of(first.tflite).constant_bytes.values()) > 600
    assert contents_of(second.tflite).constant_bytes == {}
    assert [contents_of(part.tflite).signatures for part in (first, second)] == [("serving_default",)] * 2


def test_quantization_stays_what_it_was() -> None:
    data = tiny_classifier_tflite(dtype="int8")
    first, second = cut(data, [0])
    made, taken = (files.parse(part.tflite).subgraphs[0] for part in (first, second))
    logits = [graph.tensors[index].quantization for graph, index in ((made, made.outputs[0]), (taken, taken.inputs[0]))]
    assert [(float(one.scale[0]), int(one.zeroPoint[0])) for one in logits] == [(16 / 256, 0)] * 2


@needs_shared
def test_parts_are_as_large_as_the_whole() -> None:
    data = (SHARED / "resnet8" / "pretrainedResnet.tflite").read_bytes()
    assert sum(len(part.tflite) for part in cut(data, [3, 7])) < len(data) * 1.01
    assert {entry.name for part in cut(data, [3]) for entry in files.parse(part.tflite).metadata} == {
        b"min_runtime_version"
    }


def test_the_same_cut_gives_the_same_bytes() -> None:
    data = chain("RELU", "LOGISTIC", "TANH")
    assert cut(data, [1, 0]) == cut(data, [0, 1, 1]) == cut(data, [0, 1])


def test_blockwise_weights_take_their_scales_along() -> None:
    """Their scales are a tensor that no op names."""
    from maas_converter.quantize.quantizer import apply
    from maas_converter.tflite.signature import with_signature

    weights = {"num_bits": 4, "symmetric": True, "granularity": "BLOCKWISE_32", "dtype": "INT"}
    config = {"weight_tensor_config": weights, "compute_precision": "INTEGER", "explicit_dequantize": False}
    entry = {
        "regex": ".*",
        "operation": "FULLY_CONNECTED",
        "algorithm_key": "min_max_uniform_quantize",
        "op_config": config | {"skip_checks": False, "min_weight_elements": 0},
    }
    data = apply(with_signature(tiny_classifier_tflite()), [entry], None)
    assert "int4" in contents_of(data).constant_bytes
    first, _ = assert_same(data, [0], noise(data))
    assert contents_of(first.tflite).constant_bytes == contents_of(data).constant_bytes


# What crosses.


def test_an_input_that_is_needed_later_crosses_the_cut() -> None:
    data = tflite(Body((Op("RELU", ("x",), ("r",)), Op("ADD", ("r", "x"), ("y",))), ("x",), ("y",)))
    (place,) = cuts_of(data)
    assert [(tensor.edge, tensor.shape, tensor.dtype, tensor.bytes) for tensor in place.crossing] == [
        ("x", (1, 4), "float32", 16),
        ("r", (1, 4), "float32", 16),
    ]
    assert (place.label, place.wire_bytes) == ("0 RELU r", 32)
    _, second = assert_same(data, [0], noise(data))
    assert second.inputs == ("x", "r")


def test_an_output_made_before_the_cut_is_counted_and_not_passed_through() -> None:
    data = tflite(Body((Op("RELU", ("x",), ("r",)), Op("TANH", ("x",), ("y",))), ("x",), ("y", "r")))
    (place,) = cuts_of(data)
    assert [tensor.edge for tensor in place.crossing] == ["x", "r"]
    first, second = assert_same(data, [0], noise(data))
    assert (first.outputs, second.inputs, second.outputs) == (("r",), ("x",), ("y",))
    assert output_edges(data) == ("y", "r")


def test_a_stage_takes_what_any_stage_before_it_made() -> None:
    ops = (Op("RELU", ("x",), ("a",)), Op("TANH", ("a",), ("b",)), Op("ADD", ("a", "b"), ("y",)))
    parts = assert_same(data := tflite(Body(ops, ("x",), ("y",))), [0, 1], noise(data))
    assert [part.inputs for part in parts] == [("x",), ("a",), ("a", "b")]
    assert [part.outputs for part in parts] == [("a",), ("b",), ("y",)]


def test_a_constant_that_two_parts_use_is_in_both() -> None:
    ops = (Op("MUL", ("x", "ones"), ("a",)), Op("ADD", ("a", "ones"), ("y",)))
    parts = assert_same(data := tflite(Body(ops, ("x",), ("y",), {"ones": ONES})), [0], noise(data))
    assert [contents_of(part.tflite).constant_bytes for part in parts] == [{"float32": 16}] * 2


def test_ops_on_constants_go_where_their_result_is_needed() -> None:
    """Float16 weights are made float32 by ops of their own: an interpreter has to see them as weights."""
    half = np.array([[1, 2, 3, 4]], np.float16)
    ops = (
        Op("DEQUANTIZE", ("half",), ("w",)),
        Op("MUL", ("x", "w"), ("a",)),
        Op("RELU", ("a",), ("b",)),
        Op("ADD", ("b", "w"), ("y",)),
    )
    data = tflite(Body(ops, ("x",), ("y",), {"half": half}))
    assert [place.position for place in places_of(data)] == [1, 2]
    parts = assert_same(data, [1, 2], noise(data))
    assert [kinds(part.tflite) for part in parts] == [["DEQUANTIZE", "MUL"], ["RELU"], ["DEQUANTIZE", "ADD"]]
    assert [part.inputs for part in parts] == [("x",), ("a",), ("b",)]


def looping() -> bytes:
    """t = x + x, doubled while below 100 (in its one element), halved for the answer."""
    one = {"x": (1,), "t": (1,), "r": (1,), "y": (1,), "half": (1,)}
    main = Body(
        (Op("ADD", ("x", "x"), ("t",)), Op("WHILE", ("t",), ("r",), (1, 2)), Op("MUL", ("r", "half"), ("y",))),
        ("x",),
        ("y",),
        {"half": np.array([0.5], np.float32)},
        one,
    )
    limit = np.array([100], np.float32)
    condition = Body(
        (Op("LESS", ("v", "limit"), ("go",)),),
        ("v",),
        ("go",),
        {"limit": limit},
        {"v": (1,), "go": (1,)},
        {"go": "bool"},
    )
    body = Body((Op("ADD", ("v", "v"), ("w",)),), ("v",), ("w",), {}, {"v": (1,), "w": (1,)})
    return tflite(main, condition, body)


def test_a_loop_takes_its_graphs_along() -> None:
    data = looping()
    samples = [[np.array([value], np.float32)] for value in (1.0, 3.0, 7.5)]
    parts = assert_same(data, [0, 1], samples)
    assert [len(contents_of(part.tflite).graphs) for part in parts] == [1, 3, 1]
    assert kinds(parts[1].tflite) == ["WHILE", "LESS", "ADD"]


def test_names_of_edges_are_short_and_unique() -> None:
    ops = (Op("RELU", ("serving_default_x:0",), ("m/relu;m/conv",)), Op("TANH", ("m/relu;m/conv",), ("m/relu;m/tanh",)))
    more = (Op("RELU", ("m/relu;m/tanh",), ("StatefulPartitionedCall:0",)),)
    data = tflite(Body(ops + more, ("serving_default_x:0",), ("StatefulPartitionedCall:0",)))
    assert [place.name for place in cuts_of(data)] == ["m/relu", "m/relu_2"]
    assert [(part.inputs, part.outputs) for part in assert_same(data, [0], noise(data))] == [
        (("x",), ("m/relu",)),
        (("m/relu",), ("output",)),
    ]


def test_an_open_batch_is_cut_as_a_batch_of_one() -> None:
    model = files.parse(chain("RELU", "TANH"))
    for tensor in model.subgraphs[0].tensors:
        tensor.shapeSignature = [-1, 4]
    parts = assert_same(files.serialize(model), [0], noise(chain("RELU")))
    assert [contents_of(part.tflite).inputs[0].shape for part in parts] == [(1, 4), (1, 4)]


# What cannot be cut.


def test_state_that_both_sides_keep_is_no_place_to_cut() -> None:
    ops = (Op("ADD", ("x", "state"), ("a",)), Op("RELU", ("a",), ("b",)), Op("ADD", ("b", "state"), ("y",)))
    data = tflite(Body(ops, ("x",), ("y",), variables=("state",)))
    assert set(obstacles(data)) == {0, 1}
    assert "share state" in obstacles(data)[0]
    with pytest.raises(DataError, match="cannot be cut after 1 RELU b: ops before and after it share state"):
        cut(data, [1])


@pytest.mark.parametrize(
    ("kind", "shape", "reason"),
    [
        ("complex64", (1, 4), "'a' is complex64"),
        ("string", (1, 4), "'a' is string"),
        ("float32", (1, 0), "no fixed size"),
    ],
)
def test_a_tensor_that_no_device_passes_is_no_place_to_cut(kind: str, shape: tuple[int, ...], reason: str) -> None:
    ops = (Op("RELU", ("x",), ("a",)), Op("TANH", ("a",), ("y",)))
    assert reason in obstacles(tflite(Body(ops, ("x",), ("y",), shapes={"a": shape}, types={"a": kind})))[0]


def test_a_size_that_is_open_is_no_place_to_cut() -> None:
    model = files.parse(chain("RELU", "TANH"))
    model.subgraphs[0].tensors[1].shapeSignature = [1, -1]
    assert "no fixed size" in obstacles(files.serialize(model))[0]


def test_parts_without_input_or_purpose_are_no_parts() -> None:
    shape = {"shape": np.array([1, 4], np.int32)}
    unused = tflite(Body((Op("RELU", ("x",), ("a",)), Op("TANH", ("x",), ("y",))), ("x",), ("y",)))
    assert obstacles(unused) == {0: "nothing that is made before it is needed"}
    first = (Op("RANDOM_UNIFORM", ("shape",), ("r",)), Op("ADD", ("x", "r"), ("y",)))
    assert obstacles(tflite(Body(first, ("x",), ("y",), shape))) == {0: "what comes before it has no input"}
    last = (Op("RELU", ("x",), ("y",)), Op("RANDOM_UNIFORM", ("shape",), ("r",)))
    assert obstacles(tflite(Body(last, ("x",), ("y", "r"), shape))) == {
        0: "what comes after it needs nothing that comes before it"
    }


def test_two_cuts_with_nothing_between_them_that_is_needed_are_refused() -> None:
    ops = (Op("RELU", ("x",), ("a",)), Op("TANH", ("x",), ("unused",)), Op("LOGISTIC", ("a",), ("y",)))
    with pytest.raises(DataError, match="cut elsewhere"):
        cut(tflite(Body(ops, ("x",), ("y",))), [0, 1])


@pytest.mark.parametrize("position", [-1, 1, 2, 99])
def test_a_cut_after_the_last_op_or_after_none_is_refused(position: int) -> None:
    with pytest.raises(DataError, match=f"no cut after op {position}"):
        cut(chain("RELU", "TANH"), [position])


def test_a_model_of_one_op_has_no_cut() -> None:
    assert places_of(chain("RELU")) == ()


def test_a_model_that_computes_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="no op"):
        places_of(tflite(Body((), ("x",), ("x",))))


@pytest.mark.parametrize("data", [b"", b"no model at all", chain("RELU", "TANH")[:200]])
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="TFLite"):
        places_of(data)
