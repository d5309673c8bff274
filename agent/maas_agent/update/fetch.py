"""Bytes from ``http://``, ``https://`` and ``file://`` URLs, for metadata and blobs alike.

Proxies come from the environment, as for every Unix program. Time-outs here are for one read; the deadline for
the whole is `maas_agent.update.deadline`. Lengths are bounded by the caller, who knows what was signed.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass, url2pathname

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError
from tuf.ngclient.fetcher import FetcherInterface

from maas_agent.errors import PullError
from maas_agent.update.parts import Body

_CHUNK = 1 << 16
_TIMEOUT = urllib3.Timeout(connect=15, read=30)
_RETRY = urllib3.Retry(total=3, connect=1, read=1, redirect=3, status=0, backoff_factor=0.2)
# identity: a digest and a length are of the bytes that were signed, and a compressed answer could be a bomb.
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "maas-agent"}
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-\d+/(?:\d+|\*)", re.IGNORECASE)  # RFC 9110 14.4


class Fetcher(FetcherInterface):
    """What TUF's client downloads with. It remembers the newest metadata it saw, to explain a refusal."""

    def __init__(self) -> None:
        self.seen: dict[str, bytes] = {}
        self._pools: dict[str | None, urllib3.PoolManager] = {}

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """A small file, at most ``max_length`` bytes; kept in ``seen`` under its role.

        In memory: TUF's own way takes a temporary file, and a device may have no folder for one but its store.
        """
        data = bytearray()
        for chunk in self.fetch(url):
            data += chunk
            if len(data) > max_length:
                raise DownloadLengthMismatchError(
                    f"{len(data)} bytes exceeding the maximum allowed length of {max_length}"
                )
        self.seen[_role(url)] = bytes(data)
        return bytes(data)

    def body(self, url: str, start: int = 0) -> Body:
        """What is behind ``url``, from byte ``start`` on if the server can do that, else from its beginning.

        Raises `PullError` with a sentence, and nothing else; so do the chunks as they are read.
        """
        try:
            start, chunks = _file(url, start) if urlsplit(url).scheme == "file" else self._http(url, start)
        except (DownloadError, urllib3.exceptions.HTTPError, OSError) as error:
            raise _failed(url, error) from None
        return Body(start, _as_pull_errors(url, chunks))

    def _fetch(self, url: str) -> Iterator[bytes]:
        return (_file(url, 0) if urlsplit(url).scheme == "file" else self._http(url, 0))[1]

    def _http(self, url: str, start: int) -> tuple[int, Iterator[bytes]]:
        response = self._answer(url, {"Range": f"bytes={start}-"} if start else {})
        if start and response.status in (206, 416) and _first_byte(response) != start:
            # A range other than the one that was asked for, or none that the server has: then all of it.
            _dismiss(response)
            start, response = 0, self._answer(url, {})
        if response.status != (206 if start else 200):
            if start and response.status == 200:  # RFC 9110 14.2: a server may ignore the range
                return 0, _body_chunks(response)
            _dismiss(response)
            raise DownloadHTTPError(f"the server answers {response.status}", response.status)
        return start, _body_chunks(response)

    def _answer(self, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        return self._pool(url).request(
            "GET", url, headers=_HEADERS | headers, preload_content=False, timeout=_TIMEOUT, retries=_RETRY
        )

    def _pool(self, url: str) -> urllib3.PoolManager:
        proxy = _proxy(url)
        if proxy not in self._pools:
            self._pools[proxy] = urllib3.ProxyManager(proxy) if proxy else urllib3.PoolManager()
        return self._pools[proxy]


def reason_of(error: BaseException) -> str:
    """The innermost cause in a few words: ``Connection refused`` rather than four wrapped exceptions."""
    cause, through = error, ""
    while (deeper := _wrapped(cause)) is not None:
        if isinstance(deeper, urllib3.exceptions.ProxyError):
            through = "the proxy that the environment names does not work: "
        cause = deeper
    return through + _in_words(cause)


def _in_words(cause: BaseException) -> str:
    if isinstance(cause, TimeoutError | urllib3.exceptions.TimeoutError):
        return "the server did not answer in time"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause) or type(cause).__name__


def _wrapped(error: BaseException) -> BaseException | None:
    reason = getattr(error, "reason", None)
    return reason if isinstance(reason, BaseException) else error.__cause__


def _dismiss(response: urllib3.BaseHTTPResponse) -> None:
    # Every poll asks for a next root that is not there: with a short answer the connection serves on.
    if response.length_remaining is not None and response.length_remaining <= _CHUNK:
        response.drain_conn()
    else:
        response.close()


def _body_chunks(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    try:
        # read1, not stream: what a slow line brings is taken as it comes, so that a deadline or a cut costs none of it.
        while chunk := response.read1(_CHUNK, decode_content=False):
            yield chunk
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise DownloadError(reason_of(error)) from error
    finally:
        # A body that was not read to its end must not be taken for the next answer on this connection.
        response.close()


def _first_byte(response: urllib3.BaseHTTPResponse) -> int | None:
    """Where the range begins that was answered; ``None`` if there is none, or several."""
    said = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "")) if response.status == 206 else None
    return int(said[1]) if said else None


def _file(url: str, start: int) -> tuple[int, Iterator[bytes]]:
    path = Path(url2pathname(urlsplit(url).path))
    if not path.is_file():
        raise DownloadHTTPError(f"there is no file {path}", 404)
    return start, _file_chunks(path, start)


def _file_chunks(path: Path, start: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            file.seek(start)
            while chunk := file.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise DownloadError(f"{path}: {error.strerror}") from error


def _as_pull_errors(url: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from chunks
    except DownloadError as error:
        raise _failed(url, error) from None


def _failed(url: str, error: Exception) -> PullError:
    return PullError(f"cannot fetch {url}: {reason_of(error)}")


def _proxy(url: str) -> str | None:
    parts = urlsplit(url)
    if parts.hostname is None or proxy_bypass(parts.hostname):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def _role(url: str) -> str:
    # "…/7.snapshot.json" and "…/timestamp.json"
    return urlsplit(url).path.rsplit("/", 1)[-1].removesuffix(".json").rpartition(".")[2]
