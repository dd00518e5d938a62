import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

import lorgnette
from lorgnette import pipeline
from lorgnette.config import Config
from lorgnette.errors import LockedError, ModelError, SplitError
from lorgnette.lock import locked
from lorgnette.predictions import Predictions
from lorgnette.resolve import load
from lorgnette.rundir import Run
from pictures import folder_of, with_oddities

QUICK = ["model.family=cnn", "model.filters=[8, 8]", "train.epochs=3", "train.batch_size=16"]


def quick(source: Path, *settings: str) -> Config:
    overrides = {"source.location": str(source), "prepare.size": (16,), "engine.workers": 2}
    return load(settings=[*QUICK, *settings], overrides=overrides)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run that nobody changes."""
    folder = tmp_path_factory.mktemp("pipeline")
    source = with_oddities(folder_of(folder / "source", 40))
    return pipeline.run(quick(source), str(folder / "run"))


def test_the_whole_path_leaves_what_the_design_says(finished: Run) -> None:
    names = {
        str(path.relative_to(finished.root))
        for path in finished.root.rglob("*")
        if path.is_file() and "shards" not in path.parts
    }
    assert names == {
        ".lock",
        "checkpoints/best.safetensors",
        "checkpoints/last.safetensors",
        "config.toml",
        "dataset/.lock",
        "dataset/dataset.json",
        "environment.json",
        "evaluation.json",
        "metrics.jsonl",
        "model.json",
        "model.safetensors",
        "predictions/test.parquet",
        "predictions/validation.parquet",
        "report.html",
        "run.json",
        "split.parquet",
    }
    assert set(finished.read("run.json")["timings"]) == {
        *("prepare", "split", "train", "evaluate", "report")
    }


def test_figures_are_those_of_the_saved_predictions(finished: Run) -> None:
    figures = finished.read("evaluation.json")
    predictions = Predictions.load(finished.storage, "predictions/test.parquet")
    assert predictions.labels is not None
    correct = (predictions.predicted == predictions.labels).mean()
    assert figures["test"]["accuracy"]["value"] == pytest.approx(correct)
    assert figures["test"]["n"] == len(predictions) == 8
    low, high = figures["test"]["accuracy"]["low"], figures["test"]["accuracy"]["high"]
    assert low < correct <= high


def test_the_parts_do_not_overlap(finished: Run) -> None:
    test = Predictions.load(finished.storage, "predictions/test.parquet")
    validation = Predictions.load(finished.storage, "predictions/validation.parquet")
    assert not set(test.ids) & set(validation.ids)


def test_the_report_is_a_page(finished: Run) -> None:
    class Tags(HTMLParser):
        found: set[str] = set()  # noqa: RUF012 - one use

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.found.add(tag)

    Tags().feed((finished.root / "report.html").read_text())
    assert {"title", "svg", "img", "table"} <= Tags.found


def test_the_same_call_again_does_nothing_twice(finished: Run) -> None:
    times = {path: path.stat().st_mtime_ns for path in finished.root.glob("model.*")}
    predictions = (finished.root / "predictions" / "test.parquet").stat().st_mtime_ns
    pipeline.run(finished.config, str(finished.root))
    assert times == {path: path.stat().st_mtime_ns for path in finished.root.glob("model.*")}
    assert (finished.root / "predictions" / "test.parquet").stat().st_mtime_ns == predictions


def test_config_toml_gives_the_run_again(finished: Run, tmp_path: Path) -> None:
    again = pipeline.run(load(str(finished.root / "config.toml")), str(tmp_path / "again"))
    assert again.read("evaluation.json") == finished.read("evaluation.json")
    assert again.config.model_dump(exclude={"recipe"}) == finished.config.model_dump(
        exclude={"recipe"}
    )


def test_other_settings_in_the_same_directory_are_refused(finished: Run) -> None:
    source = Path(finished.config.source.location)
    with pytest.raises(ModelError, match=r"train\.epochs \(3 before, 4 now\).*--overwrite"):
        pipeline.run(quick(source, "train.epochs=4"), str(finished.root))


def test_a_run_can_be_moved(finished: Run, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(finished.root, tmp_path / "moved")
    moved = Run.load(tmp_path / "moved")
    assert moved.dataset().location == str(tmp_path / "moved" / "dataset")


def test_two_processes_on_one_run(finished: Run) -> None:
    with locked(finished.storage), pytest.raises(LockedError):
        pipeline.run(finished.config, str(finished.root))


def test_training_on_a_prepared_dataset(finished: Run, tmp_path: Path) -> None:
    config = load(settings=QUICK)
    run = lorgnette.train(finished.dataset(), tmp_path / "run", config)
    assert run.read("evaluation.json")["test"] == finished.read("evaluation.json")["test"]


def test_evaluation_on_another_dataset(finished: Run, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "source", 46)  # the first 40 of each class are the run's own
    settings = lorgnette.PrepareConfig(size=(16,))
    other = lorgnette.prepare(source, tmp_path / "other", settings)
    figures = lorgnette.evaluate(finished, other)
    own = [finished.read("evaluation.json")[part]["n"] for part in ("validation", "test")]
    assert figures["other"]["seen"] == 80 - own[1]
    assert figures["other"]["n"] == 12 + own[1]
    assert lorgnette.evaluate(finished, source)["source"] == figures["other"]
    with pytest.raises(lorgnette.LorgnetteError, match="has not seen"):
        lorgnette.evaluate(finished, folder_of(tmp_path / "unlabelled" / "x", 2, ("train",)))
    larger = lorgnette.prepare(source, tmp_path / "larger", lorgnette.PrepareConfig(size=(20,)))
    with pytest.raises(lorgnette.LorgnetteError, match=r"of size 16 and .* with size 20"):
        lorgnette.evaluate(finished, larger)


def test_another_datasets_classes_must_be_known(finished: Run, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "source", 4, ("a", "zebra"))
    other = lorgnette.prepare(source, tmp_path / "other", lorgnette.PrepareConfig(size=(16,)))
    with pytest.raises(lorgnette.LorgnetteError, match="'zebra' and the model knows only a, b"):
        lorgnette.evaluate(finished, other)


def test_three_classes(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "source", 20, ("x", "y", "z"))
    run = pipeline.run(quick(source), str(tmp_path / "run"))
    figures = run.read("evaluation.json")["test"]
    assert list(figures["per_class"]) == ["x", "y", "z"]
    assert len(figures["confusion"]) == 3


def test_one_class_says_so_and_keeps_the_dataset(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "source", 20, ("only",))
    with pytest.raises(SplitError, match="at least two classes"):
        pipeline.run(quick(source), str(tmp_path / "run"))
    assert (tmp_path / "run" / "dataset" / "dataset.json").exists()


def test_groups_stay_in_one_part(tmp_path: Path) -> None:
    source = tmp_path / "source"
    folder_of(source, 40)
    run = pipeline.run(quick(source, 'source.group="stem"'), str(tmp_path / "run"))
    parts: dict[str, set[str]] = {}
    for part in ("validation", "test"):
        found = Predictions.load(run.storage, f"predictions/{part}.parquet")
        for name in found.ids:
            parts.setdefault(name.split("/")[1], set()).add(part)
    assert all(len(where) == 1 for where in parts.values())
    figures = run.read("evaluation.json")["test"]
    assert figures["groups"] == figures["n"] // 2


@pytest.mark.real_data
@pytest.mark.slow
def test_faces_by_subject(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "cmu-faces" / "labels.csv"
    settings = ['source.label="glasses"', 'source.group="subject"', 'source.images="%s"']
    settings[2] %= real_data / "cmu-faces" / "images"
    run = pipeline.run(
        quick(source, *settings, 'prepare.color="gray"', "split.test=0.15", "split.train=0.75"),
        str(tmp_path / "run"),
    )
    dataset = run.dataset()
    assert dataset.info.counts["ok"] == 633
    import pyarrow.parquet as pq

    split = {
        row["id"]: row["split"] for row in pq.read_table(run.root / "split.parquet").to_pylist()
    }
    subjects: dict[str, set[str]] = {}
    for row in dataset.rows(["id", "group"]).to_pylist():
        subjects.setdefault(row["group"], set()).add(split[row["id"]])
    assert len(subjects) == 20
    assert all(len(parts) == 1 for parts in subjects.values())


def test_json_files_are_json(finished: Run) -> None:
    for name in ("run.json", "environment.json", "evaluation.json", "model.json"):
        json.loads((finished.root / name).read_text(), parse_constant=pytest.fail)
