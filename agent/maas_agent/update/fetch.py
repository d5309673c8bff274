"""Bytes from ``http://``, ``https://`` and ``file://`` URLs, for metadata and blobs alike.

Proxies come from the environment, as for every Unix program. Time-outs here are for one read; the deadline for
the whole is `maas_agent.update.deadline`. Lengths are bounded by the caller, who knows what was signed.
"""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass, url2pathname

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient.fetcher import FetcherInterface

from maas_agent.errors import PullError

_CHUNK = 1 << 16
_TIMEOUT = urllib3.Timeout(connect=15, read=30)
_RETRY = urllib3.Retry(total=3, connect=1, read=1, redirect=3, status=0, backoff_factor=0.2)
# identity: a digest and a length are of the bytes that were signed, and a compressed answer could be a bomb.
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "maas-agent"}


class Fetcher(FetcherInterface):
    """What TUF's client downloads with. It remembers the newest metadata it saw, to explain a refusal."""

    def __init__(self) -> None:
        self.seen: dict[str, bytes] = {}
        self._pools: dict[str | None, urllib3.PoolManager] = {}

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """A small file, at most ``max_length`` bytes; kept in ``seen`` under its role."""
        data = super().download_bytes(url, max_length)
        self.seen[_role(url)] = data
        return data

    def chunks(self, url: str) -> Iterator[bytes]:
        """The bytes behind ``url`` as they arrive; raises `PullError` with a sentence, and nothing else."""
        try:
            yield from self.fetch(url)
        except DownloadError as error:
            raise PullError(f"cannot fetch {url}: {reason_of(error)}") from None

    def _fetch(self, url: str) -> Iterator[bytes]:
        if urlsplit(url).scheme == "file":
            return _file_chunks(url)
        response = self._pool(url).request(
            "GET", url, headers=_HEADERS, preload_content=False, timeout=_TIMEOUT, retries=_RETRY
        )
        if response.status != 200:
            _dismiss(response)
            raise DownloadHTTPError(f"the server answers {response.status}", response.status)
        return _body_chunks(response)

    def _pool(self, url: str) -> urllib3.PoolManager:
        proxy = _proxy(url)
        if proxy not in self._pools:
            self._pools[proxy] = urllib3.ProxyManager(proxy) if proxy else urllib3.PoolManager()
        return self._pools[proxy]


def reason_of(error: BaseException) -> str:
    """The innermost cause in a few words: ``Connection refused`` rather than four wrapped exceptions."""
    cause = error
    while (deeper := _wrapped(cause)) is not None:
        cause = deeper
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
        yield from response.stream(_CHUNK, decode_content=False)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise DownloadError(reason_of(error)) from error
    finally:
        # A body that was not read to its end must not be taken for the next answer on this connection.
        response.close()


def _file_chunks(url: str) -> Iterator[bytes]:
    path = Path(url2pathname(urlsplit(url).path))
    if not path.is_file():
        raise DownloadHTTPError(f"there is no file {path}", 404)
    return _read_chunks(path)


def _read_chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise DownloadError(f"{path}: {error.strerror}") from error


def _proxy(url: str) -> str | None:
    parts = urlsplit(url)
    if parts.hostname is None or proxy_bypass(parts.hostname):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def _role(url: str) -> str:
    # "…/7.snapshot.json" and "…/timestamp.json"
    return urlsplit(url).path.rsplit("/", 1)[-1].removesuffix(".json").rpartition(".")[2]
