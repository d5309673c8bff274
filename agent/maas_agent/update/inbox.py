"""Bundles that a person brought to the device by ``maas-agent install``: one for a pipeline, until it was tried.

The command puts it here, the hub lets the puller take it from here; so an installation survives a power cut, and may be
done while no agent runs. It needs neither ``tuf`` nor NumPy.
"""

import contextlib
import os
import shutil
from pathlib import Path

from maas_agent.errors import UnavailableError
from maas_agent.files import sync_folder


def path_of(store: Path, pipeline: str) -> Path:
    """Where the bundle for ``pipeline`` lies, or would."""
    return store / "install" / f"{pipeline}.maas"


def waiting(store: Path, pipeline: str) -> Path | None:
    """The bundle that waits for ``pipeline``, if there is one."""
    path = path_of(store, pipeline)
    return path if path.is_file() else None


def put(store: Path, pipeline: str, bundle: Path) -> None:
    """Copy ``bundle`` here, in the place of an earlier one. Raises `UnavailableError` if that cannot be done.

    It belongs to whoever owns the store then: the agent removes it when it was tried.
    """
    path = path_of(store, pipeline)
    beside = path.with_name(f".{path.name}.part")
    try:
        owner = store.stat()
        path.parent.mkdir(mode=0o750, exist_ok=True)
        _hand_over(path.parent, owner)
        with bundle.open("rb") as source, beside.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
        _hand_over(beside, owner)
        beside.replace(path)
        sync_folder(path.parent)
    except PermissionError:
        raise UnavailableError(f"no permission to put a bundle into {path.parent}: try sudo") from None
    except FileNotFoundError:
        raise UnavailableError(f"there is no store {store}: start the agent once, or see [store] path") from None
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise UnavailableError(f"cannot put the bundle into {path.parent}: {error.strerror}") from None


def remove(store: Path, pipeline: str) -> None:
    """The bundle for ``pipeline`` was tried, with whatever result."""
    with contextlib.suppress(OSError):
        path_of(store, pipeline).unlink(missing_ok=True)


def _hand_over(path: Path, owner: os.stat_result) -> None:
    found = path.stat()
    if (found.st_uid, found.st_gid) != (owner.st_uid, owner.st_gid):
        os.chown(path, owner.st_uid, owner.st_gid)
