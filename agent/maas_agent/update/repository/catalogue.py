"""Lists what is offered by verified targets metadata: which role may say what of a model."""

import re
from collections.abc import Iterable

import msgspec
from tuf.api.metadata import TargetFile, Targets  # type: ignore[attr-defined]  # tuf has no __all__

from maas_agent.bundle.delivery import MAX_DELIVERY_BYTES
from maas_agent.bundle.manifest import MAX_MANIFEST_BYTES, NAME
from maas_agent.bundle.version import parse_version
from maas_agent.errors import DataError, VerifyError
from maas_agent.update.choose import Catalogue, Offer, SignedFile
from maas_agent.update.repository.tuf_client import speakers

_DIGEST = re.compile("[0-9a-f]{64}")
_MANIFEST, _DELIVERY = "manifest.json", "delivery.json"
_Said = dict[str, dict[str, str]]


def catalogue(loaded: dict[str, Targets], model: str | None = None) -> Catalogue:
    """What these roles offer together; raises `VerifyError` if a field of theirs is not readable.

    If ``model`` is given, and they have it, its versions are all that is listed: a repository may hold thousands.
    """
    paths = {path for signed in loaded.values() for path in signed.targets}
    paths = {path for path in paths if model is not None and path.startswith(f"{model}/")} or paths
    offers = [offer for path in sorted(paths) if (offer := _offer(path, loaded)) is not None]
    return Catalogue(tuple(offers), _channels(loaded), _revoked(loaded))


def _offer(path: str, loaded: dict[str, Targets]) -> Offer | None:
    """What a target path offers; ``None`` for another kind of target, which a later release may bring."""
    name, version, file = _parts(path)
    if file != _MANIFEST or not NAME.fullmatch(name) or not _is_version(version):
        return None
    manifest = _found(path, loaded, MAX_MANIFEST_BYTES)
    if manifest is None:
        return None
    delivery = _found(f"{name}/{version}/{_DELIVERY}", loaded, MAX_DELIVERY_BYTES)
    return Offer(name, version, manifest.digest, manifest.length, delivery)


def _found(path: str, loaded: dict[str, Targets], most: int) -> SignedFile | None:
    """The target at ``path``, of the first role in TUF's order that has it."""
    has = (role for role in speakers(loaded, path) if path in loaded[role].targets)
    role = next(has, None)
    return _target(loaded[role].targets[path], most) if role is not None else None


def _target(file: TargetFile, most: int) -> SignedFile | None:
    digest = file.hashes.get("sha256")
    if digest is None or not _DIGEST.fullmatch(digest) or file.length > most:
        return None  # it becomes a file name, and is read into memory
    return SignedFile(digest, file.length)


def _channels(loaded: dict[str, Targets]) -> _Said:
    """Where two roles name the same channel of a model, the one that TUF asks first is right."""
    channels: _Said = {}
    for role in loaded:
        for model, versions in _said(loaded, role, "channels").items():
            for channel, version in versions.items():
                known = channels.setdefault(model, {})
                if channel not in known and role in speakers(loaded, f"{model}/{version}/{_MANIFEST}"):
                    known[channel] = version
    for version in (version for known in channels.values() for version in known.values()):
        if not _is_version(version):
            raise VerifyError(f"the repository's channels are not readable: {version!r} is no version")
    return {model: known for model, known in channels.items() if known}


def _revoked(loaded: dict[str, Targets]) -> _Said:
    """Every role that may offer a version may revoke it."""
    revoked: _Said = {}
    for role in loaded:
        for model, versions in _said(loaded, role, "revoked").items():
            for version, reason in versions.items():
                if not _is_version(version):
                    raise VerifyError(f"the repository's revoked versions are not readable: {version!r} is no version")
                if role in speakers(loaded, f"{model}/{version}/{_MANIFEST}"):
                    revoked.setdefault(model, {}).setdefault(version, reason)
    return revoked


def _said(loaded: dict[str, Targets], role: str, field: str) -> _Said:
    try:
        return msgspec.convert(loaded[role].unrecognized_fields.get(field, {}), _Said)
    except msgspec.ValidationError as error:
        what = "channels" if field == "channels" else "revoked versions"
        raise VerifyError(f"the repository's {what} are not readable: {error}") from None


def _parts(path: str) -> Iterable[str]:
    name, _, rest = path.partition("/")
    version, _, file = rest.partition("/")
    return name, version, file


def _is_version(text: str) -> bool:
    try:
        parse_version(text)
    except DataError:
        return False
    return True
