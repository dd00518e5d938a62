"""A dataset before anything is trained on it: counts, balance, class means, projections.

Everything but t-SNE is computed over all usable items in one pass and in flat memory; t-SNE is
drawn on a random sample that the page states. Nothing found here goes into a training.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lorgnette import __version__
from lorgnette.config import EngineConfig
from lorgnette.dataset.store import Dataset
from lorgnette.engines import open_engine
from lorgnette.engines.base import Engine
from lorgnette.errors import ConfigError
from lorgnette.progress import progress, say
from lorgnette.report import collect, rasters, scatter, sheet, words
from lorgnette.report.embedding import (
    EDGE,
    ClassMeans,
    Pass,
    held_out,
    hidden,
    sample_vectors,
    survey,
)
from lorgnette.report.inspect_facts import (
    ClassCount,
    Cloud,
    Feature,
    Groups,
    Inspection,
    MeanPicture,
    Projections,
    Separation,
)
from lorgnette.report.items import title
from lorgnette.report.projection import Moments, agreement, principal, tsne_each, tsne_tool
from lorgnette.rundir import Run
from lorgnette.storage import Storage

FACTS, PAGE = "inspect.json", "inspect.html"
SAMPLE = 5000
"""Points of a projection: t-SNE of so many takes about a minute, and more cannot be told apart."""
SHOWN = 12
"""Features that are listed."""
FEWEST = 3
"""With fewer items there is nothing to project."""


def inspect(
    dataset: Dataset,
    out: str | None = None,
    *,
    run: str | None = None,
    sample: int = SAMPLE,
    seed: int = 0,
    engine: Engine | None = None,
) -> Inspection:
    """Look at a dataset, and leave `inspect.json` and `inspect.html`.

    Args:
        dataset: a prepared one.
        out: where the two files go; beside the dataset, or in the run, if not given.
        run: a trained run: items are then compared by its network's last hidden layer, those that
            it was not trained on.
        sample: the most points of a projection.
        seed: decides the sample and where t-SNE starts.
        engine: where shards are read.

    Raises:
        ConfigError: the sample is too small.
        DatasetError: the dataset is damaged, or not what the run's model takes.
    """
    if sample < FEWEST:
        raise ConfigError(f"A sample needs {FEWEST} items or more, got {sample}: give --sample.")
    facts = examine(dataset, run=run, sample=sample, seed=seed, engine=engine)
    storage = Storage.at(out or run or dataset.location)
    storage.write(FACTS, (facts.model_dump_json(indent=1) + "\n").encode())
    storage.write(PAGE, render(facts).encode("utf-8"))
    say(f"The page is {storage.locate(PAGE)}.")
    return facts


def examine(
    dataset: Dataset,
    *,
    run: str | None = None,
    sample: int = SAMPLE,
    seed: int = 0,
    engine: Engine | None = None,
) -> Inspection:
    """The facts alone; see `inspect`."""
    labels = dataset.labels()
    engine = engine or open_engine(EngineConfig())
    found = survey(dataset, labels, engine)
    names = dataset.info.classes
    counts = np.bincount(labels[labels >= 0], minlength=len(names))
    vectors = dataset.info.features
    against, pictures = ("", []) if vectors else _pictures(found.classes, names)
    return Inspection(
        title=title(dataset),
        version=__version__,
        location=dataset.location,
        kind="vectors" if vectors else "images",
        classes=[
            ClassCount(name=name, items=int(n), share=float(n / max(counts.sum(), 1)))
            for name, n in zip(names, counts, strict=True)
        ],
        items=len(dataset),
        unlabelled=int((labels < 0).sum()),
        given=_given(dataset),
        groups=_groups(dataset, labels),
        reading=collect._reading(dataset),
        separation=_separation(found, vectors) if vectors and len(names) > 1 else None,
        pictures=pictures,
        against=against,
        projections=_projections(dataset, labels, found.moments, run, sample, seed, engine),
    )


def _given(dataset: Dataset) -> dict[str, int]:
    column = dataset.rows(["split"])["split"].drop_null()
    found = {row["values"]: row["counts"] for row in column.value_counts().to_pylist()}
    return {part: found[part] for part in ("train", "val", "test") if part in found}


def _groups(dataset: Dataset, labels: NDArray[np.int32]) -> Groups | None:
    codes = dataset.groups()
    if codes is None:
        return None
    sizes = np.unique(codes, return_counts=True)[1]
    pairs = np.unique(np.stack([codes, labels])[:, labels >= 0], axis=1)
    several = np.unique(pairs[0], return_counts=True)[1] > 1
    return Groups(
        count=len(sizes),
        least=int(sizes.min()),
        median=float(np.median(sizes)),
        most=int(sizes.max()),
        mixed=int(several.sum()),
    )


def _separation(found: Pass, names: tuple[str, ...]) -> Separation:
    """Eta squared of each feature, and an F test of it.

    `eta2 = B / (B + W)`, B and W the sums of squares between the class means and within the
    classes; `F = (eta2 / (K - 1)) / ((1 - eta2) / (n - K))`.
    """
    from scipy.stats import f

    classes = found.classes
    assert classes.squares is not None  # vectors have them
    there = classes.counts > 0
    counts, means = classes.counts[there], classes.means[there]
    n, K = int(counts.sum()), int(there.sum())
    overall = counts @ means / max(n, 1)
    between = counts @ (means - overall) ** 2
    whole = between + classes.squares[there].sum(axis=0)
    eta = np.divide(between, whole, out=np.zeros(len(names)), where=whole > 0)
    significant = 0
    if K > 1 and n > K:
        with np.errstate(divide="ignore"):
            ratio = (eta / (K - 1)) / ((1 - eta) / (n - K))
        significant = int((f.sf(ratio, K - 1, n - K) < 0.05 / len(names)).sum())
    standard = (classes.means - found.moments.mean) / found.moments.deviation
    best = np.argsort(-eta, kind="stable")[:SHOWN]
    return Separation(
        features=[
            Feature(
                name=names[place],
                means=standard[:, place].round(6).tolist(),
                raw=classes.means[:, place].round(6).tolist(),
                separation=round(float(eta[place]), 6),
            )
            for place in best
        ],
        count=len(names),
        found=significant,
    )


def _pictures(classes: ClassMeans, names: tuple[str, ...]) -> tuple[str, list[MeanPicture]]:
    """The mean of each class, and what is its own in it: lighter red, darker blue."""
    shown = [code for code in range(len(classes.counts)) if classes.counts[code]]
    if not shown:
        return "", []
    pair = len(names) == 2 and len(shown) == 2
    overall = np.average(classes.means[shown], axis=0, weights=classes.counts[shown])
    base = classes.means[shown[0]] if pair else overall
    light = {code: (classes.means[code] - base).mean(axis=-1) for code in shown}
    limit = max(float(np.abs(difference).max()) for difference in light.values())
    pictures = [
        MeanPicture(
            name=names[code],
            items=int(classes.counts[code]),
            source=rasters.encode(classes.means[code].round().astype(np.uint8), 224),
            difference=None
            if len(shown) == 1 or (pair and code == shown[0])
            else rasters.encode(rasters.signed(light[code], limit), 224),
        )
        for code in shown
    ]
    other = f"the mean of {names[shown[0]]}" if pair else "the mean of all"
    return f"{other}; the strongest colour is {limit:.0f} grey levels", pictures


def _projections(
    dataset: Dataset,
    labels: NDArray[np.int32],
    moments: Moments,
    run: str | None,
    most: int,
    seed: int,
    engine: Engine,
) -> Projections | None:
    rng = np.random.default_rng(seed)
    opened = None if run is None else Run.load(run)
    pool = np.arange(len(dataset)) if opened is None else held_out(opened, dataset)
    if len(pool) < FEWEST:
        return None
    keep = np.zeros(len(pool), bool)
    keep[rng.choice(len(pool), min(most, len(pool)), replace=False)] = True
    chosen = pool[keep]
    if opened is not None:
        from lorgnette.devices import choose
        from lorgnette.model import Model

        model = Model.load(opened.storage, choose("auto", opened.config.train.precision))
        moments, x = hidden(model, dataset, pool, keep)
    else:
        x = sample_vectors(dataset, chosen)
    space, standardised = _space(dataset, opened)
    components = principal(moments, x, standardised=standardised)
    projected = components.project(x)
    clouds = _clouds(
        components.standardise(x), projected, components.shares, seed, standardised, engine
    )
    near = agreement(projected, labels[chosen])
    return Projections(
        space=space,
        dimensions=x.shape[1],
        items=components.items,
        ids=dataset.rows(["id"])["id"].take(chosen).to_pylist(),
        labels=labels[chosen].tolist(),
        sampled=len(chosen) < len(pool),
        seed=seed,
        tool=tsne_tool(),
        variance=components.shares.round(6).tolist(),
        clouds=clouds,
        agreement=None if near is None else near[0],
        chance=None if near is None else near[1],
    )


def _space(dataset: Dataset, run: Run | None) -> tuple[str, bool]:
    """What the vectors are, and whether their units differ so that they must be standardised."""
    if run is not None:
        where = f"the last hidden layer of {run.root.name}, standardised"
        own = run.locate(run.read("run.json").get("dataset", "")) == dataset.location
        return f"{where}, of items it was not trained on" if own else where, True
    if dataset.is_vectors:
        gaps = dataset.info.prepare.missing == "mean"
        mean = ", with the mean where a number is missing" if gaps else ""
        return f"the features, each standardised by its own mean and deviation{mean}", True
    return f"the pictures made {EDGE} × {EDGE} pixels small", False


def _clouds(
    x: NDArray[np.float64],
    projected: NDArray[np.float64],
    shares: NDArray[np.float64],
    seed: int,
    standardised: bool,
    engine: Engine,
) -> list[Cloud]:
    """PCA, and t-SNE of the vectors and of their first components."""
    clouds = []
    k = projected.shape[1]
    if k >= 2:
        axes = [f"component {n + 1}: {words.percent(shares[n])}" for n in range(2)]
        note = f"The two directions of most variance: {words.percent(shares[:2].sum())} of it."
        clouds.append(_cloud("PCA", note, projected[:, :2], axes))
    what = "standardised vectors" if standardised else "vectors"
    spaces = [x, projected] if 2 < k < x.shape[1] else [x]
    notes = [
        (f"t-SNE of the {what}", f"Of the {what} of {words.count(x.shape[1], 'dimension')}."),
        (
            f"t-SNE of {k} components",
            f"The first {k} components hold {words.percent(shares.sum())} of the variance.",
        ),
    ]
    with progress("Drawing t-SNE", None, "points"):
        drawn = tsne_each(spaces, seed, engine)
    for (name, note), points in zip(notes, drawn, strict=False):
        if points is not None:
            clouds.append(_cloud(name, note, points, []))
    return clouds


def _cloud(name: str, note: str, points: NDArray[np.float64], axes: list[str]) -> Cloud:
    digits = 3 - int(np.floor(np.log10(max(np.abs(points).max(), 1e-9))))
    rounded = [(float(x), float(y)) for x, y in points.round(digits)]
    return Cloud(name=name, note=note, axes=axes, points=rounded)


def cautions(facts: Inspection) -> list[str]:
    """What a reader must know before training on this."""
    found = []
    labelled = sum(entry.items for entry in facts.classes)
    noun = facts.noun
    if len(facts.classes) < 2:
        found.append("A classifier needs two classes or more.")
    rare = [entry.name for entry in facts.classes if entry.items < 50]
    if rare and labelled:
        found.append(
            f"{words.listed(rare)} {'has' if len(rare) == 1 else 'have'} fewer than 50 labelled "
            f"{noun}s: figures about {'it' if len(rare) == 1 else 'them'} will be rough."
        )
    sizes = [entry.items for entry in facts.classes if entry.items]
    if sizes and max(sizes) > 5 * min(sizes):
        found.append(
            f"The largest class has {max(sizes) / min(sizes):.0f} times the {noun}s of the "
            "smallest: look at balanced accuracy, and consider train.class_weights=balanced."
        )
    conflicts = facts.reading.conflicts
    if conflicts:
        copies = "is an exact copy" if conflicts == 1 else "are exact copies"
        found.append(
            f"{words.count(conflicts, noun)} {copies} of one with another label: at least one of "
            "each two labels is wrong."
        )
    return found


def render(facts: Inspection) -> str:
    """The page as text."""
    projections = facts.projections
    colors = scatter.palette([entry.items for entry in facts.classes])
    tints = [sheet.tint(color) for color in colors]
    return sheet.render(
        "inspect.html.j2",
        facts=facts,
        cautions=cautions(facts),
        colors=colors,
        tints=dict(zip((entry.name for entry in facts.classes), tints, strict=True)),
        clouds=scatter.clouds(facts) if projections else [],
        spectrum=scatter.spectrum(projections.variance) if projections else "",
        separation=scatter.separation(facts) if facts.separation else "",
    )
