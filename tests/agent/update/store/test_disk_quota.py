"""Bounded space: what is not needed goes first, what does not fit is refused before it is fetched."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from maas_agent.bundle.archive import open_bundle
from maas_agent.update.protocol import Outcome, Wanted
from maas_agent.update.store.blob_store import BlobStore
from tests.agent.update.device import Device
from tests.agent.update.publisher import Publisher
from tests.agent.update.site import Site, cut_short, ranged


def size_of(path: Path) -> int:
    """The bytes that a bundle takes in the store."""
    with open_bundle(path) as bundle:
        return len(bundle.manifest_bytes) + sum(bundle.manifest.blobs().values())


@pytest.fixture
def versions(publisher: Publisher, its_device: Device) -> dict[str, Outcome]:
    """A device that ran 1.0.0, runs 1.1.0, and tried 1.2.0, which no pipeline needs; 1.3.0 is out."""
    outcomes = {}
    for seed, version in enumerate(("1.0.0", "1.1.0", "1.2.0")):
        publisher.publish(version, seed=seed, classes=400)
        publisher.release()
        outcomes[version] = its_device.update()
        assert outcomes[version].result == "tested"
    publisher.publish("1.3.0", seed=3, classes=400)
    publisher.release()
    return outcomes


def running(versions: dict[str, Outcome]) -> dict[str, str | None]:
    return {
        "active_version": "1.1.0",
        "active_digest": versions["1.1.0"].digest,
        "previous_digest": versions["1.0.0"].digest,
    }


def complete(device: Device, *versions: Outcome) -> bool:
    store = BlobStore(device.store)
    return all(
        store.has(digest, size) for outcome in versions for digest, size in store.needs(str(outcome.digest)).items()
    )


def test_what_no_pipeline_needs_makes_room(
    its_device: Device, publisher: Publisher, versions: dict[str, Outcome]
) -> None:
    """Three fit: 1.2.0 goes for 1.3.0; what is active and what is previous stay."""
    its_device.max_bytes = BlobStore(its_device.store).size() + 1000
    outcome = its_device.update(**running(versions))
    assert (outcome.result, outcome.version) == ("tested", "1.3.0")
    assert BlobStore(its_device.store).size() <= its_device.max_bytes
    assert complete(its_device, versions["1.0.0"], versions["1.1.0"], outcome)
    assert not BlobStore(its_device.store).blob_path(str(versions["1.2.0"].digest)).exists()


def test_what_does_not_fit_is_refused_with_figures_and_nothing_is_fetched(
    its_device: Device, its_site: Site, publisher: Publisher, versions: dict[str, Outcome]
) -> None:
    """Two are in use, and there is no room for a third; the device goes on as it is."""
    its_device.max_bytes = 2 * size_of(publisher.folder.parent / "digits-1.0.0.maas") + 10_000
    its_site.requests.clear()
    outcome = its_device.update(**running(versions))
    assert (outcome.result, outcome.state, outcome.set_aside) == ("failed", "pulling", False)
    figures = r"digits 1\.3\.0 takes 0\.\d\d MB more, and 0\.\d\d MB of the 0\.\d\d MB that store\.max_bytes allows"
    assert re.match(figures, str(outcome.reason))
    assert not any("/blobs/" in path for path in its_site.requests)
    assert complete(its_device, versions["1.0.0"], versions["1.1.0"])


def test_what_a_pipeline_on_probation_runs_makes_no_room(
    its_device: Device, publisher: Publisher, versions: dict[str, Outcome]
) -> None:
    """It wants nothing now, so the job does not name its bundles but as those to keep."""
    its_device.keep = (str(versions["1.2.0"].digest),)
    its_device.max_bytes = BlobStore(its_device.store).size() + 1000
    outcome = its_device.update(**running(versions))
    assert outcome.result == "failed" and "store.max_bytes" in str(outcome.reason)
    assert complete(its_device, *versions.values())


def test_a_bundle_that_another_pipeline_has_just_tested_makes_no_room(
    its_device: Device, publisher: Publisher, versions: dict[str, Outcome]
) -> None:
    """It is about to serve."""
    publisher.publish("1.0.0", "cats", seed=9, classes=400)
    publisher.release()
    one = size_of(publisher.folder.parent / "cats-1.0.0.maas")
    its_device.max_bytes = 3 * one + 10_000
    digits, cats = its_device.updates(
        Wanted(pipeline="d", model="digits", **running(versions)),  # type: ignore[arg-type]
        Wanted(pipeline="c", model="cats"),
    )
    assert digits.result == "tested"
    assert cats.result == "failed" and "store.max_bytes" in str(cats.reason)
    assert complete(its_device, versions["1.0.0"], versions["1.1.0"], digits)


def test_what_had_arrived_counts_once(its_device: Device, its_site: Site, publisher: Publisher) -> None:
    """A part is not asked to fit beside itself."""
    publisher.publish("1.0.0", classes=400)
    publisher.release()
    largest = max((publisher.folder / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    its_site.answers[largest.name] = cut_short(largest.read_bytes(), after=100_000)
    its_device.max_bytes = size_of(publisher.folder.parent / "digits-1.0.0.maas")
    assert its_device.update().result == "failed"
    its_site.answers[largest.name] = ranged
    assert its_device.update().result == "tested"


def test_a_file_that_does_not_fit_is_refused_too(
    its_device: Device, publisher: Publisher, versions: dict[str, Outcome]
) -> None:
    """The bound is for all bundles, wherever they come from."""
    its_device.max_bytes = BlobStore(its_device.store).size()
    path = publisher.folder.parent / "digits-1.3.0.maas"
    keep = {"active_version": "1.1.0", "active_digest": versions["1.2.0"].digest}
    outcomes = its_device.updates(
        Wanted(pipeline="a", model="digits", **running(versions)),  # type: ignore[arg-type]
        Wanted(pipeline="b", bundle=str(path), allow_unsigned=True, **keep),  # type: ignore[arg-type]
    )
    assert [outcome.result for outcome in outcomes] == ["failed", "failed"]
    assert "digits 1.3.0 takes 0.1" in str(outcomes[1].reason)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 KB; skips where this may not be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_refuses_the_update_and_harms_nothing(
    its_device: Device, its_site: Site, publisher: Publisher, small_disk: Path
) -> None:
    """A real disk, really full: nothing of the bundle is fetched, what runs is complete, and room ends the trouble."""
    its_device.store = small_disk / "store"
    publisher.publish("1.0.0", seed=1)
    publisher.release()
    first = its_device.update()
    assert first.result == "tested"
    publisher.publish("1.1.0", seed=2, classes=400)
    publisher.release()
    ballast = small_disk / "ballast"
    full = False
    with ballast.open("wb", buffering=0) as file:
        while not full:
            try:
                file.write(bytes(4096))
            except OSError:
                full = True
    ballast.open("r+b").truncate(ballast.stat().st_size - 60_000)  # for the metadata, not for the model
    its_site.requests.clear()
    active = {"active_version": "1.0.0", "active_digest": first.digest}
    outcome = its_device.update(**active)
    assert (outcome.result, outcome.set_aside) == ("failed", False)
    assert "digits 1.1.0 takes 0.1" in str(outcome.reason)
    assert "left: free some space" in str(outcome.reason)
    assert not any("/blobs/" in path for path in its_site.requests)
    assert complete(its_device, first)
    ballast.unlink()
    assert its_device.update(**active).version == "1.1.0"


def test_a_disk_without_room_for_metadata_harms_nothing(
    its_device: Device, publisher: Publisher, small_disk: Path
) -> None:
    """Not a byte is left: the reason is a sentence, and the old metadata is whole."""
    its_device.store = small_disk / "store"
    publisher.publish("1.0.0", seed=1)
    publisher.release()
    first = its_device.update()
    before = {path: path.read_bytes() for path in its_device.store.rglob("*") if path.is_file()}
    publisher.publish("1.1.0", seed=2)
    publisher.release()
    with (small_disk / "ballast").open("wb", buffering=0) as file:
        size, step = 0, 4096
        while step:
            try:
                size += file.write(bytes(step))
            except OSError:
                step //= 2
    outcome = its_device.update(active_version="1.0.0", active_digest=first.digest)
    assert (outcome.result, outcome.set_aside) == ("failed", False)
    assert "No space left on device" in str(outcome.reason) and "unexpected" not in str(outcome.reason)
    after = {path: path.read_bytes() for path in its_device.store.rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before
    (small_disk / "ballast").unlink()
    assert its_device.update(active_version="1.0.0", active_digest=first.digest).version == "1.1.0"
