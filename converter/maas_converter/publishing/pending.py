"""A change that waits for signatures: kept where no device looks, until it is completed or dropped."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from tuf.api.metadata import Metadata, Root, Targets  # type: ignore[attr-defined]  # it has no __all__

from maas_agent.base.untrusted import MALFORMED
from maas_agent.errors import DataError, UsageError
from maas_agent.host.files import write_durably
from maas_converter.publishing.reading import load, read_file, read_metadata
from maas_converter.publishing.well_formed import refuse_role

_FOLDER = "pending"
_CHANGE = "change.json"


class Pending(msgspec.Struct, frozen=True):
    """What waits: the roles, and the version of each that it was made from."""

    what: str
    roles: list[str]
    made_from: dict[str, int]


def waiting(folder: Path) -> Pending | None:
    """The change that waits for signatures, if there is one; raises `DataError` if it is damaged."""
    path = folder / _FOLDER / _CHANGE
    try:
        pending = msgspec.json.decode(read_file(path), type=Pending)
        for role in pending.roles:
            refuse_role(role)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, *MALFORMED) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    return pending


def refuse_pending(folder: Path) -> None:
    """Raise `UsageError` if a change waits for signatures: another one would make them worthless."""
    pending = waiting(folder)
    if pending is None:
        return
    if is_out(folder, pending):
        discard(folder)
        return
    raise UsageError(
        f"'{pending.what}' waits for signatures: 'maas-converter repo sign {folder}' completes it, "
        "and with --discard drops it"
    )


def is_out(folder: Path, pending: Pending) -> bool:
    """Whether it was released already, and a crash kept it from being removed here."""
    if not (folder / "metadata" / "timestamp.json").exists():
        return False
    state = load(folder)
    kept = metadata_of(folder, pending)
    return all(state.has(name) and state.role(name) == metadata.signed for name, metadata in kept.items())


def keep(folder: Path, pending: Pending, signed: dict[str, Metadata[Any]]) -> None:
    """Write it, with the signatures that it has; the change itself last: until then nothing waits."""
    waits = folder / _FOLDER
    waits.mkdir(exist_ok=True)
    for name, metadata in signed.items():
        write_durably(waits / f"{name}.json", metadata.to_bytes())
    write_durably(waits / _CHANGE, msgspec.json.format(msgspec.json.encode(pending), indent=2) + b"\n")


def metadata_of(folder: Path, pending: Pending) -> dict[str, Metadata[Any]]:
    """Its metadata by role, with the signatures that they have; raises `DataError` if they are damaged."""
    waits = folder / _FOLDER
    return {name: read_metadata(waits / f"{name}.json", Root if name == "root" else Targets) for name in pending.roles}


def pending_targets(folder: Path) -> list[Targets]:
    """The targets metadata of the change that waits, if there is one: what they lead to has to stay."""
    pending = waiting(folder)
    kept = metadata_of(folder, pending) if pending is not None else {}
    return [metadata.signed for name, metadata in kept.items() if name != "root"]


def discard(folder: Path) -> bool:
    """Drop the change that waits; whether there was one."""
    waits = folder / _FOLDER
    if not waits.is_dir():
        return False
    there = (waits / _CHANGE).exists()
    # The change first: what a crash leaves of the others waits for nothing.
    (waits / _CHANGE).unlink(missing_ok=True)
    for path in waits.glob("*.json"):
        if not path.is_dir():
            path.unlink()
    with suppress(OSError):  # somebody else has put something there: it stays
        waits.rmdir()
    return there
