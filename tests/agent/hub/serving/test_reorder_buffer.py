"""Answers in the order of arrival."""

import random

import pytest

from maas_agent.hub.serving.reorder_buffer import ReorderBuffer


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_done_first_comes_out_in_the_order_of_arrival(seed: int) -> None:
    order, out = ReorderBuffer(), []
    tickets = [order.take() for _ in range(50)]
    shuffled = random.Random(seed).sample(tickets, len(tickets))
    for ticket in shuffled:
        order.done(ticket, lambda ticket=ticket: out.append(ticket))  # type: ignore[misc]
    assert out == tickets
    assert len(order) == 0


def test_what_waits_for_an_earlier_one_is_held() -> None:
    order, out = ReorderBuffer(), []
    first, second = order.take(), order.take()
    order.done(second, lambda: out.append("second"))
    assert out == [] and len(order) == 1
    order.done(first, lambda: out.append("first"))
    assert out == ["first", "second"]
