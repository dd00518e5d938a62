"""The commands that look closer: at data, at networks, at several runs, at folds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console

from lorgnette import resolve
from lorgnette.cli.app import app
from lorgnette.cli.options import (
    Address,
    Debug,
    Engine,
    Epochs,
    Json,
    Master,
    Overwrite,
    Quiet,
    Recipe,
    Seed,
    Set,
    Workers,
    engine_settings,
)

if TYPE_CHECKING:
    from lorgnette.evaluation.crossval import Together


@app.command()
def crossval(
    dataset: Annotated[str, typer.Argument(help="A prepared dataset.")],
    k: Annotated[int, typer.Option("--k", help="Folds; each is tested on one part in k.")] = 10,
    repeat: Annotated[int, typer.Option(help="How often all is divided anew.")] = 1,
    out: Annotated[str | None, typer.Option(help="The run; default: runs/NAME-crossval.")] = None,
    recipe: Recipe = "default",
    settings: Set = None,
    epochs: Epochs = None,
    together: Annotated[
        str, typer.Option(help="Folds of small networks as one computation: auto, yes or no.")
    ] = "auto",
    seed: Seed = None,
    engine: Engine = None,
    master: Master = None,
    address: Address = None,
    workers: Workers = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train and judge k folds: how much figures vary. Started again, it continues."""
    from lorgnette import pipeline
    from lorgnette.report.crossval import show

    resolved = resolve.load(
        recipe,
        settings or (),
        {
            "train.epochs": epochs,
            "seed": seed,
            **engine_settings(engine, workers, master, address),
        },
    )
    done, found = pipeline.crossval(
        dataset,
        resolved,
        out or f"{pipeline.default_out(dataset)}-crossval",
        k=k,
        repeats=repeat,
        together=cast("Together", together),  # checked there
        overwrite=overwrite,
    )
    page = done.root / "crossval.html"
    if as_json:
        brief = {key: found[key] for key in ("k", "repeats", "folds", "summary", "pooled")}
        brief["pooled"] = {
            key: value
            for key, value in found["pooled"].items()
            if key not in ("curves", "calibration")
        }
        print(json.dumps({"run": str(done.root), "report": str(page), **brief}))
    else:
        show(found, page)


@app.command()
def inspect(
    dataset: Annotated[str, typer.Argument(help="A prepared dataset.")],
    out: Annotated[
        str | None, typer.Option(help="Where the page goes; default: beside the dataset.")
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="Compare images by what this run's network makes of them.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(help="The most points of a projection; random ones, if more.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Fixes the sample and the projections.")] = 0,
    engine: Engine = None,
    master: Master = None,
    address: Address = None,
    workers: Workers = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Look at a dataset: counts, balance, means of classes, PCA and t-SNE."""
    from lorgnette.dataset.store import Dataset
    from lorgnette.engines import open_engine
    from lorgnette.report import terminal
    from lorgnette.report.inspect import SAMPLE
    from lorgnette.report.inspect import inspect as look

    where = resolve.load(overrides=engine_settings(engine, workers, master, address)).engine
    facts = look(
        Dataset.load(dataset),
        out,
        run=run,
        sample=SAMPLE if sample is None else sample,
        seed=seed,
        engine=open_engine(where),
    )
    if as_json:
        print(facts.model_dump_json())
    else:
        Console(highlight=False).print(terminal.inspection(facts))


@app.command()
def explain(
    run: Annotated[str, typer.Argument(help="A trained run of the family cnn or resnet.")],
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILES…]", help="Images; default: the most confident mistakes on test."
        ),
    ] = None,
    out: Annotated[str | None, typer.Option(help="Where the page goes; default: the run.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show where a network looks: feature maps, filters, class activation maps."""
    from lorgnette.report import terminal
    from lorgnette.report.explain import explain as look

    facts = look(run, files or (), out)
    if as_json:
        print(facts.model_dump_json())
    else:
        Console(highlight=False).print(terminal.explanation(facts))


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN…", help="Two or more finished runs.")],
    out: Annotated[str | None, typer.Option(help="The page; default: compare.html.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Set runs side by side: figures, learning curves, and whether differences mean anything."""
    from lorgnette.report import terminal
    from lorgnette.report.compare import compare as look

    facts = look(runs, out)
    if as_json:
        print(facts.model_dump_json())
    else:
        Console(highlight=False).print(terminal.comparison(facts))
