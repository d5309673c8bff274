"""Chooses which of the offered versions a pipeline should run: rules without I/O.

Who has a say, the strongest first: the device's own ``versions``; what the publisher has signed, offers and
revocations; the operator's ``exact``; the publisher's channel.
"""

from collections.abc import Mapping, Sequence

import msgspec
import semver

from maas_agent.bundle.version import VersionRange, parse_version
from maas_agent.errors import PullError, VerifyError
from maas_agent.update.protocol import Wanted

Channels = Mapping[str, Mapping[str, str]]
"""Model to channel to version, as the publisher signed them."""

Revoked = Mapping[str, Mapping[str, str]]
"""Model to version to reason, likewise."""

_ANY = ("", "*")


class SignedFile(msgspec.Struct, frozen=True):
    """A signed file of the repository: its SHA-256, its ``length`` in bytes."""

    digest: str
    length: int


class Offer(msgspec.Struct, frozen=True):
    """One version of one model. ``digest`` is the manifest's SHA-256, ``length`` its size in bytes.

    ``delivery`` says how its blobs are stored; without it they are as the manifest has them.
    """

    name: str
    version: str
    digest: str
    length: int
    delivery: SignedFile | None = None


class Catalogue(msgspec.Struct, frozen=True):
    """What the repository offers, as its publisher signed it."""

    offers: tuple[Offer, ...]
    channels: Channels
    revoked: Revoked = {}

    def of(self, model: str | None) -> list[Offer]:
        """The offers of one model that are not revoked."""
        gone = self.revoked_of(model)
        return [offer for offer in self.offers if offer.name == model and offer.version not in gone]

    def revoked_of(self, model: str | None) -> Mapping[str, str]:
        """The revoked versions of one model, with the reasons."""
        return self.revoked.get(model or "", {})


def choose(catalogue: Catalogue, wanted: Wanted) -> Offer | None:
    """What to install; ``None`` if nothing: then `why_nothing` knows why.

    Raises `PullError` if the repository does not have the model or, where that matters, the channel.
    """
    if wanted.exact is not None:
        named = _named(catalogue, wanted)
        if named is not None or not _active_is_revoked(catalogue, wanted):
            return named
    return _published(catalogue, wanted)


def why_nothing(catalogue: Catalogue, wanted: Wanted) -> str | None:
    """What was passed over when `choose` chose nothing; ``None`` if the active version is the right one."""
    gone = catalogue.revoked_of(wanted.model)
    if _active_is_revoked(catalogue, wanted):
        why = gone[str(wanted.active_version)]
        return f"{wanted.active_version}, which is active, is revoked ({why}), and nothing else may take its place"
    return _why_not_exact(catalogue, wanted) if wanted.exact is not None else _why_not_newer(catalogue, wanted)


def acceptable(catalogue: Catalogue, wanted: Wanted) -> list[Offer]:
    """The versions of the wanted model in its range, up to the one its channel points at.

    Without those that the publisher has revoked, or the operator has withdrawn.

    A pre-release is in ``*`` only if the channel itself points at it: then the publisher has named it.
    """
    ceiling = _ceiling(catalogue, wanted)
    return [
        offer
        for offer in catalogue.of(wanted.model)
        if offer.version not in wanted.withdrawn and _in_range(parse_version(offer.version), ceiling, wanted.versions)
    ]


def newest(offers: Sequence[Offer]) -> Offer | None:
    """The offer of the highest version."""
    return max(offers, key=lambda offer: parse_version(offer.version), default=None)


def is_newer(offered: str, active: str | None) -> bool:
    """Whether ``offered`` may replace ``active``: SemVer precedence, strictly higher."""
    return active is None or parse_version(offered) > parse_version(active)


def is_same(offered: str, active: str | None) -> bool:
    """Whether both are the same version."""
    return active is not None and parse_version(offered) == parse_version(active)


def refuse_downgrade(offered: str, active: str | None) -> None:
    """Raise `VerifyError` unless ``offered`` is newer than ``active``."""
    if active is not None and not is_newer(offered, active):
        raise VerifyError(_downgrade(offered, active))


def refuse_unwanted(offer: Offer, wanted: Wanted) -> None:
    """Raise `VerifyError` if a local bundle is of another model or version than the pipeline is to run."""
    if wanted.model is not None and offer.name != wanted.model:
        raise VerifyError(f"{wanted.bundle} holds {offer.name}, pipeline {wanted.pipeline} is to run {wanted.model}")
    # "*" says nothing about a file that was named: a pre-release is as good as any.
    if not _is_in(offer.version, wanted.versions):
        raise VerifyError(f"{wanted.bundle} holds version {offer.version}, which is not in {wanted.versions!r}")


def _published(catalogue: Catalogue, wanted: Wanted) -> Offer | None:
    """The newest acceptable version that did not fail here: newer than the active one, unless that is revoked."""
    if _active_is_revoked(catalogue, wanted):
        left = acceptable(catalogue, wanted) if _has_channel(catalogue, wanted) else []
        return newest([offer for offer in left if offer.digest not in wanted.refused])
    offers = [offer for offer in acceptable(catalogue, wanted) if offer.digest not in wanted.refused]
    return newest([offer for offer in offers if is_newer(offer.version, wanted.active_version)])


def _named(catalogue: Catalogue, wanted: Wanted) -> Offer | None:
    """The version that the desired state names, if it is to be installed."""
    if _why_not_exact(catalogue, wanted) is not None or is_same(str(wanted.exact), wanted.active_version):
        return None
    return _find(catalogue, wanted)


def _why_not_exact(catalogue: Catalogue, wanted: Wanted) -> str | None:
    exact, gone = str(wanted.exact), catalogue.revoked_of(wanted.model)
    if exact in gone:
        return f"{exact} is wanted, but revoked: {gone[exact]}"
    if is_same(exact, wanted.active_version):
        return None
    if not _is_in(exact, wanted.versions):
        return f"{exact} is wanted, but this pipeline takes only versions in {wanted.versions!r}"
    offer = _find(catalogue, wanted)
    if offer is None:
        has = _listed({offer.version for offer in catalogue.of(wanted.model)})
        return f"{exact} is wanted, but the repository does not offer it; of {wanted.model} it has {has}"
    if offer.digest in wanted.refused:
        return f"{exact} is wanted, but set aside: {wanted.refused[offer.digest]}"
    return _why_not_so_low(catalogue, wanted, offer)


def _why_not_so_low(catalogue: Catalogue, wanted: Wanted, offer: Offer) -> str | None:
    """A broker may take a device back, but never below a version that was revoked: that is the publisher's to do."""
    higher = [version for version in catalogue.revoked_of(wanted.model) if not is_newer(offer.version, version)]
    if not higher or (wanted.active_version is not None and is_newer(offer.version, wanted.active_version)):
        return None
    if _has_channel(catalogue, wanted) and _published(catalogue, wanted) == offer:
        return None
    return f"{offer.version} is wanted, but not above {higher[0]}, which is revoked: only its publisher leads there"


def _why_not_newer(catalogue: Catalogue, wanted: Wanted) -> str | None:
    best = newest(acceptable(catalogue, wanted))
    if best is None:
        ceiling = _ceiling(catalogue, wanted)
        return f"no version up to {ceiling} (channel {wanted.channel}) of {wanted.model} is in {wanted.versions!r}"
    active = str(wanted.active_version)
    if not is_newer(best.version, wanted.active_version):
        newest_is_active = is_same(best.version, wanted.active_version)
        return _why_not_the_channel(catalogue, wanted) if newest_is_active else _downgrade(best.version, active)
    return f"{best.version} is set aside: {wanted.refused[best.digest]}" if best.digest in wanted.refused else None


def _why_not_the_channel(catalogue: Catalogue, wanted: Wanted) -> str | None:
    """A channel that leads to what cannot be had: its publisher may not know, and the device would wait for ever."""
    version, gone = str(_ceiling(catalogue, wanted)), catalogue.revoked_of(wanted.model)
    if not is_newer(version, wanted.active_version) or version in wanted.withdrawn:
        return None
    leads = f"channel {wanted.channel} leads to {wanted.model} {version}"
    if version in gone:
        return f"{leads}, which is revoked: {gone[version]}"
    if all(offer.version != version for offer in catalogue.offers if offer.name == wanted.model):
        return f"{leads}, which the repository does not offer in a form that this device takes"
    return None  # not in the range


def _find(catalogue: Catalogue, wanted: Wanted) -> Offer | None:
    return next((offer for offer in catalogue.of(wanted.model) if offer.version == wanted.exact), None)


def _active_is_revoked(catalogue: Catalogue, wanted: Wanted) -> bool:
    return wanted.active_version in catalogue.revoked_of(wanted.model)


def _has_channel(catalogue: Catalogue, wanted: Wanted) -> bool:
    """Whether the publisher offers anything on the wanted channel."""
    return wanted.channel in catalogue.channels.get(str(wanted.model), {}) and bool(catalogue.of(wanted.model))


def _downgrade(offered: str, active: str) -> str:
    return f"offered is {offered}, active is {active}: only a newer version replaces it"


def _is_in(version: str, versions: str) -> bool:
    return versions.strip() in _ANY or parse_version(version) in VersionRange(versions)


def _in_range(version: semver.Version, ceiling: semver.Version, versions: str) -> bool:
    if version > ceiling:
        return False
    return version in VersionRange(versions) or (version == ceiling and versions.strip() in _ANY)


def _ceiling(catalogue: Catalogue, wanted: Wanted) -> semver.Version:
    if catalogue.revoked_of(wanted.model) and not catalogue.of(wanted.model):
        raise PullError(f"every version of {wanted.model} is revoked; its publisher must offer another one")
    if not any(offer.name == wanted.model for offer in catalogue.offers):
        has = _listed({offer.name for offer in catalogue.offers})
        raise PullError(f"the repository offers no model {wanted.model!r}; it has {has}")
    known = catalogue.channels.get(str(wanted.model), {})
    if wanted.channel not in known:
        raise PullError(f"{wanted.model} has no channel {wanted.channel!r}; it has {_listed(set(known))}")
    return parse_version(known[wanted.channel])


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)[:10]) or "none"
