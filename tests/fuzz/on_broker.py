"""What comes from the broker, whoever sent it there: packets, topics, inputs, commands, desired states."""

import json
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any

import msgspec
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from maas_agent.base.log import Log
from maas_agent.bundle import desired_state
from maas_agent.bundle.desired_state import DesiredModel, Document, Topic
from maas_agent.config import (
    BrokerSettings,
    Config,
    DeviceSettings,
    OutboxSettings,
    PipelineSettings,
    RepositorySettings,
    StoreSettings,
)
from maas_agent.errors import DataError
from maas_agent.hub.api.control_socket import ControlSocket, _Client
from maas_agent.hub.api.topics import MAX_ID, Topics
from maas_agent.hub.hub import Hub
from maas_agent.hub.mqtt.client import V5, V311, Client, new_client
from maas_agent.hub.mqtt.link import Link
from maas_agent.hub.mqtt.message import Inbound, Outbound
from maas_agent.hub.mqtt.transport.packets import ForPaho, PacketSocket
from maas_agent.hub.mqtt.transport.websocket import WebSocket, shake_hands
from maas_agent.hub.mqtt.transport.wire import (
    Malformed,
    Publish,
    encode_publish,
    packed_properties,
    unpacked_properties,
)
from maas_agent.hub.outbox.journal import Journal, JournalDamaged, JournalRow, JournalUnavailable
from maas_agent.hub.system.loop import Loop
from maas_agent.update.protocol import MAX_JOB_BYTES, PullJob, decode_job, line_of
from tests.fuzz.registry import check_sentence, pieces, scratch, target

_MAX_PACKET = 2000
_HEAD = 1 << 17
_READ = 8 << 16


class Wire:
    """A transport that has some pieces to give, and then ends: without a kernel in between it is fast."""

    def __init__(self, data: list[bytes], descriptor: int = -1) -> None:
        self._data, self._descriptor = data[::-1], descriptor
        self.ended = False

    def recv(self, _size: int) -> bytes:
        if self._data:
            return self._data.pop()
        if not self.ended:
            self.ended = True
            raise BlockingIOError
        return b""

    def send(self, data: bytes | bytearray) -> int:
        return len(data)

    def close(self) -> None:
        pass

    def fileno(self) -> int:
        return self._descriptor

    def settimeout(self, seconds: float | None) -> None:
        pass


def _publish(payload: bytes, topic: bytes = b"maas/d/digits/in/1", qos: int = 1, *, v5: bool = True) -> bytes:
    properties = None
    if v5:
        said = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        said.ContentType, said.ResponseTopic, said.CorrelationData = "application/json", "answers/1", b"\x01\x02"
        said.UserProperty = ("name", "value")
        said.MessageExpiryInterval, said.TopicAlias, said.SubscriptionIdentifier = 60, 1, 5
        properties = said.pack() if qos else packed_properties(None, None)  # type: ignore[no-untyped-call]
    return encode_publish(topic, payload, qos, False, 7 if qos else 0, properties)


def streams(*, v5: bool) -> list[bytes]:
    """Packets of every kind that a broker sends, good ones."""
    end = b"\0" if v5 else b""
    said = b"\x21\x02\0\x22\0\x10\x25\x01\x24\x01\x13\0\x1e\x27\0\0\xff\xff"
    connack = b"\x20" + bytes((3 + len(said), 0, 0, len(said))) + said if v5 else b"\x20\x02\0\0"
    suback = b"\x90" + bytes((5 + v5,)) + b"\0\x01" + end + b"\x01\x02\x80"
    every = [
        connack,
        suback,
        b"\xd0\0",
        b"\x40\x02\x01\x01",
        b"\x40\x04\x01\x02\x97\0" if v5 else b"\x40\x02\x01\x02",
        b"\x50\x02\0\x05",
        b"\x62\x02\0\x05",
        b"\x70\x02\0\x05",
        b"\xb0" + bytes((3 + 2 * v5,)) + b"\0\x03" + end + b"\0" * (1 + v5),
        _publish(b"[1,2]", v5=v5),
        _publish(b"raw", qos=0, v5=v5),
        _publish(b"x" * (_MAX_PACKET + 100), v5=v5),
        b"\xe0\x02\x8e\0" if v5 else b"\xe0\0",
        *([b"\xf0\x02\x18\0"] if v5 else []),
    ]
    return [b"".join(every), *(connack + each for each in every), connack + every[9] * 3 + every[-1]]


@target(
    "mqtt.packets",
    "a broker's bytes, cut anywhere: PUBLISH, PUBACK and their properties",
    lambda: [b"\0" + each for each in streams(v5=True)] + [b"\1" + each for each in streams(v5=False)],
    Malformed,
    form="1+packets",
)
def packets(data: bytes) -> None:
    rest, cut = pieces(data)
    wire = Wire(cut)
    line = PacketSocket(wire, _MAX_PACKET, has_properties=not data[:1] > b"\x7f")
    left = len(rest) + len(cut) + 100
    while True:
        line.fill()
        assert len(line._received) <= _MAX_PACKET + _HEAD + _READ, "more is kept than a packet"
        while (packet := line.next_packet()) is not None:
            left -= 1
            assert left, "packets without an end"
            if isinstance(packet, ForPaho):
                if not _for_paho(line):
                    return
            elif isinstance(packet, Publish):
                assert len(packet.payload) <= _MAX_PACKET
                if packet.properties:
                    unpacked_properties(packet.properties)
        assert not line._closed_by_peer, "the end of the stream was seen, and is not told"


def _for_paho(line: PacketSocket) -> bool:
    """Read what is left for paho; ``False`` at the end of the stream."""
    try:
        while line.recv(3):
            pass
    except BlockingIOError:
        return True
    return False


class _Ear:
    """Who listens on the link: acknowledges what comes."""

    def link_up(self) -> None:
        pass

    def link_down(self) -> None:
        pass

    def inbound(self, message: Inbound) -> None:
        assert len(message.payload) <= 70_000
        message.topic.encode()
        message.acknowledge()

    def acknowledged(self, number: int) -> None:
        assert 0 <= number <= 0xFFFF


class _Quiet(Log):
    """A log that nobody reads; what is said is put together all the same."""

    def __init__(self) -> None:
        super().__init__("fuzz")

    def _write(self, *_: Any) -> None:
        pass

    def info(self, message: object, **fields: object) -> None:
        f"{message} {fields}".encode("utf-8", "backslashreplace")

    warning = error = debug = info


class _Server(Wire):
    """The same below a WebSocket."""

    def sendall(self, data: bytes) -> None:
        self.send(data)


def _websocket() -> list[bytes]:
    frames = [
        b"\x82\x03abc",
        b"\x02\x01a\x80\x02bc",
        b"\x89\x02hi",
        b"\x8a\0",
        b"\x82\x7e\x01\x00" + bytes(256),
        b"\x88\x02\x03\xe8",
    ]
    head = b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    return [b"\0" + b"".join(frames), b"\1" + frames[0] * 5, b"\x80" + head, b"\x80HTTP/1.1 404 Not Found\r\n\r\n"]


@target(
    "mqtt.websocket",
    "a server's WebSocket: its handshake and its frames",
    _websocket,
    ConnectionError,
    words=(
        b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x89\x7d",
        b"\x88\0",
        b"\r\n\r\n",
        b"HTTP/1.1 101",
        b"Upgrade: ",
    ),
)
def websocket(data: bytes) -> None:
    rest, cut = pieces(data)
    server: Any = _Server(cut)
    if data[:1] >= b"\x80":
        with suppress(BlockingIOError):
            shake_hands(server, "host", 80, "/mqtt")
        return
    line, received = WebSocket(server), 0
    while not server.ended:
        with suppress(BlockingIOError):
            if not (piece := line.recv(100)):
                break
            received += len(piece)
        assert len(line._received) <= len(rest) and len(line._outgoing) <= 1 << 18
    assert received <= len(rest)


def _journals() -> list[bytes]:
    path = scratch() / "made.db"
    journal = Journal(path, survives_power_cuts=False)
    journal.open()
    journal.write([JournalRow(at, float(at), 300, Outbound("t", b"payload", 1)) for at in range(1, 4)], [])
    journal.close()
    return [path.read_bytes()]


@target(
    "outbox.journal",
    "outbox.db, as a power cut or a hand left it",
    _journals,
    JournalDamaged,
    JournalUnavailable,
    words=(b"SQLite format 3\0", b"CREATE TABLE message", b"BLOB", b"\xa7payload", b"\x96\xa1t"),
    share=0.1,
)
def outbox_journal(data: bytes) -> None:
    folder = scratch() / "journal"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    path = folder / "outbox.db"
    path.write_bytes(data)
    journal = Journal(path, survives_power_cuts=False)
    try:
        totals = journal.open()
        assert totals.rows >= 0
        journal.stubs(0, 1 << 50, 100)
        for row in journal.page(0, 1 << 50, 100):
            row.message.topic.encode()
            assert isinstance(row.put_at, float)
        journal.write([JournalRow(9, 1.0, 1, Outbound("t", b"x"))], [1])
    finally:
        journal.close()


@lru_cache(maxsize=1)
def _line() -> tuple[Loop, int]:
    kept, _ = socket.socketpair()
    return Loop(), kept.detach()


@target(
    "mqtt.link",
    "a broker's bytes, up to what the hub makes of them: every packet of MQTT 5 and 3.1.1, through paho",
    lambda: [b"\0" + each for each in streams(v5=True)] + [b"\x80" + each for each in streams(v5=False)],
    form="1+packets",
    share=0.5,
)
def link(data: bytes) -> None:
    loop, descriptor = _line()
    v5 = data[:1] <= b"\x7f"
    _, cut = pieces(data)
    broker = BrokerSettings(protocol="5" if v5 else "3.1.1")
    line = Link(loop, broker, "fuzz", None, ["a/#", "b/#", "c/#"], 1000, _Ear(), _Quiet())
    client: Client = new_client(broker, V5 if v5 else V311, "fuzz", None)
    line._client, line._openings = client, 1
    line._come_back = lambda failure, wait_s: check_sentence(failure.reason)  # type: ignore[method-assign]
    line._opened(client, Wire(cut, descriptor))
    turns = 0
    while (connection := line._connection) is not None:
        connection._on_event(True, False)
        _calls(loop)
        line.flush()
        turns += 1
        assert turns < len(data) + 100, "the link is busy with nothing"
    msgspec.json.encode(msgspec.to_builtins(line.counters))
    _forget(loop)


def _calls(loop: Loop) -> None:
    while loop._calls:
        loop._calls.popleft()()


def _forget(loop: Loop) -> None:
    loop._timers.clear()
    loop._calls.clear()


_TOPICS = (
    "maas/d/digits/in",
    "maas/d/digits/in/1",
    "maas/d/cmd/update/1",
    "maas/d/cmd/restart/a",
    "maas/d/cmd/rollback/b",
    "maas/d/desired",
    "maas/groups/g/desired",
    "maas/groups/g/digits/in/7",
    "maas/d/status",
    "maas/d/shared",
)


@lru_cache(maxsize=1)
def _config() -> Config:
    folder = scratch() / "hub"
    return Config(
        device=DeviceSettings(id="d", groups=("g",)),
        broker=BrokerSettings(),
        store=StoreSettings(path=str(folder)),
        repository=RepositorySettings(root="/nowhere"),
        outbox=OutboxSettings(max_bytes=1 << 16, durability="none"),
        pipeline=(PipelineSettings(name="digits", model="digits", max_payload_bytes=1000, queue=10),),
    )


@target(
    "mqtt.topics",
    "a topic, of an input or a command",
    lambda: [each.encode() for each in _TOPICS],
    words=(
        b"/",
        b"+",
        b"#",
        b"\0",
        "\u2028".encode(),
        "\U0001f600".encode(),
        "\u202e".encode(),
        b"maas/d/",
        b"/in/",
        b"$share",
    ),
)
def topics(data: bytes) -> None:
    try:
        topic = data.decode()
    except UnicodeDecodeError:
        return  # the link closes the connection over it: see `link`
    known = _topics()
    address, command = known.input(topic), known.command(topic)
    if address is not None and address.id is not None:
        assert len(address.id) <= MAX_ID
        _publishable(f"{address.target.out}/{address.id}")
    if command is not None:
        _publishable(topic)


@lru_cache(maxsize=1)
def _topics() -> Topics:
    return Topics(_config())


def _publishable(topic: str) -> None:
    """MQTT 5.0 sections 4.7.1 and 4.7.3: a broker closes the connection over any other."""
    assert not set(topic) & {"+", "#", "\0"}, f"an answer on {topic!r}"
    assert len(topic.encode()) <= 0xFFFF


@lru_cache(maxsize=1)
def _hub() -> Hub:
    import signal

    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    hub = Hub(_config(), _Quiet())
    for number, handler in kept.items():
        signal.signal(number, handler)
    hub._outbox.put = _put  # type: ignore[method-assign, assignment]
    return hub


def _inbound(topic: str, payload: bytes, qos: int = 0) -> Inbound:
    return Inbound(topic, payload, qos, False, 0, None, "answers/1", b"1", lambda: None)


_COMMAND = {"status": "init", "pipeline": "digits", "reason": "because", "more": {"a": [1, 2.5, None]}}


def _wish() -> bytes:
    said = {"id": "r1", "version": "1.2.0", "stages": [10, 100], "soak_s": 60, "patience_s": 600, "max_failures": 2}
    wish = DesiredModel(version="1.2.0", percent=50, salt="r1", withdrawn=("1.1.0",), rollout=said)
    return desired_state.encode_desired(Document(5, {"digits": wish}))


@target(
    "hub.inbound",
    "a message on a topic of the device: input, command, wish",
    lambda: [
        bytes((at,)) + payload
        for at in range(len(_TOPICS))
        for payload in (json.dumps(_COMMAND).encode(), _wish(), b"\0" * 64)
    ],
    share=0.5,
)
def inbound(data: bytes) -> None:
    topic = _TOPICS[(data[0] if data else 0) % len(_TOPICS)]
    _receive(topic, data[1:])


@target("hub.command", "a request on cmd/", lambda: [json.dumps(_COMMAND).encode()], form="json", share=0.5)
def command(data: bytes) -> None:
    for name in ("update", "restart", "rollback", "other"):
        _receive(f"maas/d/cmd/{name}/1", data)


@target(
    "hub.desired", "a desired state, as the hub takes, keeps and obeys it", lambda: [_wish()], form="json", share=0.3
)
def wished(data: bytes) -> None:
    _receive("maas/d/desired", data)
    _receive("maas/d/desired", b"")


def _receive(topic: str, payload: bytes) -> None:
    hub = _hub()
    hub._desired_states._desired, hub._desired_states._soon = {}, False
    hub.inbound(_inbound(topic, payload))
    hub._desired_states.obey(hub._pipelines.values(), hub._updates)  # what is done once a second
    msgspec.json.encode(hub._describe())
    for message in _replies:
        assert len(message.payload) <= 2 * len(payload) + 2000, "an answer is larger than what was asked"
        _publishable(message.topic)
    _replies.clear()
    _forget(hub._loop)


_replies: list[Outbound] = []


def _put(message: Outbound, on_safe: Callable[[], None] | None = None, *_: object, **__: object) -> None:
    """In the place of the outbox, which is not what is tried here."""
    _replies.append(message)
    if on_safe:
        on_safe()


@target(
    "desired.document", "a desired state, as rules read it and as it is kept", lambda: [_wish()], DataError, form="json"
)
def desired_document(data: bytes) -> None:
    known = {"t": Topic(3)}
    now = desired_state.received(known, "t", data)
    folder = scratch() / "desired"
    folder.mkdir(exist_ok=True)
    kept = msgspec.json.format(msgspec.json.encode(dict(now)), indent=2)
    assert len(kept) <= 40 * len(data) + 1000, f"{len(data)} bytes become {len(kept)} on the disk"
    desired_state.path_of(folder).write_bytes(kept)
    assert desired_state.load(folder, ["t"]) == now, "what was kept is not what comes back"
    for name, wish in (now["t"].document.models if now["t"].document else {}).items():
        choice = desired_state.chosen(now, "t", "device", name)
        assert choice.version in (None, wish.version)


@target(
    "desired.kept",
    "desired.json, as a power cut or a hand left it",
    lambda: [msgspec.json.encode({"t": Topic(5, desired_state.decode_desired(_wish()))})],
    DataError,
    form="json",
)
def desired_kept(data: bytes) -> None:
    folder = scratch() / "kept"
    folder.mkdir(exist_ok=True)
    desired_state.path_of(folder).write_bytes(data)
    for wanted in desired_state.load(folder, ["t"]):
        assert wanted == "t"


class _Door:
    """Somebody at the control socket, without the socket."""

    def __init__(self) -> None:
        self.connection, self.request, self.answer = socket.socket(socket.AF_UNIX), b"", None


@target(
    "hub.control",
    "a line on the control socket",
    lambda: [
        json.dumps(each).encode() + b"\n"
        for each in (
            {"do": "status"},
            {"do": "install", "pipelines": ["digits"]},
            {"do": "rollback", "pipeline": "digits", "reason": "x"},
        )
    ],
    form="json",
    share=0.3,
)
def control(data: bytes) -> None:
    hub = _hub()
    door: Any = _Door()
    door.request = data[:4096]
    finished: list[Callable[[], None]] = []
    hub._control._finish = lambda client, reason, fields: finished.append(  # type: ignore[method-assign]
        lambda: msgspec.json.encode(fields | {"reason": reason})
    )
    hub._control._carry_out(door)
    door.connection.close()
    for each in finished:
        each()
    _forget(hub._loop)


class _Caller:
    """Who knocks at the control socket, and says this, in pieces, or no more than that."""

    def __init__(self, said: list[bytes]) -> None:
        self._said, self.heard, self.gone = said[::-1], bytearray(), False

    def recv(self, size: int) -> bytes:
        if not self._said:
            return b""
        piece = self._said.pop()
        if len(piece) > size:
            self._said.append(piece[size:])
        return piece[:size]

    def send(self, data: bytes, _flags: int = 0) -> int:
        taken = max(1, len(data) // 2)
        self.heard += data[:taken]
        return taken

    def close(self) -> None:
        self.gone = True

    def fileno(self) -> int:
        return -1


class _NoLoop:
    def watch(self, *_: object, **__: object) -> None:
        pass

    unwatch = after = watch


@target(
    "hub.door",
    "what somebody says at the control socket, in pieces and without an end",
    lambda: [
        bytes((at,)) + json.dumps(each).encode() + end
        for at, each in enumerate(({"do": "status"}, {"do": "install", "pipelines": ["a"] * 100}, {"do": "rollback"}))
        for end in (b"\n", b"\n\n{}", b"")
    ],
    words=(b"\n", b"\0", b'"do"', b"[" * 2000, b"x" * 5000, b'{"do":"status"}\n'),
)
def at_the_door(data: bytes) -> None:
    whole, cut = pieces(data)
    caller: Any = _Caller(cut)
    client = _Client(caller)
    control: Any = ControlSocket.__new__(ControlSocket)
    control._loop, control._clients = _NoLoop(), {client}
    answered: list[object] = []

    def status(_request: dict[str, Any], finish: Any) -> None:
        answered.append(finish(None, {"device": "d"}))

    control._handlers = {"status": status, "rollback": lambda request, finish: finish(str(request), {})}
    turns = 0
    while client in control._clients:
        control._receive(client)
        if client.answer:
            control._send(client)
        turns += 1
        assert turns < len(whole) + 1000, "it turns over one who has gone"
    assert caller.gone and len(answered) <= 1
    assert len(client.request) <= 2 << 16
    if caller.heard.endswith(b"}\n"):
        assert isinstance(msgspec.json.decode(caller.heard), dict)


@lru_cache(maxsize=1)
def _crowded() -> Hub:
    """A device with twenty pipelines of one model, and twenty of as many, in twenty groups."""
    import signal

    config = msgspec.structs.replace(
        _config(),
        device=DeviceSettings(id="d", groups=tuple(f"g{at}" for at in range(20))),
        store=StoreSettings(path=str(scratch() / "crowded")),
        pipeline=tuple(
            PipelineSettings(name=f"p{at}", model=f"m{at}" if at >= 20 else "digits", max_payload_bytes=1000)
            for at in range(40)
        ),
    )
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    hub = Hub(config, _Quiet())
    for number, handler in kept.items():
        signal.signal(number, handler)
    return hub


_MODELS = ("digits", *(f"m{at}" for at in range(20, 40)), "of nobody here")


@target(
    "desired.size",
    "desired states of so many models and versions, on so many topics: how large what follows from them is",
    lambda: [
        struct.pack("<HHHH", 1, 6712, 1, 0),
        struct.pack("<HHHH", 300, 20, 20, 0),
        struct.pack("<HHHH", 22, 300, 5, 40),
    ],
    DataError,
    share=0.1,
)
def desired_size(data: bytes) -> None:
    models, versions, topics, longer = struct.unpack("<HHHH", data[:8].ljust(8, b"\1"))
    hub = _crowded()
    suffix = f"-{'a' * (longer % 200)}" if longer % 200 else ""
    withdrawn = tuple(f"{at}.0.0{suffix}" for at in range(versions % 8000))
    wishes = {
        (_MODELS[at % len(_MODELS)] if at < len(_MODELS) else f"other{at}"): DesiredModel(
            withdrawn=withdrawn, version="1.2.0"
        )
        for at in range(models % 3000)
    }
    payload = desired_state.encode_desired(Document(5, wishes)) if models * versions < 30_000 else b" " * (1 << 20)
    hub._desired_states._desired, known = {}, hub._topics.desired
    for topic in known[: 1 + topics % len(known)]:
        if len(payload) <= desired_state.MAX_BYTES:
            hub._desired_states._desired = desired_state.received(hub._desired_states._desired, topic, payload)
        else:
            with suppress(DataError):
                desired_state.received({}, topic, payload)
    wanted = [hub._updates._wanted(each) for each in hub._pipelines.values()]
    job = PullJob(store="/s", wanted=wanted, withdrawn=hub._updates._withdrawn(wanted))
    line = line_of(job)
    assert len(line) <= MAX_JOB_BYTES, f"the puller is told {len(line)} bytes"
    assert len(line) <= 2 * len(known) * desired_state.MAX_BYTES + (1 << 16), (
        "what is withdrawn is said for each pipeline"
    )
    decode_job(line)
    _forget(hub._loop)
