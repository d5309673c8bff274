"""Reads and keeps desired states: which versions devices or groups are to run, as the broker has it published.

A broker is not trusted: what is named here is only ever chosen among what the repository's targets name. A document
carries a serial, so that an old one that comes up again changes nothing. Rules without I/O, but for `load` and `save`;
the converter's ``deploy`` writes by the same structs and the same hash.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from maas_agent.base.untrusted import MALFORMED, is_deeper
from maas_agent.bundle.version import parse_version
from maas_agent.errors import DataError
from maas_agent.host.files import write_durably

MAX_BYTES = 1 << 16
"""A larger document is not read."""
MAX_LEVELS = 8
"""Of what operators note in it: it is written to the disk within another document, a line for each value."""


class DesiredModel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is wanted of one model. Fields that are not known here are ignored."""

    version: str | None = None
    """Exactly this one; ``None`` leaves it to the channel."""
    percent: Annotated[float, msgspec.Meta(ge=0, le=100)] = 100.0
    """Only devices whose `position` is below it."""
    salt: str = ""
    """Of the position: the rollout's id, so that it is not always the same devices that go first."""
    withdrawn: tuple[str, ...] = ()
    """A device that runs one of these goes back to what it ran before, and sets it aside."""
    rollout: dict[str, Any] | None = None
    """The operator's own: where the rollout stands. Devices do not look at it."""


class Document(msgspec.Struct, frozen=True):
    """One desired state. ``serial`` grows with every change: milliseconds since 1970."""

    serial: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
    models: dict[str, DesiredModel] = {}


class Topic(msgspec.Struct, frozen=True):
    """What is known of one topic: the highest serial it ever had, and its document, if it has one now."""

    serial: int = -1
    document: Document | None = None


class Choice(msgspec.Struct, frozen=True):
    """What all documents together say to one device of one model."""

    version: str | None = None
    withdrawn: frozenset[str] = frozenset()


Desired = Mapping[str, Topic]
"""By topic: the device's own, and its groups'."""


def decode_desired(payload: bytes) -> Document:
    """Read a document; raises `DataError` with the reason if it is none, too large, or names what is no version."""
    if len(payload) > MAX_BYTES:
        raise DataError(f"it has {len(payload)} bytes, at most {MAX_BYTES} are read")
    try:
        document = msgspec.json.decode(payload, type=Document)
    except MALFORMED as error:
        raise DataError(str(error)) from None
    if any(is_deeper(model.rollout, MAX_LEVELS) for model in document.models.values()):
        raise DataError(f"a rollout in it is nested in more than {MAX_LEVELS} levels")
    for model in document.models.values():
        for version in (*model.withdrawn, *([model.version] if model.version is not None else [])):
            parse_version(version)
    return document


def encode_desired(document: Document) -> bytes:
    """The bytes to publish."""
    return msgspec.json.encode(document)


def received(desired: Desired, topic: str, payload: bytes) -> Desired:
    """What is desired once ``payload`` has arrived on ``topic``; an empty one takes the topic's document back.

    Raises `DataError` if it is no document, or an older one than the topic already had.
    """
    known = desired.get(topic, Topic())
    if not payload:
        return {**desired, topic: Topic(known.serial)}
    document = decode_desired(payload)
    if document.serial < known.serial:
        raise DataError(f"its serial {document.serial} is older than {known.serial}, which was here already: a replay")
    return {**desired, topic: Topic(document.serial, document)}


def chosen(desired: Desired, own_topic: str, device: str, model: str) -> Choice:
    """What ``device`` is to run of ``model``.

    Its own topic wins over those of groups, among these the highest serial. What any of them withdraws is withdrawn.
    """
    said = [(topic, known.document) for topic, known in desired.items() if known.document is not None]
    said.sort(key=lambda pair: (pair[0] == own_topic, pair[1].serial), reverse=True)
    wanted = [document.models[model] for _, document in said if model in document.models]
    withdrawn = frozenset(version for one in wanted for version in one.withdrawn)
    first = wanted[0] if wanted else DesiredModel()
    included = first.version is not None and position(first.salt, device) < first.percent
    return Choice(first.version if included and first.version not in withdrawn else None, withdrawn)


def position(salt: str, device: str) -> float:
    """Where a device stands in a rollout, from 0 to below 100: the same on every machine, spread evenly."""
    digest = hashlib.sha256(f"{salt}/{device}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64 * 100


def load(store: Path, topics: list[str]) -> Desired:
    """What was desired when the agent ran last, of the topics that it still listens to. Raises `DataError`."""
    path = path_of(store)
    try:
        known = msgspec.json.decode(path.read_bytes(), type=dict[str, Topic])
    except FileNotFoundError:
        return {}
    except (OSError, *MALFORMED) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    return {topic: found for topic, found in known.items() if topic in topics}


def save(store: Path, desired: Desired) -> None:
    """Persist it; raises ``OSError`` with the old file untouched."""
    write_durably(path_of(store), msgspec.json.format(msgspec.json.encode(dict(desired)), indent=2) + b"\n")


def path_of(store: Path) -> Path:
    """The file that holds it."""
    return store / "desired.json"
