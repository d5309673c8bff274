"""Inputs that come again after their result was safe are acknowledged, and nothing else is taken for one of them."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from maas_agent.hub.api.mqtt_inputs import recognisable
from maas_agent.hub.api.topics import Address
from maas_agent.hub.mqtt.flow.answered import AnsweredInput, AnsweredInputs, InputIdentity, digest
from maas_agent.hub.mqtt.flow.in_flight import InFlightInput
from maas_agent.hub.mqtt.message import Inbound, Outbound
from maas_agent.hub.outbox.journal import NAME
from maas_agent.hub.outbox.spool import CAREFUL_S
from tests.agent.hub.outbox.outboxes import Clock, Setting

MOST = 4096


@pytest.fixture
def setting(clock: Clock, tmp_path: Path) -> Setting:
    return Setting(clock, tmp_path)


def named(number: int, content: bytes = b"sample") -> InputIdentity:
    """An input as it comes, and as it comes again."""
    return InputIdentity(number, digest(b"in/a", content))


def answer(setting: Setting, *numbers: int, copies: int = 1) -> None:
    for number in numbers:
        one = named(number)
        one.left = copies
        for _ in range(copies):
            message = Outbound("out", b"%d" % number, 1)
            setting.outbox.put(message, lambda n=number: setting.safe.append(n), answers=one)  # type: ignore[misc]


def comes_again(setting: Setting, *numbers: int) -> list[int]:
    """Those of the inputs that are recognised, in a run that has just begun."""
    acknowledged: list[int] = []
    for number in numbers:
        said = setting.outbox.recognises(named(number), lambda n=number: acknowledged.append(n))  # type: ignore[misc]
        assert said == (number in acknowledged)
    return acknowledged


def again(setting: Setting) -> None:
    setting.kill()
    setting.start()


def test_an_input_whose_result_is_on_the_disk_is_acknowledged_and_not_stored_again(setting: Setting) -> None:
    answer(setting, *range(1, 301))
    setting.written()
    again(setting)
    assert comes_again(setting, *range(1, 301)) == list(range(1, 301))
    assert len(setting.outbox) == 300
    setting.connect()
    assert setting.replayed_in(2) == list(range(1, 301))


def test_one_whose_result_was_not_written_yet_is_new(setting: Setting) -> None:
    answer(setting, 1)
    setting.written()
    answer(setting, 2)
    again(setting)
    assert comes_again(setting, 1, 2) == [1]


def test_one_whose_result_the_broker_has_taken_meanwhile_is_recognised(setting: Setting) -> None:
    """Its acknowledgement was lost all the same: it was behind a lot of results."""
    setting.connect()
    answer(setting, 1, 2)
    setting.outbox.pump()
    setting.written()
    setting.acknowledge(1)
    answer(setting, 3)
    setting.outbox.pump()
    setting.acknowledge()
    assert comes_again(setting, 1, 2, 3) == [1, 2, 3]  # the connection was lost, this run lives
    setting.written()
    again(setting)
    assert (len(setting.outbox), comes_again(setting, 1, 2, 3)) == (0, [1, 2, 3])


def test_one_whose_result_was_given_up_is_new(clock: Clock, tmp_path: Path) -> None:
    setting = Setting(clock, tmp_path, max_age_s=60)
    answer(setting, 1)
    setting.written()
    clock.advance(30)
    answer(setting, 2, copies=2)
    setting.written()
    clock.advance(40)
    setting.outbox.expire()
    setting.written()
    assert (setting.outbox.dropped, len(setting.outbox)) == (1, 2)
    assert comes_again(setting, 1, 2) == [2]
    again(setting)
    assert comes_again(setting, 1, 2) == [2]
    clock.advance(30)
    setting.outbox.expire()
    assert comes_again(setting, 1, 2) == []


def test_with_two_copies_both_must_be_safe(setting: Setting) -> None:
    setting.connect()
    one = named(1)
    one.left = 2
    setting.outbox.put(Outbound("out", b"1", 1), answers=one)
    setting.outbox.pump()
    setting.acknowledge()
    assert comes_again(setting, 1) == []
    setting.outbox.put(Outbound("response", b"1", 1), answers=one)
    again(setting)
    assert comes_again(setting, 1) == []
    answer(setting, 2, copies=2)
    setting.written()
    again(setting)
    assert comes_again(setting, 2) == [2]


def test_while_the_outbox_fills_it_is_acknowledged_when_its_result_has_left(clock: Clock, tmp_path: Path) -> None:
    """Else the broker would send more, and the bound would push results out whose inputs nobody has any more."""
    setting = Setting(clock, tmp_path, max_bytes=10 * 300)
    answer(setting, *range(1, 9))
    setting.written()
    again(setting)
    acknowledged: list[int] = []
    for number in range(1, 9):
        assert setting.outbox.recognises(named(number), lambda n=number: acknowledged.append(n))  # type: ignore[misc]
    assert acknowledged == []
    setting.put_local(*range(100, 140))
    assert (setting.outbox.dropped > 0, acknowledged) == (True, [])
    setting.connect()
    assert {number for number in setting.replayed_in(2) if number < 100} == set(range(1, 9))
    assert (sorted(acknowledged), setting.outbox._owed_bytes) == (list(range(1, 9)), 0)


@pytest.mark.parametrize("restarts", [False, True])
def test_an_identifier_that_is_used_for_a_new_message_is_of_that_one(setting: Setting, restarts: bool) -> None:
    answer(setting, 1, 2)
    setting.written()
    setting.outbox.forget_input(1)
    answer(setting, 3)
    setting.written()
    if restarts:
        again(setting)
    assert comes_again(setting, 1, 2, 3) == [2, 3]


def test_another_content_is_another_input(setting: Setting) -> None:
    answer(setting, 1)
    setting.written()
    again(setting)
    assert not setting.outbox.recognises(named(1, b"another"), lambda: None)


def test_only_the_newest_are_remembered_in_memory_and_on_the_disk(setting: Setting) -> None:
    setting.connect()
    for number in range(1, MOST + 1001):
        answer(setting, number)
        if number % 200 == 0:
            setting.written()
            setting.outbox.pump()
            setting.acknowledge()
    setting.written()
    assert len(setting.outbox._spool.answered._known) == MOST
    again(setting)
    assert comes_again(setting, 1, 1000, 1001, MOST + 1000) == [1001, MOST + 1000]


def test_a_file_that_is_damaged_takes_them_with_it(setting: Setting) -> None:
    answer(setting, 1)
    setting.written()
    setting.kill()
    connection = sqlite3.connect(setting.folder / NAME)  # type: ignore[operator]
    connection.execute("UPDATE message SET body = x'00'")
    connection.commit()
    connection.close()
    setting.start()
    setting.connect()
    assert setting.replayed_in(1) == []
    assert comes_again(setting, 1) == []


def inbound(correlation: bytes | None = None, payload_digest: bytes = b"d", number: int = 7) -> Inbound:
    delivery = InFlightInput(number, payload_digest, None)
    return Inbound("in", b"x", 1, False, 0, None, "answers", correlation, lambda: None, delivery=delivery)


def test_an_input_without_a_name_is_never_recognised() -> None:
    """Its identifier may be another input's of the same content already, which must be answered too."""
    target: Callable[..., Address] = lambda id_=None: Address(None, id_)  # type: ignore[arg-type]  # noqa: E731
    assert recognisable(target(), inbound()) is None
    assert recognisable(target(), inbound(b"")) is None
    assert recognisable(target("a"), msg := inbound()) is not None and msg.delivery is not None
    one, other = (recognisable(target(), inbound(correlation)) for correlation in (b"1", b"2"))
    assert one is not None and other is not None and one.digest != other.digest
    assert recognisable(target("a"), Inbound("in/a", b"x", 0, False, 0, None, None, None, lambda: None)) is None


def test_just_after_a_kill_little_is_under_way_and_what_is_done_with_is_removed_soon(
    clock: Clock, tmp_path: Path
) -> None:
    """What is under way in a kill, or was not removed yet, is sent again: a crash loop must not do that at length."""
    setting = Setting(clock, tmp_path)
    setting.put(*range(100))
    setting.written()
    (tmp_path / "cut").mkdir()
    for path in tmp_path.glob(f"{NAME}*"):
        (tmp_path / "cut" / path.name).write_bytes(path.read_bytes())
    setting.kill()
    cut = Setting(clock, tmp_path / "cut")
    cut.connect()
    clock.advance(0.05)
    cut.put(*range(100, 110))
    cut.outbox.pump()
    assert len(cut.payloads) == 2
    cut.acknowledge()
    batches = cut.batches
    clock.advance(0.021)
    assert cut.batches == batches + 1
    clock.advance(CAREFUL_S)
    cut.put(*range(110, 300))
    cut.outbox.pump()
    assert len(cut.payloads) > 100


# ------------------------------------------------------------------ the rules alone


def known(number: int, key: int) -> AnsweredInput:
    return AnsweredInput(number, named(number).digest, key)


def test_a_digest_is_the_same_in_every_release_and_tells_where_a_part_ends() -> None:
    """It is on the disk: another one there would compute inputs again that were answered before an upgrade."""
    assert digest(b"in/a", b"sample").hex() == "41592cce45816a2cbd76c9c5388afa2c"
    assert len({digest(b"ab", b"c"), digest(b"a", b"bc"), digest(b"abc"), digest(b"abc", b"")}) == 4


def test_the_newest_512_that_the_broker_took_at_once_are_to_be_written() -> None:
    answered = AnsweredInputs()
    for number in range(512):
        answered.add(named(number), number)
    answered.add(named(0), 1000)  # again: it is the newest now
    assert [one.number for one in answered.changes([])[0]] == [*range(1, 512), 0]
    answered.add(named(600), 1001)
    assert [one.number for one in answered.changes([])[0]] == [*range(2, 512), 0, 600]
    assert answered.find(named(1)) == known(1, 1), "known all the same"


def test_what_is_forgotten_is_not_written_and_taken_from_the_disk() -> None:
    answered = AnsweredInputs()
    answered.add(named(1), 10)
    answered.add(named(2), 11)
    answered.forget(1)
    assert answered.changes([]) == ([known(2, 11)], [1])
    answered.saved([])
    assert answered.changes([]) == ([], [])


def test_what_is_known_again_is_not_taken_from_the_disk() -> None:
    answered = AnsweredInputs()
    answered.add(named(1), 1)
    answered.add(named(1), 2)
    for number in range(2, 514):
        answered.add(named(number), number)
    assert (answered.find(named(1)), answered.changes([])[1]) == (known(1, 2), [])


def test_a_result_that_is_given_up_takes_its_own_input_only() -> None:
    answered = AnsweredInputs()
    answered.add(named(1), 10)
    answered.add(named(1), 20)  # another message with the identifier of one that was acknowledged
    answered.dropped(10)
    assert answered.find(named(1)) == known(1, 20)
    answered.add(named(2), 9)
    answered.add(named(3), 31)
    answered.dropped(10)
    assert answered.find(named(2)) == known(2, 9)
    answered.dropped(30)  # the first of its two copies
    assert answered.find(named(3)) is None


def test_what_an_earlier_run_left_is_older_than_what_this_one_knows() -> None:
    answered = AnsweredInputs()
    answered.add(named(1), 50)
    answered.found([known(1, 3), known(2, 4)])
    assert (answered.find(named(1)), answered.find(named(2))) == (known(1, 50), known(2, 4))
    answered.clear()
    assert (answered.find(named(1)), answered.find(named(2))) == (None, None)
    assert answered.changes([]) == ([], [1, 2])


def test_an_input_has_one_result_unless_it_is_said_otherwise() -> None:
    assert named(1).left == 1
