"""A real HTTP proxy on the loopback: it fetches for GET, and relays for CONNECT (RFC 9110 7.3, 9.3.6)."""

import base64
import http.client
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class _Handler(BaseHTTPRequestHandler):
    server: "Proxy"
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append(f"GET {self.path}")
        if not self._may():
            return
        url = urlsplit(self.path)
        connection = http.client.HTTPConnection(*self.server.resolve(str(url.hostname), url.port or 80))
        headers = {name: value for name, value in self.headers.items() if name.lower() != "proxy-connection"}
        connection.request("GET", url.path + (f"?{url.query}" if url.query else ""), headers=headers)
        answer = connection.getresponse()
        data = answer.read()
        self.send_response(answer.status)
        for name in ("Content-Range", "Content-Type"):
            if value := answer.getheader(name):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        connection.close()

    def do_CONNECT(self) -> None:
        self.server.asked.append(f"CONNECT {self.path}")
        if not self._may():
            return
        host, _, port = self.path.rpartition(":")
        with socket.create_connection(self.server.resolve(host, int(port))) as there, suppress(OSError):
            self.send_response(200)
            self.end_headers()
            ends = {self.connection: there, there: self.connection}
            while not self.server.closing.is_set():
                for end in select.select(list(ends), [], [], 0.1)[0]:
                    data = end.recv(1 << 14)
                    if not data:
                        self.close_connection = True
                        return
                    ends[end].sendall(data)

    def _may(self) -> bool:
        """Whether who asks has said the name and the password, if there is one (RFC 9110 11.7.1)."""
        wanted = self.server.credentials
        said = self.headers.get("Proxy-Authorization", "").removeprefix("Basic ")
        if wanted is None or base64.b64decode(said).decode() == wanted:
            return True
        self.send_response(407)
        self.send_header("Proxy-Authenticate", 'Basic realm="plant"')
        self.send_header("Content-Length", "0")
        self.end_headers()
        return False

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


class Proxy(ThreadingHTTPServer):
    """``asked`` are the requests it got; every name leads to the loopback, whatever the network says.

    With ``credentials``, ``name:password``, it serves only who says them.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.credentials: str | None = None
        self.closing = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def resolve(self, _host: str, port: int) -> tuple[str, int]:
        """Where a name really is."""
        return "127.0.0.1", port


@contextmanager
def proxying() -> Iterator[Proxy]:
    """A proxy that runs."""
    proxy = Proxy()
    threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.closing.set()
        proxy.shutdown()
        proxy.server_close()
