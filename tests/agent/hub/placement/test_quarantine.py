"""What costs workers too often rests, longer each time, and comes back when it is well."""

from maas_agent.hub.placement.quarantine import Quarantine

WINDOW_S, FIRST_S = 600.0, 60.0


def quarantine() -> Quarantine:
    return Quarantine(WINDOW_S, FIRST_S)


def test_the_second_death_within_the_window_is_once_too_often() -> None:
    made = quarantine()
    assert not made.died("gpu", 0.0)
    assert made.died("gpu", WINDOW_S - 1)


def test_deaths_further_apart_than_the_window_do_not_count_together() -> None:
    made = quarantine()
    assert not any(made.died("gpu", number * (WINDOW_S + 1)) for number in range(10))


def test_accelerators_do_not_answer_for_each_other() -> None:
    made = quarantine()
    assert not made.died("gpu", 0.0)
    assert not made.died("npu", 1.0)


def test_it_is_due_after_its_interval_and_serves_again_when_it_is_well() -> None:
    made = quarantine()
    made.begin("gpu", "it crashed", 100.0)
    assert made.accelerators == {"gpu"} and made.rests[0].reason == "it crashed"
    assert made.due(100.0 + FIRST_S - 1) is None
    assert made.due(100.0 + FIRST_S) == "gpu"
    made.end("gpu")
    assert made.accelerators == set() and made.due(1e9) is None


def test_each_interval_is_twice_as_long_up_to_six_hours() -> None:
    made, now, intervals = quarantine(), 0.0, []
    for _ in range(12):
        rest = made.begin("gpu", "again", now)
        intervals.append(rest.interval_s)
        now = rest.until
    assert intervals[:4] == [60.0, 120.0, 240.0, 480.0]
    assert intervals[-2:] == [6 * 3600.0, 6 * 3600.0]


def test_a_day_without_trouble_starts_with_the_first_interval_again() -> None:
    made = quarantine()
    until = made.begin("gpu", "x", 0.0).until
    made.end("gpu")
    assert made.begin("gpu", "x", until + 3600.0).interval_s == 2 * FIRST_S
    assert made.begin("gpu", "x", until + 48 * 3600.0).interval_s == FIRST_S


def test_deaths_count_together_whenever_they_are() -> None:
    made = quarantine()
    assert not made.died("gpu", 1e6)
    assert not made.died("gpu", 1e6 + WINDOW_S), "a window later to the second"
    assert made.died("gpu", 1e6 + WINDOW_S + 1)


def test_after_a_rest_its_deaths_are_counted_anew() -> None:
    made = quarantine()
    assert not made.died("gpu", 0.0) and made.died("gpu", 1.0)
    made.begin("gpu", "it crashed", 1.0)
    assert not made.died("gpu", 2.0)


def test_a_day_is_counted_from_the_end_of_the_rest() -> None:
    made = quarantine()
    until = made.begin("gpu", "x", 0.0).until
    assert until == FIRST_S
    assert made.begin("gpu", "x", until + 24 * 3600.0).interval_s == FIRST_S


def test_what_does_not_rest_may_be_well_too() -> None:
    made = quarantine()
    made.begin("gpu", "x", 0.0)
    made.end("npu")
    assert made.accelerators == {"gpu"}
