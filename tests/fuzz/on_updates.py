"""What comes from a repository or a stick on the way to a bundle: answers, metadata, parts, marks, the root file."""

import io
import json
import socket
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec
import urllib3
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # these packages have no __all__
from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.api.metadata import (  # type: ignore[attr-defined]
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.ngclient.fetcher import FetcherInterface
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from maas_agent.bundle.manifest import digest_of
from maas_agent.errors import ConfigError, DataError, PullError, VerifyError
from maas_agent.update.choose import Offer, choose, why_nothing
from maas_agent.update.protocol import Outcome, Wanted, line_of
from maas_agent.update.repository import high_water_marks as rules
from maas_agent.update.repository.catalogue import catalogue
from maas_agent.update.repository.file_signature import OfflineTrust
from maas_agent.update.repository.high_water_marks import HighWaterMark, HighWaterMarks, Signed
from maas_agent.update.repository.trusted_state import TrustedState
from maas_agent.update.repository.tuf_client import TufClient, sound
from maas_agent.update.store.blob_store import BlobStore
from maas_agent.update.transfer.fetch import Fetcher
from maas_agent.update.transfer.partial_download import Body, PartialDownload
from tests.fuzz.registry import check_sentence, pieces, scratch, target

# ----------------------------------------------------------------- HTTP


class _Line(socket.socket):
    """A server's bytes, without a server."""

    def __init__(self, said: bytes) -> None:
        super().__init__(socket.AF_UNIX)
        self._said = io.BytesIO(said)

    def makefile(self, *_: Any, **__: Any) -> Any:
        return self._said

    def sendall(self, *_: Any) -> None:
        pass

    send = sendall  # type: ignore[assignment]


_answers: list[bytes] = []


class _Connection(HTTPConnection):
    def connect(self) -> None:
        self.sock = _Line(_answers.pop(0) if _answers else b"")


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _Web(Fetcher):
    """The fetcher, whose connections end at `_Line`."""

    def _pool(self, url: str) -> urllib3.PoolManager:
        pool = urllib3.PoolManager()
        pool.pool_classes_by_scheme = {"http": _Pool, "https": _Pool}
        return pool


_SPLIT = b"\n====\n"


def _http() -> list[bytes]:
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    part = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-4/5\r\nContent-Length: 3\r\n\r\nllo"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nA: b\r\n\r\n"
    moved = b"HTTP/1.1 302 Found\r\nLocation: http://other/b\r\nContent-Length: 0\r\n\r\n"
    gone = (
        b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */5\r\nContent-Length: 0\r\nRetry-After: 0\r\n\r\n"
    )
    packed = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
    found = [
        ok,
        part,
        chunked,
        packed,
        moved + _SPLIT + ok,
        gone + _SPLIT + ok,
        b"HTTP/1.1 404 Not Found\r\n\r\nno",
        b"HTTP/1.1 100 Continue\r\n\r\n" + ok,
    ]
    return [bytes((start,)) + each for each in found for start in (0, 2)]


_HTTP_WORDS = (
    b"\r\n",
    b"Content-Length: ",
    b"Content-Range: bytes ",
    b"9" * 5000,
    b"-1",
    b"Location: ",
    b"http://[",
    b"file:///etc/passwd",
    b"//",
    b"chunked",
    b"\xff",
    b"HTTP/1.1 ",
    b"206",
    b"416",
    b"303",
    _SPLIT,
    b"Retry-After: 9" + b"9" * 20,
    b"\xb2",
    b": ",
)


@target("update.http", "a web server's answers", _http, PullError, words=_HTTP_WORDS, share=0.3)
def http(data: bytes) -> None:
    _answers[:] = data[1:].split(_SPLIT)
    start = data[0] % 4 if data else 0
    urllib3.Retry.DEFAULT_BACKOFF_MAX = 0
    body = _Web().body("http://server/blob", start)
    assert body.start in (0, start)
    received = 0
    for chunk in body.chunks:
        received += len(chunk)
    assert received <= len(data)


@target(
    "update.part",
    "what arrives of a blob, after what was here already",
    lambda: [b"\0" + b"x" * 40, b"\5" + b"x" * 35],
    PullError,
)
def part(data: bytes) -> None:
    rest, cut = pieces(data)
    wanted = b"x" * 40
    kept = PartialDownload(scratch(), "f" * 64, len(wanted))
    kept.drop()
    held = (data[0] if data else 0) % 50
    kept.path.write_bytes(rest[:held])
    digest = digest_of(wanted)
    kept._digest = digest
    try:
        found = kept.complete(lambda start: Body(start if len(rest) % 2 else 0, iter(cut)))
        assert found.read_bytes() == wanted
    finally:
        assert kept.held <= max(len(wanted), held)


# ----------------------------------------------------------------- TUF metadata

_FAR = datetime(2999, 1, 1, tzinfo=UTC)
_KEYS = [CryptoSigner.generate_ed25519() for _ in range(2)]


@lru_cache(maxsize=1)
def _root() -> Root:
    root = Root(expires=_FAR)
    for role in ("root", "targets", "snapshot", "timestamp"):
        root.add_key(_KEYS[0].public_key, role)
    return root


def _targets(delegates: bool = True) -> Targets:
    files = {}
    for version in ("1.0.0", "1.1.0"):
        data = version.encode()
        path = f"digits/{version}/manifest.json"
        files[path] = TargetFile(len(data), {"sha256": digest_of(data)}, path)
    files["digits/1.1.0/delivery.json"] = TargetFile(3, {"sha256": "b" * 64}, "digits/1.1.0/delivery.json")
    said = {"channels": {"digits": {"stable": "1.1.0"}}, "revoked": {"digits": {"1.0.0": "it was wrong"}}}
    signed = Targets(expires=_FAR, targets=files, unrecognized_fields=said)
    if delegates:
        team = DelegatedRole("team", [_KEYS[1].public_key.keyid], 1, False, paths=["faces/*/*", "digits/*/*"])
        signed.delegations = Delegations({_KEYS[1].public_key.keyid: _KEYS[1].public_key}, {"team": team})
    return signed


def _signed(signed: Any, at: int = 0) -> bytes:
    metadata = Metadata(signed)
    metadata.sign(_KEYS[at])
    return bytes(metadata.to_bytes())


def _parsed(data: bytes, kind: Any) -> Any:
    """The signed part; raises ``RepositoryError``."""
    metadata = Metadata[Any].from_bytes(data)
    assert metadata.signed_bytes  # what cannot be verified goes no further
    signed = metadata.signed
    if not isinstance(signed, kind):
        raise RepositoryError("another kind")
    return signed


@target(
    "update.catalogue",
    "targets metadata: what is offered, on which channel, and what is revoked",
    lambda: [_signed(_targets()), _signed(_targets(False))],
    VerifyError,
    RepositoryError,
    PullError,
    form="json",
    share=0.6,
)
def offered(data: bytes) -> None:
    signed = sound(_parsed(data, Targets))
    found = catalogue({"targets": signed, "team": _targets(False)})
    if signed.version % 2:
        found = catalogue({"targets": _targets(), "team": signed})
    for exact in (None, "1.0.0"):
        wanted = Wanted(pipeline="p", model="digits", active_version="1.0.0", exact=exact)
        choose(found, wanted)
        reason = why_nothing(found, wanted)
        line_of(
            Outcome(
                pipeline="p", result="current", state="active", reason=reason, revoked=dict(found.revoked_of("digits"))
            )
        )


@target(
    "update.trust",
    "the root file, and the metadata that the device kept, by which a stick's bundle is judged",
    lambda: [_signed(_root()), _signed(_targets()), _signed(_targets(False), 1)],
    ConfigError,
    VerifyError,
    form="json",
    share=0.2,
)
def trusted(data: bytes) -> None:
    store = scratch() / "trust"
    (store / "tuf" / "root_history").mkdir(parents=True, exist_ok=True)
    (store / "updates" / "marks.json").unlink(missing_ok=True)
    root, targets, team = _signed(_root()), _signed(_targets()), _signed(_targets(False), 1)
    try:
        signed = _parsed(data, object)
    except RepositoryError:
        signed = None
    # What is signed is what makes sense or not: a thief of keys signs anything.
    if isinstance(signed, Root):
        root = _signed(signed)
    elif isinstance(signed, Targets) and signed.delegations is not None:
        targets = _signed(signed)
    elif isinstance(signed, Targets):
        team = _signed(signed, 1)
    else:
        root = data
    (store / "tuf" / "root_history" / "2.root.json").write_bytes(data)
    (store / "tuf" / "targets.json").write_bytes(targets)
    (store / "tuf" / "team.json").write_bytes(team)
    known = OfflineTrust(root, store, check_sentence)
    known.verify(Offer("digits", "1.1.0", "a" * 64, 1), b"manifest", _envelope())


@lru_cache(maxsize=1)
def _envelope() -> bytes:
    return json.dumps({"signatures": [{"keyid": _KEYS[0].public_key.keyid, "sig": "00" * 64}]}).encode()


@target("update.signature", "signature.json, verified", lambda: [_envelope()], VerifyError, form="json", share=0.3)
def signature(data: bytes) -> None:
    known = _trusted()
    known.verify(Offer("digits", "1.1.0", "a" * 64, 1), b"manifest", data)
    raise AssertionError("a signature that nobody made")


@lru_cache(maxsize=1)
def _trusted() -> OfflineTrust:
    store = scratch() / "signature"
    store.mkdir()
    return OfflineTrust(_signed(_root()), store)


class _Served(FetcherInterface):
    """A repository in memory."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files

    def _fetch(self, url: str) -> Any:
        from tuf.api.exceptions import DownloadHTTPError

        name = url.rsplit("/", 1)[-1]
        if name not in self._files:
            raise DownloadHTTPError("no", 404)
        return iter([self._files[name]])


def _metadata() -> list[bytes]:
    snapshot = Snapshot(expires=_FAR, meta={"targets.json": MetaFile(1), "team.json": MetaFile(1)})
    timestamp = Timestamp(expires=_FAR, snapshot_meta=MetaFile(1))
    timestamp.unrecognized_fields["signed_at"] = "2026-01-31T12:00:00Z"
    return [_signed(timestamp), _signed(snapshot), _signed(_targets()), _signed(_targets(False), 1), _signed(_root())]


@target(
    "update.client",
    "a repository's metadata, signed by its keys, and what follows from it",
    _metadata,
    RepositoryError,
    DownloadError,
    VerifyError,
    PullError,
    form="json",
    share=0.1,
)
def client(data: bytes) -> None:
    timestamp, snapshot, targets, team, root = _metadata_kept()
    files = {"timestamp.json": timestamp, "1.snapshot.json": snapshot, "1.targets.json": targets, "1.team.json": team}
    signed = _parsed(data, object)
    by = {
        "timestamp": "timestamp.json",
        "snapshot": "1.snapshot.json",
        "targets": "1.targets.json",
        "root": "2.root.json",
    }
    name = by.get(signed.type, "timestamp.json")
    files[name] = _signed(signed)
    if isinstance(signed, Targets) and signed.delegations is None:
        files["1.targets.json"], files["1.team.json"] = targets, _signed(signed, 1)
    folder = scratch() / "client"
    for path in folder.rglob("*.json"):
        path.unlink()
    (scratch() / "updates" / "marks.json").unlink(missing_ok=True)
    standing = TrustedState(scratch(), "0" * 64, check_sentence)
    updater = TufClient(folder, "http://server/", _Served(files), root, standing.time)
    updater.refresh()
    roles = updater.roles_for("digits")
    standing.admit(updater, roles)
    standing.save()
    catalogue(roles, "digits")


@lru_cache(maxsize=1)
def _metadata_kept() -> list[bytes]:
    return _metadata()


def _marks() -> bytes:
    signed = Signed(datetime(2026, 1, 31, tzinfo=UTC), ("k",))
    return msgspec.json.encode(HighWaterMarks("a" * 64, 3, signed, {"targets": HighWaterMark(4, ("k",))}))


@target("update.marks", "marks.json, as a power cut or a hand left it", lambda: [_marks()], VerifyError, form="json")
def marks(data: bytes) -> None:
    store = scratch() / "marks"
    (store / "updates").mkdir(parents=True, exist_ok=True)
    (store / "updates" / "marks.json").write_bytes(data)
    known = rules.load(store, "a" * 64, check_sentence)
    rules.trusted_time(datetime.now(UTC), known)
    seen = {"targets": HighWaterMark(5, ("k",))}
    rules.save(store, rules.raised(known, 3, Signed(_FAR - timedelta(days=1), ("k",)), seen))
    rules.load(store, "a" * 64, check_sentence)


@target(
    "update.signed_at",
    "the time of signing in a timestamp",
    lambda: [b"2026-01-31T12:00:00Z", b"2026-01-31", b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59"],
    VerifyError,
    words=(b"Z", b"+", b"T", b"9999", b"W01", b"24:00", b".123456789"),
    share=0.3,
)
def signed_at(data: bytes) -> None:
    at = rules.signed_time(data.decode("utf-8", "replace"), _FAR)
    known = rules.raised(HighWaterMarks("a"), 1, Signed(at, ("k",)) if at else None, {})
    rules.trusted_time(datetime.now(UTC), known)
    msgspec.json.encode(known)


@target(
    "update.pulling",
    "pulling.json and a manifest in the store, as a power cut left them",
    lambda: [json.dumps(["a" * 64]).encode()],
    PullError,
    DataError,
    form="json",
    share=0.3,
)
def pulling(data: bytes) -> None:
    folder = scratch() / "pulling"
    (folder / "blobs").mkdir(parents=True, exist_ok=True)
    (folder / "updates").mkdir(exist_ok=True)
    (folder / "updates" / "pulling.json").write_bytes(data)
    store = BlobStore(folder)
    store.collect_garbage(set(), None)
    store.set_pulling(store.pulling())
