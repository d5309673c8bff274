"""The stage that all scenarios of a module are played on."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.faults.play import Stage
from tests.system.brokers import need_mosquitto


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    need_mosquitto()
    # Not below pytest's own folder: the path of the control socket must not be longer than 107 bytes.
    with TemporaryDirectory(prefix="faults-") as folder:
        stage = Stage(Path(folder))
        yield stage
        stage.close()
