"""Keeps bundles that a person brought by ``maas-agent install``: one for a pipeline, until it was tried.

The command puts it here, the hub lets the puller take it from here; so an installation survives a power cut, and may be
done while no agent runs. It needs neither ``tuf`` nor NumPy.
"""

import contextlib
import os
import shutil
from pathlib import Path
from typing import IO

from maas_agent.errors import UnavailableError
from maas_agent.host.files import sync_folder
from maas_agent.host.privileges import as_owner_of


def path_of(store: Path, pipeline: str) -> Path:
    """Where the bundle for ``pipeline`` lies, or would."""
    return store / "install" / f"{pipeline}.maas"


def waiting(store: Path, pipeline: str) -> Path | None:
    """The bundle that waits for ``pipeline``, if there is one."""
    path = path_of(store, pipeline)
    return path if path.is_file() else None


def put(store: Path, pipeline: str, bundle: IO[bytes]) -> None:
    """Copy ``bundle`` here, in the place of an earlier one. Raises `UnavailableError` if that cannot be done.

    Root does it as whoever owns the store: the agent removes it when it was tried, and what its user has put in the way
    leads nowhere else.
    """
    path = path_of(store, pipeline)
    try:
        with as_owner_of(store):
            _copy(bundle, path)
    except PermissionError:
        raise UnavailableError(f"no permission to put a bundle into {path.parent}: {_way_out()}") from None
    except FileNotFoundError:
        raise UnavailableError(f"there is no store {store}: start the agent once, or see [store] path") from None
    except OSError as error:
        raise UnavailableError(f"cannot put the bundle into {path.parent}: {error.strerror}") from None


def _copy(bundle: IO[bytes], path: Path) -> None:
    path.parent.mkdir(mode=0o750, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    beside.unlink(missing_ok=True)
    try:
        with beside.open("xb") as copy:
            bundle.seek(0)
            shutil.copyfileobj(bundle, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
        beside.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _way_out() -> str:
    """Root does it as the store's owner: then something in the store is not that one's."""
    return "'maas-agent check' says what to type" if os.geteuid() == 0 else "try sudo"


def remove(store: Path, pipeline: str) -> None:
    """The bundle for ``pipeline`` was tried, with whatever result."""
    with contextlib.suppress(OSError):
        path_of(store, pipeline).unlink(missing_ok=True)
