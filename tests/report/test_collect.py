"""The facts of a report, from a run directory."""

import json
from pathlib import Path

import pytest
from report_runs import finished_run, row

from lorgnette.config import Augment, Config, TrainConfig
from lorgnette.errors import DatasetError, ModelError
from lorgnette.report.collect import collect
from lorgnette.report.facts import Facts

REJECTED = [
    row("cats/a.png", status="corrupt", error="The PNG file is damaged: it ends after 12 bytes."),
    row(
        "cats/b.png", status="corrupt", error="The PNG file is damaged: it ends after 1,700 bytes."
    ),
    row("cats/c.png", status="corrupt", error="The file is empty."),
    row("dogs/d.png", status="duplicate", label="dogs", error="the same bytes as dogs/0.png"),
    row(
        "dogs/e.png",
        status="duplicate",
        label="dogs",
        error="the same bytes as cats/1.png, which is labelled 'cats' and this one 'dogs'",
    ),
    row("dogs/f.png", status="missing", error="There is no such file."),
]


def test_what_was_read(tmp_path: Path) -> None:
    reading = collect(finished_run(tmp_path, rejected=REJECTED, unlabelled=2)).reading
    assert (reading.total, reading.usable, reading.unlabelled) == (68, 62, 2)
    assert reading.counts["corrupt"] == 3
    assert [(reason.status, reason.count) for reason in reading.reasons] == [
        ("corrupt", 2),  # sentences that differ in their numbers are one reason
        ("corrupt", 1),
        ("duplicate", 1),
        ("duplicate", 1),
        ("missing", 1),
    ]
    assert reading.reasons[0].examples == ["cats/a.png", "cats/b.png"]
    assert reading.conflicts == 1
    assert [conflict.path for conflict in reading.conflict_examples] == ["dogs/e.png"]
    assert reading.widths == (40, 40, 40)
    assert reading.bytes == 62_000


def test_the_split(tmp_path: Path) -> None:
    split = collect(finished_run(tmp_path, unlabelled=2, groups=5)).split
    assert [part.name for part in split.parts] == ["train", "val", "test"]
    assert split.part("test").labels == [10, 10]
    assert [part.groups for part in split.parts] == [5, 5, 5]
    assert split.unused == 2
    assert not split.given


def test_pictures(tmp_path: Path) -> None:
    facts = collect(finished_run(tmp_path, each=4))
    assert [samples.name for samples in facts.samples] == ["cats", "dogs"]
    assert [picture.id for picture in facts.samples[1].pictures] == [
        f"train/1/{n}.png" for n in range(4)
    ]
    assert all(
        picture.source.startswith("data:image/webp;base64,")
        for samples in facts.samples
        for picture in samples.pictures
    )
    assert len(facts.augmentations) == 4
    assert all(len(row.changed) == 5 for row in facts.augmentations)


def test_no_augmentation_no_gallery(tmp_path: Path) -> None:
    config = Config(train=TrainConfig(augment=Augment()))
    assert collect(finished_run(tmp_path, config=config)).augmentations == []


def test_mistakes_are_the_worst_first(tmp_path: Path) -> None:
    facts = collect(finished_run(tmp_path, wrong=3, groups=4))
    assert [mistake.id for mistake in facts.mistakes] == [f"test/0/{n}.png" for n in (2, 1, 0)]
    worst = facts.mistakes[0]
    assert (worst.given, worst.answered, worst.group) == ("cats", "dogs", "test-2")
    assert worst.given_probability == pytest.approx(1 - worst.answered_probability)
    assert facts.test is not None
    assert facts.test.mistakes == 3


def test_the_histogram_counts_every_test_image(tmp_path: Path) -> None:
    histogram = collect(finished_run(tmp_path)).histogram
    assert histogram is not None
    assert {name: sum(counts) for name, counts in histogram.counts.items()} == {
        "cats": 10,
        "dogs": 10,
    }


def test_three_classes_in_gray(tmp_path: Path) -> None:
    facts = collect(finished_run(tmp_path, ("a", "b", "c"), channels=1, absent="c"))
    assert facts.histogram is None
    assert facts.test is not None
    assert facts.test.per_class["c"].recall.value is None
    assert facts.settings["train.optimizer.name"] == "adamw"
    assert facts.commonest == ("a", 0.5)


def test_facts_survive_json(tmp_path: Path) -> None:
    facts = collect(finished_run(tmp_path, rejected=REJECTED))
    text = facts.model_dump_json()
    json.loads(text)
    assert Facts.model_validate_json(text) == facts


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no run"):
        collect(tmp_path / "nothing")
    root = finished_run(tmp_path)
    (root / "evaluation.json").unlink()
    with pytest.raises(ModelError, match="finished run"):
        collect(root)


def test_a_dataset_that_is_gone_is_named(tmp_path: Path) -> None:
    root = finished_run(tmp_path)
    (root / "dataset" / "dataset.json").unlink()
    with pytest.raises(DatasetError, match=r"dataset\.json"):
        collect(root)
