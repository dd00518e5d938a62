"""The painter's word: in the demo, whoever drew the portraits settles a part of their labels.

A person who uses Lorgnette would look at some random pictures of the test part first
(`lorgnette review DATASET --yardstick N`), and measure by these. The demo has nobody to ask but who
drew the portraits, and says so in the decisions. Neither the audit nor a training learns from it:
it is of the test part.
"""

from __future__ import annotations

import pyarrow.parquet as pq

from lorgnette.config import Config
from lorgnette.dataset import yardstick
from lorgnette.dataset.decisions import Wanted
from lorgnette.dataset.split import split
from lorgnette.dataset.store import Dataset
from lorgnette.progress import say
from lorgnette.sources.portraits.layouts import TRUTH
from lorgnette.storage import Storage

SETTLED = 150
PAINTER = "the painter"


def settle_yardstick(dataset: Dataset, portraits: str, config: Config, n: int = SETTLED) -> int:
    """Settle random items of the test part as they were drawn; returns how many.

    What is settled already is not settled again.

    Args:
        dataset: prepared from the portraits.
        portraits: where they were drawn.
        config: its split and seed.
        n: how many, or all of the test part if there are fewer.
    """
    parts = split(dataset, config.split, config.seed, "given")
    drawn = yardstick.draw(dataset, min(n, len(parts.members("test"))), config.seed, parts)
    with Storage.at(portraits).open(TRUTH) as file:
        table = pq.read_table(file, columns=["id", "true"])
    truth = {str(id_): true for id_, true in zip(*table.to_pydict().values(), strict=True)}
    ledger = dataset.ledger
    given = dict(zip(*dataset.rows(["id", "label"]).to_pydict().values(), strict=True))
    wanted = []
    for id_ in drawn.ids:
        standing, true = ledger.standing(id_), truth[id_]
        if standing is not None and standing.by == "person":
            continue
        if true is None:
            wanted.append(Wanted(id_, "undecidable", None, "yardstick", PAINTER, "person"))
        else:
            action = "confirm" if true == given[id_] else "relabel"
            wanted.append(Wanted(id_, action, true, "yardstick", PAINTER, "person"))
    ledger.append(wanted)
    if wanted:
        changed = sum(each.action == "relabel" for each in wanted)
        say(
            f"The painter has settled {len(wanted)} random portraits of the test part; "
            f"{changed} had a wrong label."
        )
    return len(wanted)
