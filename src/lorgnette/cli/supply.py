"""The commands that make sources: portraits of our own, and the published sets."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, cast

import typer

from lorgnette import resolve, show
from lorgnette.cli.app import app
from lorgnette.cli.options import (
    Address,
    Debug,
    Engine,
    Json,
    Master,
    Quiet,
    Workers,
    engine_settings,
)

if TYPE_CHECKING:
    from lorgnette.sources.portraits.layouts import LayoutName
    from lorgnette.sources.portraits.noise import NoiseKind


@app.command()
def portraits(
    out: Annotated[str, typer.Argument(help="A new or empty directory, or one to continue.")],
    layout: Annotated[str, typer.Option(help="glasses, comics or folders.")] = "glasses",
    n: Annotated[int, typer.Option("--n", help="Portraits; in comics, pairs.")] = 5000,
    size: Annotated[int, typer.Option(help="Edge length in pixels.")] = 1024,
    label_noise: Annotated[float, typer.Option(help="The share of wrong labels.")] = 0.0,
    noise_kind: Annotated[
        str | None,
        typer.Option(help="Which are wrong: picture (hard ones; the default), symmetric or class."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Fixes the portraits and the wrong labels.")] = 0,
    no_images: Annotated[
        bool, typer.Option("--no-images", help="Write the tables of glasses only.")
    ] = False,
    engine: Engine = None,
    master: Master = None,
    address: Address = None,
    workers: Workers = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Draw faces of which everything is known, with labels of which some are wrong."""
    from lorgnette.engines import open_engine
    from lorgnette.sources.portraits.write import write_portraits

    where = resolve.load(overrides=engine_settings(engine, workers, master, address)).engine
    written = write_portraits(
        out,
        layout=cast("LayoutName", layout),  # checked there, with the nearest name
        n=n,
        size=size,
        label_noise=label_noise,
        noise_kind=cast("NoiseKind | None", noise_kind),
        seed=seed,
        images=not no_images,
        engine=open_engine(where),
    )
    if as_json:
        print(json.dumps(asdict(written)))
    else:
        show.portraits(written)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="SET", help="glasses or comics.")],
    out: Annotated[str, typer.Argument(help="A new or an empty directory.")],
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Download a published set from Kaggle with your own account. Started again, it continues."""
    from lorgnette.sources import fetch as sets

    found = sets.fetch(name, out)
    if as_json:
        print(json.dumps({"out": out, **asdict(found), "remarks": sets.remarks(found)}))
