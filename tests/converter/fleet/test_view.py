"""What devices say of themselves, as the operator sees it."""

import json

import msgspec
import pytest

from maas_converter.fleet import view
from maas_converter.fleet.table import rows
from maas_converter.fleet.view import FleetView, Running

LATENCY = {"count": 5, "p50": 1.5, "p99": 9.0}
STATE = {
    "pipeline": "gate",
    "model": "digits",
    "serving": True,
    "active": {"version": "1.0.0", "digest": "d"},
    "candidate": None,
    "accelerator": "gpu",
    "update": {"state": "active", "version": "1.0.0", "reason": None, "since": "x"},
}


def heard(*messages: tuple[str, object]) -> FleetView:
    picture = FleetView("maas")
    for topic, document in messages:
        picture.hear(topic, document if isinstance(document, bytes) else json.dumps(document).encode())
    return picture


def test_a_device_is_what_its_topics_say() -> None:
    picture = heard(
        ("maas/d1/gate/state", STATE),
        ("maas/d1/status", {"status": "online", "groups": ["all"], "agent": "0.1", "time": "2026-11-25T10:00:00.000Z"}),
        ("maas/d1/metrics", {"time": "2026-11-25T10:01:00.000Z", "pipelines": {"gate": {"latency_ms": LATENCY}}}),
        ("maas/d2/status", {"status": "offline", "device": "d2"}),
    )  # fmt: skip
    device = picture.devices["d1"]
    assert device.online and device.groups == ("all",) and [each.id for each in picture.of_group("all")] == ["d1"]
    assert [each.pipeline for each in device.of_model("digits")] == ["gate"] and not device.of_model("gate")
    assert rows([device, picture.devices["d2"]]) == [
        ("d1", "online", "all", "gate", "digits 1.0.0", "active", "gpu", "1.5/9", "2026-11-25T10:01:00"),
        ("d2", "offline", "-", "-", "-", "-", "-", "-", "-"),
    ]
    picture.hear("maas/d1/status", b'{"status": "offline", "device": "d1"}')
    assert not device.online and device.groups == ("all",)  # that of an older agent


def test_alarms_are_counted_as_agents_say_them_now_and_as_they_did() -> None:
    """A mixed fleet is what a rollout of the agent looks like."""
    alarm = {"severity": "warning", "code": "connection", "text": "two devices", "since": "2026-11-25T10:00:00.000Z"}
    picture = heard(
        ("maas/new/status", {"status": "online", "alarms": [alarm]}),
        ("maas/old/status", {"status": "online", "alarms": ["disk full", "the source has failed"]}),
        ("maas/odd/status", {"status": "online", "alarms": 7}),
    )
    assert [row[1] for row in rows(list(picture.devices.values()))] == ["online, 1 alarm", "online, 2 alarms", "online"]
    assert [each.text for each in picture.devices["new"].alarms] == ["two devices"]
    picture.hear("maas/new/status", b'{"status": "offline", "device": "new"}')
    assert not picture.devices["new"].alarms


def test_on_probation_the_candidate_is_what_serves() -> None:
    update = {"state": "probation", "version": "1.1.0", "reason": None}
    picture = heard(("maas/d1/gate/state", STATE | {"candidate": {"version": "1.1.0"}, "update": update}))
    (running,) = picture.devices["d1"].of_model("digits")
    assert (running.serves, running.active) == ("1.1.0", "1.0.0")


def test_a_pipeline_whose_state_was_cleared_is_gone() -> None:
    """Its device has another name for it by now; nobody else is made known or forgotten by that."""
    picture = heard(
        ("maas/d1/gate/state", STATE),
        ("maas/d1/door/state", STATE | {"pipeline": "door"}),
        ("maas/d1/gate/state", b""),
        ("maas/d2/gate/state", b""),
    )
    assert [each.pipeline for each in picture.devices["d1"].of_model("digits")] == ["door"]
    assert list(picture.devices) == ["d1"]


def test_a_version_on_its_way_concerns_a_device_and_one_that_failed_does_not() -> None:
    running = Running("digits", "digits", "1.0.0", state="testing", version="1.1.0")
    assert running.has_to_do_with("1.0.0") and running.has_to_do_with("1.1.0") and not running.has_to_do_with("1.2.0")
    running.state = "failed"
    assert running.has_to_do_with("1.0.0") and not running.has_to_do_with("1.1.0")


def test_an_agent_that_does_not_name_its_models_is_known_by_its_pipelines() -> None:
    document = {name: value for name, value in STATE.items() if name != "model"}
    assert heard(("maas/d1/gate/state", document)).devices["d1"].of_model("gate")


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("maas/d1/status", b""),
        ("maas/d1/status", b"{"),
        ("maas/d1/status", b'{"status": 7}'),
        ("maas/d1/gate/state", b"[]"),
        ("maas/d1/gate/state", b"[" * 20_000),
        ("maas/d1/metrics", b'{"pipelines": 7}'),
        ("maas/d1/gate/out", b'{"status": "online"}'),
        ("maas/groups/all/desired", b"{}"),
        ("other/d1/status", b'{"status": "online"}'),
    ],
)
def test_what_is_no_document_of_a_device_is_nobodys(topic: str, payload: bytes) -> None:
    picture = FleetView("maas")
    assert not picture.hear(topic, payload)
    assert not picture.devices


@pytest.mark.parametrize("odd", ["fast", [1], {}, None, 10**400])
def test_figures_that_are_none_do_not_end_the_operator(odd: object) -> None:
    """Any device may publish anything as its own metrics."""
    picture = heard(("maas/d/metrics", {"pipelines": {"gate": {"latency_ms": {"p50": odd, "p99": 2.0}}}}))
    assert all(not device.latency_ms for device in picture.devices.values())


def test_a_fleet_that_never_ends_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may publish can speak of devices that there are not, and say as much of each as a message holds."""
    monkeypatch.setattr(view, "MOST_ROWS", 100)
    long = "x" * 10_000
    state = STATE | {"model": long, "update": {"state": long, "reason": long}}
    fleet = FleetView("maas")
    for number in range(1000):
        said = json.dumps({"status": long, "groups": [long] * 1000, "agent": long, "time": long}).encode()
        fleet.hear(f"maas/d{number % 60}/status", said)
        fleet.hear("maas/d1/gate/state", json.dumps(state | {"pipeline": f"{number}{long}"}).encode())
        figures = {f"{number}-{each}": {"latency_ms": LATENCY} for each in range(10)}
        fleet.hear("maas/d1/metrics", json.dumps({"pipelines": figures}).encode())
    assert fleet.is_full and len(rows(list(fleet.devices.values()))) <= 100
    assert not fleet.hear("maas/d1/status", b" " * (2 << 20) + b'{"status": "x"}')
    kept = sum(len(msgspec.json.encode(device)) for device in fleet.devices.values())
    assert kept < 100 * 64 * 300


def test_what_is_cleared_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline that comes and goes is no crowd."""
    monkeypatch.setattr(view, "MOST_ROWS", 2)
    fleet = FleetView("maas")
    for _ in range(10):
        assert fleet.hear("maas/d1/gate/state", json.dumps(STATE).encode())
        fleet.hear("maas/d1/gate/state", b"")
    assert not fleet.is_full
