"""Wrong calibration data is refused with what differs; honest data never is."""

from collections.abc import Callable

import numpy as np
import pytest

from maas_agent.errors import DataError
from maas_converter.quantize.guard.finding import CalibrationFinding, CheckedData, Scaling
from maas_converter.quantize.guard.input_statistics import ChannelStatistics, InputStatistics, statistics_of
from maas_converter.quantize.guard.rules import _noise, _rescaling, _spread_factor, _times, enforce, findings
from maas_converter.quantize.guard.scaling import scaling_of
from tests.converter.quantize.running import answers

_random = np.random.default_rng(1)


def _pictures(count: int, seed: int) -> np.ndarray:
    """Blobs on ground of varying brightness, 0 to 255."""
    random = np.random.default_rng(seed)
    ground = random.uniform(0, 200, (count, 1, 1, 3))
    return np.clip(ground + random.normal(0, 40, (count, 12, 12, 3)), 0, 255)


def _side(x, y=None, scores=None) -> CheckedData:
    return CheckedData(statistics_of("data", x[:, None]), y, scores)


def _codes(*arguments, **named) -> list[str]:
    return [finding.code for finding in findings(*arguments, **named) if finding.refuses]


_PLAIN, _OTHER = _pictures(60, 1), _pictures(200, 2)

_MISTAKES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "divided by 255": lambda x: x / 255,
    "from -1 to 1": lambda x: x / 127.5 - 1,
    "times 255": lambda x: x * 255,
    "centred": lambda x: x - 128,
    "standardized": lambda x: (x - 120) / 60,
    "a quarter": lambda x: x / 4,
}


@pytest.mark.parametrize("mistake", _MISTAKES)
def test_another_scale_than_the_evaluation_data_is_refused(mistake):
    wrong = _side(_MISTAKES[mistake](_PLAIN))
    assert _codes(wrong, _side(_OTHER), 0) == ["distribution"]
    assert _codes(_side(_PLAIN), _side(_MISTAKES[mistake](_OTHER)), 0) == ["distribution"]


@pytest.mark.parametrize("count", [10, 20, 50, 200])
def test_honest_draws_of_the_same_data_are_never_refused(count):
    pool = _pictures(400, 3)
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(len(pool))
        assert _codes(_side(pool[order[:count]]), _side(pool[order[count:]]), 0) == []


def test_sound_of_another_scale_is_refused_though_it_is_silent_in_the_middle():
    sound = _random.normal(0, 0.1, (50, 800))
    assert _codes(_side(sound * 32768), _side(_random.normal(0, 0.1, (50, 800))), 0) == ["distribution"]


def test_the_sentence_says_what_differs_and_which_step_it_looks_like():
    (found,) = findings(_side(_PLAIN / 255), _side(_OTHER), 0)
    assert "lie in 0 … 1 and evaluation values in 0 … 255" in found.what
    assert "calibration data look divided by 255" in found.advice
    assert "--preprocess" in found.advice


def test_empty_calibration_is_refused():
    assert _codes(CheckedData(statistics_of("data", [])), None, 10) == ["empty"]


def test_nan_and_infinity_are_refused_and_counted():
    bad = _PLAIN.copy()
    bad[3, 0, 0, 0], bad[7, 1, 1, 1] = np.nan, np.inf
    (found,) = findings(_side(bad), _side(_OTHER), 0)
    assert found.code == "not-finite"
    assert "2 of 60" in found.what


def test_the_same_sample_over_and_over_is_refused():
    assert _codes(_side(np.repeat(_PLAIN[:1], 30, axis=0)), None, 0) == ["identical"]
    assert _codes(_side(np.zeros((30, 12, 12, 3))), None, 0) == ["identical"]


def test_few_samples_are_worth_a_note_only():
    (found,) = findings(_side(_PLAIN[:5]), None, 0)
    assert (found.code, found.refuses) == ("few", False)
    assert enforce((found,), force=False) == ()


def test_samples_of_one_class_are_refused():
    y = np.full(60, 3)
    assert _codes(_side(_PLAIN, y), None, 10) == ["one-class"]


def test_one_class_is_no_finding_where_there_is_nothing_to_tell_apart():
    assert _codes(_side(_PLAIN, np.zeros(60, np.int64)), None, 0) == []


def test_a_model_at_chance_on_labelled_data_is_refused_without_evaluation_data():
    y = np.arange(60) % 10
    (found,) = findings(_side(_PLAIN / 255, y, np.eye(10, dtype=np.float32)[np.zeros(60, np.int64)]), None, 10)
    assert found.code == "chance"
    assert "recognises 10 % of the calibration samples (chance: 10 %)" in found.what
    assert "0 … 1" in found.what


@pytest.mark.parametrize("classes", [2, 10])
def test_a_model_that_recognises_its_data_is_not_refused(classes):
    y = np.arange(60) % classes
    named = np.where(_random.random(60) < 0.8, y, (y + 1) % classes)
    assert _codes(_side(_PLAIN, y, np.eye(classes, dtype=np.float32)[named]), None, classes) == []


def test_a_model_far_worse_than_on_the_evaluation_data_is_refused():
    eye = np.eye(10, dtype=np.float32)
    y, other = np.arange(60) % 10, np.arange(200) % 10
    poor = np.where(np.arange(60) % 7 < 2, y, (y + 1) % 10)
    assert _codes(_side(_PLAIN, y, eye[poor]), _side(_OTHER, other, eye[other]), 10) == ["recognition"]


def test_one_answer_to_everything_is_refused_where_no_class_is_known():
    scores = np.eye(10, dtype=np.float32)
    same, varied = scores[np.zeros(60, np.int64)], scores[np.arange(200) % 10]
    assert _codes(_side(_PLAIN, None, same), None, 10) == ["collapse"]
    assert _codes(_side(_PLAIN, None, same), _side(_OTHER, None, varied), 10) == ["collapse"]


def test_a_rare_second_class_is_not_missed_without_evaluation_data():
    scores = np.eye(2, dtype=np.float32)[np.zeros(60, np.int64)]
    assert _codes(_side(_PLAIN, None, scores), None, 2) == []


def test_a_model_that_divides_by_255_itself_refuses_what_was_divided_already(models):
    scaling = scaling_of(models["rescaling"])
    assert scaling == Scaling(pytest.approx(1 / 127.5), pytest.approx(-1))
    assert _codes(_side(_PLAIN / 255), None, 0, scaling=scaling) == ["scaled-twice"]
    assert _codes(_side(_PLAIN), None, 0, scaling=scaling) == []


def test_a_model_that_begins_with_a_layer_has_no_scaling(models):
    assert scaling_of(models["dense"]) is None


def test_a_refusal_holds_every_finding_and_force_returns_them():
    found = (
        CalibrationFinding("a", "one", "two"),
        CalibrationFinding("b", "three", "four"),
        CalibrationFinding("c", "five", "six", refuses=False),
    )
    with pytest.raises(DataError, match=r"one; two\. Also: three; four\. --force"):
        enforce(found, force=False)
    assert enforce(found, force=True) == ("one; two", "three; four")


def test_a_look_holds_ranges_and_counts_by_channel():
    look = statistics_of("data", np.stack([_PLAIN * [1, 2, 3]])[0][:, None])
    assert [channel.high for channel in look.channels] == pytest.approx(
        [_PLAIN[..., k].max() * (k + 1) for k in range(3)]
    )
    assert look.channels[0].mean == pytest.approx(_PLAIN[..., 0].mean(), rel=1e-4)
    assert look.channels[0].std == pytest.approx(_PLAIN[..., 0].std(), rel=1e-3)
    assert sum(look.channels[0].counts) == look.values.shape[1]


def test_resnet8_calibrated_on_pixels_divided_by_255_is_refused_with_and_without_evaluation_data(cifar, tmp_path):
    wrong = cifar.calibration.astype(np.float32) / 255
    scores = answers(cifar.float32, wrong, tmp_path)
    good = answers(cifar.float32, cifar.evaluation[:500], tmp_path)
    evaluation = _side(cifar.evaluation[:500], cifar.evaluation_y[:500], good)
    labelled, bare = _side(wrong, cifar.calibration_y, scores), _side(wrong, None, scores)
    assert _codes(labelled, evaluation, 10) == _codes(bare, evaluation, 10) == ["distribution"]
    assert _codes(labelled, None, 10) == ["chance"]
    assert _codes(bare, None, 10) == ["collapse"]


def test_resnet8s_own_calibration_data_pass(cifar, tmp_path):
    right = _side(cifar.calibration, cifar.calibration_y, answers(cifar.float32, cifar.calibration, tmp_path))
    good = answers(cifar.float32, cifar.evaluation[:500], tmp_path)
    assert findings(right, _side(cifar.evaluation[:500], cifar.evaluation_y[:500], good), 10) == ()
    assert findings(right, None, 10) == ()


# ------------------------------------------------------------------ what is said, and where a rule begins to say it


def _measured(values=(0.0, 1.0), *, spreads=(1.0,), samples=1000, channels=1) -> InputStatistics:
    kept = np.tile(np.sort(np.array(values, np.float32)), (channels, 1))
    ends = ChannelStatistics(float(kept.min()), float(kept.max()), 0.0, 1.0, ())
    return InputStatistics("data", samples, 0, False, (ends,) * channels, kept, np.array(spreads, np.float32))


def _sentences(*arguments, **named) -> list[str]:
    return [finding.sentence for finding in findings(*arguments, **named)]


def _data(*arguments, y=None, scores=None, **named) -> CheckedData:
    return CheckedData(_measured(*arguments, **named), y, scores)


def test_what_is_wrong_with_the_samples_themselves_is_said_in_a_sentence():
    assert _sentences(CheckedData(statistics_of("data", [])), None, 10) == [
        "calibration holds no samples; give --calibration data with samples"
    ]
    bad = _PLAIN.copy()
    bad[3, 0, 0, 0] = np.nan
    assert _sentences(_side(bad), None, 10) == [
        "1 of 60 calibration samples hold NaN or infinite values after preprocessing; "
        "remove them, or see whether --preprocess divides by zero or overflows"
    ]
    assert _sentences(_side(np.repeat(_PLAIN[:1], 30, axis=0)), None, 0) == [
        "all 30 calibration samples are the same; give different ones"
    ]
    same = findings(_data((7.25, 7.25)), None, 0)
    assert same == (
        CalibrationFinding(
            "identical", "every value of the calibration samples is 7.25", "give samples that differ", refuses=True
        ),
    )


@pytest.mark.parametrize(("samples", "said"), [(1, "1 sample"), (2, "2 samples"), (9, "9 samples"), (10, None)])
def test_fewer_than_ten_samples_are_counted(samples, said):
    found = findings(_data(samples=samples), None, 0)
    assert found == (
        ()
        if said is None
        else (
            CalibrationFinding(
                "few", f"calibration has {said}", "ranges get better up to some hundreds", refuses=False
            ),
        )
    )


_MANY, _ONE, _NONE = np.array([0, 1]), np.array([3, 3]), None
_ALL_OF_ONE = "all 2 calibration samples are of class 3, {}; calibrate with samples of every class"


@pytest.mark.parametrize(
    ("y", "evaluation_y", "classes", "said"),
    [
        (_ONE, _NONE, 10, "the model tells 10 apart"),
        (_ONE, _NONE, 2, "the model tells 2 apart"),
        (_ONE, _NONE, 1, None),
        (_ONE, _MANY, 0, "the evaluation data has more"),
        (_ONE, _ONE, 0, None),
        (_ONE, _NONE, 0, None),
        (_MANY, _MANY, 10, None),
        (_ONE[:1], _MANY, 10, None),
        (_NONE, _MANY, 10, None),
    ],
)
def test_two_samples_of_one_class_are_refused_where_there_is_another(y, evaluation_y, classes, said):
    found = _sentences(_data(y=y), _data(y=evaluation_y), classes)
    assert found == ([] if said is None else [_ALL_OF_ONE.format(said)])


def test_values_that_lie_elsewhere_are_refused_with_both_ranges():
    calibration = _data(np.arange(20), spreads=(1.0,))
    assert _sentences(calibration, _data(np.arange(8, 28)), 0) == [], "40 % apart is what other data may be"
    assert _sentences(calibration, _data(np.arange(10, 30)), 0) == [
        "after preprocessing, calibration values lie in 0 … 19 and evaluation values in 10 … 29; 50 % of them lie "
        "apart; calibrate with data of the kind the model will be given, in the same scale; see --preprocess"
    ]
    assert _sentences(calibration, _data(np.arange(20), spreads=(4.0,)), 0) == [
        "after preprocessing, calibration values lie in 0 … 19 and evaluation values in 0 … 19; 0 % of them lie "
        "apart, and they vary 1/4 as much; calibrate with data of the kind the model will be given, in the same "
        "scale; see --preprocess"
    ]
    by_its_variation = _data(np.arange(20), spreads=(255.0,))
    assert _sentences(by_its_variation, _data(np.arange(20)), 0)[0].endswith(
        "vary 255 times as much; the evaluation data look divided by 255: give both files in the same scale and let "
        "--preprocess bring them to the model's"
    )
    assert _sentences(calibration, _data(np.arange(50, 70), channels=3), 0) == [], "they cannot be compared"


def test_few_samples_may_lie_further_apart():
    """By hand: sqrt(ln(2 / 1e-6) / 2) times sqrt(1/20 + 1/20), Smirnov's bound for one chance in a million."""
    assert _noise(20, 20) == pytest.approx(np.sqrt(np.log(2e6) / 2) * np.sqrt(0.1))
    assert _noise(20, 80) == pytest.approx(np.sqrt(np.log(2e6) / 2) * np.sqrt(0.0625))
    few = _data(np.arange(20), samples=20)
    assert _codes(few, _data(np.arange(17, 37), samples=20), 0) == []
    assert _codes(few, _data(np.arange(18, 38), samples=20), 0) == ["distribution"]


_RISING, _FALLING = (1.0,) * 4 + (50.0,) * 97, (20.0,) * 99 + (200.0,) * 2


@pytest.mark.parametrize(
    ("calibration", "evaluation", "factor"),
    [
        ((0.0,), (1.0,), None),
        ((1.0,), (0.0,), None),
        ((3.0,), (1.0,), None),
        ((1.0,), (3.0,), None),
        ((0.5,), (1.0,), None),
        ((3.5,), (1.0,), 3.5),
        ((0.25,), (1.0,), 0.25),
        ((4.0,), (0.5,), 8.0),
        ((1.0,), (0.25,), 4.0),
        ((4.0,), (1.0,) * 90 + (5.0,) * 10, None),  # one in ten of the evaluation data varies as much
        ((5.0,), (1.0,) * 90 + (5.0,) * 10, None),
        ((1.0,), (5.0,) * 90 + (1.0,) * 10, None),
        ((10.0,), _RISING, None),  # the lowest 2.5 % are below
        ((100.0,), _FALLING, 5.0),  # less than 2.5 % are above
    ],
)
def test_samples_vary_by_another_factor_where_hardly_one_of_the_others_does(calibration, evaluation, factor):
    assert _spread_factor(_measured(spreads=calibration), _measured(spreads=evaluation)) == factor


@pytest.mark.parametrize(("factor", "said"), [(1.0, "1 times"), (1.5, "1.5 times"), (0.5, "1/2"), (0.004, "1/250")])
def test_a_factor_below_one_is_said_as_its_part(factor, said):
    assert _times(factor) == said


@pytest.mark.parametrize(
    ("calibration", "evaluation", "factor", "said"),
    [
        ((-1.0, 1.0), (0.0, 255.0), None, "the calibration data look divided by 127.5"),
        ((0.0, 255.0), (0.0, 1.0), None, "the evaluation data look divided by 255"),
        ((0.0, 0.5), (0.0, 127.5), None, "the calibration data look divided by 255"),
        ((0.0, 1.0), (-32768.0, 0.0), None, "the calibration data look divided by 32768"),
        ((0.0, 65025.0), (0.0, 1.0), None, "the evaluation data look divided by 255 twice"),
        ((0.0, 1.0), (0.0, 7.0), 1 / 255, "the calibration data look divided by 255"),
        ((0.0, 1.0), (0.0, 7.0), None, None),
        ((3.0, 3.0), (0.0, 255.0), None, None),
        ((0.0, 255.0), (3.0, 3.0), None, None),
        ((0.0, 1.0), (0.0, 285.0), None, None),
    ],
)
def test_a_usual_factor_is_named_with_the_file_that_was_divided(calibration, evaluation, factor, said):
    advice = _rescaling(_measured(calibration), _measured(evaluation), factor)
    assert advice == (
        "calibrate with data of the kind the model will be given, in the same scale; see --preprocess"
        if said is None
        else f"{said}: give both files in the same scale and let --preprocess bring them to the model's"
    )


def test_the_models_own_scaling_and_answers_are_asked_where_the_data_say_nothing():
    assert _codes(_data((0.0, 1.0)), None, 0, scaling=Scaling(1 / 255, 0.0)) == ["scaled-twice"]
    assert _codes(_data((0.0, 255.0)), None, 0, scaling=Scaling(1 / 255, 0.0)) == []
    assert _codes(_data((0.0, 1.0), y=_ONE), None, 10, scaling=Scaling(1 / 255, 0.0)) == ["one-class"]
    scores = np.eye(10, dtype=np.float32)
    same, varied = scores[np.zeros(60, np.int64)], scores[np.arange(200) % 10]
    (sentence,) = _sentences(_data(scores=same), _data(scores=varied), 10)
    assert "names class 0 for 100 % of the calibration samples, and no class for more than 10 %" in sentence
