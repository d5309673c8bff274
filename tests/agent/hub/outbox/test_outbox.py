"""The outbox: what waits, what is on its way, what is on the disk, and what is lost only beyond its bounds."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from maas_agent.base.documents import rfc3339
from maas_agent.hub.mqtt.message import Outbound
from maas_agent.hub.outbox.entry import Priority
from maas_agent.hub.outbox.journal import NAME
from tests.agent.hub.outbox.outboxes import Clock, Setting

SIZE = 260
"""What a message of these tests takes at the most: 256 bytes, its topic and its payload."""


@pytest.fixture(params=["memory", "disk"])
def setting(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> Setting:
    setting = Setting(clock, tmp_path if request.param == "disk" else None)
    setting.connect()
    return setting


@pytest.fixture
def on_disk(clock: Clock, tmp_path: Path) -> Setting:
    setting = Setting(clock, tmp_path)
    setting.connect()
    return setting


# ------------------------------------------------------------- with a connection


def test_messages_leave_in_their_order_and_stay_until_acknowledged(setting: Setting) -> None:
    setting.put(1, 2, 3)
    assert setting.link.sent == []  # until the end of the turn
    setting.outbox.pump()
    assert setting.payloads == [1, 2, 3]
    assert (len(setting.outbox), setting.safe) == (3, [])
    setting.acknowledge()
    assert (len(setting.outbox), setting.outbox.bytes, setting.safe) == (0, 0, [1, 2, 3])


def test_qos_0_is_done_when_it_is_sent(setting: Setting) -> None:
    setting.put(1, 2, qos=0)
    setting.outbox.pump()
    assert (len(setting.outbox), setting.outbox.bytes, setting.safe) == (0, 0, [1, 2])


def test_no_more_are_on_their_way_than_the_broker_takes(setting: Setting) -> None:
    setting.link.send_quota = 3
    setting.put(*range(8))
    setting.outbox.pump()
    assert setting.payloads == [0, 1, 2]
    setting.acknowledge(1)
    setting.outbox.pump()
    assert setting.payloads == [1, 2, 3]


def test_no_more_are_on_their_way_than_the_window_even_if_the_broker_takes_more(setting: Setting) -> None:
    setting.put(*range(1000))
    setting.outbox.pump()
    assert len(setting.link.sent) == 256


def test_an_acknowledgement_is_counted_once(setting: Setting) -> None:
    setting.put(1)
    setting.outbox.pump()
    (number, _), *_ = setting.link.sent
    for _ in range(3):
        setting.outbox.acknowledged(number)
    setting.outbox.acknowledged(12345)
    assert (setting.safe, setting.outbox.bytes) == ([1], 0)


def test_what_is_urgent_goes_first(setting: Setting) -> None:
    setting.put(1, priority=Priority.METRIC)
    setting.put(2)
    setting.put(3, priority=Priority.EVENT)
    setting.outbox.pump()
    assert setting.payloads == [3, 2, 1]


def test_what_the_broker_has_in_time_is_never_written(on_disk: Setting) -> None:
    for number in range(1000):
        on_disk.put(number)
        on_disk.outbox.pump()
        on_disk.acknowledge()
        on_disk.clock.advance(0.01)
    on_disk.kill()
    on_disk.start()
    assert len(on_disk.outbox) == 0
    assert (on_disk.folder / NAME).stat().st_size <= 4 * 4096  # type: ignore[operator]


def test_under_a_load_without_a_pause_nothing_is_written_either(on_disk: Setting) -> None:
    """There is always one that came just now: it is no reason to write."""
    on_disk.put(0)
    for number in range(1, 500):
        on_disk.put(number)
        on_disk.outbox.pump()
        on_disk.clock.advance(0.01)
        on_disk.acknowledge(len(on_disk.link.sent) - 1)
    on_disk.kill()
    on_disk.start()
    assert len(on_disk.outbox) == 0


def test_what_the_broker_has_not_in_time_is_written_and_safe(on_disk: Setting) -> None:
    on_disk.put(1, 2)
    on_disk.outbox.pump()
    on_disk.clock.advance(0.09)
    assert on_disk.safe == []
    on_disk.clock.advance(0.11)
    assert on_disk.safe == [1, 2]
    on_disk.acknowledge()
    assert (on_disk.safe, len(on_disk.outbox)) == ([1, 2], 0)


def test_a_slow_broker_costs_one_batch_for_each_half_of_the_time(on_disk: Setting) -> None:
    for number in range(200):
        on_disk.put(number)
        on_disk.outbox.pump()
        on_disk.clock.advance(0.01)
    on_disk.clock.advance(0.2)
    assert on_disk.safe == list(range(200))
    assert on_disk.batches == 20 + 1


def test_inputs_stay_with_the_broker_while_their_results_fill_the_outbox(clock: Clock, tmp_path: Path) -> None:
    """A broker that gets no acknowledgement sends no more, and nothing is pushed out."""
    setting = Setting(clock, tmp_path, max_bytes=10 * SIZE)
    setting.connect()
    setting.put(*range(5))
    setting.written()
    assert setting.safe == [0, 1, 2, 3, 4]
    setting.put(*range(5, 8))
    setting.written()
    assert setting.safe == [0, 1, 2, 3, 4]
    setting.lose_the_link()
    assert (setting.outbox.on_disk_only, setting.outbox.dropped, setting.safe) == (8, 0, [0, 1, 2, 3, 4])
    setting.connect()
    assert setting.replayed_in(1) == list(range(8))
    assert setting.safe == list(range(8))


def test_a_batch_is_written_without_waiting(on_disk: Setting) -> None:
    on_disk.put(*range(255))
    on_disk.outbox.pump()
    assert on_disk.safe == []
    on_disk.put(255)
    on_disk.outbox.pump()
    assert on_disk.safe == list(range(256))


def test_a_slow_broker_leaves_no_more_in_memory_than_a_bound_and_gets_everything(on_disk: Setting) -> None:
    payload = bytes(100_000)
    on_disk.link.send_quota = 4
    for number in range(200):
        on_disk.put(number, payload=payload)
        on_disk.outbox.pump()
        on_disk.written()
    assert on_disk.outbox._held_bytes < 17 << 20
    assert len(on_disk.safe) < 50  # it has to take these first, before it may send more inputs
    assert len(on_disk.outbox) == 200
    received = 0
    for _ in range(2000):
        received += len(on_disk.link.sent)
        on_disk.acknowledge()
        on_disk.clock.advance(0.05)
        on_disk.outbox.pump()
    assert (received, len(on_disk.outbox), on_disk.outbox._held_bytes) == (200, 0, 0)


# ------------------------------------------------------------- without one


def test_while_the_link_is_down_everything_waits(setting: Setting) -> None:
    setting.lose_the_link()
    setting.put(1)
    setting.put(2, qos=0)
    setting.outbox.pump()
    assert (setting.link.sent, len(setting.outbox), setting.safe) == ([], 2, [])


def test_what_was_on_its_way_is_sent_again_first_and_in_its_old_order(setting: Setting) -> None:
    setting.link.send_quota = 4
    setting.put(*range(6))
    setting.outbox.pump()
    setting.outbox.acknowledged(setting.link.sent[1][0])
    setting.lose_the_link()
    setting.put(6)
    setting.link.send_quota = 100
    setting.connect()
    setting.outbox.pump()
    assert setting.payloads == [0, 2, 3, 4, 5, 6]
    setting.acknowledge()
    assert sorted(setting.safe) == list(range(7))


def test_an_outage_leaves_the_memory_and_comes_back_in_order(on_disk: Setting) -> None:
    on_disk.lose_the_link()
    on_disk.put(*range(100))
    on_disk.written()
    assert (on_disk.outbox.in_memory, on_disk.outbox.on_disk_only) == (0, 100)
    assert on_disk.safe == list(range(100))
    on_disk.connect()
    assert on_disk.replayed_in(1) == list(range(100))
    assert (len(on_disk.outbox), on_disk.outbox.bytes, on_disk.safe) == (0, 0, list(range(100)))


def test_what_is_on_the_disk_survives_the_end_of_the_process(on_disk: Setting) -> None:
    on_disk.lose_the_link()
    on_disk.put(*range(10))
    on_disk.put(10, priority=Priority.METRIC)
    on_disk.put(11, priority=Priority.EVENT)
    on_disk.written()
    on_disk.put(99)  # not written yet: lost, and never said to be safe
    on_disk.kill()
    on_disk.start()
    assert len(on_disk.outbox) == 12
    on_disk.connect()
    assert on_disk.replayed_in(1) == [11, *range(10), 10]
    on_disk.kill()
    on_disk.start()
    assert len(on_disk.outbox) == 0


def test_a_clean_end_writes_what_is_left(on_disk: Setting) -> None:
    on_disk.put(*range(5))
    on_disk.outbox.pump()
    on_disk.put(*range(5, 8))
    on_disk.outbox.close()
    assert (on_disk.outbox.in_memory, on_disk.safe) == (0, list(range(8)))
    on_disk.start()
    on_disk.connect()
    assert on_disk.replayed_in(1) == list(range(8))


def test_a_replay_keeps_its_pace_and_what_is_new_does_not_wait_for_it(on_disk: Setting) -> None:
    on_disk.lose_the_link()
    on_disk.put(*range(1000))
    on_disk.written()
    on_disk.connect()
    sent: list[int] = []
    for number in range(1000, 1020):
        on_disk.put(number)
        on_disk.outbox.pump()
        assert number in on_disk.payloads  # in the turn in which it came
        sent += on_disk.replayed_in(0.05)
    assert len([number for number in sent if number < 1000]) == 500  # a second's worth
    assert on_disk.replayed_in(1.05) == list(range(500, 1000))


def test_a_replay_moves_on_while_new_results_fill_the_window(on_disk: Setting) -> None:
    on_disk.lose_the_link()
    on_disk.put(*range(50))
    on_disk.written()
    on_disk.link.send_quota = 8
    on_disk.connect()
    replayed: list[int] = []
    for turn in range(200):
        on_disk.put(*range(1000 + turn * 20, 1020 + turn * 20))
        on_disk.outbox.pump()
        on_disk.clock.advance(0.05)
        replayed += [number for number in on_disk.payloads if number < 1000]
        on_disk.acknowledge()
    assert replayed == list(range(50))


def test_what_was_held_up_is_marked_and_nothing_else(on_disk: Setting) -> None:
    on_disk.put(1, payload=b'{"id":"live"}')
    on_disk.outbox.pump()
    assert on_disk.link.sent[0][1].payload == b'{"id":"live"}'
    on_disk.lose_the_link()
    on_disk.put(2, payload=b'{"id":"late"}')
    on_disk.put(3, payload=b'{"status":"executing"}', priority=Priority.EVENT)
    on_disk.written()
    on_disk.put(4, payload=b'{"id":"later"}')
    on_disk.connect()
    on_disk.clock.advance(0.1)
    on_disk.outbox.pump()
    assert sorted(message.payload for _, message in on_disk.link.sent) == [
        b'{"id":"late","replayed":true}',
        b'{"id":"later","replayed":true}',
        b'{"id":"live","replayed":true}',
        b'{"status":"executing"}',  # a document that the one who asked reads again
    ]
    on_disk.acknowledge()
    on_disk.put(5, payload=b'{"id":"now"}')
    on_disk.outbox.pump()
    assert on_disk.link.sent[0][1].payload == b'{"id":"now"}'


def test_without_durability_nothing_is_written_and_what_was_is_still_sent(clock: Clock, tmp_path: Path) -> None:
    before = Setting(clock, tmp_path)
    before.put(1, 2)
    before.written()
    before.kill()
    memory = Setting(clock, None)
    memory.folder = tmp_path
    memory.start()
    memory.put(3)
    memory.written()
    assert (len(memory.outbox), memory.safe) == (3, [])
    memory.connect()
    assert sorted(memory.replayed_in(1)) == [1, 2, 3]
    memory.kill()
    memory.start()
    assert len(memory.outbox) == 0


# ------------------------------------------------------------- what the broker cannot take

RESULT = b'{"id":"7","device":"dev","result":"%s"}' % (b"x" * 500)
ERROR = b'{"id":"7","device":"dev","error":{"code":"result_too_large"'


@pytest.mark.parametrize("qos", [0, 1])
def test_an_error_goes_instead_of_a_result_that_is_too_large(setting: Setting, qos: int) -> None:
    setting.connect()
    setting.link.most_bytes = 300
    setting.put(1, payload=RESULT, qos=qos)
    setting.put(2, qos=qos)
    setting.outbox.pump()
    assert sorted(message.payload.startswith(ERROR) for _, message in setting.link.sent) == [False, True]
    assert sorted(setting.safe) == ([] if qos else [1, 2])
    setting.acknowledge()
    assert sorted(setting.safe) == [1, 2]
    assert (len(setting.outbox), setting.outbox.bytes, setting.outbox._owed_bytes) == (0, 0, 0)


def test_what_is_no_result_or_whose_error_is_too_large_as_well_is_done_with(setting: Setting) -> None:
    setting.connect()
    setting.link.most_bytes = 50
    setting.put(1, payload=RESULT)
    setting.put(2, payload=b"no result" * 10)
    setting.outbox.pump()
    assert (setting.link.sent, sorted(setting.safe)) == ([], [1, 2])
    assert (len(setting.outbox), setting.outbox.bytes, setting.outbox._owed_bytes) == (0, 0, 0)


def test_each_is_replaced_once_where_there_is_hardly_room_for_more(on_disk: Setting) -> None:
    """An error more would be beyond what is held in memory."""
    on_disk.connect()
    on_disk.link.most_bytes = 300
    size = (1 << 20) - SIZE - 3
    for number in range(16):
        head = b'{"id":"%02d","result":"' % number
        on_disk.put(number, payload=head + b"x" * (size - len(head)) + b'"}')
    assert (16 << 20) - 300 < on_disk.outbox.bytes < 16 << 20
    on_disk.outbox.pump()
    sent = [message.payload[:10] for _, message in on_disk.link.sent]
    assert sorted(sent) == [b'{"id":"%02d"' % number for number in range(16)]
    on_disk.acknowledge()
    assert sorted(on_disk.safe) == list(range(16))
    assert (len(on_disk.outbox), on_disk.outbox.bytes, on_disk.outbox._owed_bytes) == (0, 0, 0)


def test_one_that_has_waited_on_the_disk_is_replaced_there_too(on_disk: Setting) -> None:
    on_disk.put(1, payload=RESULT)
    on_disk.written()
    assert on_disk.safe == [1]
    on_disk.kill()
    on_disk.start()
    on_disk.link.most_bytes = 300
    on_disk.connect()
    on_disk.clock.advance(0.1)
    on_disk.outbox.pump()
    ((_, message),) = on_disk.link.sent
    assert message.payload.startswith(ERROR)
    on_disk.written()
    on_disk.kill()
    on_disk.start()
    assert len(on_disk.outbox) == 1
    on_disk.connect()
    on_disk.clock.advance(0.1)
    ((_, message),) = on_disk.link.sent
    assert message.payload.startswith(ERROR)
    on_disk.acknowledge()
    on_disk.written()
    on_disk.kill()
    on_disk.start()
    assert len(on_disk.outbox) == 0


# ------------------------------------------------------------- bounds


@pytest.mark.parametrize("is_written", [False, True])
def test_beyond_the_bound_of_bytes_the_oldest_go_and_are_counted(
    clock: Clock, tmp_path: Path, is_written: bool
) -> None:
    setting = Setting(clock, tmp_path if is_written else None, max_bytes=5 * SIZE)
    for number in range(10):
        setting.put_local(number)
        if number % 2:
            setting.written()
        assert setting.outbox.bytes <= 5 * SIZE
    assert (len(setting.outbox), setting.outbox.dropped) == (5, 5)
    setting.connect()
    setting.outbox.pump()
    assert sorted(setting.replayed_in(0.5)) == [5, 6, 7, 8, 9]


@pytest.mark.parametrize("is_written", [False, True])
def test_results_that_inputs_wait_for_are_kept_while_memory_lasts(
    clock: Clock, tmp_path: Path, is_written: bool
) -> None:
    """A broker sends only so many inputs before one is acknowledged: it is not for them to push each other out."""
    setting = Setting(clock, tmp_path if is_written else None, max_bytes=10 * (SIZE + 1))
    setting.put_local(*range(6))
    setting.written()
    setting.put(*range(6, 30))
    setting.written()
    if not is_written:
        assert setting.outbox.dropped > 6 and setting.outbox.bytes <= 20 * (SIZE + 1)
        return
    assert (setting.outbox.dropped, setting.safe, setting.outbox.in_memory) == (0, [], 0)
    setting.put_local(*range(30, 40))  # these have a bound, whatever lies before them
    setting.written()
    assert (setting.outbox.dropped, setting.safe) == (6, [])
    setting.connect()
    assert setting.replayed_in(1) == list(range(6, 40))
    assert setting.safe == list(range(6, 30))


def test_beyond_the_bound_the_least_important_go_first(clock: Clock, tmp_path: Path) -> None:
    setting = Setting(clock, tmp_path, max_bytes=6 * SIZE)
    setting.put_local(1, priority=Priority.EVENT)
    setting.put_local(2, 3)
    setting.written()
    setting.put_local(4, 5, priority=Priority.METRIC)
    setting.put_local(6, 7, 8)
    setting.connect()
    setting.outbox.pump()
    assert sorted(setting.replayed_in(1)) == [1, 2, 3, 6, 7, 8]
    assert setting.outbox.dropped == 2


def test_the_last_message_is_kept_even_if_it_is_larger_than_the_bound(clock: Clock) -> None:
    setting = Setting(clock, None, max_bytes=100)
    setting.put_local(1, 2)
    assert (len(setting.outbox), setting.outbox.dropped) == (1, 1)


def test_what_is_on_its_way_is_not_dropped(clock: Clock) -> None:
    """The broker may have it already."""
    setting = Setting(clock, None, max_bytes=1000)
    setting.connect()
    setting.put(0, 1)
    setting.outbox.pump()
    setting.link.connected = False
    setting.put_local(*range(2, 8))
    assert setting.outbox.dropped and not {0, 1} & set(setting.safe)
    setting.acknowledge(2)
    assert {0, 1} <= set(setting.safe)


@pytest.mark.parametrize("is_written", [False, True])
def test_what_has_waited_too_long_goes_and_is_counted(clock: Clock, tmp_path: Path, is_written: bool) -> None:
    setting = Setting(clock, tmp_path if is_written else None, max_age_s=60)
    setting.put(1, 2)
    clock.advance(40)
    setting.put(3)
    clock.advance(19)
    setting.outbox.expire()
    assert (setting.outbox.dropped, round(setting.outbox.oldest_s)) == (0, 59)
    clock.advance(2)
    setting.outbox.expire()
    assert (setting.outbox.dropped, round(setting.outbox.oldest_s)) == (2, 21)
    clock.advance(100)
    setting.outbox.expire()
    assert (len(setting.outbox), setting.outbox.oldest_s, setting.outbox.bytes) == (0, 0, 0)
    setting.written()
    setting.kill()
    setting.start()
    assert len(setting.outbox) == 0


@pytest.mark.parametrize("jump_s", [-86_400, 86_400])
def test_a_clock_that_jumps_drops_nothing_while_the_agent_runs(clock: Clock, tmp_path: Path, jump_s: float) -> None:
    setting = Setting(clock, tmp_path, max_age_s=3600)
    setting.put(1)
    clock.wall += jump_s
    setting.put(2)
    setting.written()
    setting.outbox.expire()
    assert (len(setting.outbox), setting.outbox.dropped) == (2, 0)


@pytest.mark.parametrize("earlier", [1.0, 1_800_000_000.0])
def test_what_was_put_by_a_clock_that_was_not_set_or_ahead_is_not_taken_for_old(
    clock: Clock,
    tmp_path: Path,
    earlier: float,
) -> None:
    """It was there before the machine was started anew, and nobody knows for how long."""
    now, clock.wall = clock.wall, earlier
    setting = Setting(clock, tmp_path, max_age_s=3600)
    setting.put(1)
    setting.written()
    setting.kill()
    clock.boots("second", now)
    setting.start()
    clock.advance(3500)
    setting.outbox.expire()
    assert len(setting.outbox) == 1
    clock.advance(200)
    setting.outbox.expire()
    assert len(setting.outbox) == 0


DAY_S = 86_400.0
WEEK_S = 7 * DAY_S


def times(messages: list[Outbound]) -> list[tuple[int, str, bool]]:
    """Name, time and mark of results."""
    documents = [json.loads(message.payload) for message in messages]
    return [(document["id"], document["time"], "time_corrected" in document) for document in documents]


def put_result(setting: Setting, number: int) -> str:
    """A result as an engine makes it, by the wall clock; returns the time in it."""
    said = rfc3339(setting.clock.time())
    setting.put(number, payload=json.dumps({"id": number, "time": said, "result": 1}).encode())
    return said


@pytest.mark.parametrize("wrong_s", [-14 * DAY_S, 14 * DAY_S], ids=["behind", "ahead"])
@pytest.mark.parametrize("set_while", ["it runs", "it is away"])
def test_results_from_before_the_clock_was_set_keep_their_age_and_get_the_right_time(
    clock: Clock, tmp_path: Path, wrong_s: float, set_while: str
) -> None:
    right, clock.wall = clock.wall, clock.wall + wrong_s
    setting = Setting(clock, tmp_path, max_age_s=WEEK_S)
    put_result(setting, 1)
    setting.written()
    clock.advance(30.0)
    if set_while == "it runs":
        clock.wall = right
        setting.outbox.expire()
        setting.written()
    setting.kill()
    clock.wall = right
    setting.start()
    said = put_result(setting, 2)
    setting.outbox.expire()
    assert (len(setting.outbox), round(setting.outbox.oldest_s), setting.outbox.dropped) == (2, 30, 0)
    setting.connect()
    sent = [message for _, message in setting.link.sent]
    for _ in range(20):
        clock.advance(0.05)
        setting.outbox.pump()
    sent = [message for _, message in setting.link.sent]
    assert sorted(times(sent)) == [(1, rfc3339(right + 1000.0), True), (2, said, False)]


@pytest.mark.parametrize("wrong_s", [-14 * DAY_S, 14 * DAY_S], ids=["behind", "ahead"])
def test_what_the_clock_was_wrong_by_is_known_in_the_next_run_of_the_machine(
    clock: Clock, tmp_path: Path, wrong_s: float
) -> None:
    """It was set while the results waited, and nothing came afterwards; then the machine is started anew."""
    right, clock.wall = clock.wall, clock.wall + wrong_s
    setting = Setting(clock, tmp_path, max_age_s=WEEK_S)
    put_result(setting, 1)
    setting.written()
    clock.wall = right
    setting.outbox.expire()
    setting.written()
    setting.kill()
    clock.boots("second", right + 1000.0 + DAY_S)
    setting.start()
    setting.outbox.expire()
    assert (len(setting.outbox), round(setting.outbox.oldest_s)) == (1, DAY_S)
    setting.connect()
    for _ in range(20):
        clock.advance(0.05)
        setting.outbox.pump()
    assert times([message for _, message in setting.link.sent]) == [(1, rfc3339(right + 1000.0), True)]


def test_a_machine_without_a_battery_learns_their_age_when_its_clock_is_set(clock: Clock, tmp_path: Path) -> None:
    """It starts with the time at which it was stopped, or before. Until the clock is set nobody knows better."""
    setting = Setting(clock, tmp_path, max_age_s=WEEK_S)
    right = clock.time()
    put_result(setting, 1)
    setting.written()
    setting.kill()
    clock.boots("second", right - 30 * DAY_S)
    setting.start()
    put_result(setting, 2)
    assert round(setting.outbox.oldest_s) == 20  # for as long as the machine runs, at least
    clock.wall = right + 6 * DAY_S - clock.now
    setting.outbox.expire()
    assert (len(setting.outbox), round(setting.outbox.oldest_s)) == (2, 6 * DAY_S)
    clock.advance(2 * DAY_S)
    setting.outbox.expire()
    assert (len(setting.outbox), round(setting.outbox.oldest_s)) == (1, 2 * DAY_S)


def test_a_clock_that_is_played_with_for_days_leaves_few_readings(clock: Clock, tmp_path: Path) -> None:
    setting = Setting(clock, tmp_path)
    for number in range(2000):
        clock.wall += 3600.0 * (-1) ** number
        setting.put(number)
    setting.written()
    assert len(setting.outbox._timeline.readings) <= 256
    setting.outbox.expire()
    assert (len(setting.outbox), setting.outbox.dropped) == (2000, 0)


def test_the_age_counts_over_a_restart(clock: Clock, tmp_path: Path) -> None:
    setting = Setting(clock, tmp_path, max_age_s=60)
    setting.put(1)
    setting.written()
    setting.kill()
    clock.advance(59)
    setting.start()
    assert round(setting.outbox.oldest_s) == 59
    clock.advance(2)
    setting.outbox.expire()
    assert setting.outbox.dropped == 1


# ------------------------------------------------------------- whatever happens


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("is_written", [False, True])
def test_each_message_becomes_safe_exactly_once_whatever_happens(
    clock: Clock,
    tmp_path: Path,
    seed: int,
    is_written: bool,
) -> None:
    """Links come and go, acknowledgements come or not, room runs out, time passes."""
    choice = random.Random(seed)
    setting = Setting(clock, tmp_path if is_written else None, max_bytes=30 * SIZE, commit_s=0.1)
    steps: list[Callable[[], Any]] = [
        lambda: setting.outbox.pump(),
        lambda: setting.acknowledge(choice.randrange(5)),
        lambda: setting.lose_the_link(),
        lambda: setting.connect(),
        lambda: setattr(setting.link, "send_quota", choice.choice([1, 5, 100])),
        lambda: clock.advance(choice.choice([0.01, 0.05, 0.2])),
    ]
    for number in range(400):
        setting.put(number, qos=choice.choice([0, 1]), priority=choice.choice(list(Priority)))
        choice.choice(steps)()
        assert is_written or setting.outbox.bytes <= 61 * SIZE
    setting.connect()
    setting.replayed_in(20)
    assert sorted(setting.safe) == list(range(400))
    assert (len(setting.outbox), setting.outbox.bytes, setting.outbox.in_memory) == (0, 0, 0)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_what_was_safe_arrives(clock: Clock, tmp_path: Path, seed: int) -> None:
    """As above, and the process is killed now and then: what was said to be safe reaches the broker."""
    choice = random.Random(seed)
    setting = Setting(clock, tmp_path, commit_s=0.1, replay_per_s=100)
    received: set[int] = set()

    def broker_receives() -> None:
        received.update(setting.payloads)
        setting.acknowledge(choice.randrange(20))

    def killed() -> None:
        setting.kill()
        setting.start()

    steps: list[Callable[[], Any]] = [
        lambda: setting.outbox.pump(),
        broker_receives,
        broker_receives,
        lambda: setting.lose_the_link(),
        lambda: setting.connect(),
        lambda: clock.advance(choice.choice([0.01, 0.05, 0.2])),
        killed,
    ]
    for number in range(400):
        setting.put(number, priority=choice.choice(list(Priority)))
        choice.choice(steps)()
    setting.connect()
    for _ in range(400):
        setting.outbox.pump()
        received.update(setting.payloads)
        setting.acknowledge()
        clock.advance(0.1)
    assert set(setting.safe) <= received
    assert (len(setting.outbox), setting.outbox.bytes) == (0, 0)
    setting.kill()
    setting.start()
    assert len(setting.outbox) == 0


def test_a_correlation_a_content_type_and_retain_come_back_from_the_disk(on_disk: Setting) -> None:
    message = Outbound("answers/é", b"\xff\x00", 1, True, "application/octet-stream", b"\x00\x01")
    on_disk.lose_the_link()
    on_disk.outbox.put(message)
    on_disk.written()
    on_disk.connect()
    on_disk.clock.advance(0.1)
    (_, sent), *others = on_disk.link.sent
    assert not others
    assert sent == msgspec.structs.replace(message, user_properties=(("replayed", "true"),))


def test_what_expires_in_an_outage_is_not_sent_and_counted(on_disk: Setting) -> None:
    on_disk.lose_the_link()
    on_disk.outbox.put(Outbound("answers", b"1", 1, expiry_s=5))
    on_disk.put(2)
    on_disk.clock.advance(10)
    on_disk.connect()
    assert on_disk.replayed_in(1) == [2]
    assert (on_disk.outbox.dropped, len(on_disk.outbox)) == (1, 0)
