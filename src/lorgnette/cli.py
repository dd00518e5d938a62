"""The command line: one thin command per verb. Options become settings, results become text."""

from __future__ import annotations

import json
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lorgnette import __version__, resolve, show
from lorgnette.config import SourceConfig
from lorgnette.errors import ConfigError, LorgnetteError
from lorgnette.progress import console, say
from lorgnette.storage import refusals

app = typer.Typer(
    help="From a pile of images with half-trusted labels to a classifier whose numbers can be "
    "trusted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _quiet(value: bool) -> bool:
    console.quiet = console.quiet or value
    return value


Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document as the last line of the output.")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", callback=_quiet, help="No progress, no remarks.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Seed = Annotated[
    int | None, typer.Option(help="Fixes splits, initial weights, order and augmentation.")
]
Recipe = Annotated[
    str, typer.Option(help="A recipe's name (see `lorgnette recipes`) or a TOML file.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting: --set train.epochs=5."),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Begin again, whatever is in the output directory.")
]
Workers = Annotated[int | None, typer.Option(help="Processes; default: one per processor.")]
Engine = Annotated[str | None, typer.Option(help="Where work runs: local.")]
Size = Annotated[
    str | None, typer.Option(help="Edge length in pixels; several as 64,128 (the first is used).")
]
Color = Annotated[str | None, typer.Option(help="rgb or gray.")]
Fit = Annotated[str | None, typer.Option(help="Images that are not square: crop, pad or stretch.")]
Kind = Annotated[str | None, typer.Option(help="folder or table; default: by what is there.")]
Images = Annotated[str | None, typer.Option(help="Tables: what paths are relative to.")]
PathColumn = Annotated[str | None, typer.Option("--path", help="Tables: the column of paths.")]
Label = Annotated[str | None, typer.Option(help="Tables: the column of labels.")]
Id = Annotated[str | None, typer.Option("--id", help="Tables: the column of ids.")]
Group = Annotated[
    str | None,
    typer.Option(
        help="What never straddles a split. Tables: a column. Folders: stem, parent, or a regular "
        "expression with one group."
    ),
]
GivenSplit = Annotated[str | None, typer.Option("--split", help="Tables: the column of splits.")]
Epochs = Annotated[int | None, typer.Option(help="Short for --set train.epochs=N.")]

INTERRUPTED = 130
"""The exit status after Ctrl-C."""


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def run(
    source: Annotated[str | None, typer.Argument(help="A folder, CSV or Parquet table.")] = None,
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
    label: Label = None,
    id_: Id = None,
    group: Group = None,
    split: GivenSplit = None,
    seed: Seed = None,
    engine: Engine = None,
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
            **_source(source, kind, images, path, label, id_, group, split),
            "prepare.size": _sizes(size),
            "prepare.color": color,
            "prepare.fit": fit,
            "train.epochs": epochs,
            "engine.name": engine,
            "engine.workers": workers,
            "seed": seed,
        },
    )
    if not resolved.source.location:
        raise ConfigError(
            "A source is needed, a folder with one directory per class or a table: "
            "`lorgnette run SRC` (or try `lorgnette demo`)."
        )
    place = out or pipeline.default_out(resolved.source.location)
    done = pipeline.run(resolved, place, dataset=dataset, overwrite=overwrite)
    show.figures(done.root, done.read("evaluation.json"), as_json)


@app.command()
def demo(
    out: Annotated[str, typer.Option(help="Where everything goes.")] = "demo",
    n: Annotated[int, typer.Option("--n", help="How many pictures to draw.")] = 900,
    seed: Seed = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """The whole path on a small folder of shapes, which it draws first."""
    from lorgnette import pipeline
    from lorgnette.sources.shapes import draw_shapes

    folder = Path(out) / "shapes"
    if not folder.is_dir():
        draw_shapes(folder, n=n, seed=seed or 0, broken=True)
    resolved = resolve.load(overrides={"source.location": str(folder), "seed": seed})
    done = pipeline.run(resolved, str(Path(out) / "run"))
    show.figures(done.root, done.read("evaluation.json"), as_json)


@app.command()
def prepare(
    source: Annotated[str, typer.Argument(help="A folder, CSV or Parquet table; a path or URL.")],
    out: Annotated[str, typer.Option(help="The dataset: a directory or URL.")],
    size: Size = None,
    color: Color = None,
    fit: Fit = None,
    kind: Kind = None,
    images: Images = None,
    path: PathColumn = None,
    label: Label = None,
    id_: Id = None,
    group: Group = None,
    split: GivenSplit = None,
    engine: Engine = None,
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
            **_source(source, kind, images, path, label, id_, group, split),
            "prepare.size": _sizes(size),
            "prepare.color": color,
            "prepare.fit": fit,
            "engine.name": engine,
            "engine.workers": workers,
        },
    )
    where = open_engine(resolved.engine)
    dataset = make(resolved.source, out, resolved.prepare, where, overwrite=overwrite)
    info = dataset.info
    if as_json:
        facts = info.model_dump(
            mode="json", include={"counts", "labels", "unlabelled", "conflicts"}
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
    seed: Seed = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train and evaluate on a prepared dataset. Started again, it continues."""
    from lorgnette import pipeline

    resolved = resolve.load(recipe, settings or (), {"train.epochs": epochs, "seed": seed})
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
    label: Label = None,
    id_: Id = None,
    group: Group = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Print a run's figures, or judge its model on other labelled images."""
    from lorgnette import api

    described: SourceConfig | str | None = data
    if data is not None and any((kind, images, path, label, id_, group)):
        given = _source(data, kind, images, path, label, id_, group, None)
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
    id_: Id = None,
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
    source = SourceConfig(images=images, path=path, id=id_)
    tables = api.predict(run, inputs, source=source, workers=workers, lines=sys.stdin)
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
    """List the recipes, or print one with every setting resolved."""
    if name is not None:
        resolved = resolve.load(name)
        if as_json:
            print(resolved.model_dump_json())
        else:
            print(resolve.header(name) + "\n\n" + resolve.dump(resolved))
        return
    names = resolve.recipe_names()
    if as_json:
        print(json.dumps({each: resolve.header(each) for each in names}))
        return
    show.recipes({each: resolve.header(each) for each in names})


def _source(
    location: str | None,
    kind: str | None,
    images: str | None,
    path: str | None,
    label: str | None,
    id_: str | None,
    group: str | None,
    split: str | None,
) -> dict[str, str | None]:
    """The options that describe a source, as settings."""
    return {
        "source.location": location,
        "source.kind": kind,
        "source.images": images,
        "source.path": path,
        "source.label": label,
        "source.id": id_,
        "source.group": group,
        "source.split": split,
    }


def _sizes(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"--size is an edge length in pixels, or several as 64,128, not '{text}'."
        ) from None


def main() -> None:
    """Run the command line; errors become one sentence and an exit status."""
    debug = "--debug" in sys.argv
    try:
        with refusals("a file"):
            status = app(standalone_mode=False)
        if status == INTERRUPTED:  # Typer turns the interrupt into its exit status
            raise KeyboardInterrupt
        sys.exit(status if isinstance(status, int) else 0)
    except KeyboardInterrupt:
        _fail("Interrupted; the same command continues where it stopped.", INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe has had enough
        with suppress(OSError):
            sys.stdout.close()
        sys.exit(0)
    except LorgnetteError as error:
        if debug:
            traceback.print_exc()
        _fail(str(error), 2 if isinstance(error, ConfigError) else 1)
    except Exception as error:
        usage = _usage(error)
        if usage:
            _fail(usage, 2)
        if debug:
            traceback.print_exc()
        _fail(
            f"Something unforeseen happened ({type(error).__name__}: {error}): run it again with "
            "--debug and report what it shows.",
            1,
        )


def _usage(error: Exception) -> str | None:
    """The sentence of an error that Typer's parser raised, else None."""
    format_message = getattr(error, "format_message", None)
    if format_message is None:
        return None
    context = getattr(error, "ctx", None)
    hint = f" See `{context.command_path} --help`." if context else ""
    return f"{format_message().rstrip('.')}.{hint}"


def _fail(sentence: str, status: int) -> None:
    Console(stderr=True, highlight=False).print("[bold red]Error:[/] ", end="")
    print(sentence, file=sys.stderr)
    sys.exit(status)
