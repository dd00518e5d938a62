"""Inspections: projections as scikit-learn's, class means as NumPy's, whole pages."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_runs import EVIL, finished_run, row
from sheets import check, vectors
from sklearn.decomposition import PCA
from sklearn.feature_selection import f_classif

from lorgnette.dataset.store import Dataset
from lorgnette.engines.local import LocalEngine
from lorgnette.errors import ConfigError
from lorgnette.report import embedding, projection, terminal
from lorgnette.report.embedding import sample_vectors, survey, to_vectors
from lorgnette.report.inspect import FACTS, PAGE, examine, inspect, render
from lorgnette.report.inspect_facts import Inspection
from lorgnette.report.projection import Moments, agreement, principal, tsne
from lorgnette.report.scatter import palette


def clusters(n: int = 130, features: int = 8, apart: float = 6.0) -> Any:
    """Vectors of two classes that only the third feature tells apart, and some unlabelled."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, features)) * np.arange(1, features + 1) + 100
    codes = np.arange(n) % 2
    x[:, 2] += apart * 3 * codes
    labels: list[str | None] = [("no", "yes")[code] for code in codes]
    labels[-5:] = [None] * 5
    return x.astype(np.float32), labels


@pytest.mark.parametrize("standardised", [True, False])
def test_components_are_those_of_scikit_learn(standardised: bool) -> None:
    x = clusters()[0].astype(float)
    moments = Moments.of(x[:13])
    for start in range(13, len(x), 40):
        moments = moments.merge(Moments.of(x[start : start + 40]))
    np.testing.assert_allclose(moments.mean, x.mean(axis=0))
    np.testing.assert_allclose(moments.deviation, x.std(axis=0))
    found = principal(moments, x, standardised=standardised)
    scaled = (x - x.mean(axis=0)) / (x.std(axis=0) if standardised else 1)
    expected = PCA().fit(scaled)
    np.testing.assert_allclose(found.shares, expected.explained_variance_ratio_, atol=1e-9)
    ours, theirs = found.project(x), expected.transform(scaled)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-6)


def test_moments_lose_no_digits_far_from_zero() -> None:
    x = np.random.default_rng(0).normal(size=(400, 3)) + 1e7
    merged = Moments.of(x[:1])
    for part in np.array_split(x[1:], 9):
        merged = merged.merge(Moments.of(part))
    np.testing.assert_allclose(merged.deviation, x.std(axis=0), rtol=1e-7)


def test_many_dimensions_are_reduced_by_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    x = clusters()[0].astype(float)
    exact = principal(Moments.of(x), x, standardised=True)
    monkeypatch.setattr(projection, "EXACT", 4)
    found = principal(Moments.of(x), x, standardised=True)
    assert Moments.of(x).scatter.shape == (8,)
    np.testing.assert_allclose(found.shares, exact.shares, atol=1e-6)
    np.testing.assert_allclose(found.project(x), exact.project(x), atol=1e-4)


def test_a_constant_dimension_does_no_harm() -> None:
    x = np.column_stack([np.full(20, 7.3), np.arange(20.0), np.arange(20.0) ** 2])
    found = principal(Moments.of(x), x, standardised=True)
    assert np.isfinite(found.project(x)).all()
    assert found.shares.sum() == pytest.approx(1)


def test_tsne_keeps_clusters_together_and_its_seed() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(40, 5)), rng.normal(size=(40, 5)) + 20])
    first = tsne(x, 3)
    assert first is not None
    np.testing.assert_array_equal(first, tsne(x, 3))
    labels = np.repeat([0, 1], 40).astype(np.int32)
    found = agreement(first, labels)
    assert found is not None
    assert found[0] == 1
    assert tsne(x[:5], 0) is None


def test_agreement_counts_neighbours_and_chance() -> None:
    x = np.arange(60.0)[:, None]
    labels = np.repeat([0, 1, -1], 20).astype(np.int32)
    found = agreement(x, labels)
    assert found is not None
    near, chance = found
    assert 0.8 < near < 1
    assert chance == pytest.approx(19 / 39)
    assert agreement(x[:4], labels[:4]) is None


@pytest.mark.parametrize("size", [8, 16, 24, 64])
def test_small_pictures_are_means_over_areas(size: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)
    small = to_vectors(pixels)
    assert small.shape == (3, 768)
    np.testing.assert_allclose(
        small.reshape(3, -1, 3).mean(axis=1), pixels.mean(axis=(1, 2)), rtol=1e-5
    )
    if size == 64:
        areas = pixels.reshape(3, 16, 4, 16, 4, 3).mean(axis=(2, 4))
        np.testing.assert_allclose(small, areas.reshape(3, -1), rtol=1e-5)


def test_the_feature_that_separates_is_found(tmp_path: Path) -> None:
    x, labels = clusters()
    facts = examine(vectors(tmp_path, x, labels))
    assert (facts.kind, facts.items, facts.unlabelled) == ("vectors", 130, 5)
    assert facts.separation is not None
    best = facts.separation.features[0]
    assert best.name == "v3"
    codes = np.array([label == "yes" for label in labels[:-5]])
    known = x[:-5].astype(float)
    assert best.raw == pytest.approx([known[~codes, 2].mean(), known[codes, 2].mean()], rel=1e-5)
    _, p = f_classif(known, codes)
    assert facts.separation.found == (p < 0.05 / 8).sum()
    column = known[:, 2]
    within = sum(((column[codes == c] - column[codes == c].mean()) ** 2).sum() for c in (0, 1))
    assert best.separation == pytest.approx(1 - within / ((column - column.mean()) ** 2).sum())
    projections = facts.projections
    assert projections is not None
    assert projections.labels.count(-1) == 5
    assert [cloud.name for cloud in projections.clouds] == [
        "PCA",
        "t-SNE of the standardised vectors",
    ]
    assert projections.agreement is not None
    assert projections.chance is not None
    assert projections.agreement > projections.chance


def test_processes_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = clusters()
    dataset = vectors(tmp_path, x, labels, shard=20)
    alone = survey(dataset, dataset.labels(), LocalEngine(2))
    monkeypatch.setattr(embedding, "ALONE", 10)
    engine = LocalEngine(2)
    asked: list[int] = []

    def noted(task: Any, items: Any) -> Any:
        for outcome in LocalEngine.map(engine, task, items):
            asked.append(outcome.item.index)
            yield outcome

    monkeypatch.setattr(engine, "map", noted)
    shared = survey(dataset, dataset.labels(), engine)
    assert sorted(asked) == list(range(7))
    np.testing.assert_array_equal(shared.moments.scatter, alone.moments.scatter)
    np.testing.assert_array_equal(shared.classes.means, alone.classes.means)


def test_what_vectors_lack_is_the_mean(tmp_path: Path) -> None:
    x, labels = clusters()
    x[::7, 4] = np.nan
    dataset = vectors(tmp_path, x, labels, missing="mean")
    filled = np.where(np.isnan(x), np.nanmean(x, axis=0), x)
    np.testing.assert_allclose(sample_vectors(dataset, np.arange(len(x))), filled, rtol=1e-5)
    found = survey(dataset, dataset.labels(), LocalEngine(1))
    np.testing.assert_allclose(found.moments.mean, filled.mean(axis=0), rtol=1e-5)
    facts = examine(dataset)
    assert "the mean where a number is missing" in check(render(facts)).text


def test_a_sample_is_stated_and_fixed_by_its_seed(tmp_path: Path) -> None:
    dataset = vectors(tmp_path, *clusters())
    first, again, other = (examine(dataset, sample=20, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.projections is not None
    assert other.projections is not None
    assert len(first.projections.ids) == 20
    assert first.projections.ids != other.projections.ids
    assert first.projections.items == 130  # the components are those of all
    assert "20 rows, a random sample, as points" in check(render(first)).text
    with pytest.raises(ConfigError, match="3 items or more, got 1"):
        inspect(dataset, sample=1)


def test_images_have_mean_pictures(tmp_path: Path) -> None:
    root = finished_run(
        tmp_path,
        rejected=[row("a.png", status="corrupt", error="The file is empty.")],
        unlabelled=2,
        groups=5,
    )
    dataset = Dataset.load(str(root / "dataset"))
    facts = examine(dataset)
    assert [picture.name for picture in facts.pictures] == ["cats", "dogs"]
    assert [picture.difference is None for picture in facts.pictures] == [True, False]
    found = survey(dataset, dataset.labels(), LocalEngine(1)).classes
    pixels = dataset.read(np.flatnonzero(dataset.labels() == 1))
    np.testing.assert_allclose(found.means[1], pixels.mean(axis=0))
    assert facts.groups is not None
    assert (facts.groups.most, facts.groups.mixed) == (4, 15)
    text = check(render(facts)).text
    for said in ("62 images in 2 classes", "The file is empty.", "fewer than 50", "Class means"):
        assert said in text


def test_files_are_left_and_say_the_same(tmp_path: Path) -> None:
    dataset = vectors(tmp_path / "data", *clusters())
    facts = inspect(dataset, str(tmp_path / "out"))
    stored = (tmp_path / "out" / FACTS).read_text()
    json.loads(stored)
    assert Inspection.model_validate_json(stored) == facts
    assert (tmp_path / "out" / PAGE).read_text() == render(facts)
    inspect(dataset, sample=20)
    assert (tmp_path / "data" / PAGE).is_file()


def test_every_point_is_drawn(tmp_path: Path) -> None:
    facts = examine(vectors(tmp_path, *clusters(600, 3)))
    assert facts.projections is not None
    page = render(facts)
    check(page)
    assert page.count("h0") == 600 * len(facts.projections.clouds)


def test_a_trained_network_is_a_space_too(tmp_path: Path) -> None:
    import torch
    from explain_runs import trained_run

    root = trained_run(tmp_path)
    dataset = Dataset.load(str(root / "dataset"))
    torch.manual_seed(0)
    facts = examine(dataset, run=str(root))
    projections = facts.projections
    assert projections is not None
    assert not [id_ for id_ in projections.ids if id_.startswith("train")]
    assert len(projections.ids) == 40
    assert projections.dimensions == 6
    assert "not trained on" in projections.space


@pytest.mark.parametrize("count", [1, 7, 30])
def test_any_number_of_classes(tmp_path: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    labels: list[str | None] = [f"class {n % count}" for n in range(90)]
    facts = examine(vectors(tmp_path, rng.normal(size=(90, 4)), labels))
    text = check(render(facts)).text
    assert f"class {count - 1}" in text
    assert (facts.separation is None) == (count == 1)
    assert len(palette([1] * count)) == count
    assert ("the other 23 classes" in text) == (count == 30)


def test_names_cannot_become_code(tmp_path: Path) -> None:
    labels: list[str | None] = [EVIL, "[bold]b"] * 20
    x = np.random.default_rng(0).normal(size=(40, 3))
    facts = examine(vectors(tmp_path, x, labels))
    text = render(facts)
    assert EVIL not in text
    assert EVIL in check(text).text


def test_few_items_are_no_accident(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3))
    facts = examine(vectors(tmp_path, x, ["a", "b"]))
    assert facts.projections is None
    check(render(facts))


def test_the_terminal_says_it_shortly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    facts = examine(vectors(tmp_path, *clusters()))
    Console(width=120).print(terminal.inspection(facts))
    text = capsys.readouterr().out
    for said in ("130 rows usable", "without a label", "1 of 8 features", "v3", "by chance"):
        assert said in text
