"""Comparisons: figures as the runs have them, pairs only where tests are the same, whole pages."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_runs import EVIL, finished_run
from scipy.stats import binomtest
from sheets import check

from lorgnette.config import CnnConfig, Config, TrainConfig
from lorgnette.errors import ConfigError, ModelError
from lorgnette.predictions import Predictions
from lorgnette.report import terminal
from lorgnette.report.compare import cautions, compare, examine, headline, render
from lorgnette.report.compare_facts import Comparison
from lorgnette.rundir import Run


def runs(root: Path, *wrong: int, **options: Any) -> list[str]:
    """Runs on the same images with so many mistakes each."""
    return [
        str(finished_run(root / f"run-{n}", wrong=count, **options))
        for n, count in enumerate(wrong)
    ]


def test_figures_are_those_of_the_runs(tmp_path: Path) -> None:
    facts = examine(runs(tmp_path, 3, 6))
    assert [run.name for run in facts.runs] == ["run-0", "run-1"]
    first = facts.runs[0]
    assert first.test.accuracy.value == pytest.approx(0.85)
    assert first.validation.accuracy.value == pytest.approx(0.85)
    assert (first.family, first.training.parameters, first.seconds) == ("resnet", 12345, 61.0)
    # Epoch 3 was kept, where the training accuracy was 1 - 0.5 / 3, of 20 images.
    assert first.train_accuracy.value == pytest.approx(1 - 0.5 / 3)
    assert first.train_loss.value == pytest.approx(1 / 3)
    assert first.train_accuracy.low is not None
    assert first.train_accuracy.low < 0.7
    assert first.roc.fpr[0] == 0
    assert first.roc.tpr[-1] == 1
    assert Comparison.model_validate_json(facts.model_dump_json()) == facts


def test_the_same_test_items_are_paired(tmp_path: Path) -> None:
    facts = examine(runs(tmp_path, 1, 9))
    (pair,) = facts.pairs
    assert (pair.n, pair.only_first, pair.only_second) == (20, 8, 0)
    assert pair.difference == pytest.approx(0.4)
    assert pair.p == pytest.approx(binomtest(0, 8).pvalue)
    assert pair.low is not None
    assert pair.low > 0
    assert facts.same_test
    assert "".join(headline(facts)).startswith("run-0 is right more often than the others: 95.0%")


def test_the_order_of_items_does_not_matter(tmp_path: Path) -> None:
    places = runs(tmp_path, 1, 9)
    storage = Run.load(places[1]).storage
    p = Predictions.load(storage, "predictions/test.parquet")
    assert p.labels is not None
    order = np.random.default_rng(0).permutation(len(p))
    shuffled = Predictions(p.ids[order], p.probabilities[order], p.classes, p.labels[order])
    shuffled.save(storage, "predictions/test.parquet")
    (pair,) = examine(places).pairs
    assert (pair.only_first, pair.only_second) == (8, 0)


def test_no_difference_is_said(tmp_path: Path) -> None:
    facts = examine(runs(tmp_path, 2, 3))
    assert "".join(headline(facts)) == (
        "On their test items, no difference between these 2 runs is beyond chance."
    )


def test_many_pairs_are_corrected(tmp_path: Path) -> None:
    facts = examine(runs(tmp_path, 1, 9, 2))
    assert len(facts.pairs) == 3
    assert [pair.p for pair in facts.pairs] == sorted(pair.p for pair in facts.pairs)
    assert facts.pairs[0].corrected == pytest.approx(3 * facts.pairs[0].p)
    assert "Holm" in check(render(facts)).text
    assert any("choose by validation" in text for text in cautions(facts))


def test_groups_are_the_observations(tmp_path: Path) -> None:
    (pair,) = examine(runs(tmp_path, 1, 9, groups=5)).pairs
    assert pair.groups == 5
    assert pair.p >= 2 * 0.5**5
    assert "Sign test over groups, 5 of them" in check(render(examine(
        runs(tmp_path / "more", 1, 9, groups=5)
    ))).text  # fmt: skip


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"each": 6}, "of 20 and 12 test items they have only 12 in common"),
        ({"classes": ("cats", "eels")}, "they tell different classes apart"),
    ],
)
def test_other_tests_are_not_paired(tmp_path: Path, options: dict[str, Any], why: str) -> None:
    places = [*runs(tmp_path, 1), str(finished_run(tmp_path / "other", **options))]
    facts = examine(places)
    assert facts.pairs == []
    assert facts.apart[0].why == why
    assert not facts.same_test
    text = check(render(facts)).text
    assert "not all tested on the same items" in text
    assert why in text


def test_other_labels_are_not_paired(tmp_path: Path) -> None:
    places = runs(tmp_path, 1, 2)
    storage = Run.load(places[1]).storage
    p = Predictions.load(storage, "predictions/test.parquet")
    assert p.labels is not None
    labels = p.labels.copy()
    labels[0] = 1 - labels[0]
    corrected = Predictions(p.ids, p.probabilities, p.classes, labels)
    corrected.save(storage, "predictions/test.parquet")
    assert examine(places).apart[0].why == "1 test item had another label then"


def test_settings_that_differ_are_listed(tmp_path: Path) -> None:
    configs = [
        Config(seed=1),
        Config(seed=2, recipe="x", model=CnnConfig(), train=TrainConfig(batch_size=64)),
    ]
    places = [
        str(finished_run(tmp_path / f"{n}", config=config)) for n, config in enumerate(configs)
    ]
    found = {row.name: row.values for row in examine(places).differences}
    assert found["seed"] == ["1", "2"]
    assert found["train.batch_size"] == ["32", "64"]
    assert found["model.filters"] == [None, "[32, 64, 128]"]
    assert "recipe" not in found
    assert "train.epochs" not in found
    assert "that only some of these families have" in check(render(examine(places))).text


def test_equal_names_are_told_apart(tmp_path: Path) -> None:
    places = [str(finished_run(tmp_path / part / "run")) for part in ("one", "two")]
    assert [run.name for run in examine(places).runs] == ["one/run", "two/run"]


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    places = runs(tmp_path, 1, 2)
    for few in ([], places[:1], [places[0], places[0]]):
        with pytest.raises(ConfigError, match="two or more different runs"):
            examine(few)
    (Path(places[1]) / "evaluation.json").unlink()
    with pytest.raises(ModelError, match="not evaluated yet"):
        examine(places)


@pytest.mark.parametrize("count", [2, 9])
def test_the_page_for_any_number_of_runs(tmp_path: Path, count: int) -> None:
    root = finished_run(tmp_path / "run-0", ("a", "b", EVIL))
    copies = (shutil.copytree(root, tmp_path / f"run-{n}") for n in range(1, count))
    places = [str(root), *map(str, copies)]
    facts = compare(places, str(tmp_path / "out" / "page.html"))
    text = (tmp_path / "out" / "page.html").read_text()
    page = check(text)
    assert EVIL not in text
    assert f"run-{count - 1}" in page.text
    assert "No setting differs" in page.text
    assert len(facts.pairs) == count * (count - 1) / 2


def test_the_terminal_says_it_shortly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    Console(width=140).print(terminal.comparison(examine(runs(tmp_path, 1, 9))))
    text = capsys.readouterr().out
    for said in ("run-0", "95.0%", "12,345", "+40.0 points", "p = 0.008"):
        assert said in text
