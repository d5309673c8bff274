"""Whole updates: a real puller process, a real repository behind a real HTTP server, real TUF, real LiteRT."""

import resource
import time
from pathlib import Path

import pytest

from maas_agent.trials.terms import Terms, WorkerLimits
from maas_agent.update.protocol import Go, PullProgress, Wanted, decode_event, line_of
from tests.agent.update.conftest import Publish
from tests.agent.update.device import Device
from tests.agent.update.site import Site, body, cut_short, endless, trickle
from tests.bundles import make_bundle
from tests.models import crashing_tflite

MiB = 1 << 20


def test_a_published_bundle_is_pulled_verified_staged_and_tested(device: Device, published: Publish) -> None:
    """The whole way, every state announced in order before it is acted on."""
    bundle = published("1.0.0")
    outcome = device.update(terms=Terms())
    assert (outcome.result, outcome.version, outcome.digest) == ("tested", "1.0.0", bundle.digest)
    assert [event.state for event in device.progress] == ["pulling", "verifying", "staged", "testing"]
    best = outcome.trials.best() if outcome.trials else None
    assert best is not None and best.p50_ms is not None and best.p50_ms > 0


def test_a_file_url_is_a_repository_too(device: Device, repository: Path, published: Publish) -> None:
    """A repository on a USB stick or a network drive needs no server."""
    published("1.0.0+build.7")
    device.url = f"file://{repository}"
    assert device.update().version == "1.0.0+build.7"


def test_a_proxy_from_the_environment_is_used(
    device: Device, site: Site, published: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device itself need not even resolve the name."""
    published("1.0.0")
    monkeypatch.setenv("http_proxy", site.url)
    device.url = "http://repository.invalid"
    assert device.update().result == "tested"


def test_a_poll_without_news_asks_for_two_files_and_is_current(device: Device, site: Site, published: Publish) -> None:
    """Ten thousand devices poll: the next root, which is not there, and the timestamp, over one connection."""
    bundle = published("1.0.0")
    active = {"active_digest": bundle.digest, "active_version": "1.0.0"}
    device.update()
    site.requests.clear()
    site.clients.clear()
    device.progress.clear()
    outcome = device.update(**active)
    assert (outcome.result, outcome.version, outcome.reason) == ("current", "1.0.0", None)
    assert site.requests == ["/metadata/2.root.json", "/metadata/timestamp.json"]
    assert len(site.clients) == 1
    assert device.progress == []


def test_an_update_fetches_only_the_blobs_that_changed(device: Device, site: Site, published: Publish) -> None:
    """The weights are the same, so only the manifest is new."""
    first = published("1.0.0", seed=3)
    device.update()
    site.requests.clear()
    published("1.1.0", seed=3)
    assert device.update(active_version="1.0.0", active_digest=first.digest).version == "1.1.0"
    assert [path for path in site.requests if "/blobs/" in path] == []


def test_a_blob_that_rotted_in_the_store_is_fetched_again(device: Device, published: Publish) -> None:
    """What is on the card is not believed because of its name."""
    published("1.0.0")
    device.update()
    for blob in (device.store / "blobs").iterdir():
        blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    assert device.update().result == "tested"


def test_a_channel_is_the_ceiling_of_what_is_installed(device: Device, published: Publish) -> None:
    """``beta`` is further than ``stable``, and a device of either channel gets its own."""
    published("1.0.0")
    published("2.0.0", channel="beta")
    assert device.update().version == "1.0.0"
    assert device.update(channel="beta").version == "2.0.0"


def test_an_older_version_on_the_channel_never_replaces_the_active_one(device: Device, published: Publish) -> None:
    """A downgrade is refused and said, not installed."""
    published("1.0.0")
    outcome = device.update(active_version="2.0.0", active_digest="0" * 64)
    assert (outcome.result, outcome.reason) == (
        "current",
        "offered is 1.0.0, active is 2.0.0: only a newer version replaces it",
    )


def test_a_version_that_failed_here_is_not_tried_again(device: Device, site: Site, published: Publish) -> None:
    """Its reason stays, and nothing is downloaded for it; a newer one is tried."""
    bad = published("1.0.0")
    refused = {bad.digest: "the golden samples deviate"}
    outcome = device.update(refused=refused)
    assert (outcome.result, outcome.reason) == ("current", "1.0.0 is set aside: the golden samples deviate")
    assert not any("/blobs/" in path for path in site.requests)
    published("1.0.1")
    assert device.update(refused=refused).version == "1.0.1"


def test_one_refresh_serves_all_pipelines_and_each_has_its_own_outcome(
    device: Device, site: Site, published: Publish
) -> None:
    """One pipeline's missing model is not another one's."""
    bundle = published("1.0.0")
    outcomes = device.updates(
        Wanted(pipeline="a", model="nothing"),
        Wanted(pipeline="b", model="digits", active_version="1.0.0", active_digest=bundle.digest),
    )
    assert [(outcome.pipeline, outcome.result) for outcome in outcomes] == [("a", "failed"), ("b", "current")]
    assert outcomes[0].reason == "the repository offers no model 'nothing'; it has digits"
    assert site.requests.count("/metadata/timestamp.json") == 1


def test_a_blob_changed_on_the_way_is_refused_but_not_held_against_the_bundle(
    device: Device, site: Site, published: Publish
) -> None:
    """A meddler on the way must not be able to set a good version aside for ever."""
    published("1.0.0")
    site.answers["/blobs/"] = body(bytes(10))
    outcome = device.update()
    assert (outcome.result, outcome.state, outcome.set_aside) == ("failed", "pulling", False)
    site.answers.clear()
    assert device.update().result == "tested"


def test_a_tampered_blob_of_the_right_length_is_refused(device: Device, repository: Path, published: Publish) -> None:
    """Length alone says nothing: every blob is checked against its digest."""
    published("1.0.0")
    for blob in (repository / "blobs").iterdir():
        blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    outcome = device.update()
    assert (
        outcome.reason is not None and "arrived damaged: its SHA-256 is not the one that was signed" in outcome.reason
    )
    assert list((device.store / "blobs").glob(".*")) == []


def test_a_download_cut_short_is_a_reason_and_the_next_poll_goes_on(
    device: Device, site: Site, published: Publish
) -> None:
    """A network cut while pulling; the blobs that had arrived are kept."""
    published("1.0.0", seed=1)
    site.answers["/blobs/"] = cut_short(bytes(MiB), after=100)
    outcome = device.update()
    assert (outcome.result, outcome.set_aside) == ("failed", False)
    site.answers.clear()
    assert device.update().result == "tested"


def test_metadata_cut_short_is_a_sentence(device: Device, site: Site) -> None:
    """The connection breaks while the repository is refreshed."""
    site.answers["/metadata/timestamp.json"] = cut_short(bytes(1000), after=100)
    outcome = device.update()
    assert (outcome.result, outcome.state) == ("failed", "init")
    assert outcome.reason is not None and outcome.reason.startswith(f"cannot fetch metadata from {site.url}: ")
    assert "unexpected" not in outcome.reason


def test_a_server_in_trouble_is_a_sentence(device: Device, site: Site, published: Publish) -> None:
    """What it answered is said; it is tried again at the next poll, not at once and not thrice."""
    published("1.0.0")
    site.answers["/blobs/"] = lambda handler: handler.send_error(503)
    outcome = device.update()
    assert outcome.reason is not None and outcome.reason.endswith(": the server answers 503")
    assert sum("/blobs/" in path for path in site.requests) == 1


def test_endless_data_ends_at_the_signed_length(device: Device, site: Site, published: Publish) -> None:
    """A server that never stops sending fills neither memory nor disk."""
    published("1.0.0")
    site.answers["/blobs/"] = endless
    outcome = device.update()
    assert outcome.reason is not None and "is longer than the" in outcome.reason


@pytest.mark.parametrize("path", ["/metadata/timestamp.json", "/blobs/"])
def test_a_server_that_trickles_bytes_ends_at_the_deadline(
    device: Device, site: Site, published: Publish, path: str
) -> None:
    """No read ever times out, in the headers not even a byte of content arrives; the total is bounded all the same."""
    published("1.0.0")
    site.answers[path] = trickle
    device.timeout_s = 0.5
    began = time.monotonic()
    outcome = device.update()
    assert outcome.reason is not None and "did not end within 0.5 s" in outcome.reason
    assert time.monotonic() - began < 15  # less than the timeout that it would have without this one


def test_a_server_that_is_down_is_a_sentence(device: Device, site: Site) -> None:
    """Nobody listens; the person reads where and why."""
    site.server_close()
    outcome = device.update()
    assert (outcome.result, outcome.state, outcome.set_aside) == ("failed", "init", False)
    assert outcome.reason == f"cannot fetch metadata from {site.url}: Connection refused"


def test_a_folder_that_is_no_repository_is_a_sentence(device: Device, site: Site) -> None:
    """The URL is right but for its last part."""
    device.url = f"{site.url}/nowhere"
    assert device.update().reason == (
        f"{site.url}/nowhere is no repository, or is incomplete: metadata that must be there is not found"
    )


def test_a_full_disk_is_a_sentence_and_leaves_no_partial_file(device: Device, published: Publish) -> None:
    """The limit on file sizes stands in for the disk: the write fails just so."""
    published("1.0.0", classes=400)
    device.before_start = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
    outcome = device.update()
    assert (outcome.result, outcome.state, outcome.set_aside) == ("failed", "pulling", False)
    assert outcome.reason is not None and outcome.reason.startswith("there is no room for ")
    assert all(blob.stat().st_size < 40_000 for blob in (device.store / "blobs").iterdir())
    assert list((device.store / "blobs").glob(".*")) == []


def test_a_model_that_deviates_from_its_golden_samples_is_set_aside(device: Device, published: Publish) -> None:
    """The device does not reproduce what the converter measured: it never serves."""
    bundle = published("1.0.0", off_by=0.5)
    outcome = device.update()
    assert (outcome.result, outcome.state, outcome.digest, outcome.set_aside) == (
        "failed",
        "testing",
        bundle.digest,
        True,
    )
    assert outcome.reason == "the self-test failed on cpu: the golden samples deviate by 0.5, allowed is 0.02"


def test_a_model_that_crashes_litert_is_a_reason_and_not_a_dead_puller(device: Device, published: Publish) -> None:
    """Signed and well-formed, and still it kills the process that loads it."""
    published("1.0.0", swap=crashing_tflite())
    outcome = device.update()
    assert (outcome.result, outcome.set_aside) == ("failed", True)
    assert outcome.reason is not None
    assert outcome.reason.startswith("the self-test failed on cpu: killed by SIGSEGV: the model crashes this device")


def test_with_an_accelerator_this_device_lacks_the_processor_serves_and_the_table_says_why(
    device: Device, published: Publish
) -> None:
    """A wrong setting, or a stick that was pulled out: no reason to serve nothing."""
    published("1.0.0")
    outcome = device.update(terms=Terms("quantum"))
    assert outcome.result == "tested" and outcome.trials is not None
    best = outcome.trials.best()
    assert best is not None and best.setup.accelerator == "cpu"
    refused = outcome.trials.rows[-1]
    assert refused.setup.accelerator == "quantum"
    assert refused.refused is not None and refused.refused.startswith("accelerator 'quantum': choose one of")


def test_what_the_device_lacks_is_not_held_against_the_bundle(device: Device, published: Publish) -> None:
    """A limit that is too low is a wrong setting, not a bad model."""
    published("1.0.0")
    outcome = device.update(terms=Terms("cpu", limits=WorkerLimits(memory_bytes=1)))
    assert (outcome.result, outcome.set_aside) == ("failed", False)
    assert (
        outcome.reason is not None and "it needs " in outcome.reason and "limits.memory_mb allows 0" in outcome.reason
    )


def test_the_puller_waits_until_the_hub_has_persisted_a_state(device: Device, site: Site, published: Publish) -> None:
    """Before the first go nothing is downloaded for the bundle; after it, the next state is announced."""
    bundle = published("1.0.0")
    hub, puller = device.start(Wanted(pipeline="p", model="digits"))
    with hub:
        assert decode_event(hub.recv(4096)) == PullProgress("p", "pulling", "1.0.0", bundle.digest)
        hub.settimeout(0.5)
        with pytest.raises(TimeoutError):
            hub.recv(4096)
        assert not any("/targets/" in path or "/blobs/" in path for path in site.requests)
        hub.settimeout(30)
        hub.sendall(line_of(Go()))
        assert decode_event(hub.recv(4096)) == PullProgress("p", "verifying", "1.0.0", bundle.digest)
    assert puller.wait(5) == 0


def test_a_puller_without_a_hub_ends_at_once(device: Device, site: Site, published: Publish) -> None:
    """Even in the middle of a download that would take for ever."""
    published("1.0.0")
    site.answers["/metadata/timestamp.json"] = trickle
    hub, puller = device.start(Wanted(pipeline="p", model="digits"))
    hub.close()
    assert puller.wait(5) == 0


def test_a_pipeline_without_repository_or_bundle_is_told_so(device: Device) -> None:
    """Half a configuration."""
    device.url = None
    assert device.update().reason == "there is neither a [repository] nor a bundle to take the model from"


def test_a_local_bundle_goes_on_when_the_repository_is_down(device: Device, site: Site, tmp_path: Path) -> None:
    """What needs no server does not suffer from it."""
    site.server_close()
    path = make_bundle(tmp_path / "local.maas", "local")
    outcomes = device.updates(
        Wanted(pipeline="a", model="digits"), Wanted(pipeline="b", bundle=str(path), allow_unsigned=True)
    )
    assert [outcome.result for outcome in outcomes] == ["failed", "tested"]
