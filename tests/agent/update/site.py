"""A real HTTP server on loopback that serves a repository, and can be told to misbehave on some paths."""

import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Answer = Callable[["Handler"], None]


class Handler(SimpleHTTPRequestHandler):
    """Serves files, or what `Site.answers` says for a part of the path."""

    server: "Site"
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        self.path = asked.path  # a proxy is asked for whole URLs
        self.server.queries.append(asked.query)
        self.server.logins.append(self.headers["Authorization"])
        self.server.requests.append(self.path)
        self.server.ranges.append((self.path, self.headers["Range"]))
        self.server.clients.add(self.client_address)
        answer = next((answer for part, answer in self.server.answers.items() if part in self.path), None)
        with suppress(ConnectionError):
            answer(self) if answer else super().do_GET()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """As real servers do, and unlike ``http.server``: the connection stays open."""
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


class Site(ThreadingHTTPServer):
    """``requests`` are the paths asked for, ``clients`` the connections; ``answers`` are by part of a path.

    ``ranges`` are the paths again, each with the range that was asked for; ``queries`` and ``logins`` came with them.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.requests: list[str] = []
        self.ranges: list[tuple[str, str | None]] = []
        self.queries: list[str] = []
        self.logins: list[str | None] = []
        self.clients: set[Any] = set()
        self.answers: dict[str, Answer] = {}
        self.closing = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def speak_tls(self, certificate: Path, key: Path) -> None:
        """From now on, with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True)


@contextmanager
def serving(folder: Path) -> Iterator[Site]:
    """A site that serves ``folder``."""
    site = Site(folder)
    threading.Thread(target=site.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield site
    finally:
        site.closing.set()
        site.shutdown()
        site.server_close()


def body(data: bytes) -> Answer:
    """Answer with these bytes."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def cut_short(data: bytes, after: int) -> Answer:
    """Promise all of ``data`` and close the connection after some bytes of it."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:after])
        handler.close_connection = True

    return answer


def ranged(handler: Handler) -> None:
    """Answer with a file, from the byte on that was asked for (RFC 9110 14): what ``http.server`` cannot."""
    data = Path(handler.translate_path(handler.path)).read_bytes()
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers["Range"] or "")
    start = int(asked[1]) if asked else 0
    handler.send_response(206 if asked else 200)
    if asked:
        handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
    handler.send_header("Content-Length", str(len(data) - start))
    handler.end_headers()
    handler.wfile.write(data[start:])


def answering(status: int, data: bytes, **headers: str) -> Answer:
    """Answer with this status, these bytes and headers (``_`` stands for ``-``), whatever was asked for."""

    def answer(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def endless(handler: Handler) -> None:
    """Send zeros for as long as someone listens."""
    handler.send_response(200)
    handler.end_headers()
    while not handler.server.closing.is_set():
        handler.wfile.write(bytes(1 << 16))


def trickle(handler: Handler) -> None:
    """Begin an answer and send a byte of a header now and then: no read ever times out, and nothing ever ends."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not handler.server.closing.wait(0.05):
        handler.wfile.write(b"z")
        handler.wfile.flush()


def dripping(before: bytes, drop: bytes = b"z") -> Answer:
    """Send ``before``, and then a drop every 50 ms: no read ever times out."""

    def answer(handler: Handler) -> None:
        handler.wfile.write(before)
        while not handler.server.closing.wait(0.05):
            handler.wfile.write(drop)
            handler.wfile.flush()

    return answer


def silent(handler: Handler) -> None:
    """Take the request and say nothing."""
    handler.server.closing.wait(30)
