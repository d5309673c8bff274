"""Attacks by a server, or by whoever sits on the way to it: without any key."""

import gzip
import json
from collections.abc import Iterator

from tests.agent.update.publisher import Publisher
from tests.agent.update.site import Answer, Handler, answering, body, cut_short, dripping, silent
from tests.attacks.registry import attack
from tests.attacks.scene import Scene

Acts = Iterator[str | None]
_TIMEOUT_S = 1.0
_FILES = {
    "root": "2.root.json",
    "timestamp": "timestamp.json",
    "snapshot": "snapshot.json",
    "targets": "targets.json",
    "manifest": "manifest.json",
    "delivery": "delivery.json",
    "blob": "/blobs/",
}


def _endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while not handler.server.closing.is_set():
        handler.wfile.write(b"{" * (1 << 16))


def _endless_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not handler.server.closing.is_set():
        handler.wfile.write(b"X-Endless: " + b"y" * 60_000 + b"\r\n")


@attack("endless data", "root", "timestamp", "snapshot", "targets")
def endless_metadata(scene: Scene, role: str) -> Acts:
    """TUF bounds each role, and the snapshot says how long the others are."""
    scene.offer()
    yield None
    scene.site.answers[_FILES[role]] = _endless
    yield "cannot fetch metadata from …: …exceeding the maximum allowed length"


@attack("endless data", "manifest", "blob", "delivery")
def endless_content(scene: Scene, what: str) -> Acts:
    """Every file of a bundle has a length that was signed."""
    scene.publisher.publish("1.1.0", seed=3)
    scene.publisher.compress("1.1.0")
    scene.publisher.release()
    yield None
    scene.site.answers[_FILES[what]] = _endless
    yield "blob … is longer than the … bytes that were signed"


@attack("endless data", "headers")
def endless_headers(scene: Scene) -> Acts:
    """They count for no body's length."""
    scene.offer()
    yield None
    scene.site.answers["timestamp.json"] = _endless_headers
    yield "cannot fetch metadata from …: "


_SLOW: dict[str, Answer] = {
    "status line": dripping(b"HTTP/1.1 200 "),
    "headers": dripping(b"HTTP/1.1 200 OK\r\nX-Slow: "),
    "interim answers": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"),
    "no answer": silent,
}


@attack("slow retrieval", *(f"{part} of {what}" for what in ("the timestamp", "a blob") for part in _SLOW))
def slow(scene: Scene, way: str) -> Acts:
    """A byte just before each read would time out; only a deadline for the whole ends that."""
    scene.offer()
    yield None
    part, _, what = way.rpartition(" of ")
    scene.site.answers[_FILES["timestamp" if "timestamp" in what else "blob"]] = _SLOW[part]
    scene.with_deadline(_TIMEOUT_S)
    yield f"did not end within {_TIMEOUT_S:g} s"
    scene.with_deadline(20.0)


@attack("tampered blob", "one bit of the model", "one bit of the golden samples", "other bytes of the same length")
def tampered(scene: Scene, way: str) -> Acts:
    """On the server or on the way; it is not held against the bundle."""
    before = set((scene.publisher.folder / "blobs").iterdir())
    scene.offer()
    yield None
    new = sorted(set((scene.publisher.folder / "blobs").iterdir()) - before, key=lambda path: path.stat().st_size)
    path = new[0 if "golden" in way else -1]
    data = bytearray(path.read_bytes())
    if "bytes" in way:
        data = bytearray(len(data))
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    yield "blob … arrived damaged: its SHA-256 is not the one that was signed"


@attack("tampered blob", "a manifest", "a delivery", "a compressed blob")
def tampered_documents(scene: Scene, way: str) -> Acts:
    """Whatever has a digest."""
    before = set((scene.publisher.folder / "blobs").iterdir())
    _offer_compressed(scene)
    yield None
    folder = scene.publisher.folder / "targets" / "digits" / "1.1.0"
    packed = set((scene.publisher.folder / "blobs").iterdir()) - before
    path = max(packed) if "blob" in way else next(folder.glob(f"*.{way.split()[1]}.json"))
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    yield "blob … arrived damaged: its SHA-256 is not the one that was signed"


@attack("truncated blob", "the connection breaks", "a shorter file", "nothing of it", "a compressed blob")
def truncated(scene: Scene, way: str) -> Acts:
    """What came may be kept, and is never taken for the whole."""
    _offer_compressed(scene) if "compressed" in way else scene.offer()
    yield None
    path = scene.publisher.newest_blob()
    data = path.read_bytes()
    kept = 0 if "nothing" in way else len(data) // 2
    scene.site.answers[path.name] = cut_short(data, kept) if "breaks" in way else body(data[:kept])
    yield "cannot fetch …: …" if "breaks" in way else "blob … ended after …of…bytes"


@attack("decompression bomb", "Content-Encoding of a blob", "Content-Encoding of the timestamp")
def encoded_answer(scene: Scene, way: str) -> Acts:
    """The device asks for identity; what comes otherwise is counted as it comes, and never expanded."""
    scene.offer()
    yield None
    bomb = gzip.compress(bytes(64 << 20))
    scene.site.answers[_FILES["blob" if "blob" in way else "timestamp"]] = answering(200, bomb, Content_Encoding="gzip")
    yield "is longer than the" if "blob" in way else "exceeding the maximum allowed length"


@attack("foreign redirect", "file:///etc/passwd", "file:///dev/zero", "ftp://127.0.0.1/x", "a header in the address")
def foreign_redirect(scene: Scene, target: str) -> Acts:
    """A server cannot make the device read its own files, or speak other protocols."""
    scene.offer()
    yield None
    address = "/x HTTP/1.1\r\nHost: evil\r\n\r\nGET /" if "header" in target else target
    scene.site.answers["/blobs/"] = lambda handler: _redirect(handler, address)
    yield "cannot fetch http://127.0.0.1:…/blobs/"


@attack("foreign redirect", "a server inside")
def redirect_inside(scene: Scene) -> Acts:
    """It gets a request without any of the device's secrets, and what it answers is checked like anything."""
    scene.offer()
    yield None
    scene.site.answers["/admin"] = body(b"the secret of a server inside" * 100)
    scene.site.answers["/blobs/"] = lambda handler: _redirect(
        handler, f"http://localhost:{handler.server.server_port}/admin"
    )
    yield "blob … ended after …of…bytes"


@attack("foreign redirect", "in circles")
def redirect_in_circles(scene: Scene) -> Acts:
    """Three are followed."""
    scene.offer()
    yield None
    scene.site.answers["timestamp.json"] = lambda handler: _redirect(handler, handler.path)
    yield "too many redirects"


_MALFORMED = {
    "sixteen thousand brackets": b"[" * 16_000,
    "a key twice": b'{"signatures": [], "signatures": [], "signed": {}}',
    "NaN for a version": b'{"version": NaN',
    "a version of five thousand digits": b'{"version": ' + b"1" * 5000 + b"}",
    "no UTF-8": b"\xff\xfe\x00",
    "null": b"null",
    "nothing": b"",
}


@attack("malformed JSON", *_MALFORMED)
def malformed(scene: Scene, way: str) -> Acts:
    """In the first file that every poll reads, and that nobody has verified yet."""
    scene.offer()
    yield None
    data = _MALFORMED[way]
    if way == "NaN for a version":
        document = json.loads(scene.publisher.path("timestamp").read_bytes())
        document["signed"]["version"] = float("nan")
        data = json.dumps(document).encode()
    scene.site.answers["timestamp.json"] = body(data)
    yield "the metadata of … is not to be trusted: "


@attack("lying range", "another range", "more than was asked for", "a range nobody asked for", "no such range")
def lying_range(scene: Scene, way: str) -> Acts:
    """The first half came, and then the server lies about the second."""
    scene.offer()
    path = scene.publisher.newest_blob()
    data = path.read_bytes()
    yield None
    if way != "a range nobody asked for":
        scene.site.answers[path.name] = cut_short(data, len(data) // 2)
        scene.look()
    scene.site.answers[path.name] = {
        "another range": _partial(data[:10], 0, len(data)),
        "more than was asked for": _partial(bytes(len(data)), len(data) // 2, len(data)),
        "a range nobody asked for": _partial(data, 0, len(data)),
        "no such range": answering(416, b"", Content_Range=f"bytes */{len(data)}"),
    }[way]
    yield {
        "another range": "cannot fetch …: the server answers 206",
        "more than was asked for": "is longer than the … bytes that were signed",
        "a range nobody asked for": "cannot fetch …: the server answers 206",
        "no such range": "cannot fetch …: the server answers 416",
    }[way]


def _partial(data: bytes, start: int, whole: int) -> Answer:
    return answering(206, data, Content_Range=f"bytes {start}-{whole - 1}/{whole}")


def _redirect(handler: Handler, target: str) -> None:
    # By hand: a server of good manners would not send these.
    handler.wfile.write(f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode())
    handler.close_connection = True


def _offer_compressed(scene: Scene) -> None:
    publisher: Publisher = scene.publisher
    publisher.publish("1.1.0", seed=3)
    publisher.compress("1.1.0")
    publisher.release()
