"""What tests of publishing share: bundles, folders with some keys, and what a device sees of a repository."""

import shutil
from pathlib import Path

from maas_agent.update.protocol import RepositoryAccess
from maas_agent.update.repository.client import Repository
from tests.bundles import make_bundle

ONLINE = ("snapshot", "timestamp")


def bundle(tmp_path: Path, version: str = "1.0.0", name: str = "digits") -> Path:
    """Another version has other weights."""
    seed = sum(version.encode())
    return make_bundle(tmp_path / f"{name}-{version}.maas", name, version, seed)


def offered(repository: Path, store: Path) -> set[str]:
    """What a device with this store sees, having been given the first root of all."""
    access = RepositoryAccess(url=f"file://{repository}", root=str(repository / "metadata" / "1.root.json"))
    return {f"{offer.name} {offer.version}" for offer in Repository(access, store).refresh().offers}


def some(keys: Path, folder: Path, *roles: str) -> Path:
    """A folder that holds only the keys of these roles."""
    folder.mkdir()
    for role in roles:
        for path in keys.glob(f"{role}*"):
            shutil.copy(path, folder)
    return folder
