"""Whether a repository is whole: judged as a device judges it, and every file that it leads to read."""

import tempfile
import zlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import msgspec
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError, RepositoryError
from tuf.api.metadata import TargetFile, Targets  # type: ignore[attr-defined]
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from maas_agent.bundle.delivery import DeliveredBlob, decode_delivery
from maas_agent.bundle.manifest import decode_manifest, digest_of
from maas_agent.errors import BundleError, MaasError
from maas_converter.publishing.folder import blob_file, locked, stored_at, target_path
from maas_converter.publishing.pending import pending_targets, waiting
from maas_converter.publishing.reading import read_file, read_state
from maas_converter.publishing.state import State, now


class Verified(msgspec.Struct, frozen=True):
    """What was found: ``problems`` are sentences, ``garbage`` are files in the folder that nothing leads to."""

    bundles: int
    blobs: int
    problems: tuple[str, ...]
    garbage: tuple[str, ...]
    removed: bool
    expires: dict[str, datetime] = {}
    pending: str | None = None


def verify(folder: Path, *, clean: bool = False) -> Verified:
    """Read everything; with ``clean`` remove what nothing leads to. Raises `NoInputError` if there is no repository."""
    with locked(folder):
        state = read_state(folder)
        problems = list(_as_a_device(folder, state))
        needed, bundles, found = _followed(folder, state.targets.values())
        problems += found
        awaited, _, lost = _followed(folder, pending_targets(folder))
        problems += [f"waits for signatures: {each}" for each in lost if each not in found]
        reached = needed | awaited | _metadata_of(folder, state)
        garbage = sorted(str(path.relative_to(folder)) for path in _files(folder) if path not in reached)
        if clean and not problems:
            for name in garbage:
                (folder / name).unlink()
        pending = waiting(folder)
        return Verified(
            bundles=bundles,
            blobs=sum(path.parent.name == "blobs" for path in needed),
            problems=tuple(problems),
            garbage=tuple(garbage),
            removed=clean and not problems and bool(garbage),
            expires={name: state.role(name).expires for name in state.names},
            pending=pending.what if pending is not None else None,
        )


class _Files(FetcherInterface):
    """The repository's own files, for TUF's client."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = Path(url2pathname(urlsplit(url).path))
        if not path.is_file():
            raise DownloadHTTPError(f"there is no {path.name}", 404)
        try:
            yield read_file(path)
        except ValueError as error:
            raise DownloadError(f"{path.name}: {error}") from None


def _as_a_device(folder: Path, state: State) -> Iterator[str]:
    """Refresh from the first root on, and load every role: signatures, thresholds, versions, expiry."""
    first = folder / "metadata" / "1.root.json"
    if not first.exists():
        yield "metadata/1.root.json is missing: a device that was given it cannot follow"
        return
    with tempfile.TemporaryDirectory(prefix="maas-verify-") as scratch:
        try:
            url = (folder / "metadata").absolute().as_uri() + "/"
            updater = Updater(scratch, url, fetcher=_Files(), bootstrap=read_file(first))
            updater.refresh()
            for name in state.targets:
                updater.get_targetinfo(f"{_model_of(state, name)}/0/manifest.json")
        except (RepositoryError, DownloadLengthMismatchError) as error:
            yield f"a device refuses the metadata: {error}"
        except DownloadError as error:
            yield f"a device does not find all metadata: {error}"


def _model_of(state: State, name: str) -> str:
    """A model that a role is asked for."""
    delegated = state.delegated(name)
    return (delegated.paths or ["-/"])[0].partition("/")[0] if delegated is not None else "-"


def _followed(folder: Path, roles: Iterable[Targets]) -> tuple[set[Path], int, list[str]]:
    """Every file that targets lead to, how many bundles there are, and what is wrong with them."""
    needed, problems, bundles = set[Path](), list[str](), 0
    for targets in roles:
        problems += _astray(targets)
        for path, target in targets.targets.items():
            file = stored_at(folder, target)
            needed.add(file)
            wrong = _differs(file, target.hashes["sha256"], target.length)
            if wrong:
                problems.append(f"{path}: {wrong}")
            elif path.endswith("/manifest.json"):
                bundles += 1
                try:
                    blobs, found = _blobs(folder, targets, path, file)
                except MaasError as error:
                    problems.append(f"{path}: {error}")
                else:
                    needed |= blobs
                    problems += found
    return needed, bundles, problems


def _blobs(folder: Path, targets: Targets, path: str, file: Path) -> tuple[set[Path], list[str]]:
    """The blobs of a bundle as they are stored. Raises `BundleError` for a manifest or a delivery that is none."""
    manifest = decode_manifest(read_file(file))
    stored = _delivery(folder, targets, path)
    needed, problems = set[Path](), list[str]()
    if path != target_path(manifest.name, manifest.version):
        problems.append(f"{path}: the manifest there is that of {manifest.name} {manifest.version}")
    for digest, size in manifest.blobs().items():
        kept = stored.get(digest)
        name, length = (kept.stored, kept.size) if kept is not None else (digest, size)
        blob = blob_file(folder, name)
        needed.add(blob)
        wrong = _differs(blob, name, length)
        if wrong is None and kept is not None and kept.form == "zlib" and not _expands(blob, digest, size):
            wrong = f"does not expand to {digest[:12]}…, which the manifest names"
        if wrong:
            problems.append(f"{manifest.name} {manifest.version}: blob {name[:12]}… {wrong}")
    return needed, problems


def _delivery(folder: Path, targets: Targets, path: str) -> dict[str, DeliveredBlob]:
    target: TargetFile | None = targets.targets.get(path.replace("/manifest.json", "/delivery.json"))
    if target is None:
        return {}
    try:
        data = read_file(stored_at(folder, target))
    except (OSError, ValueError) as error:
        raise BundleError(f"its delivery cannot be read: {error}") from None
    return dict(decode_delivery(data).blobs)


def _differs(path: Path, digest: str, size: int) -> str | None:
    try:
        length = path.stat().st_size
        if length != size:
            return f"has {length} bytes, signed are {size}"
        data = read_file(path, size)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError as error:
        return f"cannot be read: {error}"
    return None if digest_of(data) == digest else "is damaged: its SHA-256 is not the one that was signed"


def _expands(path: Path, digest: str, size: int) -> bool:
    try:
        # One byte more than the manifest states is enough to see that it is more.
        return digest_of(zlib.decompressobj().decompress(path.read_bytes(), size + 1)) == digest
    except (OSError, zlib.error):
        return False


def _astray(targets: Targets) -> Iterator[str]:
    """Channels that lead to what is not published: a device finds nothing there."""
    for model, channels in targets.unrecognized_fields.get("channels", {}).items():
        for channel, version in channels.items():
            if target_path(model, version) not in targets.targets:
                yield f"{channel} of {model} leads to {version}, which is not published"


def _metadata_of(folder: Path, state: State) -> set[Path]:
    """The metadata that is in use; every root stays, for devices that have been away."""
    metadata = folder / "metadata"
    named = {metadata / "root.json", metadata / "timestamp.json", *metadata.glob("*.root.json")}
    named |= {metadata / f"{state.snapshot.version}.snapshot.json"}
    return named | {metadata / f"{each.version}.{name}.json" for name, each in state.targets.items()}


def _files(folder: Path) -> Iterator[Path]:
    """What lies in the folders of a repository, but metadata of the last day: a device may be in the middle of it."""
    for part in ("metadata", "targets", "blobs"):
        for path in (folder / part).rglob("*"):
            fresh = part == "metadata" and now().timestamp() - path.stat().st_mtime < 86_400
            if path.is_file() and not fresh:
                yield path
