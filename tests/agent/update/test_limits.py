"""Servers that are slow, endless or lead in circles: everything is bounded, in time and in bytes."""

import time
from pathlib import Path

import pytest

from tests.agent.update.device import Device
from tests.agent.update.publisher import Publisher
from tests.agent.update.site import Answer, Handler, Site, answering, dripping, ranged, silent

TIMEOUT_S = 0.7
SLACK_S = 15.0
"""For a process to start and end on a busy machine: less than the device's own timeout and the server's patience."""


SLOW: dict[str, Answer] = {
    "status line": dripping(b"HTTP/1.1 200 "),
    "header": dripping(b"HTTP/1.1 200 OK\r\nX-Slow: "),
    "headers": dripping(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "interim answers": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "chunk size": dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
    "body": dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"),
    "answer to an error": dripping(b"HTTP/1.1 404 Not Found\r\nContent-Length: 5000\r\n\r\n"),
    "silence": silent,
}


@pytest.fixture
def offered(publisher: Publisher) -> Publisher:
    publisher.publish("1.0.0", classes=400)
    publisher.release()
    return publisher


@pytest.mark.parametrize("part", SLOW)
@pytest.mark.parametrize("path", ["2.root.json", "timestamp.json", "manifest.json", "/blobs/"])
def test_a_server_that_drips_ends_at_the_deadline(
    its_device: Device, its_site: Site, offered: Publisher, path: str, part: str
) -> None:
    """In whichever part of the answer, for whichever file: the total counts, from the first byte asked to the last."""
    its_site.answers[path] = SLOW[part]
    its_device.timeout_s = TIMEOUT_S
    began = time.monotonic()
    outcome = its_device.update()
    assert time.monotonic() - began < TIMEOUT_S + SLACK_S
    assert (outcome.result, outcome.set_aside) == ("failed", False)
    # Too many headers, or an error that nobody waits for, may end it before.
    bounded = {"headers", "answer to an error"}
    assert part in bounded or f"did not end within {TIMEOUT_S:g} s" in str(outcome.reason)


def test_a_slow_line_gets_a_bundle_through_in_the_end(its_device: Device, its_site: Site, offered: Publisher) -> None:
    """Every poll ends at its deadline, and the next one goes on: what came is never lost."""
    largest = max((offered.folder / "blobs").iterdir(), key=lambda path: path.stat().st_size)

    def slowly(handler: Handler) -> None:
        data = Path(handler.translate_path(handler.path)).read_bytes()
        start = int((handler.headers["Range"] or "bytes=0-")[6:-1])
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        for at in range(start, len(data), 2000):
            handler.wfile.write(data[at : at + 2000])
            if handler.server.closing.wait(0.05):
                return

    its_site.answers[largest.name] = slowly
    its_device.timeout_s = 1.0
    polls = 1
    while (outcome := its_device.update()).result == "failed":
        polls += 1
        assert "did not end within 1 s" in str(outcome.reason)
        assert polls < 12
    assert outcome.result == "tested" and polls > 2


@pytest.mark.parametrize("path", ["2.root.json", "timestamp.json", "snapshot.json", "targets.json", "manifest.json"])
def test_endless_metadata_ends_at_its_bound(its_device: Device, its_site: Site, offered: Publisher, path: str) -> None:
    """Long before the deadline, and before it fills anything."""

    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not handler.server.closing.is_set():
            handler.wfile.write(b"{" * (1 << 16))

    its_site.answers[path] = endless
    outcome = its_device.update()
    assert (outcome.result, outcome.set_aside) == ("failed", False)
    assert "exceeding the maximum allowed length" in str(outcome.reason) or "is longer than the" in str(outcome.reason)


def test_endless_headers_end(its_device: Device, its_site: Site, offered: Publisher) -> None:
    """They count for no body's length."""

    def headers(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not handler.server.closing.is_set():
            handler.wfile.write(b"X-Endless: " + b"y" * 60_000 + b"\r\n")

    its_site.answers["timestamp.json"] = headers
    outcome = its_device.update()
    assert str(outcome.reason).startswith(f"cannot fetch metadata from {its_device.url}: ")
    assert "unexpected" not in str(outcome.reason)


@pytest.mark.parametrize("path", ["timestamp.json", "/blobs/"])
def test_redirects_that_lead_in_circles_end(its_device: Device, its_site: Site, offered: Publisher, path: str) -> None:
    """Three are followed: a content network may need one or two."""
    its_site.answers[path] = lambda handler: answering(302, b"", Location=handler.path)(handler)
    outcome = its_device.update()
    assert outcome.result == "failed" and "too many redirects" in str(outcome.reason)
    assert sum(path in asked for asked in its_site.requests) == 4


def test_a_redirect_to_another_server_is_followed(its_device: Device, its_site: Site, offered: Publisher) -> None:
    """Blobs may lie elsewhere: it is their digests that are trusted, with ranges and all."""
    its_site.answers["/elsewhere/blobs/"] = lambda handler: moved_back(handler)
    its_site.answers["/blobs/"] = lambda handler: answering(
        302, b"", Location=f"http://localhost:{handler.server.server_port}/elsewhere{handler.path}"
    )(handler)

    def moved_back(handler: Handler) -> None:
        handler.path = handler.path.removeprefix("/elsewhere")
        ranged(handler)

    assert its_device.update().result == "tested"


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x", "http://", "/\x00"])
def test_a_redirect_to_another_kind_of_address_is_a_sentence(
    its_device: Device, its_site: Site, offered: Publisher, target: str
) -> None:
    """A server cannot make the device read its own files."""
    its_site.answers["/blobs/"] = lambda handler: answering(302, b"", Location=target)(handler)
    outcome = its_device.update()
    assert (outcome.result, outcome.set_aside) == ("failed", False)
    assert str(outcome.reason).startswith(f"cannot fetch {its_device.url}/blobs/")
