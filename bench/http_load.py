"""The HTTP load generator: the closed loop of ``bench.load``, with a connection per outstanding request.

    python -m bench.http_load --port 8080 --window 64 --seconds 5

posts to ``/predict/<id>`` and prints a ``ledger.Measured`` as JSON. Where the server closes a connection after
its answer (HTTP/1.0, as Flask's own server does) it opens another; that is part of what such a server costs.
"""

from __future__ import annotations

import argparse
import selectors
import socket
import sys
import time

import msgspec

from bench.ledger import Ledger, Measured, payloads

_DRAIN_S = 30.0  # how long the last outstanding requests may still be answered
_HEAD_END = b"\r\n\r\n"


class HttpError(Exception):
    """An answer that is not HTTP as this generator knows it."""


def request(request_id: bytes, payload: bytes) -> bytes:
    """Return one POST of an image."""
    return (
        b"POST /predict/%s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (request_id, len(payload), payload)
    )


def parsed(received: bytes) -> tuple[int, bytes, bool] | None:
    """Return the status, body and whether the connection stays open; None while the answer is incomplete."""
    head, end, body = received.partition(_HEAD_END)
    if not end:
        return None
    status_line, *lines = head.split(b"\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    if b"content-length" not in headers:
        raise HttpError(f"no Content-Length after {status_line!r}")
    if len(body) < int(headers[b"content-length"]):
        return None
    stays = status_line.startswith(b"HTTP/1.1") and headers.get(b"connection") != b"close"
    return int(status_line.split()[1]), body, stays


class Lane:
    """One connection with at most one request outstanding."""

    def __init__(self, port: int, selector: selectors.BaseSelector) -> None:
        self._port, self._selector = port, selector
        self._received = b""
        self._request_id = b""
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=_DRAIN_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(self._socket, selectors.EVENT_READ, self)

    def ask(self, request_id: bytes, payload: bytes) -> None:
        """Send a request; one is smaller than any socket buffer, so this does not wait."""
        self._request_id, self._received = request_id, b""
        self._socket.sendall(request(request_id, payload))

    def take(self) -> tuple[bytes, bytes] | None:
        """Read what has come; return the id and body of the answer once it is whole."""
        chunk = self._socket.recv(1 << 16)
        self._received += chunk
        answer = parsed(self._received)
        if answer is None:
            if not chunk:
                raise HttpError("the server closed the connection before its answer")
            return None
        status, body, stays = answer
        if not stays:
            self.close()
            self._connect()
        return self._request_id, _checked(status, body, self._request_id)

    def close(self) -> None:
        """Close the connection."""
        self._selector.unregister(self._socket)
        self._socket.close()


def _checked(status: int, body: bytes, request_id: bytes) -> bytes:
    """Return the body, or an error answer in its place where it is not the answer to this request."""
    if status == 200 and b'"%s"' % request_id in body:
        return body
    return b'{"error": "status %d, or the answer to another request"}' % status


class ClosedLoop:
    """As many lanes as outstanding requests, each asking anew once it is answered."""

    def __init__(self, port: int, window: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._ledger = Ledger()
        self._payloads = payloads()
        self._lanes = [Lane(port, self._selector) for _ in range(window)]

    def run(self, warmup_s: float, seconds: float) -> Measured:
        """Keep all lanes busy for ``warmup_s`` unmeasured and ``seconds`` measured seconds."""
        for lane in self._lanes:
            self._ask(lane)
        self._exchange(warmup_s)
        self._ledger.begin()
        self._exchange(seconds)
        wall_s, cpu_s, latencies_ns = self._ledger.end()
        self._drain()
        return self._ledger.close(len(self._lanes), wall_s, cpu_s, latencies_ns)

    def _ask(self, lane: Lane) -> None:
        lane.ask(self._ledger.issue(time.perf_counter_ns()), next(self._payloads))

    def _exchange(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for lane in self._answered():
                self._ask(lane)

    def _drain(self) -> None:
        deadline = time.monotonic() + _DRAIN_S
        while self._ledger.outstanding and time.monotonic() < deadline:
            self._answered()
        for lane in self._lanes:
            lane.close()

    def _answered(self) -> list[Lane]:
        """Enter what has come, and return the lanes that are free again."""
        free = []
        for key, _ in self._selector.select(0.25):
            lane: Lane = key.data
            if (answer := lane.take()) is not None:
                self._ledger.settle(*answer, time.perf_counter_ns())
                free.append(lane)
        return free


def main() -> int:
    """Run once against the server, and print what was measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.http_load", description="HTTP load generator")
    parser.add_argument("--port", type=int, required=True, help="the server's port on 127.0.0.1")
    parser.add_argument("--window", type=int, default=64, help="requests outstanding (default 64)")
    parser.add_argument("--warmup", type=float, default=1.0, metavar="S", help="unmeasured seconds before")
    parser.add_argument("--seconds", type=float, default=5.0, help="measured seconds")
    options = parser.parse_args()
    measured = ClosedLoop(options.port, options.window).run(options.warmup, options.seconds)
    print(msgspec.json.encode(measured).decode())
    return 0 if measured.exact else 1


if __name__ == "__main__":
    sys.exit(main())
