"""What the configuration of a Keras model may name: classes of Keras, and functions that do nothing but compute.

A configuration is data, but it says what is called: tf-keras imports any module that one names, and a ``TFOpLambda``
layer may name any function of TensorFlow, also those that write files. What is not listed here is refused by its name.
"""

import builtins
import re
from collections.abc import Iterator
from typing import Any

from maas_agent.base.terminal import printable
from maas_agent.errors import DataError

Entry = dict[str, Any]

_FAMILIES = (
    "layers|models|engine|activations|initializers|regularizers|constraints|dtype_policies|mixed_precision|ops|random"
    "|quantizers|losses|metrics|optimizers"
)
_MODULE = re.compile(rf"(tf_)?keras(\.api|\.src|\._tf_keras\.keras)*(\.({_FAMILIES})(\.\w+)*)?")
_NAME = re.compile(r"([\w -]+>)?[A-Za-z_]\w*")
"""``Package>Name`` is what somebody has registered: nobody has here, so Keras says that it does not know it."""
_RUNNING = {
    "Lambda": "runs Python code",
    "__lambda__": "runs Python code",
    "TorchModuleWrapper": "runs a pickled PyTorch module",
    "JaxLayer": "runs a Python function",
    "FlaxLayer": "runs a Python function",
    "TFSMLayer": "loads another model from a folder",
    "ClassMethod": "calls a method of a TensorFlow class",
    "InstanceMethod": "calls a method of a ragged or sparse tensor",
    "InstanceProperty": "reads a ragged or sparse tensor",
    "ResidualWrapper": "runs Python code around a cell",
    "DropoutWrapper": "runs Python code around a cell",
    "DeviceWrapper": "places a cell on a device",
}
"""Classes that do more than compute, or can be made to."""
YOUR_OWN = (
    "if it is a class of your own, give the file that defines it with --custom FILE.py --trust, or save the model with "
    "model.export(), which needs no classes"
)
"""What to do about a class that is not in Keras."""
_CALLING = {"TFOpLambda", "SlicingOpLambda"}
_RAW = "TensorFlowOpLayer"
_SPECS = {"tensorflow.python.framework.tensor", "tensorflow.python.framework.tensor_spec"}
_FILES = re.compile(r"vocabulary|idf_weights|(\w+_)?(file|filename|filepath|path|dir|directory|url|uri)")
"""Keys under which a text is the path of a file that the layer, or a feature column of it, reads."""
_VERSION = re.compile(r"^(compat\.v[12]\.)+")

FUNCTIONS = frozenset(
    f"{group}.{name}" if group else name
    for group, names in {
        "": (
            "abs acos acosh add add_n argmax argmin argsort asin asinh atan atan2 atanh batch_to_space bitcast "
            "boolean_mask broadcast_to cast clip_by_norm clip_by_value concat convert_to_tensor cos cosh cumsum "
            "divide einsum ensure_shape equal exp expand_dims eye fill floor floor_div gather gather_nd greater "
            "greater_equal identity less less_equal linspace logical_and logical_not logical_or matmul maximum "
            "meshgrid minimum multiply negative norm not_equal one_hot ones ones_like pad pow range rank realdiv "
            "reduce_all reduce_any reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod reduce_sum "
            "repeat reshape reverse reverse_sequence roll round saturate_cast scalar_mul scatter_nd searchsorted "
            "sequence_mask shape sigmoid sign sin sinh size slice sort space_to_batch split sqrt square squeeze "
            "stack stop_gradient strided_slice subtract tan tanh tensor_scatter_nd_add tensor_scatter_nd_max "
            "tensor_scatter_nd_min tensor_scatter_nd_sub tensor_scatter_nd_update tensordot tile to_float "
            "to_int32 transpose truediv truncatediv truncatemod unstack unravel_index where zeros zeros_like"
        ),
        "__operators__": "add eq getitem ne",
        "math": (
            "abs accumulate_n acos acosh add add_n argmax argmin asin asinh atan atan2 atanh bessel_i0 bessel_i0e "
            "bessel_i1 bessel_i1e betainc bincount ceil cos cosh count_nonzero cumprod cumsum "
            "cumulative_logsumexp digamma divide divide_no_nan equal erf erfc erfcinv erfinv exp expm1 floor "
            "floordiv floormod greater greater_equal igamma igammac in_top_k invert_permutation is_finite is_inf "
            "is_nan l2_normalize less less_equal lgamma log log1p log_sigmoid log_softmax logical_and logical_not "
            "logical_or logical_xor maximum minimum mod multiply multiply_no_nan ndtri negative not_equal polyval "
            "pow real reciprocal reciprocal_no_nan reduce_all reduce_any reduce_euclidean_norm reduce_logsumexp "
            "reduce_max reduce_mean reduce_min reduce_prod reduce_std reduce_sum reduce_variance rint round rsqrt "
            "scalar_mul segment_max segment_mean segment_min segment_prod segment_sum sigmoid sign sin sinh "
            "softmax softplus softsign sqrt square squared_difference subtract tan tanh top_k truediv "
            "unsorted_segment_max unsorted_segment_mean unsorted_segment_min unsorted_segment_prod "
            "unsorted_segment_sum xdivy xlog1py xlogy zero_fraction"
        ),
        "nn": (
            "atrous_conv2d avg_pool avg_pool1d avg_pool2d avg_pool3d batch_normalization bias_add conv1d "
            "conv1d_transpose conv2d conv2d_transpose conv3d conv3d_transpose convolution crelu depth_to_space "
            "depthwise_conv2d dilation2d elu embedding_lookup gelu l2_loss l2_normalize leaky_relu "
            "local_response_normalization log_softmax lrn max_pool max_pool1d max_pool2d max_pool3d moments "
            "normalize_moments pool relu relu6 selu separable_conv2d sigmoid silu softmax softplus softsign "
            "space_to_batch space_to_depth swish tanh top_k zero_fraction"
        ),
        "linalg": (
            "adjoint band_part cholesky cross det diag diag_part einsum eye inv l2_normalize matmul "
            "matrix_transpose matvec norm normalize set_diag tensor_diag tensor_diag_part tensordot trace"
        ),
        "image": (
            "adjust_brightness adjust_contrast adjust_gamma adjust_hue adjust_saturation central_crop "
            "convert_image_dtype crop_and_resize crop_to_bounding_box extract_patches flip_left_right "
            "flip_up_down grayscale_to_rgb hsv_to_rgb pad_to_bounding_box per_image_standardization resize "
            "resize_bilinear resize_nearest_neighbor resize_with_crop_or_pad resize_with_pad rgb_to_grayscale "
            "rgb_to_hsv rgb_to_yiq rgb_to_yuv rot90 sobel_edges transpose yiq_to_rgb yuv_to_rgb"
        ),
        "signal": "dct fft fftshift frame hamming_window hann_window idct ifft ifftshift irfft rfft rfft2d stft",
        "bitwise": "bitwise_and bitwise_or bitwise_xor invert left_shift right_shift",
        "keras.activations": (
            "elu exponential gelu hard_sigmoid linear mish relu selu sigmoid softmax softplus softsign swish tanh"
        ),
        "keras.backend": (
            "abs all any argmax argmin batch_dot batch_flatten bias_add cast clip concatenate cos cumsum dot elu "
            "equal exp expand_dims flatten gather greater greater_equal hard_sigmoid l2_normalize less less_equal "
            "log max maximum mean min minimum not_equal one_hot ones_like permute_dimensions pow prod relu repeat "
            "repeat_elements reshape resize_images reverse round sigmoid sign sin softmax softplus softsign sqrt "
            "square squeeze stack std stop_gradient sum tanh tile transpose var zeros_like"
        ),
    }.items()
    for name in names.split()
)
"""Functions of TensorFlow that a configuration may name: arrays in, arrays out."""
_OPS = (
    "Abs Add AddN AddV2 All Any ArgMax ArgMin Atan2 AvgPool BatchMatMul BatchMatMulV2 BatchToSpaceND BiasAdd "
    "BroadcastTo Cast Ceil ClipByValue Concat ConcatV2 Const Conv2D Cos Cosh Cumprod Cumsum DepthToSpace "
    "DepthwiseConv2dNative Div DivNoNan Einsum Elu Equal Erf Exp ExpandDims Expm1 Fill Floor FloorDiv FloorMod "
    "Gather GatherNd GatherV2 Greater GreaterEqual Identity Less LessEqual LeakyRelu LinSpace Log Log1p "
    "LogSoftmax LogicalAnd LogicalNot LogicalOr MatMul MatrixDiag Max MaxPool Maximum Mean Min Minimum MirrorPad "
    "Mod Mul Neg NotEqual OneHot OnesLike Pack Pad PadV2 Pow Prod Range Rank RealDiv Reciprocal Relu Relu6 "
    "Reshape ResizeBilinear ResizeNearestNeighbor ReverseV2 Rint Roll Round Rsqrt Select SelectV2 Selu Shape "
    "Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToBatchND SpaceToDepth Split SplitV Sqrt "
    "Square SquaredDifference Squeeze StopGradient StridedSlice Sub Sum Tan Tanh Tile TopKV2 Transpose "
    "TruncateDiv Unpack Where ZerosLike"
)
OPS = frozenset(_OPS.split())
"""Ops of TensorFlow's graphs that a `TensorFlowOpLayer` may be."""


def refuse_reach(configuration: Any) -> None:
    """Raise `DataError` for the first thing that ``configuration`` names and that does more than compute."""
    for entry in entries(configuration, trained=False):
        problem = _problem(entry)
        if problem is not None:
            # Names in it are whoever made the file's, and may be no text at all.
            raise DataError(f"{printable(problem)}, or allow it with --trust if you know who wrote it")


def _problem(entry: Entry) -> str | None:
    """What an entry would reach, as a sentence; ``None`` if it only computes."""
    kind, module, inner = entry.get("class_name"), entry.get("module"), entry.get("config")
    config = inner if isinstance(inner, dict) else {}
    if kind == "__typespec__":
        named = (entry.get("spec_name"), entry.get("registered_name"))
        if (
            isinstance(module, str)
            and module in _SPECS
            and named in (("TensorSpec", None), ("TensorSpec", "TensorSpec"))
        ):
            return None
        return f"it names the type {entry.get('spec_name')!r} of {module!r}: leave it out"
    if module is not None and not (module == "builtins" or (isinstance(module, str) and _MODULE.fullmatch(module))):
        return f"it names {kind} of the module {module!r}, which is no part of Keras: {YOUR_OWN}"
    path = next((value for key, value in entry.items() if isinstance(value, str) and _FILES.fullmatch(key)), None)
    if path is not None:
        return f"it reads the file {path!r}: give it its words as a list"
    if kind is None:
        return None
    told = f"its layer {_label(entry)!r}"
    if not isinstance(kind, str) or not _NAME.fullmatch(kind):
        return f"it names a class {kind!r}, which is no name: save the model again"
    if not _is_itself(entry):
        return f"{told} ({kind}) is registered as {entry['registered_name']!r}, which is another: {YOUR_OWN}"
    if kind in _RUNNING:
        return f"{told} ({kind}) {_RUNNING[kind]}: replace it by layers"
    if kind == "function" and not (isinstance(inner, str) and _NAME.fullmatch(inner)):
        return f"it names a function {inner!r}, which is no name: save the model again"
    if kind == "function" and module == "builtins" and hasattr(builtins, str(inner)):
        return f"it names Python's own function {inner!r}: replace it by one of Keras"
    if kind in _CALLING and _VERSION.sub("", str(config.get("function"))) not in FUNCTIONS:
        return (
            f"{told} calls TensorFlow's {config.get('function')}, which may do more than compute: replace it by layers"
        )
    if kind == _RAW and not set(_ops_of(config.get("node_def"))) <= OPS:
        ops = ", ".join(sorted(set(_ops_of(config.get("node_def"))) - OPS))
        return f"{told} is TensorFlow's op {ops}, which may do more than compute: replace it by layers"
    path = next((value for key, value in config.items() if isinstance(value, str) and _FILES.fullmatch(key)), None)
    if path is not None:
        return f"{told} reads the file {path!r}: give it its words as a list"
    if ".." in re.split(r"[\\/]", str(config.get("name"))):
        return f"{told} is called what leads to another folder, where Keras would look for its words: rename it"
    if any(key.endswith("_type") and value == "lambda" for key, value in config.items()):
        return f"{told} ({kind}) runs Python code: replace it by layers"
    return None


def _is_itself(entry: Entry) -> bool:
    """Whether it is registered under its own name: tf-keras takes what is called otherwise, where it finds no other."""
    registered, kind = entry.get("registered_name"), entry.get("class_name")
    own = (kind, entry.get("config")) if kind == "function" else (kind,)
    return registered in (None, *own) or (isinstance(registered, str) and registered.rpartition(">")[2] in own)


def entries(configuration: Any, *, trained: bool) -> Iterator[Entry]:
    """Every JSON object in it that may name a class, wherever it is nested; ``trained``: also of how it was trained."""
    left = [configuration]
    while left:
        value = left.pop()
        if isinstance(value, list):
            left.extend(value)
        elif isinstance(value, dict):
            yield value
            left.extend(
                inner
                for key, inner in value.items()
                if trained or not (value is configuration and key == "compile_config")
            )


def name_of(entry: Entry) -> str | None:
    """What the object is called, if it is called something."""
    inner = entry.get("config")
    found = (inner.get("name") if isinstance(inner, dict) else None) or entry.get("name")
    return str(found) if found else None


def _label(entry: Entry) -> str:
    return name_of(entry) or str(entry.get("class_name"))


def _ops_of(node: Any) -> list[str]:
    """The op of a ``NodeDef``, as JSON or as bytes (a protobuf whose fields are all of a length of their own)."""
    if isinstance(node, dict):
        return [str(node.get("op"))]
    try:
        data = str(node).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return ["an unreadable one"]
    found, at = [], 0
    while at + 1 < len(data):
        size, shift, start = 0, 0, at + 1
        while start < len(data) and data[start] & 0x80:
            size |= (data[start] & 0x7F) << shift
            shift, start = shift + 7, start + 1
        if start >= len(data) or data[at] & 0x07 != 2 or shift > 28:
            return ["an unreadable one"]
        size |= data[start] << shift
        if data[at] >> 3 == 2:
            found.append(data[start + 1 : start + 1 + size].decode("utf-8", "replace"))
        at = start + 1 + size
    return found or ["an unreadable one"]
