"""The command that opens the review page."""

from __future__ import annotations

from typing import Annotated

import typer

from lorgnette import resolve
from lorgnette.cli.app import app
from lorgnette.cli.options import Debug, Quiet, Recipe, Seed, Set
from lorgnette.progress import say


@app.command()
def review(
    dataset: Annotated[str, typer.Argument(help="A prepared dataset.")],
    audit: Annotated[
        str | None, typer.Option(help="Its audit; default: the directory audit in the dataset.")
    ] = None,
    yardstick: Annotated[
        int | None,
        typer.Option(
            help="Judge N random test items first, without seeing any label: a yardstick."
        ),
    ] = None,
    target: Annotated[
        float, typer.Option(help="The share of wrong labels at which the page says to stop.")
    ] = 0.01,
    who: Annotated[
        str | None, typer.Option(help="Your name in the decisions; default: your login.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen on; any but loopback demands a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="Default: the first free one from 8765 on; 0: any free one.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(help="Demand this token; beyond loopback one is made if not given."),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in your browser.")] = False,
    recipe: Recipe = "default",
    settings: Set = None,
    seed: Seed = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Settle labels on a page, the most valuable items first. Ctrl-C ends it; nothing is lost."""
    from lorgnette.serving.review.run import prepare

    resolved = resolve.load(recipe, settings or (), {"seed": seed})
    ready = prepare(
        dataset,
        audit=audit,
        yardstick=yardstick,
        division=resolved.split,
        seed=resolved.seed,
        target=target,
        who=who,
        host=host,
        port=port,
        token=token,
    )

    def tell(url: str) -> None:
        print(url, flush=True)
        if not ready.board.findings.audited:
            say(
                "There is no audit: items come in random order, without proposals. "
                f"`lorgnette audit {dataset}` makes one."
            )
        say("Every decision is written at once; Ctrl-C ends the server.")
        if open_:
            typer.launch(url)

    ready.serve(tell)
    ledger = ready.board.ledger
    say(f"{ledger.tally()['decisions']:,} decisions are in {ledger.path}.")
