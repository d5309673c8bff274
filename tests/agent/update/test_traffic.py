"""What goes over the wire, counted on the wire, headers included; on the servers that people use."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.agent.update.device import Device
from tests.agent.update.publisher import Publisher
from tests.agent.update.servers import http_server, nginx
from tests.agent.update.site import Site
from tests.agent.update.split_bundles import make_split_bundle
from tests.agent.update.wire import Wire, wired

SERVERS = ["http.server", "nginx", "site"]


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, publisher: Publisher, its_site: Site, tmp_path: Path) -> Iterator[int]:
    """The port of a server of the publisher's repository."""
    if request.param == "site":
        yield its_site.server_port
        return
    running: AbstractContextManager[int] = (
        http_server(publisher.folder) if request.param == "http.server" else nginx(publisher.folder, tmp_path / "nginx")
    )
    with running as port:
        yield port


@pytest.fixture
def wire(server: int, its_device: Device) -> Iterator[Wire]:
    with wired(server) as wire:
        its_device.url = wire.url
        yield wire


def test_a_poll_without_news_costs_two_requests_and_a_kilobyte(
    its_device: Device, its_site: Site, publisher: Publisher, wire: Wire, request: pytest.FixtureRequest
) -> None:
    """Ten thousand devices poll. The kilobyte is of what is downloaded as files; with all headers it is below two."""
    bundle = publisher.publish("1.0.0")
    publisher.signed_at = datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
    publisher.release()
    active = {"active_digest": bundle, "active_version": "1.0.0"}
    its_device.update(**active)
    wire.reset()
    its_site.requests.clear()
    outcome = its_device.update(**active)
    assert (outcome.result, outcome.reason) == ("current", None)
    timestamp = (publisher.folder / "metadata" / "timestamp.json").stat().st_size
    assert timestamp < 1024
    assert wire.up < 400 and wire.down < 1536
    if request.node.callspec.params["server"] == "site":
        assert its_site.requests == ["/metadata/2.root.json", "/metadata/timestamp.json"]


def test_a_changed_head_of_a_10_mb_model_moves_little_more_than_the_head(
    its_device: Device, publisher: Publisher, wire: Wire, tmp_path: Path
) -> None:
    """Everything that goes over the wire for it, in both directions: metadata, manifest, golden samples, headers."""
    first, _ = make_split_bundle(tmp_path, "1.0.0", head_seed=1)
    assert first.stat().st_size > 10_000_000
    digest = publisher.publish_file(first)
    publisher.release()
    assert its_device.update().result == "tested"
    second, head = make_split_bundle(tmp_path, "1.1.0", head_seed=2)
    publisher.publish_file(second)
    publisher.release()
    wire.reset()
    outcome = its_device.update(active_version="1.0.0", active_digest=digest)
    assert (outcome.result, outcome.version) == ("tested", "1.1.0")
    assert wire.up + wire.down <= 1.1 * head + 20_000


def test_a_stick_is_a_repository(its_device: Device, publisher: Publisher, tmp_path: Path) -> None:
    """Delegated roles, compressed blobs and all: copied to a folder, read by ``file://``, with a space in its name."""
    publisher.delegate("team", "digits/*/*")
    publisher.publish("1.0.0", role="team")
    publisher.compress("1.0.0")
    publisher.release()
    stick = tmp_path / "USB stick"
    publisher.folder.rename(stick)
    its_device.url = stick.as_uri()
    assert its_device.update().result == "tested"
    (stick / "metadata" / "timestamp.json").unlink()
    assert its_device.update().reason == (
        f"{stick.as_uri()} is no repository, or is incomplete: metadata that must be there is not found"
    )


def test_what_was_cut_from_a_stick_goes_on(its_device: Device, publisher: Publisher) -> None:
    """Pulled out too early, and put in again: the part is read on."""
    publisher.publish("1.0.0", classes=400)
    publisher.release()
    its_device.url = publisher.folder.as_uri()
    largest = max((publisher.folder / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    whole = largest.read_bytes()
    largest.write_bytes(whole[:50_000])
    assert "ended after 50000 of" in str(its_device.update().reason)
    # What is read on is the rest: the beginning on the stick is not looked at again.
    largest.write_bytes(bytes(50_000) + whole[50_000:])
    assert its_device.update().result == "tested"
