"""Downloads that are cut, by servers that can go on where they were, by some that cannot, and by some that lie."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from maas_agent.trials.terms import Terms, WorkerLimits
from maas_agent.update.protocol import Go, Wanted, line_of
from maas_agent.update.store.blob_store import BlobStore
from tests.agent.update.device import Device
from tests.agent.update.publisher import Publisher
from tests.agent.update.servers import http_server, nginx
from tests.agent.update.site import Answer, Handler, Site, answering, cut_short, ranged
from tests.agent.update.wire import Wire, wired

CUT = 40_000


@pytest.fixture
def blob(publisher: Publisher) -> Path:
    """The largest blob of 1.0.0: the model's, some 110 KB."""
    publisher.publish("1.0.0", classes=400)
    publisher.release()
    return max((publisher.folder / "blobs").iterdir(), key=lambda path: path.stat().st_size)


@pytest.fixture
def wire(its_device: Device, its_site: Site, blob: Path) -> Iterator[Wire]:
    """Between the device and a server that knows ranges."""
    its_site.answers["/blobs/"] = ranged
    with wired(its_site.server_port) as wire:
        its_device.url = wire.url
        yield wire


def part_of(device: Device, blob: Path) -> Path:
    return device.store / "blobs" / f".{blob.name}.part"


def test_a_download_that_is_cut_again_and_again_goes_on_each_time(
    its_device: Device, its_site: Site, wire: Wire, blob: Path
) -> None:
    """Each poll asks for the rest only, so even a connection that never holds long enough brings all of it."""
    held = [0]
    while True:
        wire.cut_after = CUT
        outcome = its_device.update()
        if outcome.result == "tested":
            break
        assert (outcome.result, outcome.set_aside) == ("failed", False)
        if part_of(its_device, blob).exists():
            held.append(part_of(its_device, blob).stat().st_size)
        assert len(held) < 20
    assert held == sorted(held) and len(held) > 2
    asked = [asked for path, asked in its_site.ranges if blob.name in path]
    assert asked == [None, *(f"bytes={size}-" for size in sorted(set(held[1:])))]
    assert not part_of(its_device, blob).exists()


def test_a_puller_that_is_killed_in_a_download_goes_on_where_it_was(
    its_device: Device, its_site: Site, blob: Path
) -> None:
    """SIGKILL: nothing is tidied up, and still only the rest is asked for."""
    its_site.answers[blob.name] = stalling(CUT)
    hub, puller = its_device.start(Wanted(pipeline="p", model="digits"))
    with hub:
        assert b"pulling" in hub.recv(4096)
        hub.sendall(line_of(Go()))
        wait_until_grown(part_of(its_device, blob))
        puller.kill()
        puller.wait(10)
    held = part_of(its_device, blob).stat().st_size
    its_site.answers[blob.name] = ranged
    assert its_device.update().result == "tested"
    assert [asked for path, asked in its_site.ranges if blob.name in path] == [None, f"bytes={held}-"]


@pytest.mark.parametrize("server", ["http.server", "nginx"])
def test_a_cut_download_is_completed_from_a_real_server(
    its_device: Device, publisher: Publisher, blob: Path, tmp_path: Path, server: str
) -> None:
    """The one begins again, because it knows no ranges; the other goes on."""
    serving = http_server(publisher.folder) if server == "http.server" else nginx(publisher.folder, tmp_path / "nginx")
    with serving as port, wired(port) as wire:
        its_device.url = wire.url
        outcome = its_device.updates(Wanted(pipeline="p", model="other"))[0]
        assert outcome.reason == "the repository offers no model 'other'; it has digits"
        wire.cut_after = CUT
        assert its_device.update().result == "failed"
        held = part_of(its_device, blob).stat().st_size
        assert held > 10_000
        wire.reset()
        assert its_device.update().result == "tested"
        size = blob.stat().st_size
        assert (wire.down > size) if server == "http.server" else (size - held < wire.down < size)


HALF = 50_000
LIES: dict[str, Answer] = {
    "the range is ignored": answering(200, b"whole"),
    "another range": answering(206, b"x" * 70_000, Content_Range="bytes 40000-109999/110000"),
    "no range at all": answering(206, b"x" * 70_000),
    "several ranges": answering(206, b"x" * 70_000, Content_Type="multipart/byteranges; boundary=x"),
    "a range of something else": answering(206, b"x" * 70_000, Content_Range="lines 50000-119999/120000"),
    "a range that is no number": answering(206, b"x" * 70_000, Content_Range=f"bytes {'9' * 5000}-1/2"),
    "not satisfiable": answering(416, b"", Content_Range="bytes */10"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_server_that_answers_a_range_strangely_is_asked_for_the_whole(
    its_device: Device, its_site: Site, blob: Path, lie: str
) -> None:
    """Nothing is joined to what it does not belong to."""
    data = blob.read_bytes()
    its_site.answers[blob.name] = cut_short(data, after=HALF)
    assert its_device.update().result == "failed"

    def strange(handler: Handler) -> None:
        given = answering(200, data) if lie == "the range is ignored" else LIES[lie]
        (given if handler.headers["Range"] else ranged)(handler)

    its_site.answers[blob.name] = strange
    assert its_device.update().result == "tested"
    asked = [asked for path, asked in its_site.ranges if blob.name in path]
    assert asked == [None, f"bytes={HALF}-"] + ([] if lie == "the range is ignored" else [None])


def test_the_right_range_with_wrong_bytes_costs_the_part_and_not_the_bundle(
    its_device: Device, its_site: Site, blob: Path
) -> None:
    """A mirror that changed in between: the sum shows it, and the next poll begins again."""
    data = blob.read_bytes()
    its_site.answers[blob.name] = cut_short(data, after=HALF)
    assert its_device.update().result == "failed"
    rest = len(data) - HALF
    lie = answering(206, bytes(rest), Content_Range=f"bytes {HALF}-{len(data) - 1}/{len(data)}")
    its_site.answers[blob.name] = lie
    outcome = its_device.update()
    assert "arrived damaged" in str(outcome.reason) and not outcome.set_aside
    assert not part_of(its_device, blob).exists()
    its_site.answers.clear()
    assert its_device.update().result == "tested"


def test_parts_of_a_version_that_is_wanted_no_more_are_removed(
    its_device: Device, its_site: Site, publisher: Publisher, blob: Path
) -> None:
    """1.0.0 was cut, then 1.1.0 came: what arrived of the old one is garbage."""
    its_site.answers[blob.name] = cut_short(blob.read_bytes(), after=HALF)
    assert its_device.update().result == "failed"
    assert part_of(its_device, blob).exists()
    publisher.publish("1.1.0", seed=5)
    publisher.release()
    outcome = its_device.update()
    assert outcome.version == "1.1.0" and outcome.digest is not None
    BlobStore(its_device.store).collect_garbage({outcome.digest})
    assert not part_of(its_device, blob).exists()


def test_parts_are_kept_while_the_repository_is_out_of_reach(its_device: Device, its_site: Site, blob: Path) -> None:
    """A day without network must not cost what had arrived; the hub collects garbage after every look."""
    its_site.answers[blob.name] = cut_short(blob.read_bytes(), after=HALF)
    assert its_device.update().result == "failed"
    url, its_device.url = its_device.url, "http://127.0.0.1:9"
    for _ in range(2):
        assert its_device.update().state == "init"
        BlobStore(its_device.store).collect_garbage(set())
    its_site.answers[blob.name] = ranged
    its_device.url = url
    its_site.requests.clear()
    assert its_device.update().result == "tested"
    assert [asked for path, asked in its_site.ranges if blob.name in path] == [None, f"bytes={HALF}-"]
    assert sum("/targets/" in path for path in its_site.requests) == 0


def test_a_self_test_that_may_pass_later_does_not_cost_another_download(
    its_device: Device, its_site: Site, publisher: Publisher
) -> None:
    """A limit that is too low is mended on the device; what was fetched for it is still there."""
    publisher.publish("1.0.0")
    publisher.release()
    low = Terms("cpu", limits=WorkerLimits(memory_bytes=1))
    assert its_device.update(terms=low).state == "testing"
    BlobStore(its_device.store).collect_garbage(set())
    its_site.requests.clear()
    assert its_device.update().result == "tested"
    assert not any("/blobs/" in path for path in its_site.requests)


def stalling(after: int) -> Answer:
    """Send so many bytes, and then nothing, with the connection open."""

    def answer(handler: Handler) -> None:
        site = handler.server
        data = Path(handler.translate_path(handler.path)).read_bytes()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:after])
        handler.wfile.flush()
        site.closing.wait(30)

    return answer


def wait_until_grown(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not (path.exists() and path.stat().st_size > 0):
        assert time.monotonic() < deadline, f"nothing arrives in {path}"
        time.sleep(0.01)
