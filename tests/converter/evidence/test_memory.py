from maas_converter.evidence.memory import arena_bytes
from maas_converter.tflite.contents import Contents, GraphFacts, OpFacts, TensorFacts, contents_of
from tests.models import tiny_classifier_tflite


def chain(*sizes, dtype="int8"):
    """A graph of ops one after the other: the input and each op's output have so many values."""
    tensors = tuple(TensorFacts(index, f"t{index}", (1, size), dtype, 0, False) for index, size in enumerate(sizes))
    ops = tuple(OpFacts(0, index, "OP", False, (index,), (index + 1,)) for index in range(len(sizes) - 1))
    graph = GraphFacts(tensors, ops, (0,), (len(sizes) - 1,))
    return Contents(0, (graph,), (), {})


def test_tensors_that_are_never_alive_together_share_their_memory():
    """Two large ones at most live at once, beside the input; the output comes when the first of them is gone."""
    assert arena_bytes(chain(64, 640, 64)) == 640 + 64 + 64
    assert arena_bytes(chain(64, 640, 640, 640, 64)) == 640 + 640 + 64
    assert arena_bytes(chain(64, 640, 640, 640, 640, 640, 64)) == 640 + 640 + 64


def test_types_have_their_sizes_and_places_are_aligned():
    assert arena_bytes(chain(16, 16, dtype="float32")) == 128
    assert arena_bytes(chain(10, 10)) == 64 + 10
    assert arena_bytes(chain(20, 20, dtype="int4")) == 64 + 10


def test_constants_are_no_activations():
    """Image, logits and scores live; the weights (10 x 64) do not count."""
    float32 = arena_bytes(contents_of(tiny_classifier_tflite()))
    assert 64 * 4 + 10 * 4 <= float32 <= 64 * 4 + 3 * 64
    assert arena_bytes(contents_of(tiny_classifier_tflite(dtype="int8"))) < float32
