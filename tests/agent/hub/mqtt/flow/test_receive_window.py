"""QoS 1 inputs that are held unacknowledged: bounded where the broker bounds nothing."""

import random

import pytest

from maas_agent.hub.mqtt.flow.receive_window import ReceiveWindow


def test_beyond_the_number_the_rest_is_left_out_until_all_are_acknowledged() -> None:
    held = ReceiveWindow(most_messages=3)
    assert [held.take(number, 10) for number in range(1, 6)] == [True, True, True, False, False]
    assert not held.release(2)
    assert not held.take(6, 10)  # there is room, and it would overtake what was left out
    assert not held.release(1)
    assert held.release(3)
    assert held.left_out == 3


def test_nothing_is_to_be_fetched_if_nothing_was_left_out() -> None:
    held = ReceiveWindow(most_messages=3)
    held.take(1, 10)
    assert not held.release(1)
    assert not held.release(99)


def test_bytes_are_bounded_too_and_one_message_always_fits() -> None:
    held = ReceiveWindow(most_bytes=100)
    assert held.take(1, 1000)
    assert not held.take(2, 1)
    assert held.release(1)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_held_never_exceeds_the_bounds(seed: int) -> None:
    choice = random.Random(seed)
    held, sizes = ReceiveWindow(most_messages=5, most_bytes=100), dict[int, int]()
    for number in range(1, 300):
        size = choice.randint(0, 60)
        if held.take(number, size):
            sizes[number] = size
        while sizes and choice.random() < 0.4:
            done = choice.choice([*sizes])
            del sizes[done]
            if held.release(done):
                held = ReceiveWindow(most_messages=5, most_bytes=100)  # the next connection
        assert len(sizes) <= 5 and sum(sizes.values()) <= 100


def test_the_bytes_that_are_held_are_those_of_what_is_not_acknowledged() -> None:
    held = ReceiveWindow(most_bytes=100)
    assert held.take(1, 60) and held.take(2, 40)
    held.release(1)
    held.release(99)
    assert held.take(3, 60)
    assert not held.take(4, 1)
    assert held.left_out == 1


def test_an_identifier_that_is_used_again_counts_with_its_new_size() -> None:
    held = ReceiveWindow(most_bytes=100)
    assert held.take(1, 60) and held.take(1, 30) and held.take(2, 70)
    assert not held.take(3, 1)


def test_an_acknowledgement_of_nothing_makes_no_room() -> None:
    held = ReceiveWindow(most_bytes=100)
    held.take(1, 50)
    held.release(99)
    assert not held.take(2, 51)


def test_without_other_bounds_it_holds_16384_inputs_and_256_mib() -> None:
    by_number, by_bytes = ReceiveWindow(), ReceiveWindow()
    assert all(by_number.take(number, 1) for number in range(16_384))
    assert not by_number.take(16_384, 1)
    assert by_bytes.take(1, 1) and by_bytes.take(2, (256 << 20) - 1)
    assert not by_bytes.take(3, 1)
