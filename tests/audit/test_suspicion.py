import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lorgnette.audit import noise
from lorgnette.audit.noise import confident_learning, estimate, from_confident_joint
from lorgnette.audit.suspicion import NoiseModel, fit, pooled, unsmoothed


def world(
    n: int, classes: int, rate: float, hard: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Calibrated probabilities, labels as given, and the truth; hard items are mislabelled more."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, (n, classes))
    logits[np.arange(n), rng.integers(0, classes, n)] += rng.exponential(6, n)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = (p.cumsum(1) < rng.random((n, 1))).sum(1)
    truth = np.minimum(truth, classes - 1)
    wrong = rng.random(n) < rate + hard * (1 - p.max(1))
    labels = np.where(wrong, (truth + rng.integers(1, classes, n)) % classes, truth)
    return p, labels.astype(np.int32), truth


@pytest.mark.parametrize(("classes", "rate"), [(2, 0.1), (5, 0.15), (2, 0.3)])
def test_suspicion_is_calibrated(classes: int, rate: float) -> None:
    p, labels, truth = world(20_000, classes, rate, 0)
    posterior = fit(p, labels).posterior(p, labels)
    suspicion = 1 - posterior[np.arange(len(labels)), labels]
    wrong = labels != truth
    assert suspicion.mean() == pytest.approx(wrong.mean(), abs=0.015)
    for low, high in ((0.05, 0.3), (0.3, 0.7), (0.7, 0.95), (0.95, 1.01)):
        inside = (suspicion >= low) & (suspicion < high)
        if inside.sum() > 200:
            assert wrong[inside].mean() == pytest.approx(suspicion[inside].mean(), abs=0.08)


def test_noise_on_hard_items_is_told_where_it_can_be_seen() -> None:
    """Of an item that could be either, a label says nothing, right or wrong: the sum is too low."""
    p, labels, truth = world(20_000, 2, 0.02, 0.6)
    posterior = fit(p, labels).posterior(p, labels)
    suspicion = 1 - posterior[np.arange(len(labels)), labels]
    wrong = labels != truth
    assert 0.01 < suspicion.mean() <= wrong.mean()
    for low in (0.5, 0.7, 0.9):
        inside = suspicion >= low
        assert suspicion[inside].mean() - 0.02 < wrong[inside].mean()


def test_networks_that_learnt_nothing_accuse_nobody() -> None:
    """However sure they are of themselves."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (400, 2))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = rng.integers(0, 2, 400).astype(np.int32)
    posterior = fit(p, labels).posterior(p, labels)
    assert (1 - posterior[np.arange(400), labels]).max() < 0.7


def test_what_labels_are_called_when_wrong_is_found() -> None:
    p, _, truth = world(20_000, 3, 0, 0)
    rng = np.random.default_rng(1)
    wrong = (truth == 0) & (rng.random(len(truth)) < 0.3)
    labels = np.where(wrong, 2, truth).astype(np.int32)
    model = fit(p, labels)
    posterior = model.posterior(p, labels)
    called = posterior[labels == 2].sum(0)
    assert called[0] == pytest.approx(wrong.sum(), rel=0.15)
    assert called[1] < 0.1 * called[0]
    assert model.confusion[0, 2] > 0.9


def test_an_item_without_a_label_has_the_networks_opinion() -> None:
    p, labels, _ = world(2_000, 3, 0.1, 0)
    model = fit(p, labels)
    posterior = model.posterior(p, np.full(len(labels), -1, np.int32))
    assert (posterior.argmax(1) == p.argmax(1)).all()
    np.testing.assert_allclose(posterior.sum(1), 1)


def test_labels_that_are_right_are_not_suspected() -> None:
    p, _, truth = world(10_000, 2, 0, 0)
    posterior = fit(p, truth.astype(np.int32)).posterior(p, truth.astype(np.int32))
    assert 1 - posterior[np.arange(len(truth)), truth].mean() < 0.01


@given(
    arrays(np.float64, (7, 3), elements=st.floats(1e-6, 1)),
    st.sampled_from([0.0, 0.05, 0.2]),
)
@settings(max_examples=50, deadline=None)
def test_unsmoothing_keeps_the_order(raw: np.ndarray, smoothing: float) -> None:
    p = raw / raw.sum(1, keepdims=True)
    q = unsmoothed(p, smoothing)
    np.testing.assert_allclose(q.sum(1), 1)
    for before, after in zip(p, q, strict=True):
        order = np.argsort(before, kind="stable")
        assert (np.diff(after[order]) >= -1e-12).all()


def test_unsmoothing_undoes_smoothing() -> None:
    p = np.array([[0.9, 0.07, 0.03], [0.4, 0.35, 0.25]])
    np.testing.assert_allclose(unsmoothed(0.9 * p + 0.1 / 3, 0.1), p)


def test_pooling_is_a_geometric_mean() -> None:
    one, two = np.array([[0.9, 0.1]]), np.array([[0.5, 0.5]])
    np.testing.assert_allclose(pooled([one, two]), [[0.75, 0.25]], atol=1e-5)
    np.testing.assert_allclose(pooled([one, two], [1, 0.5]), one, atol=1e-5)


def test_the_estimate_covers_what_is_wrong() -> None:
    covered = 0
    for seed in range(8):
        p, labels, truth = world(3_000, 2, 0.1, 0.2, seed)
        posterior = fit(p, labels).posterior(p, labels)
        found = estimate(p, posterior, labels, ("a", "b"), seed, 0.95)
        rate = found["rate"]
        assert rate["low"] <= rate["value"] <= rate["high"]
        covered += rate["low"] <= (labels != truth).mean() <= rate["high"]
        joint = np.array(found["joint"])
        np.testing.assert_allclose(joint.sum(1), np.bincount(labels), rtol=1e-3)
        assert [each["n"] for each in found["by_class"]] == np.bincount(labels).tolist()
    assert covered >= 7


def test_resampled_groups_are_from_the_whole_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sorted by class, and larger than what one refit sees."""
    p, labels, _ = world(2_000, 2, 0.1, 0)
    order = np.argsort(labels, kind="stable")
    p, labels = p[order], labels[order]
    groups = np.arange(2_000) // 4
    seen: list[np.ndarray] = []

    def spy(opinion: np.ndarray, given: np.ndarray, *more: int) -> NoiseModel:
        seen.append(given)
        return fit(opinion, given, *more)

    monkeypatch.setattr(noise, "RESAMPLED", 202)
    monkeypatch.setattr(noise, "RESAMPLES", 2)
    monkeypatch.setattr(noise, "fit", spy)
    posterior = np.full((2_000, 2), 0.5)
    found = [estimate(p, posterior, labels, ("a", "b"), 3, 0.95, groups) for _ in range(2)]
    assert found[0] == found[1]
    for given_ in seen:
        assert len(given_) == 202
        assert given_.mean() == pytest.approx(labels.mean(), abs=0.2)
        assert not np.array_equal(given_, np.sort(given_))
    np.testing.assert_array_equal(seen[0], seen[2])
    assert not np.array_equal(seen[0], seen[1])


def test_predictions_of_networks_that_learnt_the_noise_are_corrected() -> None:
    p, labels, truth = world(20_000, 2, 0.2, 0)
    noisy = p @ np.array([[0.8, 0.2], [0.2, 0.8]])
    opinion, model = from_confident_joint(noisy, labels)
    posterior = model.posterior(opinion, labels)
    suspicion = 1 - posterior[np.arange(len(labels)), labels]
    assert suspicion.mean() == pytest.approx((labels != truth).mean(), abs=0.04)
    assert confident_learning(noisy, labels)[0] == pytest.approx(0.2, abs=0.1)
