"""A part of the zoo in every run of the tests; `make zoo` has all of it."""

from pathlib import Path

import pytest

from tests.zoo.__main__ import judged
from tests.zoo.collection import ZOO

SAMPLE = ("activation-gelu", "classes-with-names", "old-separable", "lite-uint8", "sm-complex-output")
"""One or two of each framework, most of what can go wrong among them; together half a minute on two cores."""


@pytest.fixture(autouse=True)
def _models_are_there() -> None:
    pytest.importorskip("tensorflow")


def test_every_specimen_of_the_sample_answers_as_its_own_framework_or_is_refused_for_its_true_reason(
    tmp_path: Path,
) -> None:
    verdicts = judged([ZOO[name] for name in SAMPLE], tmp_path)
    assert [verdict for verdict in verdicts if not verdict.expected] == []
    assert {verdict.outcome for verdict in verdicts} == {"right", "refused"}


def test_the_zoo_is_as_large_as_the_documentation_says() -> None:
    assert len(ZOO) >= 150
    assert {specimen.framework for specimen in ZOO.values()} == {"keras", "tf_keras", "tensorflow", "tflite"}
    recipes = {recipe for specimen in ZOO.values() for recipe in specimen.recipes}
    assert recipes >= {"float32", "float16", "dynamic", "dynamic4", "int8", "int16x8", "int4", "as-is"}
