"""A graph that is loaded once for all tests of an engine."""

from pathlib import Path

import pytest

from maas_agent.bundle.archive import open_bundle
from maas_agent.runtime.graph import Graph
from maas_agent.runtime.selection import accelerator
from tests.bundles import make_bundle
from tests.runtimes import RUNTIME


@pytest.fixture(scope="session")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """The tiny classifier, loaded."""
    folder: Path = tmp_path_factory.mktemp("graph")
    with open_bundle(make_bundle(folder / "a.maas", "digits", "1.0.0")) as bundle:
        for digest in bundle.manifest.blobs():
            (folder / digest).write_bytes(bundle.blob(digest))
        return Graph(bundle.manifest, lambda digest: folder / digest, accelerator("cpu", library=RUNTIME))
