"""The commands of the main path: from images to a run, and from a run to predictions."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from lorgnette import resolve, show
from lorgnette.cli.app import app
from lorgnette.cli.options import (
    Address,
    Color,
    Content,
    Corrections,
    Debug,
    Engine,
    Epochs,
    Features,
    Fit,
    GivenSplit,
    Group,
    Id,
    Images,
    Json,
    Kind,
    Label,
    Master,
    Members,
    Overwrite,
    PathColumn,
    Quiet,
    Recipe,
    Seed,
    Set,
    Size,
    Who,
    Workers,
    engine_settings,
    name_of_user,
    sizes,
    source_settings,
)
from lorgnette.config import SourceConfig
from lorgnette.errors import ConfigError
from lorgnette.progress import say

DEMO_SIZE = 256
"""Edge of the demo's portraits in pixels: enough to look at, and quick to draw."""
DEMO_AUDIT = {"audit.epochs": 8, "audit.rounds": 2}
"""Half of the passes and of the rounds that are usual: a demo should not take five minutes."""


@app.command()
def run(
    source: Annotated[
        str | None, typer.Argument(help="A folder, CSV or Parquet table, or a published set.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="The run; default: runs/NAME.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Where the prepared images go; default: inside the run.")
    ] = None,
    recipe: Recipe = "default",
    settings: Set = None,
    size: Size = None,
    color: Color = None,
    fit: Fit = None,
    epochs: Epochs = None,
    kind: Kind = None,
    images: Images = None,
    path: PathColumn = None,
    content: Content = None,
    label: Label = None,
    id_: Id = None,
    group: Group = None,
    split: GivenSplit = None,
    corrections: Corrections = None,
    features: Features = None,
    audit: Annotated[
        bool,
        typer.Option(
            "--audit", help="Find and mend wrong labels first, and train before and after."
        ),
    ] = False,
    apply: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE",
            help="With --audit: what is mended; default: relabel from suspicion 0.9 on, and learn "
            "nothing between 0.5 and 0.9, outside the test part.",
        ),
    ] = None,
    who: Who = None,
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
    """The whole path: prepare, split, train, evaluate, report. Started again, it continues."""
    from lorgnette import pipeline

    resolved = resolve.load(
        recipe,
        settings or (),
        {
            **source_settings(
                source,
                kind,
                images,
                path,
                content,
                label,
                id_,
                group,
                split,
                corrections,
                features,
            ),
            "prepare.size": sizes(size),
            "prepare.color": color,
            "prepare.fit": fit,
            "train.epochs": epochs,
            **engine_settings(engine, workers, master, address),
            "seed": seed,
        },
    )
    if not resolved.source.location:
        raise ConfigError(
            "A source is needed, a folder with one directory per class or a table: "
            "`lorgnette run SRC` (or try `lorgnette demo`)."
        )
    if apply and not audit:
        raise ConfigError("--apply names what an audit mends: give --audit too.")
    place = out or pipeline.default_out(resolved.source.location)
    done = pipeline.run(
        resolved,
        place,
        dataset=dataset,
        audited=audit,
        rules=apply or pipeline.RULES,
        who=who or name_of_user(),
        overwrite=overwrite,
    )
    show.figures(done.root, done.read("evaluation.json"), as_json)


@app.command()
def demo(
    out: Annotated[str, typer.Option(help="Where everything goes.")] = "demo",
    n: Annotated[int, typer.Option("--n", help="How many portraits to draw.")] = 2000,
    label_noise: Annotated[float, typer.Option(help="The share of wrong labels.")] = 0.1,
    seed: Annotated[int | None, typer.Option(help="Fixes the portraits and the run.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """The whole path on portraits with and without glasses, which it draws first."""
    from lorgnette import pipeline
    from lorgnette.dataset.prepare import prepare as make
    from lorgnette.engines import open_engine
    from lorgnette.painter import settle_yardstick
    from lorgnette.sources.portraits.write import write_portraits

    folder = str(Path(out).absolute() / "portraits")
    resolved = resolve.load(overrides={"source.location": folder, "seed": seed, **DEMO_AUDIT})
    engine = open_engine(resolved.engine)
    written = write_portraits(
        folder, n=n, size=DEMO_SIZE, label_noise=label_noise, seed=resolved.seed, engine=engine
    )
    show.portraits(written)
    run = Path(out) / "run"
    dataset = make(resolved.source, str(run / "dataset"), resolved.prepare, engine)
    settle_yardstick(dataset, folder, resolved)
    done = pipeline.run(resolved, str(run), audited=True)
    show.figures(done.root, done.read("evaluation.json"), as_json)


@app.command()
def prepare(
    source: Annotated[
        str,
        typer.Argument(help="A folder, CSV or Parquet table, or a published set; a path or URL."),
    ],
    out: Annotated[str, typer.Option(help="The dataset: a directory or URL.")],
    size: Size = None,
    color: Color = None,
    fit: Fit = None,
    kind: Kind = None,
    images: Images = None,
    path: PathColumn = None,
    content: Content = None,
    label: Label = None,
    id_: Id = None,
    group: Group = None,
    split: GivenSplit = None,
    corrections: Corrections = None,
    features: Features = None,
    engine: Engine = None,
    master: Master = None,
    address: Address = None,
    workers: Workers = None,
    settings: Set = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Read every image once and store it small. Started again, it continues."""
    from lorgnette.dataset.prepare import prepare as make
    from lorgnette.engines import open_engine

    resolved = resolve.load(
        settings=settings or (),
        overrides={
            **source_settings(
                source,
                kind,
                images,
                path,
                content,
                label,
                id_,
                group,
                split,
                corrections,
                features,
            ),
            "prepare.size": sizes(size),
            "prepare.color": color,
            "prepare.fit": fit,
            **engine_settings(engine, workers, master, address),
        },
    )
    where = open_engine(resolved.engine)
    dataset = make(resolved.source, out, resolved.prepare, where, overwrite=overwrite)
    info = dataset.info
    if as_json:
        facts = info.model_dump(
            mode="json", include={"counts", "labels", "unlabelled", "conflicts", "excluded"}
        )
        print(json.dumps({"dataset": dataset.location, **facts}))
        return
    show.dataset(dataset)


@app.command()
def train(
    dataset: Annotated[str, typer.Argument(help="A prepared dataset.")],
    out: Annotated[str | None, typer.Option(help="The run; default: runs/NAME.")] = None,
    recipe: Recipe = "default",
    settings: Set = None,
    epochs: Epochs = None,
    members: Members = None,
    seed: Seed = None,
    engine: Engine = None,
    master: Master = None,
    address: Address = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train and evaluate on a prepared dataset. Started again, it continues."""
    from lorgnette import pipeline

    resolved = resolve.load(
        recipe,
        settings or (),
        {
            "train.epochs": epochs,
            "train.members": members,
            "seed": seed,
            **engine_settings(engine, None, master, address),
        },
    )
    done = pipeline.train(
        dataset, resolved, out or pipeline.default_out(dataset), overwrite=overwrite
    )
    show.figures(done.root, done.read("evaluation.json"), as_json)


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(help="A run.")],
    data: Annotated[
        str | None,
        typer.Argument(help="A source or a prepared dataset; default: the run's own test part."),
    ] = None,
    kind: Kind = None,
    images: Images = None,
    path: PathColumn = None,
    content: Content = None,
    label: Label = None,
    id_: Id = None,
    group: Group = None,
    corrections: Corrections = None,
    features: Features = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Print a run's figures, or judge its model on other labelled images."""
    from lorgnette import api

    described: SourceConfig | str | None = data
    told = (kind, images, path, content, label, id_, group, corrections, features)
    if data is not None and any(told):
        given = source_settings(
            data, kind, images, path, content, label, id_, group, None, corrections, features
        )
        described = resolve.load(overrides=given).source
    found = api.evaluate(run, described)
    show.figures(Path(run), found, as_json, report=data is None)


@app.command()
def predict(
    run: Annotated[str, typer.Argument(help="A run.")],
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="FILES…", help="Images, folders, globs, tables; - reads paths, one per line."
        ),
    ],
    out: Annotated[str | None, typer.Option(help="A file; default: standard output.")] = None,
    format_: Annotated[
        str | None,
        typer.Option("--format", help="csv, jsonl or parquet; default: by --out, else csv."),
    ] = None,
    images: Images = None,
    path: PathColumn = None,
    content: Content = None,
    id_: Id = None,
    engine: Engine = None,
    master: Master = None,
    address: Address = None,
    workers: Workers = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Predict the class of images: id, class, probabilities, and an error where there is one."""
    from lorgnette import api
    from lorgnette.serving import output

    if as_json and out is None:
        raise ConfigError("--json prints a summary and predictions go to --out: give --out FILE.")
    format_ = output.choose_format(format_, out)
    source = SourceConfig(images=images, path=path, content=content, id=id_)
    where = resolve.load(overrides=engine_settings(engine, workers, master, address)).engine
    tables = api.predict(run, inputs, source=source, engine=where, lines=sys.stdin)
    if out is None:
        output.write(tables, format_, sys.stdout.buffer)
        return
    rows, errors = output.write_file(tables, format_, out)
    if as_json:
        print(json.dumps({"out": out, "rows": rows, "errors": errors}))
    else:
        failed = f", {errors:,} of them could not be read (see the error column)" if errors else ""
        say(f"{rows:,} predictions are in {out}{failed}.")


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="Show this recipe.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List the recipes, or print one with every setting resolved (a study as it is written)."""
    if name in resolve.study_names():
        print(resolve.recipe_path(str(name)).read_text(encoding="utf-8"))
        return
    if name is not None:
        resolved = resolve.load(name)
        if as_json:
            print(resolved.model_dump_json())
        else:
            print(resolve.header(name) + "\n\n" + resolve.dump(resolved))
        return
    from lorgnette.models.summary import recipe_summaries

    found = list(recipe_summaries())
    if as_json:
        print(json.dumps({each.name: each._asdict() for each in found}))
        return
    show.recipes(found, [(each, resolve.title(each)) for each in resolve.study_names()])
