"""Which of the offered versions a pipeline should run: rules without I/O."""

from collections.abc import Mapping, Sequence

import msgspec
import semver

from maas_agent.bundle.version import VersionRange, parse_version
from maas_agent.errors import PullError, VerifyError
from maas_agent.update.protocol import Wanted

Channels = Mapping[str, Mapping[str, str]]
"""Model to channel to version, as the publisher signed them."""


class Offer(msgspec.Struct, frozen=True):
    """One version of one model. ``digest`` is the manifest's SHA-256, ``length`` its size in bytes."""

    name: str
    version: str
    digest: str
    length: int


def choose(offers: Sequence[Offer], channels: Channels, wanted: Wanted) -> Offer | None:
    """The newest acceptable version that is newer than the active one and did not fail here; ``None`` if there is none.

    Raises `PullError` if the repository does not have the model or the channel.
    """
    newer = [offer for offer in acceptable(offers, channels, wanted) if is_newer(offer.version, wanted.active_version)]
    return newest([offer for offer in newer if offer.digest not in wanted.refused])


def why_nothing(offers: Sequence[Offer], channels: Channels, wanted: Wanted) -> str | None:
    """What was passed over when `choose` chose nothing; ``None`` if the active version is the newest acceptable one."""
    best = newest(acceptable(offers, channels, wanted))
    if best is None:
        ceiling = _ceiling(offers, channels, wanted)
        return f"no version up to {ceiling} (channel {wanted.channel}) of {wanted.model} is in {wanted.versions!r}"
    if not is_newer(best.version, wanted.active_version):
        newest_is_active = is_same(best.version, wanted.active_version)
        return None if newest_is_active else _downgrade(best.version, str(wanted.active_version))
    return f"{best.version} is set aside: {wanted.refused[best.digest]}" if best.digest in wanted.refused else None


def acceptable(offers: Sequence[Offer], channels: Channels, wanted: Wanted) -> list[Offer]:
    """The versions of the wanted model in its range, up to the one its channel points at.

    A pre-release is in ``*`` only if the channel itself points at it: then the publisher has named it.
    """
    ceiling = _ceiling(offers, channels, wanted)
    return [
        offer
        for offer in offers
        if offer.name == wanted.model and _in_range(parse_version(offer.version), ceiling, wanted.versions)
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
    if wanted.versions.strip() not in ("", "*") and parse_version(offer.version) not in VersionRange(wanted.versions):
        raise VerifyError(f"{wanted.bundle} holds version {offer.version}, which is not in {wanted.versions!r}")


def _downgrade(offered: str, active: str) -> str:
    return f"offered is {offered}, active is {active}: only a newer version replaces it"


def _in_range(version: semver.Version, ceiling: semver.Version, versions: str) -> bool:
    if version > ceiling:
        return False
    return version in VersionRange(versions) or (version == ceiling and versions.strip() in ("", "*"))


def _ceiling(offers: Sequence[Offer], channels: Channels, wanted: Wanted) -> semver.Version:
    if not any(offer.name == wanted.model for offer in offers):
        raise PullError(f"the repository offers no model {wanted.model!r}; it has {_listed({o.name for o in offers})}")
    known = channels.get(str(wanted.model), {})
    if wanted.channel not in known:
        raise PullError(f"{wanted.model} has no channel {wanted.channel!r}; it has {_listed(set(known))}")
    return parse_version(known[wanted.channel])


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)[:10]) or "none"
