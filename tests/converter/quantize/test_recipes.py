"""Which ops get fewer bits."""

from maas_converter.quantize import quantizer
from maas_converter.quantize.recipes import RECIPES, narrow
from maas_converter.tflite.contents import contents_of


def test_a_last_layer_that_holds_few_weights_keeps_8_bits(models):
    contents = contents_of(models["dense"])
    assert [op.index for op in narrow(contents)] == [0, 1]


def test_first_layers_keep_8_bits_while_they_hold_few_weights(cifar):
    contents = contents_of(cifar.float32)
    weighted = [op for op in contents.ops if op.name in ("CONV_2D", "FULLY_CONNECTED")]
    assert weighted[:2] == [op for op in weighted if op not in narrow(contents)][:2]
    assert weighted[2] in narrow(contents)


def test_dynamic4_gives_fully_connected_layers_blocks_and_needs_no_data(models):
    """Blockwise scales lie in a tensor of their own, of float16."""
    contents = contents_of(models["dense"])
    made = contents_of(quantizer.apply(models["dense"], RECIPES["dynamic4"].build(contents), None))
    assert not RECIPES["dynamic4"].calibrated
    assert made.constant_bytes["int4"] > 0
    assert made.constant_bytes["float16"] > 0
    assert made.size < contents.size / 4
