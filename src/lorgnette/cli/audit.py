"""The command that judges labels."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from lorgnette import resolve
from lorgnette.cli.app import app
from lorgnette.cli.options import (
    Address,
    Debug,
    Engine,
    Json,
    Master,
    Overwrite,
    Quiet,
    Recipe,
    Seed,
    Set,
    Who,
    Workers,
    engine_settings,
    name_of_user,
)


@app.command()
def audit(
    dataset: Annotated[str, typer.Argument(help="A prepared dataset.")],
    out: Annotated[
        str | None, typer.Option(help="The audit; default: audit inside the dataset.")
    ] = None,
    apply: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE",
            help="Decide by rule: 'suspicion >= 0.95', 'drop: outlier >= 0.999'. Several are "
            "applied in their order.",
        ),
    ] = None,
    with_: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="DATASET", help="Vectors of the same ids: a further view."),
    ] = None,
    predictions: Annotated[
        str | None,
        typer.Option(help="Out-of-fold predictions (Parquet) in place of training networks."),
    ] = None,
    recipe: Recipe = "default",
    settings: Set = None,
    seed: Seed = None,
    who: Who = None,
    engine: Engine = None,
    master: Master = None,
    address: Address = None,
    workers: Workers = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Find the wrong labels, copies and oddities of a dataset. Started again, it continues."""
    from lorgnette import pipeline
    from lorgnette.dataset.store import Dataset
    from lorgnette.report import audit_terminal
    from lorgnette.report.audit_collect import collect_audit

    resolved = resolve.load(
        recipe,
        settings or (),
        {"seed": seed, **engine_settings(engine, workers, master, address)},
    )
    run, facts = pipeline.audit(
        dataset,
        resolved,
        out,
        views=with_ or (),
        predictions=predictions,
        rules=apply or (),
        who=who or name_of_user(),
        overwrite=overwrite,
    )
    page = run.root / "report.html"
    if as_json:
        print(json.dumps({"audit": str(run.root), "report": str(page), **facts}))
        return
    console = Console(highlight=False)
    console.print(audit_terminal.audit(collect_audit(str(run.root), Dataset.load(dataset))))
    console.print(f"report: {page}", soft_wrap=True)
