"""A real repository, made by the converter's own code, behind a plain HTTP file server on the loopback."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from maas_converter.publishing import repository
from maas_converter.publishing.keys import key_files
from tests.bundles import make_bundle


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """A test's output is for what went wrong."""


class Repository:
    """Publishes bundles of tiny models; ``url`` and ``root`` are what a device is configured with."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.keys = folder / "repo", folder / "keys"
        self._bundles = folder
        key_files.create_keys(self.keys)
        repository.init_repository(self.folder, self.keys)
        self.root = folder / "root.json"
        self.root.write_bytes((self.folder / "metadata" / "root.json").read_bytes())
        handler = partial(_Quiet, directory=str(self.folder))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def publish(self, name: str, version: str, *, seed: int, **options: Any) -> Path:
        """Publish a bundle of a tiny model; ``options`` are those of `tests.bundles.make_bundle`."""
        path = make_bundle(self._bundles / f"{name}-{version}.maas", name, version, seed, **options)
        repository.publish(path, self.folder, self.keys, "stable")
        return path

    @property
    def settings(self) -> str:
        """The [repository] table of a device."""
        return f'[repository]\nurl = "{self.url}"\nroot = "{self.root}"\npoll_s = 3600\n'

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
