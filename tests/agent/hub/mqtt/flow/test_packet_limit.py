"""What a packet may have, learned from a broker that ends connections."""

from collections.abc import Iterable

import pytest

from maas_agent.hub.mqtt.flow.packet_limit import PacketLimit

ANNOUNCED = 268_435_460
LARGE = 160_000
LEARNED = 150_000


def ended(limit: PacketLimit, sizes: Iterable[int], now: float = 0.0) -> list[int | None]:
    """What is told when connections end, one after the other, with these as their largest packets."""
    return [limit.ended(size, now, told=False) for size in sizes]


def test_the_fourth_connection_in_a_row_teaches_and_what_is_smaller_is_still_sent() -> None:
    limit = PacketLimit()
    assert ended(limit, [LARGE] * 3) == [None] * 3
    assert limit.within(ANNOUNCED, 0) == ANNOUNCED
    assert ended(limit, [LARGE]) == [LEARNED]
    assert limit.within(ANNOUNCED, 0) == LEARNED
    assert limit.within(50, 0) == 50


def test_a_broker_that_says_why_teaches_at_once() -> None:
    limit = PacketLimit()
    assert limit.ended(LARGE, 0, told=True) == LEARNED
    assert limit.within(ANNOUNCED, 0) == LEARNED


@pytest.mark.parametrize("size", [LARGE, LARGE + 1])
def test_one_as_large_that_was_taken_acquits_its_size(size: int) -> None:
    limit = PacketLimit()
    ended(limit, [LARGE] * 3)
    limit.taken(size)
    assert ended(limit, [LARGE] * 3) == [None] * 3


def test_smaller_ones_that_are_taken_prove_nothing() -> None:
    limit = PacketLimit()
    ended(limit, [LARGE] * 3)
    limit.taken(LEARNED)
    assert ended(limit, [LARGE]) == [LEARNED]


def test_small_packets_are_never_to_blame() -> None:
    limit = PacketLimit()
    assert ended(limit, [0, 32_767] * 10) == [None] * 20
    assert limit.within(ANNOUNCED, 0) == ANNOUNCED


def test_of_several_sizes_the_smallest_is_to_blame_which_all_of_them_reach() -> None:
    limit = PacketLimit()
    assert ended(limit, [LARGE, 2 * LARGE, 3 * LARGE, LARGE]) == [None, None, None, LEARNED]


def test_a_smaller_one_that_ends_connections_later_lowers_it_further() -> None:
    limit = PacketLimit()
    assert ended(limit, [LARGE] * 4 + [LARGE // 2] * 4) == [None] * 3 + [LEARNED] + [None] * 3 + [LEARNED // 2]
    assert limit.within(ANNOUNCED, 0) == LEARNED // 2


@pytest.mark.parametrize(("taken", "learned"), [(152_000, 152_000), (159_999, 159_999), (LARGE, LARGE - 1)])
def test_what_was_taken_once_is_still_sent(taken: int, learned: int) -> None:
    limit = PacketLimit()
    limit.taken(taken)
    assert ended(limit, [LARGE] * 4)[-1] == learned


def test_after_an_hour_it_is_tried_again() -> None:
    limit = PacketLimit()
    ended(limit, [LARGE] * 4, now=1000)
    assert limit.within(ANNOUNCED, 4600) == LEARNED
    assert limit.within(ANNOUNCED, 4601) == ANNOUNCED
    assert ended(limit, [LARGE] * 4, now=5000) == [None] * 3 + [LEARNED]
