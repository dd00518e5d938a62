"""The whole path on vectors: from a table to predictions."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from test_cli import lorgnette

MLP = ["--set", "model.family=mlp", "--set", "model.units=[8]", "--epochs", "40",
       "--set", "train.batch_size=16", "--set", "train.optimizer.lr=0.02"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ring around a disc: no line separates them."""
    folder = tmp_path_factory.mktemp("vectors")
    rng = np.random.default_rng(0)
    points = rng.normal(0, 1, (400, 2)) * [100, 0.01]  # features of very different scales
    inside = (points[:, 0] / 100) ** 2 + (points[:, 1] / 0.01) ** 2 < 1.4
    with open(folder / "points.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "x", "y", "label"])
        for number, ((x, y), label) in enumerate(zip(points, inside, strict=True)):
            writer.writerow([f"p{number}", x, y, "disc" if label else "ring"])
    result = lorgnette(
        "run", "points.csv", "--features", "x,y", *MLP, "--out", "run", "--json", cwd=folder
    )
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout.splitlines()[-1])
    assert facts["test"]["accuracy"]["value"] > 0.85
    return folder


def test_the_report_speaks_of_vectors(folder: Path) -> None:
    page = (folder / "run/report.html").read_text()
    assert "On 40 test vectors that were never used" in page
    assert "2 numbers each" in page
    assert 'id="samples"' not in page


def test_tables_are_predicted(folder: Path) -> None:
    (folder / "new.csv").write_text("id,y,other,x\na,0.0,9,0\nb,0.05,9,300\nc,,9,1\n")
    result = lorgnette("predict", "run", "new.csv", cwd=folder)
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert [row["class"] for row in rows] == ["disc", "ring", ""]
    assert rows[2]["error"] == "there is no number in column 'y'"
    refused = lorgnette("predict", "run", "run/model.json", cwd=folder)
    assert refused.returncode == 1
    assert "takes rows of 2 numbers, and run/model.json is no table" in refused.stderr


def test_another_table_is_evaluated_and_one_without_the_columns_refused(folder: Path) -> None:
    text = (folder / "points.csv").read_text().splitlines()
    (folder / "more.csv").write_text(
        "\n".join([text[0], "q1,0.5,0.0001,disc", "q2,300,0.05,ring"]) + "\n"
    )
    result = lorgnette("evaluate", "run", "more.csv", "--json", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["more.csv"]["n"] == 2
    (folder / "bad.csv").write_text("id,x,z,label\n1,2,3,disc\n")
    refused = lorgnette("evaluate", "run", "bad.csv", cwd=folder)
    assert "no column 'y'" in refused.stderr


def test_a_network_of_images_is_refused(folder: Path) -> None:
    result = lorgnette("train", "run/dataset", "--out", "cnn", cwd=folder)
    assert result.returncode == 2
    assert "use --set model.family=mlp" in result.stderr


def test_streamed_vectors_teach_as_well(folder: Path) -> None:
    result = lorgnette(
        "train", "run/dataset", *MLP, "--set", "train.memory_gib=0.000001", "--out", "streamed",
        "--json", cwd=folder,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["test"]["accuracy"]["value"] > 0.85
