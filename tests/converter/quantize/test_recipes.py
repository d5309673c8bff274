"""Which ops get fewer bits."""

from maas_converter.quantize.recipes import narrow
from maas_converter.tflite.contents import contents_of


def test_a_last_layer_that_holds_few_weights_keeps_8_bits(models):
    contents = contents_of(models["dense"])
    assert [op.index for op in narrow(contents)] == [0, 1]


def test_first_layers_keep_8_bits_while_they_hold_few_weights(cifar):
    contents = contents_of(cifar.float32)
    weighted = [op for op in contents.ops if op.name in ("CONV_2D", "FULLY_CONNECTED")]
    assert weighted[:2] == [op for op in weighted if op not in narrow(contents)][:2]
    assert weighted[2] in narrow(contents)
