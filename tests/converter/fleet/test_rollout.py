"""A staged rollout: what follows from what the devices say."""

import msgspec
import pytest

from maas_agent.bundle.desired_state import position
from maas_converter.fleet.rollout import (
    Rollout,
    RolloutProgress,
    desired_model,
    members,
    progress,
    rollout_of,
    step,
    too_many,
)
from maas_converter.fleet.view import FleetDevice, Running

ROLLOUT = Rollout(
    id="r1", version="1.1.0", stages=(10.0, 100.0), soak_s=60.0, patience_s=600.0, max_failures=10.0, since=1000.0
)


def device(
    number: int, active: str = "1.0.0", state: str = "active", status: str = "online", **more: object
) -> FleetDevice:
    running = Running("digits", "digits", active, None, True, "cpu", state, active)
    for name, value in more.items():
        setattr(running, name, value)
    return FleetDevice(f"d{number}", status, ("all",), running={"digits": running})


def fleet(count: int = 200, **fields: str) -> list[FleetDevice]:
    return [device(number, **fields) for number in range(count)]  # type: ignore[arg-type]


def at(rollout: Rollout = ROLLOUT, **changes: object) -> Rollout:
    return msgspec.structs.replace(rollout, **changes)


def test_a_stage_is_the_devices_below_its_percentage_that_run_the_model() -> None:
    others = FleetDevice("x", "online", running={"cats": Running("cats", "cats")})
    first = members(ROLLOUT, [*fleet(), others], "digits")
    assert [each.id for each in first] == [each.id for each in fleet() if position("r1", each.id) < 10]
    assert 0 < len(first) < 40
    assert len(members(at(stage=1), [*fleet(), others], "digits")) == 200


def test_devices_are_done_pending_offline_or_failed() -> None:
    whole = at(stage=1)
    devices = [
        device(1, "1.1.0"),
        device(2),
        device(3, status="offline"),
        device(4, state="failed", version="1.1.0", reason="it deviates"),
        device(5, state="rolled_back", version="1.1.0", reason="it crashes"),
        device(6, state="probation", version="1.1.0"),
        device(7, state="failed", version="0.9.0", reason="that was another one"),
        device(8, state="active", reason="1.1.0 is wanted, but the repository does not offer it"),
        device(9, status="stopped"),
    ]
    found = progress(whole, devices, "digits", 1100.0)
    assert (found.done, found.pending, found.offline) == (("d1",), ("d2", "d6", "d7"), ("d3", "d9"))
    assert found.failed == {
        "d4": "failed: it deviates",
        "d5": "rolled_back: it crashes",
        "d8": "1.1.0 is wanted, but the repository does not offer it",
    }
    assert (found.size, found.reached) == (9, 4)


def test_a_device_that_takes_too_long_has_failed_and_so_has_one_that_went_silent_with_the_version() -> None:
    found = progress(at(stage=1), [device(1), device(2, "1.1.0", status="offline")], "digits", 1601.0)
    assert found.failed == {"d1": "not there after 600 s: digits is active 1.0.0"} and found.offline == ("d2",)
    devices = [device(2, "1.1.0", status="offline"), device(3, "1.1.0", status="stopped")]
    found = progress(at(stage=1), devices, "digits", 1100.0, frozenset({"d2", "d3"}))
    assert (found.failed, found.offline) == ({"d2": "went offline while it ran 1.1.0"}, ("d3",))


@pytest.mark.parametrize(
    ("state", "status", "failed"),
    [
        ("pulling", "offline", False),
        ("testing", "offline", True),
        ("shadow", "offline", True),
        ("probation", "offline", True),
        ("probation", "stopped", False),
        ("probation", "online", False),
    ],
)
def test_a_device_that_goes_silent_while_it_tries_the_version_has_failed(state: str, status: str, failed: bool) -> None:
    found = progress(at(stage=1), [device(1, state=state, status=status, version="1.1.0")], "digits", 1100.0)
    assert found.failed == ({"d1": f"went offline while it tried 1.1.0 ({state})"} if failed else {})
    other = device(1, state=state, status=status, version="1.0.9")
    assert progress(at(stage=1), [other], "digits", 1100.0).failed == {}


DONE = RolloutProgress(done=("a", "b"))


@pytest.mark.parametrize(
    ("rollout", "found", "now", "expected"),
    [
        (at(), RolloutProgress(done=("a",), pending=("b",)), 1100.0, at()),
        (
            at(soaking=1050.0),
            RolloutProgress(done=("a",), pending=("b",)),
            1100.0,
            at(),
        ),  # one came back: it soaks anew
        (at(), DONE, 1100.0, at(soaking=1100.0)),
        (at(soaking=1100.0), DONE, 1159.0, at(soaking=1100.0)),
        (at(soaking=1100.0), DONE, 1161.0, at(stage=1, since=1161.0)),
        (at(stage=1, soaking=1100.0), DONE, 1161.0, at(stage=1, state="done", since=1161.0)),
        (at(), RolloutProgress(), 1100.0, at(stage=1, since=1100.0)),  # 10 % of three devices: nobody
        (at(), RolloutProgress(done=("a",), offline=("b",)), 1100.0, at(soaking=1100.0)),
        (at(state="stopped"), DONE, 9999.0, at(state="stopped")),
        (at(state="aborted"), DONE, 9999.0, at(state="aborted")),
    ],
)
def test_what_comes_next(rollout: Rollout, found: RolloutProgress, now: float, expected: Rollout) -> None:
    assert step(rollout, found, now) == expected


def test_it_stops_by_itself_when_more_fail_than_may_and_takes_it_back_where_that_is_wanted() -> None:
    found = RolloutProgress(done=("a",), pending=("b", "c", "d"), failed={"x": "no"})
    stopped = step(at(), found, 1100.0)
    assert (stopped.state, stopped.stage, stopped.since) == ("stopped", 0, 1100.0)
    assert stopped.reason == "1 of 5 devices failed in stage 1 (10 %); allowed are 10 %"
    assert desired_model(stopped).version == "1.1.0" and desired_model(stopped).percent == 10.0
    back = step(at(on_failure="rollback"), found, 1100.0)
    assert (back.state, desired_model(back).withdrawn, desired_model(back).version) == ("rolled_back", ("1.1.0",), None)


@pytest.mark.parametrize(("failed", "size", "expected"), [(0, 0, False), (1, 10, False), (2, 19, True), (1, 9, True)])
def test_the_bound_is_a_part_of_the_stage(failed: int, size: int, expected: bool) -> None:
    names = {str(number): "no" for number in range(failed)}
    assert too_many(at(), RolloutProgress(done=("d",) * (size - failed), failed=names)) is expected


def test_the_broker_keeps_it_for_whoever_comes_next() -> None:
    rollout = at(soaking=5.0, reason="x")
    assert (
        rollout_of(msgspec.json.decode(msgspec.json.encode(desired_model(rollout)), type=type(desired_model(rollout))))
        == rollout
    )
    wish = desired_model(rollout)
    assert rollout_of(None) is None and rollout_of(msgspec.structs.replace(wish, rollout={"stage": 1})) is None
    broken = msgspec.to_builtins(rollout) | {"stage": 7}
    assert rollout_of(msgspec.structs.replace(wish, rollout=broken)) is None
