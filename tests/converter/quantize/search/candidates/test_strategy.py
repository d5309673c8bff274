"""Which combinations are measured."""

from maas_converter.quantize.search.candidates.precision_plan import INT8, Change, Clip
from maas_converter.quantize.search.candidates.strategy import Step, covers, doubling, ordered, prefixes


def _step(op: int, saved: int, noise: float) -> Step:
    return Step(Change(op, "int4"), saved, noise)


def _ops(changes: tuple[Change, ...]) -> list[int]:
    return [change.op for change in changes]


def test_the_least_noise_for_a_byte_comes_first_and_what_saves_nothing_never():
    steps = [_step(1, 1000, 0.5), _step(2, 1000, 0.1), _step(3, 0, 0.0), _step(4, 10_000, 0.2)]
    assert [step.change.op for step in ordered(steps)] == [4, 2, 1]


def test_few_steps_give_every_prefix_and_many_an_even_choice_up_to_all():
    steps = [_step(op, 100, 0.1) for op in range(5)]
    assert [_ops(changes) for changes in prefixes(steps)] == [list(range(count)) for count in range(1, 6)]
    many = prefixes([_step(op, 100, 0.1) for op in range(100)])
    assert len(many) == 12
    assert len(many[-1]) == 100


def test_one_large_op_is_found_where_greedy_would_take_many_small_ones():
    small = [_step(op, 1000, 0.001) for op in range(10)]
    large = _step(99, 10_500, 0.0109)
    assert _ops(covers([*small, large], 10_000)[0]) == [99]


def test_a_cover_gives_back_what_it_can_spare():
    steps = [_step(1, 1000, 0.001), _step(2, 9500, 0.5)]
    assert _ops(covers(steps, 9000)[0]) == [2]


def test_what_all_steps_together_do_not_save_has_no_cover():
    assert covers([_step(1, 1000, 0.1), _step(2, 1000, 0.1)], 3000) == []


def test_doubling_ends_with_all():
    assert [doubling(count) for count in (0, 1, 2, 5, 8)] == [[], [1], [1, 2], [1, 2, 4, 5], [1, 2, 4, 8]]


def test_a_plan_names_all_that_makes_it_another_one():
    narrowed = INT8.with_clip(7, 80).with_clip(3, 90)
    mixed = narrowed.with_changes((Change(5, "int4", "gptq"),))
    assert mixed.key == "int8+5:int4:gptq+t3:90+t7:80"
    assert mixed.with_changes((Change(5, "float"),)).changes == (Change(5, "float"),)
    assert narrowed.with_clip(7, 100).clips == (Clip(3, 90),)
    assert mixed.title == "int8, ranges clipped, 1 op int4"
