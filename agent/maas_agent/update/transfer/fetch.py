"""Fetches bytes from ``http://``, ``https://`` and ``file://`` URLs, for metadata and blobs alike.

Proxies come from the environment, as for every Unix program. Time-outs here are for one read; the deadline for
the whole is `maas_agent.update.transfer.deadline`. Lengths are bounded by the caller, who knows what was signed. What
is secret in the repository's address goes with each request, and into no error.
"""

import base64
import os
import re
import ssl
from collections.abc import Generator, Iterator
from functools import cached_property
from pathlib import Path
from urllib.parse import urljoin, urlsplit
from urllib.request import url2pathname

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError
from tuf.ngclient.fetcher import FetcherInterface

from maas_agent.errors import PullError
from maas_agent.host.secret_files import read_secret
from maas_agent.network.addresses import HIDDEN, shown, split_query
from maas_agent.network.tls import Identity, Peer, client_context, distrusted
from maas_agent.update.protocol import RepositoryAccess
from maas_agent.update.transfer.pages import is_page, title_of
from maas_agent.update.transfer.partial_download import Body
from maas_agent.update.transfer.proxies import Proxy, UnusableProxyError, proxy_for

_CHUNK = 1 << 16
_PORTS = {"http": 80, "https": 443}
_TIMEOUT = urllib3.Timeout(connect=15, read=30)
_RETRY = urllib3.Retry(total=3, connect=1, read=1, redirect=3, status=0, backoff_factor=0.2)
# identity: a digest and a length are of the bytes that were signed, and a compressed answer could be a bomb.
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "maas-agent"}
_NO_ACCESS = RepositoryAccess(url="", root="")
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-\d+/(?:\d+|\*)", re.IGNORECASE)  # RFC 9110 14.4


class Fetcher(FetcherInterface):
    """Downloads for TUF's client. It remembers the newest metadata it saw, to explain a refusal.

    ``access`` says what every request carries, and whom to trust. Raises `ConfigError` if a file of it cannot be used.
    """

    def __init__(self, access: RepositoryAccess = _NO_ACCESS) -> None:
        self.seen: dict[str, bytes] = {}
        self._access = access
        self._query = split_query(access.url)[1]
        self._headers = _HEADERS | _authorization(access)
        self._pools: dict[str | None, urllib3.PoolManager] = {}
        if access.ca is not None:
            _ = self._context  # a file that cannot be used is told before anything is tried

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return client_context(Identity(ca=self._access.ca), lambda field: f"repository.{field}")

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
            raise self._failed(url, error) from None
        return Body(start, self._as_pull_errors(url, chunks))

    def date(self, url: str) -> tuple[str | None, str | None]:
        """The headers ``Date`` and ``Age`` that come with a file that is there; raises `PullError`."""
        try:
            if urlsplit(url).scheme == "file":
                _file(url, 0)
                return None, None
            response = self._answered(url, self._answer(url, {}), 200)
            headers = response.headers.get("Date"), response.headers.get("Age")
            chunks = self._chunks(url, response)
            next(chunks, None)
            chunks.close()
        except (DownloadError, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise self._failed(url, error) from None
        return headers

    def reason_of(self, error: BaseException) -> str:
        """Why a download failed, with the proxy or the portal that is to blame, and what to do."""
        where = _elsewhere(error, self._access.url)
        return self._without_secrets(where + reason_of(error, self._access))

    def _fetch(self, url: str) -> Iterator[bytes]:
        return (_file(url, 0) if urlsplit(url).scheme == "file" else self._http(url, 0))[1]

    def _http(self, url: str, start: int) -> tuple[int, Iterator[bytes]]:
        response = self._answer(url, {"Range": f"bytes={start}-"} if start else {})
        if start and response.status in (206, 416) and _first_byte(response) != start:
            # A range other than the one that was asked for, or none that the server has: then all of it.
            _dismiss(response)
            start, response = 0, self._answer(url, {})
        if start and response.status == 200:  # RFC 9110 14.2: a server may ignore the range
            start = 0
        return start, self._chunks(url, self._answered(url, response, 206 if start else 200))

    def _answered(self, url: str, response: urllib3.BaseHTTPResponse, expected: int) -> urllib3.BaseHTTPResponse:
        """The response, if it has the status that was expected; raises ``DownloadHTTPError``."""
        if response.status == expected:
            return response
        reason = self._refused(url, response)
        _dismiss(response)
        raise DownloadHTTPError(reason, response.status)

    def _refused(self, url: str, response: urllib3.BaseHTTPResponse) -> str:
        status, proxy = response.status, _proxy(url)
        said = f"the server answers {status}{self._moved(url, response)}"
        if status == 407:
            return _wants_a_name(proxy)
        if status == 511:  # RFC 6585 6
            return f"{said}: the network wants a login first (captive portal)"
        if status == 401 and self._access.username is None:
            return f"{said}: it wants a name and a password: set repository.username and repository.password_file"
        if status in (401, 403) and self._access.username is not None:
            mend = "repository.username and what is in repository.password_file must be what the server knows"
            return f"{said} to {self._access.username!r}: {mend}"
        if status in (401, 403) and self._query:
            return f"{said}: what stands behind the ? of repository.url must be what the server knows"
        if proxy is not None and status != 404:
            return f"{said}; it, or the proxy {proxy} does not let this device through"
        return said

    def _moved(self, url: str, response: urllib3.BaseHTTPResponse) -> str:
        """Where the answer comes from, if the server led there."""
        led = url
        for step in response.retries.history if response.retries else ():
            led = urljoin(led, step.redirect_location or "")
        return "" if led == url else f", from {shown(led)}, where it leads to,"

    def _answer(self, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        asked = f"{url}?{self._query}" if self._query else url
        return self._pool(url).request(
            "GET", asked, headers=self._headers | headers, preload_content=False, timeout=_TIMEOUT, retries=_RETRY
        )

    def _pool(self, url: str) -> urllib3.PoolManager:
        proxy = _proxy(url)
        key = proxy.url if proxy else None
        if key not in self._pools:
            self._pools[key] = self._manager(proxy)
        return self._pools[key]

    def _manager(self, proxy: Proxy | None) -> urllib3.PoolManager:
        if proxy is None:
            return urllib3.PoolManager(ssl_context=self._context)
        headers = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
        # A proxy that is asked over TLS is known by the system's authorities: repository.ca is the repository's.
        own = client_context(Identity(), lambda field: field) if proxy.url.startswith("https") else None
        return urllib3.ProxyManager(proxy.url, proxy_headers=headers, ssl_context=self._context, proxy_ssl_context=own)

    def _chunks(self, url: str, response: urllib3.BaseHTTPResponse) -> Generator[bytes, None, None]:
        is_first = True
        try:
            # read1, not stream: what a slow line brings is taken as it comes: a deadline or a cut costs none of it.
            while chunk := response.read1(_CHUNK, decode_content=False):
                if is_first and response.status == 200:
                    self._refuse_page(url, response, chunk)
                is_first = False
                yield chunk
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise DownloadError(self.reason_of(error)) from error
        finally:
            # A body that was not read to its end must not be taken for the next answer on this connection.
            response.close()

    def _refuse_page(self, url: str, response: urllib3.BaseHTTPResponse, chunk: bytes) -> None:
        """A page is no file of a repository, whatever its status: nobody shall look for the fault in the metadata."""
        kind = response.headers.get("Content-Type", "")
        if not is_page(chunk, kind, of_json=urlsplit(url).path.endswith(".json")):
            return
        proxy = _proxy(url)
        who = f"the proxy {proxy} or a captive portal" if proxy else "a captive portal or a proxy on the way"
        raise DownloadError(
            f"a web page{title_of(chunk)} came instead of {url.rpartition('/')[2]}{self._moved(url, response)}: "
            f"{who} (the login page of a network) answers in the repository's place, or the server has a page for "
            f"every address. Log this device in to its network, then look: curl -i {url}"
        )

    def _as_pull_errors(self, url: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from chunks
        except DownloadError as error:
            raise self._failed(url, error) from None

    def _failed(self, url: str, error: Exception) -> PullError:
        return PullError(f"cannot fetch {url}: {self.reason_of(error)}")

    def _without_secrets(self, text: str) -> str:
        return text.replace(self._query, HIDDEN) if self._query else text


def _authorization(access: RepositoryAccess) -> dict[str, str]:
    """RFC 7617, in UTF-8."""
    if access.username is None:
        return {}
    secret = read_secret(access.password_file, "repository.password_file") if access.password_file else ""
    credentials = base64.b64encode(f"{access.username}:{secret}".encode()).decode()
    return {"Authorization": f"Basic {credentials}"}


def reason_of(error: BaseException, access: RepositoryAccess = _NO_ACCESS) -> str:
    """The innermost cause in a few words: ``Connection refused`` rather than four wrapped exceptions."""
    cause, through = error, ""
    while (deeper := _wrapped(cause)) is not None:
        if isinstance(deeper, urllib3.exceptions.ProxyError):
            through = _through(access.url)
        cause = deeper
    if through and "407" in str(cause):
        return _wants_a_name(_proxy(access.url))
    if isinstance(cause, ssl.SSLCertVerificationError) and not through:
        return _distrusted(cause, error, access)
    return through + _in_words(cause)


def _through(url: str) -> str:
    return f"the proxy {_proxy(url) or 'that the environment names'} does not work: "


def _wants_a_name(proxy: Proxy | None) -> str:
    where = f"the proxy {proxy}" if proxy else "a proxy on the way"
    variable = proxy.variable if proxy else "http_proxy"
    if proxy is not None and proxy.authorization is not None:
        return f"{where} does not take the name and password in it (407): {variable}=http://USER:PASSWORD@HOST:PORT"
    return f"{where} wants a name and a password (407): {variable}=http://USER:PASSWORD@HOST:PORT"


def _distrusted(cause: ssl.SSLCertVerificationError, error: BaseException, access: RepositoryAccess) -> str:
    """The certificate of the server, or of who answers in its place."""
    host, port = _pool_of(error) or (urlsplit(access.url).hostname or "the server", 443)
    proxy = _proxy(access.url)
    options = f" -proxy {urlsplit(proxy.url).netloc}" if proxy else ""
    there = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    peer = Peer(there=there, name=host, ca=access.ca, ca_key="repository.ca", url_key="repository.url", options=options)
    reason, mend = distrusted(cause, peer)
    return f"{reason} (a captive portal or a proxy that opens TLS would look so too): {mend}"


def _pool_of(error: BaseException) -> tuple[str, int] | None:
    """Host and port of the connection that failed."""
    cause: BaseException | None = error
    while cause is not None:
        pool = getattr(cause, "pool", None)
        if isinstance(pool, urllib3.HTTPConnectionPool):
            return str(pool.host).strip("[]"), pool.port or _PORTS[pool.scheme or "http"]
        cause = _wrapped(cause)
    return None


def _elsewhere(error: BaseException, url: str) -> str:
    """Where it failed, if the server had led to another host: a captive portal does."""
    found = _pool_of(error)
    if found is None or not url:
        return ""
    own, proxy = urlsplit(url), _proxy(url)
    through = urlsplit(proxy.url) if proxy else own
    if found in ((own.hostname, own.port or _PORTS[own.scheme]), (through.hostname, through.port)):
        return ""
    perhaps = "" if found[0] == own.hostname else " (a captive portal?)"
    return f"it leads to {found[0]}:{found[1]}{perhaps}, and there: "


def _in_words(cause: BaseException) -> str:
    if isinstance(cause, TimeoutError | urllib3.exceptions.TimeoutError):
        return "the server did not answer in time"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    if isinstance(cause, DownloadError):  # said here, or by TUF
        return str(cause)
    return shown(str(cause)) or type(cause).__name__


def _wrapped(error: BaseException) -> BaseException | None:
    if isinstance(error, urllib3.exceptions.SSLError) and error.args and isinstance(error.args[0], ssl.SSLError):
        return error.args[0]
    reason = getattr(error, "reason", None)
    return reason if isinstance(reason, BaseException) else error.__cause__


def _dismiss(response: urllib3.BaseHTTPResponse) -> None:
    # Every poll asks for a next root that is not there: with a short answer the connection serves on.
    if response.length_remaining is not None and response.length_remaining <= _CHUNK:
        response.drain_conn()
    else:
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


def _proxy(url: str) -> Proxy | None:
    """The proxy for ``url``; raises ``DownloadError``."""
    try:
        return proxy_for(url, os.environ)
    except UnusableProxyError as error:
        raise DownloadError(str(error)) from None


def _role(url: str) -> str:
    # "…/7.snapshot.json" and "…/timestamp.json"
    return urlsplit(url).path.rsplit("/", 1)[-1].removesuffix(".json").rpartition(".")[2]
