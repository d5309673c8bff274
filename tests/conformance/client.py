#!/usr/bin/env python3
"""The puller's TUF client with the command line that the public tuf-conformance suite drives.

    client.py --metadata-dir DIR init TRUSTED_ROOT
    client.py --metadata-dir DIR --metadata-url URL refresh
    client.py --metadata-dir DIR --metadata-url URL --target-name PATH --target-base-url URL --target-dir DIR download

It is the client of the device, with its fetcher, marks, clock floor and deadline; only the way to a target differs: any
path, not just those of bundles. Exits with 0, or with 1 and a sentence on stderr.
"""

import argparse
import shutil
import sys
from pathlib import Path
from urllib.parse import quote

from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.api.metadata import Targets  # type: ignore[attr-defined]  # tuf has no __all__

from maas_agent.bundle.manifest import digest_of
from maas_agent.errors import MaasError, PullError
from maas_agent.update.repository.trusted_state import TrustedState
from maas_agent.update.repository.tuf_client import TufClient
from maas_agent.update.transfer.deadline import deadline
from maas_agent.update.transfer.fetch import Fetcher

_OWN = "maas"
"""A folder in the metadata folder: the trusted root and the marks, which are no metadata of the repository."""


class Conforming:
    """One run of the client: what the device keeps in its store is in ``folder`` here."""

    def __init__(self, folder: Path, url: str) -> None:
        root = (folder / _OWN / "root.json").read_bytes()
        self._standing = TrustedState(folder / _OWN, digest_of(root), warn=lambda what: print(what, file=sys.stderr))
        self._client = TufClient(folder, url, Fetcher(), root, self._standing.time)

    def refresh(self) -> None:
        """Bring the top-level metadata up to date."""
        self._client.refresh()
        self._admit()

    def download(self, name: str, base: str, folder: Path) -> None:
        """Bring a target up to date; raises `PullError` if there is none of this name."""
        self.refresh()
        target = self._client.get_targetinfo(name)
        self._admit()
        if target is None:
            raise PullError(f"the repository has no target {name!r}")
        path = str(folder / quote(name, safe=""))
        if self._client.find_cached_target(target, path) is None:
            self._client.download_target(target, path, base)

    def _admit(self) -> None:
        trusted = self._client._trusted_set._trusted_set
        self._standing.admit(self._client, {name: each for name, each in trusted.items() if isinstance(each, Targets)})
        self._standing.save()


def init(folder: Path, trusted_root: Path) -> None:
    """Trust this root; nothing is asked of any server."""
    (folder / _OWN).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(trusted_root, folder / _OWN / "root.json")
    shutil.copyfile(trusted_root, folder / "root.json")


def main() -> int:
    """Run one command."""
    options = _options()
    try:
        if options.command == "init":
            init(options.metadata_dir, options.trusted_root)
            return 0
        with deadline(options.timeout_s, options.command):
            client = Conforming(options.metadata_dir, options.metadata_url)
            if options.command == "refresh":
                client.refresh()
            else:
                client.download(options.target_name, options.target_base_url, options.target_dir)
    except (RepositoryError, DownloadError, MaasError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--metadata-url")
    parser.add_argument("--target-name")
    parser.add_argument("--target-base-url")
    parser.add_argument("--target-dir", type=Path)
    parser.add_argument("--timeout-s", type=float, default=60.0)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("trusted_root", type=Path)
    commands.add_parser("refresh")
    commands.add_parser("download")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
