"""What the broker sends again is the same message, or it is not: told by identifier, DUP flag, topic and content."""

from collections.abc import Callable

import pytest

from maas_agent.hub.redelivery import Deliveries
from maas_agent.hub.wire import Publish

Write = Callable[[bytes], None]


def packet(number: int = 7, *, dup: bool = False, topic: bytes = b"in/1", payload: bytes = b"sample") -> Publish:
    return Publish(topic, payload, 1, False, number, b"", dup=dup)


def line() -> Write:
    """A connection of its own, told from others by identity."""
    return [].append


@pytest.fixture
def deliveries() -> Deliveries:
    deliveries = Deliveries()
    deliveries.connected(resumed=False)
    deliveries.proven()
    return deliveries


def test_what_comes_again_is_not_new_and_is_acknowledged_where_it_came_last(deliveries: Deliveries) -> None:
    first, second = line(), line()
    delivery, is_new = deliveries.received(packet(), first)
    assert is_new
    deliveries.disconnected()
    deliveries.connected(resumed=True)
    deliveries.proven()
    assert deliveries.received(packet(dup=True), second) == (delivery, False)
    assert deliveries.close(delivery) is second


def test_what_is_done_while_there_is_no_connection_is_acknowledged_when_it_comes_again(deliveries: Deliveries) -> None:
    delivery, _ = deliveries.received(packet(), line())
    deliveries.disconnected()
    assert deliveries.close(delivery) is None
    deliveries.connected(resumed=True)
    deliveries.proven()
    again, is_new = deliveries.received(packet(dup=True), second := line())
    assert (again, is_new, again.is_done) == (delivery, False, True)
    assert deliveries.close(again) is second


def test_it_is_acknowledged_on_no_connection_on_which_it_did_not_come(deliveries: Deliveries) -> None:
    delivery, _ = deliveries.received(packet(), line())
    deliveries.disconnected()
    deliveries.connected(resumed=True)
    deliveries.proven()
    assert deliveries.close(delivery) is None


def test_nothing_is_acknowledged_before_the_broker_has_answered_on_the_connection(deliveries: Deliveries) -> None:
    """A broker that accepts and resets again and again sends it again each time: the answer is the same one."""
    delivery, _ = deliveries.received(packet(), line())
    for _ in range(3):
        deliveries.disconnected()
        deliveries.connected(resumed=True)
        assert deliveries.received(packet(dup=True), last := line()) == (delivery, False)
        assert deliveries.close(delivery) is None
    assert deliveries.proven() == [(last, 7)]
    assert deliveries.proven() == []
    assert deliveries.received(packet(), line())[1]


def test_identifiers_of_another_session_mean_nothing(deliveries: Deliveries) -> None:
    delivery, _ = deliveries.received(packet(), line())
    deliveries.disconnected()
    deliveries.connected(resumed=False)
    assert deliveries.received(packet(dup=True), line())[1]
    assert deliveries.close(delivery) is None


def test_an_acknowledged_identifier_may_be_used_again(deliveries: Deliveries) -> None:
    delivery, _ = deliveries.received(packet(), write := line())
    assert deliveries.close(delivery) is write
    assert deliveries.close(delivery) is None
    assert deliveries.received(packet(dup=True), line())[1]


@pytest.mark.parametrize(
    "other",
    [packet(), packet(dup=True, topic=b"in/2"), packet(dup=True, payload=b"another")],
    ids=["no DUP flag", "another topic", "another content"],
)
def test_a_broker_that_uses_an_identifier_twice_loses_neither(deliveries: Deliveries, other: Publish) -> None:
    """One that was set back to an older state: both are answered, and the acknowledgement is of the later one."""
    first, _ = deliveries.received(packet(), write := line())
    second, is_new = deliveries.received(other, write)
    assert is_new and second is not first
    assert deliveries.close(first) is None
    assert deliveries.close(second) is write
