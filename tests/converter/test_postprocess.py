"""What an output is, is told from what it holds."""

import numpy as np
import pytest

from maas_agent.bundle.manifest import Classification, Raw, Tensor
from maas_agent.errors import DataError
from maas_converter.postprocess import output_of, tell

PROBABILITIES = np.array([[0.2, 0.8], [0.5, 0.5]], np.float32)
LOGITS = np.array([[-3.0, 4.0], [0.5, 0.5]], np.float32)


def test_probabilities_stay_what_they_are():
    assert tell(PROBABILITIES, known_classes=False)[0] == Classification(activation="none")


def test_logits_of_known_classes_get_a_softmax():
    assert tell(LOGITS, known_classes=True)[0] == Classification(activation="softmax")


def test_values_without_classes_are_reported_as_they_are():
    assert tell(LOGITS, known_classes=False)[0] == Raw()
    assert tell(np.array([[0.3], [0.9]], np.float32), known_classes=False)[0] == Raw()


def test_labels_are_one_a_class():
    with pytest.raises(DataError, match="3 labels"):
        output_of(Tensor("out", (1, 2), "float32"), LOGITS, ("a", "b", "c"), has_classes=True)
