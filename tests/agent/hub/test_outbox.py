"""The outbox: what waits, what is on its way, and what is lost only beyond its bounds."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from maas_agent.hub import outbox as outbox_module
from maas_agent.hub.client import Outbound
from maas_agent.hub.outbox import Outbox


class Link:
    """The link as the outbox sees it: up or down, a quota, and what was published on it."""

    def __init__(self) -> None:
        self.connected = True
        self.send_quota = 65535
        self.sent: list[tuple[int, bytes]] = []
        self._number = 0

    def publish(self, message: Outbound) -> int:
        assert self.connected
        self._number += 1
        number = self._number if message.qos else 0
        self.sent.append((number, message.payload))
        return number

    @property
    def payloads(self) -> list[int]:
        return [int(payload) for _, payload in self.sent]


class Setting:
    """An outbox on that link, and how often each message has become safe."""

    def __init__(self, max_bytes: int = 1 << 20, max_age_s: float = 100.0) -> None:
        self.link = Link()
        self.outbox = Outbox(self.link, max_bytes, max_age_s)  # type: ignore[arg-type]
        self.safe: list[int] = []

    def put(self, *numbers: int, qos: int = 1) -> None:
        for number in numbers:
            message = Outbound("out", b"%d" % number, qos)
            self.outbox.put(message, lambda number=number: self.safe.append(number))  # type: ignore[misc]

    def acknowledge(self, count: int = 1_000_000) -> None:
        """The oldest messages that are on their way."""
        for number, _ in self.link.sent[:count]:
            self.outbox.acknowledged(number)
        del self.link.sent[:count]

    def lose_the_link(self) -> None:
        self.link.connected = False
        self.outbox.link_down()
        self.link.sent.clear()


@pytest.fixture
def setting() -> Setting:
    return Setting()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets time pass without waiting for it."""

    class Clock:
        now = 1000.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(outbox_module, "time", clock)

    def advance(seconds: float) -> None:
        clock.now += seconds

    return advance


def test_messages_leave_in_their_order_and_stay_until_acknowledged(setting: Setting) -> None:
    setting.put(1, 2, 3)
    assert setting.link.sent == []  # until the end of the turn
    setting.outbox.pump()
    assert setting.link.payloads == [1, 2, 3]
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
    assert setting.link.payloads == [0, 1, 2]
    setting.acknowledge(1)
    setting.outbox.pump()
    assert setting.link.payloads == [1, 2, 3]


def test_no_more_are_on_their_way_than_the_window_even_if_the_broker_takes_more(setting: Setting) -> None:
    setting.put(*range(1000))
    setting.outbox.pump()
    assert len(setting.link.sent) == 256


def test_while_the_link_is_down_everything_waits(setting: Setting) -> None:
    setting.link.connected = False
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
    setting.link.connected, setting.link.send_quota = True, 100
    setting.outbox.pump()
    assert setting.link.payloads == [0, 2, 3, 4, 5, 6]
    setting.acknowledge()
    assert sorted(setting.safe) == list(range(7))


def test_an_acknowledgement_is_counted_once(setting: Setting) -> None:
    setting.put(1)
    setting.outbox.pump()
    (number, _), *_ = setting.link.sent
    for _ in range(3):
        setting.outbox.acknowledged(number)
    setting.outbox.acknowledged(12345)
    assert (setting.safe, setting.outbox.bytes) == ([1], 0)


def test_beyond_the_bound_of_bytes_the_oldest_go_and_are_counted() -> None:
    setting = Setting(max_bytes=5 * 260)
    setting.link.connected = False
    setting.put(*range(10))  # each takes 256 bytes and those of topic and payload
    assert setting.outbox.bytes <= 5 * 260
    assert (len(setting.outbox), setting.outbox.dropped) == (5, 5)
    assert setting.safe == [0, 1, 2, 3, 4]  # nobody waits for them any more
    setting.link.connected = True
    setting.outbox.pump()
    assert setting.link.payloads == [5, 6, 7, 8, 9]


def test_the_newest_message_is_kept_even_if_it_is_larger_than_the_bound() -> None:
    setting = Setting(max_bytes=100)
    setting.link.connected = False
    setting.put(1, 2)
    assert (len(setting.outbox), setting.outbox.dropped) == (1, 1)


def test_what_is_on_its_way_is_not_dropped() -> None:
    """The broker may have it already."""
    setting = Setting(max_bytes=1000)
    setting.put(0, 1)
    setting.outbox.pump()
    setting.link.connected = False
    setting.put(*range(2, 8))
    assert setting.outbox.dropped and not {0, 1} & set(setting.safe)
    setting.acknowledge(2)
    assert {0, 1} <= set(setting.safe)


def test_what_has_waited_too_long_goes_and_is_counted(clock: Callable[[float], None]) -> None:
    setting = Setting(max_age_s=60)
    setting.link.connected = False
    setting.put(1, 2)
    clock(40)
    setting.put(3)
    clock(19)
    setting.outbox.expire()
    assert (setting.outbox.dropped, setting.outbox.oldest_s) == (0, 59)
    clock(2)
    setting.outbox.expire()
    assert (setting.outbox.dropped, setting.outbox.oldest_s, setting.safe) == (2, 21, [1, 2])
    clock(100)
    setting.outbox.expire()
    assert (len(setting.outbox), setting.outbox.oldest_s, setting.outbox.bytes) == (0, 0, 0)


def test_the_age_counts_from_the_first_time_after_a_lost_link(clock: Callable[[float], None]) -> None:
    setting = Setting(max_age_s=60)
    setting.put(1)
    setting.outbox.pump()
    clock(61)
    setting.lose_the_link()
    setting.outbox.expire()
    assert setting.outbox.dropped == 1


@pytest.mark.parametrize("seed", range(20))
def test_each_message_becomes_safe_exactly_once_whatever_happens(seed: int) -> None:
    """Links come and go, acknowledgements come or not, memory runs out."""
    choice = random.Random(seed)
    setting = Setting(max_bytes=30 * 260)
    steps: list[Callable[[], Any]] = [
        lambda: setting.outbox.pump(),
        lambda: setting.acknowledge(choice.randrange(5)),
        lambda: setting.lose_the_link(),
        lambda: setattr(setting.link, "connected", True),
        lambda: setattr(setting.link, "send_quota", choice.choice([1, 5, 100])),
    ]
    for number in range(400):
        setting.put(number, qos=choice.choice([0, 1]))
        choice.choice(steps)()
        assert setting.outbox.bytes <= 31 * 262
    setting.link.connected = True
    for _ in range(40):  # more than the bound lets wait
        setting.outbox.pump()
        setting.acknowledge()
    assert sorted(setting.safe) == list(range(400))
    assert setting.outbox.bytes == 0
