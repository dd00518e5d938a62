"""The commands that settle labels."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from lorgnette import show
from lorgnette.cli.app import app
from lorgnette.cli.options import Debug, Json, Quiet, name_of_user

RECENT = 10


@app.command()
def decisions(
    dataset: Annotated[str, typer.Argument(help="A prepared dataset.")],
    import_: Annotated[
        str | None,
        typer.Option(
            "--import", metavar="FILE", help="Decide what a CSV file says: id, action, to."
        ),
    ] = None,
    export: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write the decisions that stand as CSV."),
    ] = None,
    corrections: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write the labels in force as CSV: id and label."),
    ] = None,
    who: Annotated[
        str | None, typer.Option(help="Whose imported rows without a name are; default: yours.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show what was decided about labels; take decisions in and out as CSV."""
    from lorgnette.dataset import exchange
    from lorgnette.dataset.store import Dataset

    opened = Dataset.load(dataset)
    done: dict[str, Any] = {}
    if import_ is not None:
        found = exchange.import_decisions(opened, import_, name_of_user() if who is None else who)
        done["imported"] = {"file": import_, **asdict(found)}
    if export is not None:
        done["exported"] = {"file": export, "rows": exchange.export_decisions(opened, export)}
    if corrections is not None:
        written = exchange.write_corrections(opened, corrections)
        done["corrections"] = {"file": corrections, **asdict(written)}
    recent = [line.model_dump(by_alias=True) for line in opened.ledger.recent(RECENT)]
    facts = {"dataset": opened.location, **opened.ledger.tally(), "recent": recent, **done}
    if as_json:
        print(json.dumps(facts))
    else:
        show.decisions(facts)
