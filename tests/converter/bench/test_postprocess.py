"""What an output is, is told from what makes it, from what is asked for, and last from what it holds."""

import numpy as np
import pytest

from maas_agent.bundle.manifest import Classification, Multilabel, Raw, Tensor
from maas_agent.errors import DataError, UsageError
from maas_converter.bench.postprocess import (
    KnownOutput,
    check_activation,
    check_labels,
    output_of,
    scores_of,
    tell,
    threshold_of,
)
from maas_converter.tflite.heads import OutputHead

PROBABILITIES = np.array([[0.2, 0.8], [0.5, 0.5]], np.float32)
LOGITS = np.array([[-3.0, 4.0], [0.5, 0.5]], np.float32)
LOW = np.array([[0.001, 0.002], [0.0, 0.001]], np.float32)
"""8 bits hold little of a softmax over many classes."""
PAIR = Tensor("out", (1, 2), "float32")
ONE = Tensor("out", (1, 1), "float32")


def told(values, kind="unknown", asked="auto", labels=(), has_classes=False, tensor=PAIR):
    return tell(
        KnownOutput(tensor, OutputHead(kind, "OP"), labels, asked),
        np.asarray(values, np.float32),
        has_classes=has_classes,
    )[0]


def test_a_softmax_is_told_by_its_op_and_never_applied_twice():
    assert told(LOW, "softmax", labels=("a", "b")) == Classification(activation="none")
    assert told(LOW, "softmax", has_classes=True) == Classification(activation="none")
    assert told(LOW, "softmax", asked="softmax") == Classification(activation="none")


def test_values_of_an_unknown_op_are_told_by_their_sums():
    assert told(PROBABILITIES) == Classification(activation="none")
    assert told(LOGITS, has_classes=True) == Classification(activation="softmax")
    assert told(LOW, has_classes=True) == Classification(activation="none"), "in 0…1, so no logits"


def test_shares_of_a_linear_layer_are_no_classes_for_want_of_names():
    assert told(PROBABILITIES, "linear") == Raw()
    assert told(LOGITS, "linear", has_classes=True) == Classification(activation="softmax")


def test_sigmoids_that_happen_to_sum_to_1_are_still_independent():
    assert told(PROBABILITIES, "sigmoid", labels=("a", "b")) == Multilabel()
    assert told(PROBABILITIES, "sigmoid") == Raw()
    assert told(PROBABILITIES, "softmaxes", labels=("a", "b")) == Multilabel()


def test_logarithms_of_probabilities_are_taken_back_by_a_softmax():
    assert told(np.log(PROBABILITIES), "log_softmax", has_classes=True) == Classification(activation="softmax")


def test_values_without_classes_are_reported_as_they_are():
    assert told(LOGITS) == Raw()
    assert told([[0.3], [0.9]], tensor=ONE) == Raw()


def test_what_is_asked_for_wins():
    assert told(LOGITS, "linear", "sigmoid") == Multilabel(activation="sigmoid")
    assert told(PROBABILITIES, "sigmoid", "sigmoid") == Multilabel(), "not twice"
    assert told(PROBABILITIES, "sigmoid", "none") == Classification(activation="none")
    assert told(PROBABILITIES, "unknown", "softmax") == Classification(activation="softmax")
    with pytest.raises(UsageError, match="auto, none, softmax, sigmoid"):
        check_activation("relu")


def test_one_value_and_two_names_are_a_binary_classifier():
    names = ("no", "yes")
    sigmoid = told([[0.3]], "sigmoid", labels=names, tensor=ONE)
    assert sigmoid == Classification(top=2, binary=True)
    logit = told([[-3.0]], "linear", labels=names, tensor=ONE)
    assert logit == Classification(top=2, activation="sigmoid", binary=True)
    assert (threshold_of(sigmoid), threshold_of(logit), threshold_of(Classification())) == (0.5, 0.0, None)
    with pytest.raises(DataError, match="--activation sigmoid if it is a logit"):
        told([[0.3]], "linear", labels=names, tensor=ONE)
    assert told([[0.3]], "linear", "none", names, tensor=ONE) == sigmoid
    assert told([[0.3]], "linear", "sigmoid", tensor=ONE) == logit
    with pytest.raises(UsageError, match="always 1"):
        told([[0.3]], "linear", "softmax", names, tensor=ONE)


def test_the_larger_of_two_columns_is_the_class_that_one_value_means():
    assert scores_of(np.array([[0.4], [0.5], [0.6]], np.float32), 0.5).argmax(axis=1).tolist() == [0, 0, 1]


def test_labels_are_one_a_class():
    with pytest.raises(DataError, match="3 labels"):
        check_labels(KnownOutput(PAIR, labels=("a", "b", "c")))
    with pytest.raises(DataError, match="one value tells two apart"):
        check_labels(KnownOutput(ONE, labels=("a", "b", "c")))
    check_labels(KnownOutput(ONE, labels=("a", "b")))


def test_labels_with_a_score_each_are_not_alike():
    with pytest.raises(DataError, match="'a' stands there twice"):
        output_of(KnownOutput(PAIR, labels=("a", "a")), Multilabel())


def test_data_that_name_several_labels_a_sample_make_a_linear_layer_multilabel():
    def kind(head, values):
        return tell(KnownOutput(PAIR, OutputHead(head, "OP"), ("a", "b")), values, has_classes=False, several=True)[0]

    assert kind("linear", LOGITS) == Multilabel(activation="sigmoid")
    assert kind("sigmoid", PROBABILITIES) == kind("unknown", PROBABILITIES) == Multilabel()
    assert kind("softmax", PROBABILITIES) == Classification(), "one distribution over all"
