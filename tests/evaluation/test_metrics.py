"""Metrics against scikit-learn, their intervals by simulation, and what is undefined."""

import json
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from lorgnette.errors import ConfigError
from lorgnette.evaluation.metrics import (
    CURVE_POINTS,
    evaluate,
    evenly_shared,
    jaccard_correlation,
)

NAMES = ("accuracy", "balanced_accuracy", "loss", "roc_auc", "pr_auc", "f1")


def classes(count: int) -> list[str]:
    return [f"class {k}" for k in range(count)]


@st.composite
def problems(draw: st.DrawFn) -> tuple[Any, Any]:
    """Probabilities (N, K) with ties, and labels in which each class occurs."""
    K = draw(st.integers(2, 5))
    n = draw(st.integers(2 * K, 60))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = np.concatenate([np.arange(K), generator.integers(0, K, n - K)])
    steps = draw(st.sampled_from([3, 10, 10**6]))  # few steps: many equal probabilities
    raw = generator.integers(1, steps + 1, (n, K)).astype(float)
    raw[np.arange(n), labels] += draw(st.sampled_from([0, steps // 2, 3 * steps]))
    return raw / raw.sum(axis=1, keepdims=True), labels


@settings(max_examples=80, deadline=None)
@given(problems())
def test_values_are_scikit_learns(problem: tuple[Any, Any]) -> None:
    p, y = problem
    K = p.shape[1]
    answers = p.argmax(axis=1)
    found = evaluate(p, y, classes(K))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "accuracy": sk.accuracy_score(y, answers),
            "balanced_accuracy": sk.balanced_accuracy_score(y, answers),
            "loss": sk.log_loss(y, p, labels=range(K)),
            "roc_auc": np.mean([sk.roc_auc_score(y == k, p[:, k]) for k in range(K)]),
            "pr_auc": np.mean([sk.average_precision_score(y == k, p[:, k]) for k in range(K)]),
            "f1": sk.f1_score(y, answers, average="macro"),
        }
        each = sk.precision_recall_fscore_support(y, answers, labels=range(K), zero_division=0)
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value, abs=1e-9), name
    assert found["confusion"] == sk.confusion_matrix(y, answers, labels=range(K)).tolist()
    for k, name in enumerate(classes(K)):
        facts = found["per_class"][name]
        assert (facts["precision"]["value"] or 0) == pytest.approx(each[0][k])
        assert facts["recall"]["value"] == pytest.approx(each[1][k])
        assert facts["f1"]["value"] == pytest.approx(each[2][k])
        assert facts["n"] == each[3][k]


@settings(max_examples=80, deadline=None)
@given(problems())
def test_intervals_hold_their_value_and_have_width(problem: tuple[Any, Any]) -> None:
    p, y = problem
    found = evaluate(p, y, classes(p.shape[1]), groups=np.arange(len(y)) // 2)
    per_class = [
        facts[name] for facts in found["per_class"].values() for name in facts if name != "n"
    ]
    for measure in [*(found[name] for name in NAMES), *per_class]:
        if measure["value"] is not None:
            assert measure["low"] <= measure["value"] <= measure["high"]
    for name in set(NAMES) - {"loss"}:
        assert 0 <= found[name]["low"] < found[name]["high"] <= 1
    json.dumps(found, allow_nan=False)


def test_a_perfect_result_is_not_a_certain_one() -> None:
    y = np.arange(40) % 2
    found = evaluate(np.eye(2)[y], y, ["a", "b"])
    for name in set(NAMES) - {"loss"}:
        assert found[name]["value"] == 1
        assert 0.7 < found[name]["low"] < 1
    grouped = evaluate(np.eye(2)[y], y, ["a", "b"], groups=np.arange(40) // 8)
    assert grouped["design_effect"] == 8
    assert grouped["groups"] == 5
    assert grouped["accuracy"]["low"] == pytest.approx(0.5655, abs=1e-4)  # five of five


def test_two_classes() -> None:
    p = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]])
    found = evaluate(p, [0, 0, 1, 1], ["no", "yes"])
    assert found["positive"] == "yes"
    assert found["roc_auc"] == found["per_class"]["yes"]["roc_auc"]
    assert found["curves"]["yes"]["roc"] == {
        "fpr": [0.0, 0.0, 0.0, 0.5, 1.0],
        "tpr": [0.0, 0.5, 1.0, 1.0, 1.0],
    }


def test_unknown_labels_are_left_out_and_counted() -> None:
    p = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7]])
    found = evaluate(p, [0, -1, 1], ["a", "b"], groups=[0, 0, -1])
    assert (found["n"], found["unlabelled"], found["groups"]) == (2, 1, 2)
    assert found["accuracy"]["value"] == 1


def test_nothing_to_judge() -> None:
    for p, y in ((np.zeros((0, 3)), np.zeros(0, dtype=int)), (np.full((2, 3), 1 / 3), [-1, -1])):
        found = evaluate(p, y, classes(3))
        assert found["n"] == 0
        for name in NAMES:
            assert found[name] == {"value": None, "low": None, "high": None, "n": 0}
        assert found["confusion"] == [[0] * 3] * 3
        assert found["calibration"] == {"bins": [], "error": None}
        json.dumps(found, allow_nan=False)


def test_a_class_that_is_absent() -> None:
    p = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.7, 0.2, 0.1]])
    found = evaluate(p, [0, 1, 1], classes(3))
    absent = found["per_class"]["class 2"]
    assert absent["n"] == 0
    for name in ("precision", "recall", "f1", "roc_auc", "pr_auc"):
        assert absent[name]["value"] is None
    assert found["balanced_accuracy"]["value"] == 0.75  # over the classes that are there
    assert found["roc_auc"]["value"] is not None


def test_one_item() -> None:
    found = evaluate([[0.2, 0.8]], [1], ["a", "b"])
    assert found["accuracy"]["value"] == 1
    assert found["roc_auc"]["value"] is None
    assert found["loss"]["low"] is None
    assert found["loss"]["value"] == pytest.approx(-np.log(0.8))


def test_loss_is_clipped() -> None:
    found = evaluate([[1.0, 0.0], [1.0, 0.0]], [1, 0], ["a", "b"])
    assert found["loss"]["value"] == pytest.approx((-np.log(1e-7) - np.log1p(-1e-7)) / 2)


def test_curves_are_thin_and_keep_their_ends_and_area() -> None:
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, 5000)
    p = 1 / (1 + np.exp(-generator.normal(2 * y - 1, 1.0)))
    found = evaluate(np.stack([1 - p, p], 1), y, ["a", "b"])
    roc, pr = found["curves"]["b"]["roc"], found["curves"]["b"]["pr"]
    assert len(roc["fpr"]) <= CURVE_POINTS
    assert (roc["fpr"][0], roc["tpr"][0], roc["fpr"][-1], roc["tpr"][-1]) == (0, 0, 1, 1)
    assert (pr["recall"][0], pr["recall"][-1]) == (0, 1)
    assert np.trapezoid(roc["tpr"], roc["fpr"]) == pytest.approx(
        found["roc_auc"]["value"], abs=0.003
    )


def test_calibration() -> None:
    p = np.array([[0.95, 0.05]] * 10 + [[0.35, 0.65]] * 10)
    y = np.array([0] * 9 + [1] + [1] * 5 + [0] * 5)
    found = evaluate(p, y, ["a", "b"])["calibration"]
    assert [row["n"] for row in found["bins"]] == [10, 10]
    assert [row["accuracy"] for row in found["bins"]] == [0.5, 0.9]
    assert found["error"] == pytest.approx((0.15 + 0.05) / 2)


@settings(deadline=None)
@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_jaccard_correlation_agrees_with_influence_functions(count: int, seed: int) -> None:
    K = count
    # Without any error there is no correlation to compare with.
    confusion = np.random.default_rng(seed).integers(1, 40, (K, K)) + 2000 * np.eye(K, dtype=int)
    pairs = [(i, j, confusion[i, j]) for i in range(K) for j in range(K)]
    influence = np.zeros((len(pairs), K))
    for row, (given_, answered, _) in enumerate(pairs):
        for k in range(K):
            union = confusion[k].sum() + confusion[:, k].sum() - confusion[k, k]
            inside, hit = k in (given_, answered), given_ == answered == k
            influence[row, k] = (hit - confusion[k, k] / union * inside) / union
    counts = np.array([count for *_, count in pairs], dtype=float)
    covariance = influence.T @ (influence * counts[:, None])
    scale = np.sqrt(np.diag(covariance))
    expected = covariance / np.outer(scale, scale)
    # The one error more that keeps it defined at none is lost in a large table.
    np.testing.assert_allclose(jaccard_correlation(confusion * 10**6), expected, atol=1e-3)


def test_correlations_double_the_variance() -> None:
    for K in (2, 3, 10):
        assert evenly_shared(K).sum() == pytest.approx(2 * K)
        spotless = jaccard_correlation(np.eye(K, dtype=int) * 50)
        np.testing.assert_allclose(spotless, evenly_shared(K))


@pytest.mark.parametrize(("count", "n"), [(2, 200), (4, 300)])
def test_intervals_cover(count: int, n: int) -> None:
    K, generator = count, np.random.default_rng(7)

    def draw(n: int) -> tuple[Any, Any]:
        y = generator.integers(0, K, n)
        evidence = 1.7 * generator.normal(size=(n, K))
        evidence[np.arange(n), y] += 1.7**2
        p = np.exp(evidence)
        return p / p.sum(axis=1, keepdims=True), y

    truth = evaluate(*draw(200_000), classes(K))
    hits = dict.fromkeys(NAMES, 0)
    for _ in range(200):
        found = evaluate(*draw(n), classes(K))
        for name in NAMES:
            hits[name] += found[name]["low"] <= truth[name]["value"] <= found[name]["high"]
    for name, covered in hits.items():
        assert covered / 200 > 0.9, name


@pytest.mark.parametrize(
    ("p", "y", "groups", "message"),
    [
        ([[np.nan, 0.5]], [0], None, "finite"),
        ([[0.5, np.inf]], [0], None, "finite"),
        ([[3.0, -2.0]], [0], None, "softmax"),
        ([[0.5, 0.5]], [2], None, "from 0 to 1"),
        ([[0.5, 0.5]], [0.5], None, "whole numbers"),
        ([[0.5, 0.3, 0.2]], [0], None, "shape"),
        ([[0.5, 0.5]], [0, 1], None, "shape"),
        ([[0.5, 0.5]], [0], [0, 1], "one code for each"),
    ],
)
def test_refusals(p: Any, y: Any, groups: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate(p, y, ["a", "b"], groups=groups)


@pytest.mark.parametrize("names", [["a"], ["a", "a"]])
def test_classes_are_two_or_more_and_differ(names: list[str]) -> None:
    with pytest.raises(ConfigError, match="two or more different"):
        evaluate(np.zeros((0, len(names))), np.zeros(0, dtype=int), names)
