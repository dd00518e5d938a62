import json
from pathlib import Path

import pytest

from pictures import folder_of
from test_cli import QUICK, lorgnette


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset and two runs on it."""
    folder = tmp_path_factory.mktemp("look")
    folder_of(folder / "pictures", 40)
    made = lorgnette("prepare", "pictures", "--out", "data", "--size", 16, cwd=folder)
    assert made.returncode == 0, made.stderr
    for name, seed in (("one", 0), ("two", 1)):
        result = lorgnette("train", "data", *QUICK[2:], "--seed", seed, "--out", name, cwd=folder)
        assert result.returncode == 0, result.stderr
    return folder


def test_folds_are_shown_and_continued(folder: Path) -> None:
    words = ["crossval", "data", "--k", "3", *QUICK[2:], "--out", "cv"]
    shown = lorgnette(*words, cwd=folder)
    assert shown.returncode == 0, shown.stderr
    assert "out of fold: accuracy" in shown.stdout
    again = lorgnette(*words, "--json", cwd=folder)  # a relative path, a second time
    facts = json.loads(again.stdout.splitlines()[-1])
    assert facts["k"] == 3
    assert len(facts["folds"]) == 3
    assert facts["pooled"]["accuracy"]["n"] == 80
    assert (folder / "cv/predictions/out-of-fold.parquet").is_file()
    assert (folder / "cv/crossval.html").is_file()
    other = lorgnette(*words[:3], "4", *words[4:], cwd=folder)
    assert other.returncode == 1
    wrong = lorgnette("crossval", "data", "--together", "perhaps", "--out", "x", cwd=folder)
    assert wrong.returncode == 2


def test_a_training_is_given_twice_with_a_relative_path(folder: Path) -> None:
    again = lorgnette("train", "data", *QUICK[2:], "--seed", 0, "--out", "one", cwd=folder)
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    ("words", "page", "key"),
    [
        (["inspect", "data", "--out", "look"], "look/inspect.html", "reading"),
        (["explain", "one"], "one/explain.html", "stages"),
        (["explain", "one", "pictures/a/0000.png"], "one/explain.html", "stages"),
        (["compare", "one", "two"], "compare.html", "runs"),
    ],
)
def test_pages(folder: Path, words: list[str], page: str, key: str) -> None:
    shown = lorgnette(*words, cwd=folder)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.strip()
    assert (folder / page).read_text().startswith("<!doctype html>")
    facts = json.loads(lorgnette(*words, "--json", cwd=folder).stdout.splitlines()[-1])
    assert key in facts


def test_recipes_come_with_their_parameters() -> None:
    assert "874,753" in lorgnette("recipes").stdout
    facts = json.loads(lorgnette("recipes", "--json").stdout.splitlines()[-1])
    assert facts["furia-mlp3"]["parameters"] == 8497


def test_a_recipe_for_other_images_says_so(folder: Path) -> None:
    result = lorgnette(
        "train", "data", "--recipe", "dascenzo-cnn", "--epochs", 1, "--out", "other", cwd=folder
    )
    assert result.returncode == 0, result.stderr
    said = " ".join(result.stderr.split())
    assert "The recipe dascenzo-cnn is made for size 64 (prepared: 16)" in said
