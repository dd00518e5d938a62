"""The command that makes one model of several."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, cast

import typer

from lorgnette.cli.app import app
from lorgnette.cli.options import Debug, Json, Overwrite, Quiet
from lorgnette.errors import ConfigError

if TYPE_CHECKING:
    from lorgnette.evaluation.ensembles import How
    from lorgnette.evaluation.selection import Select

BEST = 10


@app.command()
def ensemble(
    members: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY|RUN…", help="Trained runs; a study stands for its best ones."
        ),
    ],
    out: Annotated[
        str | None, typer.Option(help="The run; default: runs/NAME-ensemble, by the first name.")
    ] = None,
    combine: Annotated[
        str,
        typer.Option(help="average (probabilities), vote (majority) or soup (mean of weights)."),
    ] = "average",
    select: Annotated[
        str | None,
        typer.Option(
            help="By validation: all, best, or greedy (one by one); default: best with --best, "
            "else all."
        ),
    ] = None,
    above: Annotated[
        float | None, typer.Option(help="Only runs with a higher validation accuracy: 0.89.")
    ] = None,
    best: Annotated[
        int | None, typer.Option(help=f"How many of the best; {BEST} with --select best.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make one model of several trained ones. Started again, it continues."""
    from lorgnette import pipeline, studies
    from lorgnette.report.ensemble import show

    if best is not None and select not in (None, "best"):
        raise ConfigError(f"--best goes with --select best, and --select is {select}: give one.")
    chosen = select or ("all" if best is None else "best")
    done, found = studies.ensemble(
        members,
        out or f"{pipeline.default_out(members[0])}-ensemble",
        combine=cast("How", combine),  # checked there
        select=cast("Select", chosen),
        above=above,
        best=BEST if best is None else best,
        overwrite=overwrite,
    )
    page = done.root / "report.html"
    if as_json:
        print(json.dumps({"run": str(done.root), "report": str(page), **found}))
    else:
        show(found, page)
