"""What the broker sends again is the same message, or it is not: told by identifier, DUP flag, topic and content."""

import pytest

from maas_agent.hub.mqtt.flow.in_flight import InFlightInput, InFlightInputs
from maas_agent.hub.mqtt.transport.wire import Publish


def packet(number: int = 7, *, dup: bool = False, topic: bytes = b"in/1", payload: bytes = b"sample") -> Publish:
    return Publish(topic, payload, 1, False, number, b"", dup=dup)


class Line(list[int]):
    """A connection: the identifiers that were acknowledged on it."""


def received(deliveries: InFlightInputs, packet: Publish, line: Line) -> tuple[InFlightInput, bool]:
    return deliveries.received(packet, line.append)


@pytest.fixture
def deliveries() -> InFlightInputs:
    deliveries = InFlightInputs()
    deliveries.connected(resumed=False)
    deliveries.proven()
    return deliveries


def test_what_comes_again_is_not_new_and_is_acknowledged_where_it_came_last(deliveries: InFlightInputs) -> None:
    first, second = Line(), Line()
    delivery, is_new = received(deliveries, packet(), first)
    assert is_new
    deliveries.disconnected()
    deliveries.connected(resumed=True)
    deliveries.proven()
    assert received(deliveries, packet(dup=True), second) == (delivery, False)
    deliveries.acknowledge(delivery)
    assert (first, second) == ([], [7])


def test_what_is_done_while_there_is_no_connection_is_acknowledged_when_it_comes_again(
    deliveries: InFlightInputs,
) -> None:
    delivery, _ = received(deliveries, packet(), first := Line())
    deliveries.disconnected()
    deliveries.acknowledge(delivery)
    deliveries.connected(resumed=True)
    deliveries.proven()
    again, is_new = received(deliveries, packet(dup=True), second := Line())
    assert (again, is_new, again.is_done) == (delivery, False, True)
    deliveries.acknowledge(again)
    assert (first, second) == ([], [7])


def test_it_is_acknowledged_on_no_connection_on_which_it_did_not_come(deliveries: InFlightInputs) -> None:
    delivery, _ = received(deliveries, packet(), first := Line())
    deliveries.disconnected()
    deliveries.connected(resumed=True)
    deliveries.proven()
    deliveries.acknowledge(delivery)
    assert first == []


def test_nothing_is_acknowledged_before_the_broker_has_answered_on_the_connection(deliveries: InFlightInputs) -> None:
    """A broker that accepts and resets again and again sends it again each time: the answer is the same one."""
    delivery, _ = received(deliveries, packet(), Line())
    deliveries.acknowledge(delivery)
    delivery, _ = received(deliveries, packet(8), Line())
    for _ in range(3):
        deliveries.disconnected()
        deliveries.connected(resumed=True)
        assert received(deliveries, packet(8, dup=True), last := Line()) == (delivery, False)
        deliveries.acknowledge(delivery)
        assert last == []
    deliveries.proven()
    deliveries.proven()
    assert last == [8]
    assert received(deliveries, packet(8), Line())[1]


def test_identifiers_of_another_session_mean_nothing(deliveries: InFlightInputs) -> None:
    delivery, _ = received(deliveries, packet(), first := Line())
    deliveries.disconnected()
    deliveries.connected(resumed=False)
    assert received(deliveries, packet(dup=True), second := Line())[1]
    deliveries.acknowledge(delivery)
    assert (first, second) == ([], [])


def test_an_acknowledged_identifier_may_be_used_again(deliveries: InFlightInputs) -> None:
    delivery, _ = received(deliveries, packet(), first := Line())
    deliveries.acknowledge(delivery)
    deliveries.acknowledge(delivery)
    assert first == [7]
    assert received(deliveries, packet(dup=True), Line())[1]


@pytest.mark.parametrize(
    "other",
    [packet(), packet(dup=True, topic=b"in/2"), packet(dup=True, payload=b"another")],
    ids=["no DUP flag", "another topic", "another content"],
)
def test_a_broker_that_uses_an_identifier_twice_loses_neither(deliveries: InFlightInputs, other: Publish) -> None:
    """One that was set back to an older state: both are answered, and the acknowledgement is of the later one."""
    first, _ = received(deliveries, packet(), line := Line())
    second, is_new = received(deliveries, other, line)
    assert is_new and second is not first
    deliveries.acknowledge(first)
    assert line == []
    deliveries.acknowledge(second)
    assert line == [7]


def test_before_the_first_connection_is_proven_nothing_is_acknowledged() -> None:
    deliveries = InFlightInputs()
    deliveries.connected(resumed=True)
    delivery, _ = received(deliveries, packet(), line := Line())
    deliveries.acknowledge(delivery)
    assert line == []
    deliveries.proven()
    assert line == [7]


def test_a_payload_that_was_cut_elsewhere_is_another_one(deliveries: InFlightInputs) -> None:
    """Of one that is too large only its size is known."""
    cut, longer = (Publish(b"in/1", b"", 1, False, 7, b"", dup=True, cut_bytes=size) for size in (1000, 1001))
    first, _ = received(deliveries, cut, Line())
    assert received(deliveries, cut, Line()) == (first, False)
    assert received(deliveries, longer, Line())[1]


def test_what_has_just_arrived_is_not_done(deliveries: InFlightInputs) -> None:
    delivery, _ = received(deliveries, packet(), Line())
    assert not delivery.is_done
    deliveries.acknowledge(delivery)
    assert delivery.is_done
