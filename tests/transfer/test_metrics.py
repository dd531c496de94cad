"""Metrics against scikit-learn, which is another's arithmetic, and by hand."""

import dataclasses
import json

import numpy as np
import pytest
from sklearn import metrics as reference

from eyespot.transfer import MetricsError, measure

NAMES = tuple("abcdefg")


@pytest.fixture
def chance():
    return np.random.default_rng(1)


def as_arrays(classes, *fields):
    return [np.array([getattr(each, field) for each in classes]) for field in fields]


def softmax(logits):
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


def test_one_class_of_several(chance):
    logits = chance.normal(size=(200, 7)).astype(np.float32)
    labels = chance.integers(0, 6, 200)  # no picture is of the last class
    found = measure(logits, labels, names=NAMES)
    said = logits.argmax(axis=1)
    assert (found.kind, found.count) == ("classification", 200)
    assert found.accuracy == reference.accuracy_score(labels, said)
    top5 = reference.top_k_accuracy_score(labels, logits, k=5, labels=range(7))
    assert found.top5_accuracy == pytest.approx(top5)
    loss = reference.log_loss(labels, softmax(logits.astype(float)), labels=range(7))
    assert found.loss == pytest.approx(loss)
    matrix = reference.confusion_matrix(labels, said, labels=range(7))
    assert found.confusion == tuple(map(tuple, matrix.tolist()))
    expected = reference.precision_recall_fscore_support(
        labels, said, labels=range(7), zero_division=0
    )
    scores = as_arrays(found.classes, "precision", "recall", "f1", "support")
    np.testing.assert_allclose(scores, expected)
    # Of a class without pictures nothing can be told: its 0 is not averaged.
    assert found.macro_f1 == pytest.approx(expected[2][:6].mean())
    assert [each.label for each in found.classes] == list(NAMES)


def test_of_two_classes_there_is_a_curve(chance):
    logits, labels = chance.normal(size=(40, 2)), np.arange(40) % 2
    found = measure(logits, labels, names=["no", "yes"])
    assert found.auc == pytest.approx(reference.roc_auc_score(labels, logits[:, 1] - logits[:, 0]))
    assert measure(logits, labels * 0, names=["no", "yes"]).auc is None


def test_five_classes_have_no_top_five(chance):
    found = measure(chance.normal(size=(9, 5)), np.arange(9) % 5, names=NAMES[:5])
    assert found.top5_accuracy is None


def test_of_equal_logits_the_first_counts_as_larger():
    firsts = measure(np.zeros((2, 6)), np.array([0, 1]), names=NAMES[:6])
    assert (firsts.accuracy, firsts.top5_accuracy) == (0.5, 1.0)
    assert measure(np.zeros((2, 6)), np.array([4, 5]), names=NAMES[:6]).top5_accuracy == 0.5


def test_several_labels(chance):
    logits = np.round(chance.normal(size=(120, 4)), 1)  # with ties
    labels = (chance.random((120, 4)) < (0.2, 0.5, 0.7, 0)).astype(np.float32)
    found = measure(logits, labels, names=NAMES[:4])
    said = (logits > 0).astype(int)
    expected = reference.precision_recall_fscore_support(labels, said, zero_division=0)
    scores = as_arrays(found.classes, "precision", "recall", "f1", "support")
    np.testing.assert_allclose(scores, expected)
    areas = [reference.average_precision_score(labels[:, k], logits[:, k]) for k in range(3)]
    assert [each.average_precision for each in found.classes] == [*map(pytest.approx, areas), None]
    assert found.mean_average_precision == pytest.approx(np.mean(areas))
    assert found.accuracy == pytest.approx(1 - reference.hamming_loss(labels, said))
    assert found.exact_accuracy == pytest.approx(reference.accuracy_score(labels, said))
    flat = reference.log_loss(labels.ravel(), 1 / (1 + np.exp(-logits.ravel())))
    assert found.loss == pytest.approx(flat)


@pytest.mark.parametrize("names", [("hot dog",), ("not hot dog", "hot dog")])
def test_a_single_probability(names, chance):
    logits = np.round(chance.normal(size=(80, 1)), 1)
    labels = (logits[:, 0] + chance.normal(size=80) > 0.4).astype(np.int64)
    found = measure(logits, labels, names=names)
    said = (logits[:, 0] > 0).astype(int)
    assert [each.label for each in found.classes] == ["not hot dog", "hot dog"]
    assert found.auc == pytest.approx(reference.roc_auc_score(labels, logits[:, 0]))
    assert found.accuracy == reference.accuracy_score(labels, said)
    expected = reference.precision_recall_fscore_support(labels, said)
    scores = as_arrays(found.classes, "precision", "recall", "f1", "support")
    np.testing.assert_allclose(scores, expected)
    matrix = reference.confusion_matrix(labels, said)
    assert found.confusion == tuple(map(tuple, matrix.tolist()))
    assert found.loss == pytest.approx(
        reference.log_loss(labels, 1 / (1 + np.exp(-logits[:, 0])), labels=[0, 1])
    )


def test_pictures_of_one_kind_have_no_curve():
    assert measure(np.ones((3, 1)), np.ones(3, np.int64), names=["yes"]).auc is None


def test_the_result_is_json(chance):
    logits = chance.normal(size=(10, 7))
    for labels in (np.arange(10) % 7, np.eye(10, 7, dtype=np.float32)):
        found = measure(logits, labels, names=NAMES)
        told = json.loads(json.dumps(dataclasses.asdict(found), allow_nan=False))
        assert told["classes"][1]["label"] == "b"
        assert len(told["calibration"]["bins"]) == 15


@pytest.mark.parametrize(
    ("logits", "labels", "says"),
    [
        (np.zeros((0, 3)), np.zeros(0, int), r"\(N, K\), N and K at least 1, found \(0, 3\)"),
        (np.zeros((2, 3)), np.zeros(3, int), r"labels must be \(2,\) or \(2, 3\)"),
        (np.zeros((2, 3)), np.array([0, 3]), "whole numbers from 0 to 2, found 0 to 3"),
        (np.zeros((2, 3)), np.full((2, 3), 2), "whole numbers from 0 to 1"),
        (np.zeros((2, 3)), np.array([0, 0.5]), "whole numbers"),
        (np.array([[0, 1, 2], [0, np.nan, 1]]), np.zeros(2, int), "1 of 2 rows .* is row 1"),
        (np.zeros((2, 4)), np.zeros(2, int), "3 names for 4 classes"),
    ],
)
def test_what_cannot_be_measured_is_told(logits, labels, says):
    with pytest.raises(MetricsError, match=says):
        measure(logits, labels, names=NAMES[:3])
