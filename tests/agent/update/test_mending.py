"""What is not whole on the device is brought again, the same to the last bit; see `Attempt` and `Source.mend`."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from maas_agent.bundle.staged import Staged
from maas_agent.update.protocol import Outcome
from maas_agent.update.store.blob_store import BlobStore
from maas_converter.publishing.keys.key_files import sign_manifest
from tests.agent.update.conftest import Publish
from tests.agent.update.device import Device
from tests.agent.update.publisher import Publisher
from tests.agent.update.site import Site, cut_short, ranged
from tests.bundles import make_bundle


def flip(path: Path) -> None:
    """One bit of a card that wears out; the length stays."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def blob_of(device: Device, outcome: Outcome) -> Path:
    """The largest file of a bundle: its model."""
    needed = BlobStore(device.store).needs(str(outcome.digest))
    return device.store / "blobs" / max(needed, key=lambda digest: needed[digest])


def active(outcome: Outcome, **wanted: Any) -> dict[str, Any]:
    """What the hub wants of a pipeline that runs this, at its first check."""
    return {"active_version": outcome.version, "active_digest": outcome.digest, "thorough": True} | wanted


@pytest.fixture
def runs(device: Device, published: Publish) -> Outcome:
    published("1.0.0")
    outcome = device.update()
    assert outcome.result == "tested"
    return outcome


@pytest.mark.parametrize("what", ["model", "manifest"])
@pytest.mark.parametrize("how", [flip, Path.unlink, partial(Path.write_bytes, data=b"")])
def test_what_is_damaged_or_missing_is_brought_again(device: Device, runs: Outcome, what: str, how: Any) -> None:
    path = blob_of(device, runs) if what == "model" else device.store / "blobs" / str(runs.digest)
    good = path.read_bytes()
    how(path)
    outcome = device.update(**active(runs))
    assert (outcome.result, outcome.mended, outcome.version) == ("current", True, "1.0.0")
    assert outcome.reason is not None and outcome.reason.endswith("): it was brought again")
    assert path.read_bytes() == good and Staged(device.store, str(runs.digest)).manifest.version == "1.0.0"
    assert device.progress == []  # it passed its tests here
    again = device.update(**active(runs))
    assert (again.result, again.mended, again.reason) == ("current", False, None)


def test_a_look_that_is_not_thorough_reads_no_model_and_sees_what_is_missing(
    device: Device, runs: Outcome, site: Site
) -> None:
    path = blob_of(device, runs)
    flip(path)
    assert not device.update(**active(runs, thorough=False)).mended
    path.unlink()
    assert device.update(**active(runs, thorough=False)).mended
    site.requests.clear()
    device.update(**active(runs, thorough=False))
    assert not any("blobs" in path for path in site.requests)


def test_what_nobody_offers_is_told_and_never_set_aside(
    device: Device, tmp_path: Path, keys: Path, published: Publish
) -> None:
    """It is the disk that failed, not the bundle."""
    runs = device.update(
        bundle=str(make_bundle(tmp_path / "usb.maas", version="1.2.0", sign=partial(sign_manifest, keys)))
    )
    published("1.1.0", seed=9)
    path = blob_of(device, runs)
    flip(path)
    outcome = device.update(**active(runs))
    assert (outcome.result, outcome.version, outcome.set_aside) == ("failed", "1.2.0", False)
    assert outcome.reason == (
        f"1.2.0, which is active, is not whole on this device (blob {path.name[:12]}… is damaged in the store), "
        f"and cannot be brought again: the repository does not offer it"
    )


def test_a_revoked_bundle_is_not_brought_again(its_device: Device, publisher: Publisher) -> None:
    """The same where nothing else may take its place."""
    publisher.publish("1.0.0")
    publisher.publish("2.0.0", seed=3, channel="beta")
    publisher.release()
    runs = its_device.update()
    publisher.revoke("1.0.0", "it leaks")
    publisher.release()
    flip(blob_of(its_device, runs))
    outcome = its_device.update(**active(runs, versions="1"))
    assert (outcome.result, outcome.mended, outcome.set_aside) == ("failed", False, False)
    assert outcome.revoked == {"1.0.0": "it leaks"}


def test_a_newer_version_is_installed_although_what_runs_cannot_be_brought_again(
    device: Device, runs: Outcome, published: Publish, repository: Path
) -> None:
    """Its file is gone from the server; the newer one is the way out."""
    path = blob_of(device, runs)
    path.unlink()
    for copy in (repository / "blobs").iterdir():
        copy.unlink()
    gone = device.update(**active(runs))
    assert (gone.result, gone.version, gone.set_aside) == ("failed", "1.0.0", False)
    assert gone.reason is not None and "1.0.0, which is active, is not whole on this device (blob" in gone.reason
    published("1.1.0", seed=5)
    outcome = device.update(**active(runs))
    assert (outcome.result, outcome.version, outcome.mended) == ("tested", "1.1.0", False)


def test_the_way_back_is_made_whole_too(device: Device, runs: Outcome, published: Publish) -> None:
    published("1.1.0", seed=5)
    newer = device.update(**active(runs))
    flip(blob_of(device, runs))
    outcome = device.update(**active(newer, previous_digest=runs.digest))
    assert (outcome.result, outcome.mended) == ("current", False)
    assert outcome.reason is not None and outcome.reason.startswith("what was active before was not whole")
    assert Staged(device.store, str(runs.digest)).manifest.version == "1.0.0"


def test_the_file_it_came_from_makes_it_whole(device: Device, tmp_path: Path, keys: Path) -> None:
    """`maas-agent install` of the same signed file, with no server in reach; another one's signature does not do."""
    device.url = "http://127.0.0.1:9"
    signed = make_bundle(tmp_path / "signed.maas", sign=partial(sign_manifest, keys))
    runs = device.update(bundle=str(signed))
    flip(blob_of(device, runs))
    unsigned = make_bundle(tmp_path / "unsigned.maas")
    assert not device.update(**active(runs, bundle=str(unsigned))).mended
    outcome = device.update(**active(runs, bundle=str(signed)))
    assert (outcome.result, outcome.mended) == ("current", True)
    assert Staged(device.store, str(runs.digest)).manifest.version == "1.0.0"


def test_a_store_with_no_room_to_spare_is_mended(its_device: Device, publisher: Publisher) -> None:
    """What is damaged takes no room from what replaces it."""
    publisher.publish("1.0.0")
    publisher.release()
    runs = its_device.update()
    its_device.max_bytes = BlobStore(its_device.store).size() + 10
    flip(blob_of(its_device, runs))
    assert its_device.update(**active(runs)).mended


def test_a_download_that_breaks_off_goes_on_where_it_was(
    its_device: Device, publisher: Publisher, its_site: Site
) -> None:
    """Also when garbage was collected in between."""
    publisher.publish("1.0.0")
    publisher.release()
    runs = its_device.update()
    path = blob_of(its_device, runs)
    good = path.read_bytes()
    path.unlink()
    its_site.answers[path.name] = cut_short(good, 100)
    assert not its_device.update(**active(runs)).mended
    store = BlobStore(its_device.store)
    assert store.pulling() == {runs.digest}
    store.collect_garbage({str(runs.digest)})
    its_site.answers[path.name] = ranged
    assert its_device.update(**active(runs)).mended
    assert path.read_bytes() == good
    assert its_site.ranges[-1] == (f"/blobs/{path.name}", "bytes=100-")
    assert store.pulling() == set()
