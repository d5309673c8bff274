"""What a person writes, or what lies on the workstation: configuration, graphs, data, keys, repositories, fleets."""

import base64
import io
import json
import zipfile
from contextlib import suppress
from functools import lru_cache

from maas_agent.config import Config, load_config
from maas_agent.config.toml_lines import line_of
from maas_agent.errors import ConfigError, DataError, NoInputError, UnavailableError, UsageError
from maas_converter.bench.samples import read_processing
from maas_converter.convert.graph_file import read_graph
from maas_converter.data.folder import read_folder
from maas_converter.data.formats import load
from maas_converter.data.labels import read_labels
from maas_converter.fleet import table
from maas_converter.fleet.rollout import Rollout, desired_model, progress, rollout_of, step
from maas_converter.fleet.view import FleetView
from maas_converter.importers.keras.configuration import code_in, read_configuration
from maas_converter.publishing.keys.key_ring import read_private, read_public
from maas_converter.publishing.reading import read_metadata
from maas_converter.publishing.sealing import read_recipients
from maas_converter.quantize.search.measuring.journal import MeasurementJournal
from tests.fuzz.on_bundles import _key
from tests.fuzz.on_updates import _KEYS, _metadata
from tests.fuzz.registry import scratch, target

_TOML_WORDS = (
    b"[",
    b"]",
    b"[[",
    b"]]",
    b"=",
    b"{",
    b"}",
    b'"""',
    b"'''",
    b"\n",
    b"#",
    b",",
    b".",
    b"[" * 2000,
    b"9" * 5000,
    b"nan",
    b"inf",
    b"-1",
    b"true",
    b"1979-05-27T07:32:00Z",
    b'""',
    b"\\u0000",
    b"\\U0001f600",
    b"[pipeline.source]",
    b"[[pipeline]]",
    b'"a.b"',
    b" " * 3000,
    b"a." * 100,
)

_CONFIG = b"""metrics_s = 5
[device]
id = "d"
groups = ["g"]
[broker]
url = "mqtts://host:8883"
protocol = "5"
keepalive_s = 30
[repository]
root = "/root.json"
poll_s = 60.0
[[pipeline]]
name = "digits"
model = "digits"
version = "^1.2"
accelerator = "gpu"
options = { a = 1, b = true, c = "x" }
threads = "auto"
deadline_s = 1.5
[pipeline.source]
type = "command"
command = ["cat", "x"]
[pipeline.limits]
memory_mb = 10
cpus = [0, 1]
[pipeline.update]
max_drift = 0.5
shadow = { samples = 5 }
[[pipeline]]
name = "b"
bundle = "/b.maas"
"""


@target(
    "config.toml",
    "agent.toml",
    lambda: [_CONFIG, b"", b'[[pipeline]]\nname="a"\nbundle="x"\n[pipeline.source]\ntype="mqtt"\ncontent="raw"\n'],
    ConfigError,
    words=(*_TOML_WORDS, *(b"\n" + line for line in _CONFIG.splitlines())),
)
def config(data: bytes) -> None:
    path = scratch() / "agent.toml"
    path.write_bytes(data)
    assert isinstance(load_config(path), Config)


@target("config.lines", "agent.toml, when the line of a mistake is looked for", lambda: [_CONFIG], words=_TOML_WORDS)
def lines(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for where in ("pipeline[1].source.type", "broker.url", "device", "pipeline[0].options.a"):
        found = line_of(text, where)
        assert found is None or 1 <= found <= len(text.splitlines())


_GRAPH = b"""[[stage]]
name = "gate"
model = "model"
inputs = ["image"]
outputs = ["person"]
quantize = "int8"
[[stage]]
name = "faces"
model = "model"
inputs = ["image", "person"]
outputs = ["face"]
when = { edge = "person", index = 1, at_least = 0.5 }
[[output]]
edge = "face"
otherwise = "person"
labels = "model"
"""


@target(
    "converter.graph",
    "a graph file",
    lambda: [_GRAPH],
    DataError,
    NoInputError,
    words=(*_TOML_WORDS, b"person", b"face", b"image"),
)
def graph(data: bytes) -> None:
    (scratch() / "model").touch()
    path = scratch() / "graph.toml"
    path.write_bytes(data)
    read_graph(path)


_PREPROCESS = b"""[decode]
shape = [8, 8, 1]
dtype = "uint8"
color = "gray"
resize = "nearest"
[[preprocess]]
op = "scale"
scale = 0.0625
[[preprocess]]
op = "normalize"
mean = [0.5]
std = [1.0]
"""


@target(
    "converter.preprocess",
    "a preprocess file",
    lambda: [
        _PREPROCESS,
        b'[decode]\nshape=[400]\ndtype="int16"\nsample_rate=16000\n[[preprocess]]\nop="log_mel"\nsample_rate=16000\nframe=160\nhop=40\n',
    ],
    DataError,
    NoInputError,
    words=_TOML_WORDS,
)
def preprocess(data: bytes) -> None:
    path = scratch() / "preprocess.toml"
    path.write_bytes(data)
    read_processing(path)


@target(
    "converter.csv",
    "a table of samples, with classes by name",
    lambda: [b"a,b,label\n1,2,x\n3,4,y\n", b"a,b,y\n1,2,0\n3,4,1.5\n", b"label,a\n10,1\n9,2\n"],
    DataError,
    NoInputError,
    words=(b"label", b"9" * 5000, b"\n", b",", b"1_0", "\u0661".encode(), b'"'),
)
def csv(data: bytes) -> None:
    path = scratch() / "data.csv"
    path.write_bytes(data)
    load(path)
    load(path, ("x", "y"))


@target(
    "converter.folder",
    "labels.csv of a folder, and a labels file",
    lambda: [b"file,label\na.png,x\nb.png,y\n", b"file,y\na.png,0.25\nb.png,1\n", b"a.png,x\n"],
    DataError,
    NoInputError,
    words=(b"a.png", b"../", b"\0", b"/" * 3, b"a" * 300, b"1_0", "\u0661".encode(), b"9" * 400, b"nan", b"1e999"),
)
def folder(data: bytes) -> None:
    there = scratch() / "pictures"
    there.mkdir(exist_ok=True)
    for name in ("a.png", "b.png"):
        (there / name).touch()
    (there / "labels.csv").write_bytes(data)
    with suppress(DataError):
        read_labels(there / "labels.csv")
    read_folder(there, ())


@target("converter.metadata", "a repository's metadata, as it lies in the folder", _metadata, DataError, form="json")
def metadata(data: bytes) -> None:
    path = scratch() / "metadata.json"
    path.write_bytes(data)
    read_metadata(path, object)


def _recipients() -> bytes:
    public = base64.b64encode(_key()[1].public_key().public_bytes_raw()).decode()
    return f"# devices\nmaas-device sensor 7 {public}\nmaas-device b {public} # b\n".encode()


@target(
    "converter.recipients",
    "what devices print when they enroll",
    lambda: [_recipients()],
    DataError,
    NoInputError,
    UsageError,
    words=(b"maas-device ", b"#", b"\n", b"=" * 3, b"A" * 44),
    share=0.5,
)
def recipients(data: bytes) -> None:
    path = scratch() / "recipients"
    path.write_bytes(data)
    assert all(len(each.public) == 32 for each in read_recipients([path]))


def _public() -> bytes:
    return json.dumps(
        {"keyid": "a" * 64, "keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "b" * 64}}
    ).encode()


@target("converter.public_key", "a colleague's public key", lambda: [_public()], DataError, form="json")
def public_key(data: bytes) -> None:
    path = scratch() / "targets.pub"
    path.write_bytes(data)
    read_public(path)


@target(
    "converter.private_key",
    "a key file",
    lambda: [_KEYS[0].private_bytes, _key()[0]],
    DataError,
    NoInputError,
    words=(b"-----BEGIN PRIVATE KEY-----", b"-----END", b"\n", b"="),
    share=0.3,
)
def private_key(data: bytes) -> None:
    path = scratch() / "targets.pem"
    path.write_bytes(data.replace(b"ENCRYPTED", b"E"))
    read_private(path)


@target(
    "converter.journal",
    "the journal of a search that was cut",
    lambda: [b'{"key": "a", "value": 1.5}\n{"key": "b", "value": [1]}\n'],
    UnavailableError,
    form="lines",
    share=0.5,
)
def journal(data: bytes) -> None:
    path = scratch() / f"{'a' * 64}.jsonl"
    path.write_bytes(data)
    MeasurementJournal(scratch(), "a" * 64).recall("a")


def _keras() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        layer = {"class_name": "Lambda", "config": {"name": "l", "fn": {"class_name": "__lambda__"}}}
        archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": [layer, {}]}}))
        archive.writestr("metadata.json", "{}")
    return made.getvalue()


@target("converter.keras", "the configuration in a .keras file", lambda: [_keras()], DataError, form="zip", share=0.5)
def keras(data: bytes) -> None:
    path = scratch() / "model.keras"
    path.write_bytes(data if not data.startswith(b"\x89HDF") else b"")
    for name in code_in(read_configuration(path)):
        assert isinstance(name, str)


_ROLLOUT = Rollout(id="r", version="1.2.0", stages=(10.0, 100.0), soak_s=60, patience_s=600, max_failures=2)


@lru_cache(maxsize=1)
def _said() -> list[bytes]:
    status = {"status": "online", "groups": ["g"], "agent": "1", "time": "2026-01-31T12:00:00Z"}
    update = {"state": "active", "version": "1.2.0", "reason": "why"}
    state = {
        "pipeline": "digits",
        "model": "digits",
        "active": {"version": "1.2.0"},
        "candidate": None,
        "serving": True,
        "accelerator": "cpu",
        "update": update,
    }
    metrics = {"time": "2026", "pipelines": {"digits": {"latency_ms": {"count": 1, "p50": 1.5, "p99": 2}}}}
    wish = {"version": "1.2.0", "percent": 100, "rollout": json.loads(__import__("msgspec").json.encode(_ROLLOUT))}
    return [json.dumps(each).encode() for each in (status, state, metrics, wish)]


@target(
    "converter.fleet", "what devices say of themselves, and a rollout as it stands on the broker", _said, form="json"
)
def fleet(data: bytes) -> None:
    import msgspec

    from maas_agent.bundle.desired_state import DesiredModel

    picture = FleetView("maas")
    for topic, payload in zip(("maas/d/status", "maas/d/digits/state", "maas/d/metrics"), _said(), strict=False):
        picture.hear(topic, payload)
    for topic in ("maas/d/status", "maas/d/digits/state", "maas/d/metrics", "maas/e/x/state", "maas//status"):
        picture.hear(topic, data)
    devices = sorted(picture.devices.values(), key=lambda each: each.id)
    table.lines(devices)
    msgspec.json.encode(devices)
    try:
        rollout = rollout_of(msgspec.json.decode(data, type=DesiredModel)) or _ROLLOUT
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        rollout = _ROLLOUT
    found = progress(rollout, devices, "digits", 100.0)
    desired_model(step(rollout, found, 200.0))
