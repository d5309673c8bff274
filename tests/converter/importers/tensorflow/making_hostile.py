"""SavedModels that reach for more than an answer, or have no end, beside others that must go on being read.

What TensorFlow's own loader does with one that writes while it is loaded is tried first: it writes. See `workshop`.
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from maas_converter.importers.tensorflow import operations
from tests.converter.importers.workshop import Workshop

shop = Workshop(Path(sys.argv[1]))
v1, raw = tf.compat.v1, tf.raw_ops
marks = shop.folder / "marks"
marks.mkdir(exist_ok=True)
secret = shop.folder / "secret"
secret.write_text("the key")
X = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
SPEC = tf.TensorSpec((None, 4), tf.float32, name="x")


def target(name: str) -> str:
    """A file that is there if the model ``name`` has done what it is made for."""
    return str(marks / name)


class Model(tf.Module):
    """A model with weights that does something besides."""

    def __init__(self, besides: Callable[[Any], Any]) -> None:
        super().__init__()
        self.weights = tf.Variable(tf.random.stateless_normal((4, 3), (1, 2)), name="weights")
        self._besides = besides

    @tf.function(input_signature=[SPEC])
    def serve(self, x: Any) -> Any:
        """The answer, by way of what else it does."""
        return {"y": tf.tanh(self._besides(x) @ self.weights)}


def saved(name: str, besides: Callable[[Any], Any]) -> Path:
    """A SavedModel of TensorFlow 2."""
    model = Model(besides)
    tf.saved_model.save(model, str(shop.folder / name), signatures={"serving_default": model.serve})
    return shop.folder / name


def tried(name: str, source: Path, **options: Any) -> None:
    """Import a model that is to be refused."""
    shop.add(name, "tensorflow.saved_model", source, X, X, **options)


def answered(name: str, source: Path) -> None:
    """Import a model, and keep what TensorFlow's own loader makes of it."""
    serve = tf.saved_model.load(str(source)).signatures["serving_default"]
    shop.add(name, "tensorflow.saved_model", source, X, np.concatenate([serve(x=tf.constant(x[None]))["y"] for x in X]))


def edited(name: str, source: Path, edit: Callable[[Any], None]) -> Path:
    """A copy of a SavedModel with another graph."""
    copy = shutil.copytree(source, shop.folder / name)
    file = copy / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    edit(model.meta_graphs[0])
    file.write_bytes(model.SerializeToString())
    return copy


# What a function does that the answer calls, wherever in it.
def after(op: Any, x: Any) -> Any:
    """``x``, once ``op`` is done."""
    with tf.control_dependencies([op]):
        return tf.identity(x)


def in_a_branch(x: Any) -> Any:
    """One that is never taken here."""

    def write() -> Any:
        return after(tf.io.write_file(target("branch"), "ran"), x)

    return tf.cond(tf.reduce_any(x > 1e9), write, lambda: tf.identity(x))


def in_a_loop(x: Any) -> Any:
    """Once a step."""

    def step(count: Any, kept: Any) -> Any:
        return count + 1, after(tf.io.write_file(target("loop"), "ran"), kept)

    return tf.while_loop(lambda count, kept: count < 2, step, (0, x), maximum_iterations=2)[1]


def summary(x: Any) -> Any:
    """A file of events."""
    writer = raw.SummaryWriter(shared_name="w")
    made = raw.CreateSummaryFileWriter(
        writer=writer, logdir=target("summary"), max_queue=1, flush_millis=1, filename_suffix=".e"
    )
    return after(made, x)


def number(text: Any) -> Any:
    """Of bytes that were read: an answer may carry them out."""
    return tf.cast(tf.io.decode_raw(text, tf.uint8), tf.float32)[0]


def table(x: Any) -> Any:
    """Records of a dataset."""
    records = tf.data.Dataset.from_tensors("ran")._variant_tensor
    return after(raw.DatasetToTFRecord(input_dataset=records, filename=target("records"), compression_type=""), x)


REACHING: dict[str, Callable[[Any], Any]] = {
    "write": lambda x: after(tf.io.write_file(target("write"), "ran"), x),
    "branch": in_a_branch,
    "loop": in_a_loop,
    "read": lambda x: x + number(tf.io.read_file(str(secret))),
    "glob": lambda x: x + tf.cast(tf.size(tf.io.matching_files(f"{shop.folder}/*")), tf.float32),
    "print": lambda x: after(raw.PrintV2(input="ran", output_stream=f"file://{target('print')}"), x),
    "python": lambda x: tf.ensure_shape(tf.numpy_function(lambda batch: batch, [x], tf.float32), x.shape),
    "save": lambda x: after(
        raw.SaveV2(prefix=target("save"), tensor_names=["x"], shape_and_slices=[""], tensors=[x]), x
    ),
    "restore": lambda x: x
    + raw.RestoreV2(prefix=str(secret), tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32])[0],
    "merge": lambda x: after(
        raw.MergeV2Checkpoints(checkpoint_prefixes=[str(secret)], destination_prefix=target("merge")), x
    ),
    "records": table,
    "summary": summary,
    "mapped": lambda x: x
    + raw.ImmutableConst(dtype=tf.float32, shape=(1,), memory_region_name=f"file://{secret}"),
    "debugged": lambda x: raw.DebugIdentityV2(
        input=x, tfdbg_context_id="1", op_name="x", output_slot=0, tensor_debug_mode=1,
        debug_urls=[f"file://{target('debugged')}"], circular_buffer_size=0, tfdbg_run_id="1",
    ),
    "elsewhere": lambda x: raw.RemoteCall(
        target="/job:worker/task:0", args=[x], Tout=[tf.float32], f=tf.function(lambda y: y).get_concrete_function(SPEC)
    )[0],
    "together": lambda x: raw.CollectiveReduceV2(
        input=x, group_size=2, group_key=1, instance_key=1, ordering_token=[], merge_op="Add", final_op="Id"
    ),
    "ended": lambda x: after(raw.Abort(error_msg="ended"), x),
    "datasets": lambda x: x
    + tf.data.Dataset.from_tensors(X[:1]).map(tf.identity).get_single_element(),
}  # fmt: skip
for name, besides in REACHING.items():
    tried(name, saved(name, besides))
plain = Model(lambda x: x)
shop.add("trusted", "tensorflow.saved_model", shop.folder / "records", X, plain.serve(X)["y"], trust=True)
reached = (marks / "records").exists()  # trust is trust
(marks / "records").unlink(missing_ok=True)

# What TensorFlow runs when it loads a model.
with v1.Session(graph=tf.Graph()) as session:
    batch = v1.placeholder(tf.float32, (None, 4), name="x")
    matrix = v1.get_variable("w", (4, 3), use_resource=True)
    answer = tf.nn.tanh(batch @ matrix)
    written = tf.io.write_file(target("initializer"), "ran")
    session.run(v1.global_variables_initializer())
    builder = v1.saved_model.Builder(str(shop.folder / "initializer"))
    signature = v1.saved_model.predict_signature_def({"x": batch}, {"y": answer})
    builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, main_op=written)
    builder.save()
    right = session.run(answer, {batch: X})
with v1.Session(graph=tf.Graph()) as session:
    v1.saved_model.load(session, ["serve"], str(shop.folder / "initializer"))
loaded = (marks / "initializer").exists()  # by TensorFlow: the attack works
(marks / "initializer").unlink(missing_ok=True)
shop.add("initializer", "tensorflow.saved_model", shop.folder / "initializer", X, right)


def writes_for_weights(meta: Any) -> None:
    """What is said to restore weights writes."""
    meta.saver_def.restore_op_name = written.name


def restores_others(meta: Any) -> None:
    """Weights come from another folder."""
    for node in meta.graph_def.node:
        if node.op == "Const" and node.attr["value"].tensor.string_val[:1] == [b"w"]:
            node.attr["value"].tensor.string_val[0] = b"../../secret"


tried("restorer", edited("restorer", shop.folder / "initializer", writes_for_weights))
tried("other-weights", edited("other-weights", shop.folder / "initializer", restores_others))


# Graphs that are no graphs.
def doubling(meta: Any) -> None:
    """Forty functions that call the next one twice."""
    meta.graph_def.library.ClearField("function")
    for at in range(40):
        body = "".join(f'node_def {{name: "c{twice}" op: "f{at + 1}" input: "x"}}' for twice in range(2))
        text = f'signature {{name: "f{at}" input_arg {{name: "x" type: DT_FLOAT}}}} {body}'
        text_format.Parse(text, meta.graph_def.library.function.add())
    _calling(meta, "f0")


def endless(meta: Any) -> None:
    """A function that calls itself."""
    text = 'signature {name: "f" input_arg {name: "x" type: DT_FLOAT}} node_def {name: "c" op: "f" input: "x"}'
    text_format.Parse(text, meta.graph_def.library.function.add())
    _calling(meta, "f")


def deep(meta: Any) -> None:
    """Functions that call each other 5,000 deep."""
    for at in range(5000):
        text = f'signature {{name: "f{at}"}} node_def {{name: "c" op: "f{at + 1}"}}'
        text_format.Parse(text, meta.graph_def.library.function.add())
    _calling(meta, "f0")


def absurd(meta: Any) -> None:
    """A constant of one number that is a million rows of a million."""
    tensor = _at_the_end(meta).attr["value"].tensor
    text_format.Parse("dtype: DT_FLOAT tensor_shape {dim {size: 1000000} dim {size: 1000000}} float_val: 1", tensor)


def twice(meta: Any) -> None:
    """Two nodes of one name: which of them was looked at?"""
    meta.graph_def.node.add().CopyFrom(meta.graph_def.node[0])


def named_like_an_op(meta: Any) -> None:
    """A function whose name is that of an op."""
    text_format.Parse('signature {name: "WriteFile"}', meta.graph_def.library.function.add())
    _calling(meta, "WriteFile")


def calls_an_op(meta: Any) -> None:
    """A call of a function that is none of the graph's."""
    node = _at_the_end(meta)
    node.op = "PartitionedCall"
    node.attr["f"].func.name = "WriteFile"


def handle(meta: Any) -> None:
    """A constant that is a resource of the process."""
    text = 'dtype: DT_RESOURCE tensor_shape {} resource_handle_val {container: "localhost" name: "w"}'
    text_format.Parse(text, _at_the_end(meta).attr["value"].tensor)


def typeless(meta: Any) -> None:
    """A constant of a type that TensorFlow has not."""
    _at_the_end(meta).attr["value"].tensor.dtype = 100


def of_a_library(meta: Any) -> None:
    """An op that TensorFlow has not."""
    _at_the_end(meta).op = "OfMine"


def nowhere(meta: Any) -> None:
    """A signature of what is not there."""
    meta.signature_def["serving_default"].outputs["y"].name = "nowhere:0"


def _at_the_end(meta: Any) -> Any:
    """A node that the answer needs."""
    output = meta.signature_def["serving_default"].outputs["y"].name.partition(":")[0]
    node = meta.graph_def.node.add(name="added", op="Const")
    next(node for node in meta.graph_def.node if node.name == output).input.append("^added")
    return node


def _calling(meta: Any, function: str) -> None:
    _at_the_end(meta).op = function


for edit in (
    doubling,
    endless,
    deep,
    absurd,
    twice,
    named_like_an_op,
    calls_an_op,
    handle,
    typeless,
    of_a_library,
    nowhere,
):
    tried(edit.__name__, edited(edit.__name__, shop.folder / "initializer", edit))


def needs(op: str) -> Callable[[Any], None]:
    """The answer needs an op that cannot run here."""

    def edit(meta: Any) -> None:
        _at_the_end(meta).op = op

    return edit


for op in ("XlaCallModule", "_HostSend", "NcclAllReduce", "TPUExecute", "LookupTableFindV2"):
    tried(op, edited(op, shop.folder / "initializer", needs(op)))

empty = shutil.copytree(shop.folder / "initializer", shop.folder / "empty-weights")
(empty / "variables" / "variables.data-00000-of-00001").write_bytes(b"")
tried("empty-weights", empty)


# A table of words that another signature needs; its file is said to be elsewhere. Nothing of it is read.
class Spoken(Model):
    """With a vocabulary in a file."""

    def __init__(self) -> None:
        super().__init__(lambda x: x)
        words = shop.folder / "words.txt"
        words.write_text("one\ntwo\n")
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(str(words), tf.string, 0, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER), -1
        )

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="words")])
    def look_up(self, words: Any) -> Any:
        """Numbers of words."""
        return {"numbers": self.table.lookup(words)}


def elsewhere(meta: Any) -> None:
    """The file of words is outside the folder."""
    for asset in meta.asset_file_def:
        asset.filename = "../../secret"


spoken = Spoken()
tf.saved_model.save(
    spoken, str(shop.folder / "spoken"), signatures={"serving_default": spoken.serve, "words": spoken.look_up}
)
shop.add("words", "tensorflow.saved_model", edited("words", shop.folder / "spoken", elsewhere), X, spoken.serve(X)["y"])


# What must go on: variables in functions, branches and loops; shared, unread, of TensorFlow 1, parted, renamed.
class Varied(tf.Module):
    """Variables wherever they may be."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(2)
        self.unread = tf.Variable([1.0, 2.0])
        self.shared = self.again = tf.Variable(rng.normal(size=(4, 4)), dtype=tf.float32, name="Variable")
        self.listed = [tf.Variable(rng.normal(size=4), dtype=tf.float32, name="Variable") for _ in range(3)]
        self.low = tf.Variable(-1.5)
        self.high = tf.Variable(1.5)
        self.count = tf.Variable(0, dtype=tf.int64)

    @tf.function
    def _inner(self, x: Any) -> Any:
        return x @ self.shared + self.listed[0]

    @tf.function(jit_compile=True)
    def _compiled(self, x: Any) -> Any:
        return x * self.listed[2]

    @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32, name="x")])
    def serve(self, x: Any) -> Any:
        """A loop around a branch around functions, and numbers as quantization-aware training clips them."""
        self.count.assign_add(1)
        for _ in tf.range(3):
            x = tf.nn.tanh(self._inner(x)) if tf.reduce_sum(x) > 0 else self._inner(x) @ self.again
        clipped = tf.quantization.fake_quant_with_min_max_vars(x + self.listed[1], self.low, self.high)
        return {"y": self._compiled(clipped)}


varied = Varied()
tf.saved_model.save(varied, str(shop.folder / "varied"), signatures={"serving_default": varied.serve})
answered("varied", shop.folder / "varied")


def of_tensorflow_1(name: str, resource: bool) -> None:
    """Behind text that is parsed, on a GPU, with a counter, weights in parts and under other names."""
    with v1.Session(graph=tf.Graph()) as session:
        v1.random.set_random_seed(3)
        text = v1.placeholder(tf.string, (None,))
        x = v1.parse_example(text, {"x": tf.io.FixedLenFeature((4,), tf.float32)})["x"]
        rows = v1.get_variable("rows", (4, 5), partitioner=v1.fixed_size_partitioner(3), use_resource=resource)
        bias = v1.get_variable("bias", (5,), initializer=v1.random_normal_initializer(), use_resource=resource)
        v1.get_variable("unread", (7,), use_resource=resource)
        counted = v1.get_variable("counted", (), tf.int32, v1.zeros_initializer(), use_resource=resource)
        with tf.device("/device:GPU:0"):
            hidden = tf.nn.tanh(x @ tf.convert_to_tensor(rows))
        made = v1.cond(tf.reduce_sum(hidden) > 0, lambda: hidden + bias, lambda: hidden * 2.0 - bias)
        with tf.control_dependencies([v1.assign_add(counted, 1)]):
            made = tf.identity(made)
        session.run(v1.global_variables_initializer())
        saver = v1.train.Saver({"renamed": bias, "rows": rows, "counted": counted}, sharded=resource)
        builder = v1.saved_model.Builder(str(shop.folder / name))
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": made})
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, saver=saver)
        builder.save()
        right = np.concatenate([session.run(made, {x: sample[None]}) for sample in X])
    shop.add(name, "tensorflow.saved_model", shop.folder / name, X, right)


of_tensorflow_1("parted-refs", resource=False)
of_tensorflow_1("parted-resources", resource=True)

# The list beside what TensorFlow says of its ops.
strange = []
for op in operations.OPERATIONS:
    known = op_def_registry.get(op)
    if known is None:
        strange.append(f"{op} is none of TensorFlow's")
    elif op in operations.NUMBERS:
        kinds = {arg.type for arg in (*known.input_arg, *known.output_arg)}
        if known.is_stateful or kinds & {7, 20, 21} or any(arg.is_ref for arg in known.input_arg):
            strange.append(f"{op} does more than compute")
facts = {
    "loaded": loaded,
    "reached": reached,
    "left": sorted(path.name for path in marks.iterdir()),
    "strange": strange,
}
(shop.folder / "facts.json").write_text(json.dumps(facts))
shop.close()
