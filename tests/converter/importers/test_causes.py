"""The cause is told, wherever a framework says it."""

import pytest

from maas_converter.importers.causes import cause_of, lacking_ops

IN_USER_CODE = """in user code:

    File "/opt/graphs.py", line 67, in serve  *
        made = tensorflow.graph_util.import_graph_def(

    ValueError: input resource[0] expected type resource != float, the type of lookup_12276[0]
    \tIn {{node sequential_4/embedding/embedding_lookup}}

"""
CALLING = """Exception encountered when calling Conv2D.call().

\x1b[1mNegative dimension size caused by subtracting 5 from 4 for '{{node x/convolution}} = Conv2D[T=DT_FLOAT]'.\x1b[0m

Arguments received by Conv2D.call():
  • inputs=tf.Tensor(shape=(1, 4, 4, 1), dtype=float32)"""
NESTED = """Exception encountered when calling layer 'a' (type B).

in user code:

    File "layers.py", line 3, in call  *
        raise ValueError("no: such luck")

    ValueError: no: such luck


Call arguments received by layer 'a' (type B):
  • x=1"""
WHILE_RUNNING = """Graph execution error:

Detected at node model/x defined at (most recent call last):
  File "x.py", line 1, in <module>

Incompatible shapes: [1,2] vs. [3]
\t [[{{node model/x}}]] [Op:__inference_f_12]"""
REVIVING = """<class 'keras.Functional'> could not be deserialized properly. Please ensure that components are right.

config={'module': 'keras', 'class_name': 'Functional'}.

Exception encountered: Unable to revive model from config. When overriding the `get_config()` method, make sure that
Error encountered during deserialization: Unrecognized keyword arguments passed to LSTM: {'time_major': False}"""
OPERAND = (
    'loc(callsite(fused["BatchMatMulV3:", "model/dense@__inference_<lambda>_7391"] at fused["S:", "S"])): '
    "error: 'tfl.fully_connected' op operand #0 must be tensor of 32-bit float or QI8 type values, but got "
    "'tensor<1x6x8xi8>'\n"
)
CUSTOM = """loc(callsite(fused["Svd:", "model/Svd@__inference_1"] at "x")): error: 'tf.Svd' op is neither a custom op
error: failed while converting: 'main':
Some ops in the model are custom ops, See instructions to implement custom ops: https://www.tensorflow.org/lite
Custom ops: Svd
Details:
\ttf.Svd(tensor<1x6x5xf32>) -> (tensor<1x5xf32>) : {compute_uv = true}
"""
SELECT = """<unknown>:0: error: failed while converting: 'main':
Some ops are not supported by the native TFLite runtime, you can enable TF kernels fallback using TF Select.
TF Select ops: BitwiseAnd, Unpack
Details:
\ttf.BitwiseAnd(tensor<1x6x4xi32>, tensor<i32>) -> (tensor<1x6x4xi32>) : {device = ""}
\ttf.Unpack(tensor<?x3xi64>) -> (tensor<?xi64>, tensor<?xi64>) : {axis = 1 : i64}
"""


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (IN_USER_CODE, "input resource[0] expected type resource != float, the type of lookup_12276[0]"),
        (
            CALLING,
            "Negative dimension size caused by subtracting 5 from 4 for 'x/convolution = Conv2D[T=DT_FLOAT]'.",
        ),
        (NESTED, "no: such luck"),
        (WHILE_RUNNING, "Incompatible shapes: [1,2] vs. [3]"),
        (REVIVING, "Unrecognized keyword arguments passed to LSTM: {'time_major': False}"),
        (
            OPERAND,
            "TFLite's fully_connected takes a tensor of 32-bit float or QI8 type, and is given i8 (in model/dense)",
        ),
        (CUSTOM, "'tf.Svd' op is neither a custom op (in model/Svd)"),
        (
            "{{function_node __wrapped__Reshape_device_/cpu:0}} Only one size may be -1 [Op:Reshape]",
            "Only one size may be -1",
        ),
        ("Unknown layer: 'Foo'. Please ensure", "Unknown layer: 'Foo'. Please ensure"),
        ("\n  \n", "no reason given"),
        ("in user code:\n", "no reason given"),
        ("word " * 200, ("word " * 60).strip()),
    ],
)
def test_the_cause_is_one_line(text, cause):
    assert cause_of(text).strip() == cause


def test_ops_that_tflite_lacks_are_read_from_its_converter():
    assert lacking_ops(CUSTOM) == ["Svd"]
    assert lacking_ops(SELECT) == ["BitwiseAnd", "Unpack (of sizes that only the values tell)"]
    assert lacking_ops(NESTED) == []
