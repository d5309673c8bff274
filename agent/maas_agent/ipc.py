"""Defines what hub and worker say to each other, over a socketpair and nothing else.

A frame is a 4-byte little-endian length and a MessagePack array whose first element is the message's number. Both
ends gather frames and send many with one system call: at thousands of samples a second the calls are what costs.
"""

import socket
import struct
from typing import Annotated, Generic, Literal, TypeVar

import msgspec

from maas_agent.base.untrusted import MALFORMED
from maas_agent.config import Source
from maas_agent.errors import LONGEST_SENTENCE, brief
from maas_agent.processing.content import Form
from maas_agent.runtime.setup import Setup
from maas_agent.trials.terms import WorkerLimits

MAX_FRAME_BYTES = (1 << 28) - (1 << 18)
"""What an MQTT packet takes (2.1.4), less a topic and properties: an answer can be published."""
Finite = Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]
_RECEIVE_BYTES = 1 << 16
"""A larger buffer is mapped and unmapped by malloc at every call: 27 µs a call instead of 5 with 256 KiB."""
_LENGTH = struct.Struct("<I")
MAX_GIST = 256
"""Characters: the hub keeps the latest thousand."""


class _Message(msgspec.Struct, frozen=True, array_like=True):
    """Base of all messages; fields are positional on the wire."""


class Start(_Message, frozen=True, tag=0):
    """The first frame to a worker: everything it needs to know."""

    device: str
    pipeline: str
    store: str
    manifest: str
    """Digest of the manifest in the store."""
    setup: Setup
    limits: WorkerLimits
    form: Form | None
    source: Source
    max_payload_bytes: int
    heartbeat_s: float
    """While it works on a batch it says so at least this often, between two inferences."""


class InferenceRequest(_Message, frozen=True, tag=1):
    """An input. ``arrived`` is its epoch time, ``arrived_at`` its monotonic time, both in seconds."""

    sequence: int
    id: str
    payload: bytes
    content_type: str | None
    arrived: float
    arrived_at: float


class Serve(_Message, frozen=True, tag=2):
    """This worker is the one that serves (again): its local source, if it has one, may start."""


class Drain(_Message, frozen=True, tag=3):
    """Stop the local source, finish what is there, answer `Drained`."""


class Ping(_Message, frozen=True, tag=4):
    """Answer with `Pong`: a worker that does not is hung."""

    number: int


class Mirror(_Message, frozen=True, tag=5):
    """From now on (or no longer) each answer to a sample of the local source brings that sample with it."""

    on: bool


class Ready(_Message, frozen=True, tag=10):
    """The model is loaded and warm."""

    runtime: Annotated[str, msgspec.Meta(max_length=4096)]
    load_ms: Finite
    freedom: Annotated[str, msgspec.Meta(max_length=4096)] = ""
    """What this process can do although it should not: empty if it is confined as it is meant to be."""


class Answer(_Message, frozen=True, tag=11):
    """A finished document. ``sequence`` 0 is a sample of the worker's own source; ``code`` is set for an error."""

    sequence: int
    id: str
    document: bytes
    latency_ms: Finite
    code: str | None
    content_type: Annotated[str, msgspec.Meta(max_length=127, pattern=r"^[ -~]*\Z")] = "application/json"
    took_ms: Finite = 0.0
    """What the worker itself spent on it, without the time it waited."""
    gist: Annotated[str, msgspec.Meta(max_length=MAX_GIST)] | float | None = None
    """The answer in a word: the best label, or the mean of the values; of the first sample and the first output."""
    sample: tuple[bytes, str | None] | None = None
    """Payload and content type of a sample of the local source, while they are mirrored."""
    outside: Annotated[int, msgspec.Meta(ge=0, le=1024)] = 0
    """How many of its samples held a value outside the range of the model's input."""


class Drained(_Message, frozen=True, tag=12):
    """Nothing is left in this worker and nothing more comes from its source."""


class Pong(_Message, frozen=True, tag=13):
    """The answer to `Ping`."""

    number: int


class Failed(_Message, frozen=True, tag=14):
    """The model cannot be served here; the worker exits after this.

    ``not_whole``: what the store holds of the bundle is not what was signed, or not all of it.
    """

    reason: Annotated[str, msgspec.Meta(max_length=LONGEST_SENTENCE)]
    not_whole: bool = False


class Alive(_Message, frozen=True, tag=15):
    """It works, and what it works on takes a while: a batch of many samples."""


class SourceIs(_Message, frozen=True, tag=16):
    """How the local source is; told whenever that changes.

    ``running``: it gives samples, or is at it. ``waiting``: there are none yet, and nothing is known to be wrong.
    ``failed``: it could not be started, or broke off, and is tried again; the ``reason`` says why.
    """

    state: Literal["running", "waiting", "failed"]
    reason: Annotated[str, msgspec.Meta(max_length=LONGEST_SENTENCE)] | None = None


ToWorker = Start | InferenceRequest | Serve | Drain | Ping | Mirror
ToHub = Ready | Answer | Drained | Pong | Failed | Alive | SourceIs

_encoder = msgspec.msgpack.Encoder()


Incoming = TypeVar("Incoming")


class Channel(Generic[Incoming]):
    """One end of the socketpair: frames in, frames out, both buffered.

    ``incoming`` is the union of messages this end accepts; anything else is a `msgspec.DecodeError`, on which the
    owner gives the peer up.
    """

    def __init__(self, end: socket.socket, incoming: object) -> None:
        self._socket = end
        self._decoder: msgspec.msgpack.Decoder[Incoming] = msgspec.msgpack.Decoder(incoming)
        self._received = bytearray()
        self._outgoing = bytearray()

    def fileno(self) -> int:
        """The descriptor to select on; -1 once closed."""
        return self._socket.fileno()

    def put(self, message: ToWorker | ToHub) -> None:
        """Add a message to what the next `flush` sends."""
        body = _encoder.encode(message)
        self._outgoing += _LENGTH.pack(len(body))
        self._outgoing += body

    @property
    def pending(self) -> int:
        """Bytes that `flush` has not handed to the kernel yet."""
        return len(self._outgoing)

    def flush(self) -> bool:
        """Send what is there; ``False`` if the kernel's buffer is full and some of it remains.

        On a blocking socket everything is sent. Raises ``OSError`` if the peer is gone.
        """
        while self._outgoing:
            try:
                sent = self._socket.send(self._outgoing, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return False
            del self._outgoing[:sent]
        return True

    def receive(self) -> list[Incoming] | None:
        """Read once and return the complete messages; ``None`` if the peer closed its end."""
        try:
            chunk = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return []
        except ConnectionError:
            return None
        if not chunk:
            return None
        self._received += chunk
        return self._complete()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def _complete(self) -> list[Incoming]:
        messages: list[Incoming] = []
        start, received = 0, self._received
        while len(received) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(received, start)
            if length > MAX_FRAME_BYTES:
                raise msgspec.DecodeError(f"a frame of {length} bytes")
            end = start + _LENGTH.size + length
            if len(received) < end:
                break
            messages.append(self._decoded(memoryview(received)[start + _LENGTH.size : end]))
            start = end
        del received[:start]
        return messages

    def _decoded(self, body: memoryview) -> Incoming:
        try:
            return self._decoder.decode(body)
        except MALFORMED as error:
            raise msgspec.DecodeError(brief(error)) from None
        finally:
            body.release()  # whoever keeps the exception must not keep the buffer from growing
