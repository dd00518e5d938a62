from pathlib import Path

import pyarrow.parquet as pq
import pytest

import lorgnette
from lorgnette import resolve
from lorgnette.dataset import yardstick
from lorgnette.dataset.store import Dataset
from lorgnette.engines.local import LocalEngine
from lorgnette.painter import PAINTER, settle_yardstick
from lorgnette.sources.portraits.write import write_portraits


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("painter")
    write_portraits(
        str(folder / "portraits"), n=200, size=32, label_noise=0.2, engine=LocalEngine(2)
    )
    return folder


def test_the_painter_settles_what_is_drawn_as_it_was_drawn(drawn: Path) -> None:
    config = resolve.load(overrides={"prepare.size": (16,)})
    dataset = lorgnette.prepare(drawn / "portraits", drawn / "dataset", config.prepare)
    rows = pq.read_table(drawn / "portraits" / "truth.parquet").to_pylist()
    truth = {str(row["id"]): row for row in rows}
    assert settle_yardstick(dataset, str(drawn / "portraits"), config, 15) == 15
    again = Dataset.load(dataset.location)
    assert settle_yardstick(again, str(drawn / "portraits"), config, 15) == 0
    found = yardstick.load(again)
    assert found is not None
    standings = again.ledger.standings()
    assert sorted(standings) == sorted(found.ids)
    for id_, standing in standings.items():
        assert standing.who == PAINTER
        assert standing.by == "person"
        assert standing.label == truth[id_]["true"]
    assert any(row.label != row.given for row in standings.values())
