"""A worker of a sealed bundle has opened it, and holds nothing of the device's key when its model runs."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from maas_agent.bundle.staged import DEVICE_KEY
from maas_agent.trials.terms import WorkerLimits
from tests.agent.staging import stage_sealed
from tests.agent.worker.test_worker import Hub
from tests.bundles import make_bundle


def memory_of(pid: int) -> Iterator[bytes]:
    """What a process has in memory that it can write, by mappings."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if found:
                start, end = (int(number, 16) for number in found.groups())
                memory.seek(start)
                try:
                    yield memory.read(end - start)
                except OSError:
                    continue


def test_nothing_of_the_devices_key_is_left_where_a_model_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = X25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "device.key").write_bytes(pem)
    monkeypatch.setenv(DEVICE_KEY, str(tmp_path / "device.key"))
    hub = Hub(tmp_path, stage_sealed(make_bundle(tmp_path / "a.maas"), tmp_path, key.public_key().public_bytes_raw()))
    hub.start(limits=WorkerLimits(confine=True))
    hub.hear()
    hub.ask(1)
    assert hub.hear().code is None
    try:
        whole = list(memory_of(hub.process.pid))
    except PermissionError:
        pytest.skip("this kernel lets nobody look into the memory of a child (Yama)")
    marker = bytes(range(32))  # the content key of these tests: it is there, so this looks in the right place
    assert any(marker in part for part in whole)
    for trace in (key.private_bytes_raw(), base64.b64encode(key.private_bytes_raw())[:40], pem.splitlines()[1]):
        assert not any(trace in part for part in whole)
    hub.hang_up()
