"""Which repositories a publisher's keys belong to: their roots, known by his own root keys, or remembered.

Whoever may write to the repository's folder may put a root of his own there, which names the publisher's keys for
targets, snapshot and timestamp, and beside them his own. All of it would be signed by its keys, and the next publisher
would build on it, and sign what devices believe. So a root counts only if a root key beside the publisher's keys has
signed it, or it, or one that it follows from, was known before.
"""

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from tuf.api.metadata import Metadata, Root  # type: ignore[attr-defined]  # it has no __all__

from maas_agent.bundle.manifest import digest_of
from maas_agent.errors import DataError
from maas_agent.host.files import write_durably
from maas_converter.publishing.keys.key_ring import KeyRing

FILE = "known-roots"
"""Beside the keys: for each root that was recognised the SHA-256 of what is signed of it, and where it lay."""


def recognise(folder: Path, roots: Sequence[Metadata[Root]], ring: KeyRing) -> None:
    """Raise `DataError` if the repository is not that of these keys; else remember its newest root.

    ``roots`` are all of them, each signed by the one before it. Keys that know no root at all, as where only those of
    online roles lie, remember the one that they meet first.
    """
    own = ring.root_keyids()
    remembered = _remembered(ring.folders)
    if (own or remembered) and not any(_is_known(root, own, remembered) for root in roots):
        raise DataError(_refusal(folder, roots[-1].signed, own, ring))
    remember(folder, roots[-1], ring)


def remember(folder: Path, root: Metadata[Root], ring: KeyRing) -> None:
    """Write down that these keys know a root; where the folder of keys cannot be written, nothing is."""
    digest = _digest(root)
    for keys in ring.folders:
        if digest in _remembered([keys]):
            continue
        path = keys / FILE
        with contextlib.suppress(OSError):
            before = path.read_text() if path.exists() else ""
            write_durably(path, f"{before}{digest}  {_one_line(folder)}\n".encode())


def _is_known(root: Metadata[Root], own: set[str], remembered: set[str]) -> bool:
    if _digest(root) in remembered:
        return True
    result = root.signed.get_verification_result("root", root.signed_bytes, root.signatures)
    return bool(own & set(result.signed))


def _digest(root: Metadata[Root]) -> str:
    # Not of the file: signatures may be added to it.
    return digest_of(root.signed_bytes)


def _remembered(folders: Iterable[Path]) -> set[str]:
    lines = [line for keys in folders for line in _lines(keys / FILE)]
    return {line.split()[0] for line in lines if line.split()}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def _one_line(folder: Path) -> str:
    return " ".join(str(folder.absolute()).encode("unicode_escape").decode("ascii").split())


def _refusal(folder: Path, root: Root, own: set[str], ring: KeyRing) -> str:
    where = ", ".join(str(each) for each in ring.folders)
    named = ", ".join(f"{keyid[:12]}…" for keyid in root.roles["root"].keyids)
    known = "signed by no root key in" if own else "not one of those that were known to the keys in"
    return (
        f"the root of {folder}, by the keys {named}, is {known} {where}: nothing was signed. If somebody has put it "
        "there, bring back the folder from a copy; if it is right, put the root.pub of its maker beside these keys"
    )
