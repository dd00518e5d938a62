"""Inside a convolutional network: where it looks, what its stages see, what training showed it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lorgnette import __version__
from lorgnette.config import SourceConfig
from lorgnette.dataset.store import Dataset
from lorgnette.errors import DatasetError, ModelError, SourceError
from lorgnette.model import Model
from lorgnette.predictions import Predictions
from lorgnette.progress import say
from lorgnette.report import collect, gradcam, rasters, sheet
from lorgnette.report.facts import Augmented, Fact
from lorgnette.rundir import Run
from lorgnette.serving.predict import _pieces, decode_files
from lorgnette.storage import Storage

PAGE = "explain.html"
MOST = 24
"""Pictures that are explained."""
MAPS = 16
"""Maps of each stage: those that vary most over the picture."""
FILTERS = 64
"""Filters of the first layer that are shown."""
EDGE = 224


class Case(Fact):
    """A picture, the answer, and where the evidence for two classes is."""

    id: str
    source: str
    """A `data:` URI, and so are the next two."""
    answered: str
    answered_probability: float
    answered_heat: str | None
    """None where nothing speaks for the class."""
    other: str
    """The given label of a mistake, else the second most probable class."""
    other_probability: float
    other_heat: str | None
    given: str | None
    """The label, where it is known."""


class Maps(Fact):
    """The maps that one stage makes of the first picture."""

    name: str
    channels: int
    shape: tuple[int, int]
    shown: int
    source: str


class Explanation(Fact):
    """All that `explain.html` shows."""

    title: str
    version: str
    classes: list[str]
    family: str
    size: int
    mistakes: int | None
    """Wrong answers on the test part; None where files were given."""
    cases: list[Case]
    unreadable: dict[str, str]
    """Files that could not be read, and why."""
    left: int
    """Files beyond the most that are explained."""
    resolution: tuple[int, int]
    """Height and width of the maps that evidence is drawn from."""
    subject: str | None
    """The picture that the stages are shown of, as a `data:` URI."""
    stages: list[Maps]
    filters: str
    filter_count: int
    filter_shape: tuple[int, int, int]
    """Channels, height, width."""
    augmentations: list[Augmented]


def explain(
    run: str, files: Sequence[str] = (), out: str | None = None, *, most: int = MOST
) -> Explanation:
    """Show where a network looks, and leave `explain.html`.

    Args:
        run: a trained run of the family cnn or resnet.
        files: pictures, folders, globs or tables, as `predict` takes them; the run's most
            confident mistakes on its test part if none is given.
        out: where the page goes; in the run if not given.
        most: at most so many pictures.

    Raises:
        ModelError: there is no trained model, or it takes vectors or has no convolution.
        SourceError: none of the files can be read.
        DatasetError: no files were given, and the run's dataset is gone.
    """
    facts = examine(run, files, most=most)
    storage = Storage.at(out or run)
    storage.write(PAGE, render(facts).encode("utf-8"))
    say(f"The page is {storage.locate(PAGE)}.")
    return facts


def examine(run: str, files: Sequence[str] = (), *, most: int = MOST) -> Explanation:
    """The facts alone; see `explain`."""
    from lorgnette.devices import choose

    opened = Run.load(run)
    model = Model.load(opened.storage, choose("auto", opened.config.train.precision))
    gradcam.check(model, run)
    items = _items(opened, needed=not files)
    ids: list[str] = []
    pixels = np.empty((0,), np.uint8)
    given: list[str] | None = None
    mistakes: int | None = None
    unreadable: dict[str, str] = {}
    left = 0
    if files:
        ids, pixels, unreadable, left = _read(opened, model, files, most)
    elif items is not None:
        ids, pixels, given, mistakes = _mistakes(opened, model, items, most)
    cases, resolution = _cases(model, ids, pixels, given) if len(ids) else ([], (0, 0))
    subject = pixels[0] if len(pixels) else None
    if subject is None and items is not None and len(items.dataset):
        subject = items.dataset.read(np.array([0]), model.spec.size)[0]
    filters = gradcam.first_filters(model)
    return Explanation(
        title=opened.root.name,
        version=__version__,
        classes=list(model.spec.classes),
        family=model.spec.model.family,
        size=model.spec.size,
        mistakes=mistakes,
        cases=cases,
        unreadable=unreadable,
        left=left,
        resolution=resolution,
        subject=None if subject is None else rasters.encode(subject, EDGE),
        stages=[] if subject is None else _stages(model, subject),
        filters=_filters(filters),
        filter_count=len(filters),
        filter_shape=(filters.shape[1], filters.shape[2], filters.shape[3]),
        augmentations=[] if items is None else collect._augmentations(items, opened.config),
    )


def _items(run: Run, *, needed: bool) -> collect._Items | None:
    """The run's items; None where its dataset is gone and nothing but the gallery needs it."""
    try:
        return collect._Items(run.dataset(), run.storage)
    except (DatasetError, FileNotFoundError):
        if needed:
            raise
        return None


def _read(
    run: Run, model: Model, files: Sequence[str], most: int
) -> tuple[list[str], NDArray[np.uint8], dict[str, str], int]:
    """The first files that can be read: ids, pixels, reasons of the others, how many were left."""
    spec = model.spec
    settings = {
        "size": (spec.size,),
        "color": spec.color,
        "fit": spec.fit,
        "pixel_limit": run.config.prepare.pixel_limit,
    }
    ids: list[str] = []
    pixels: list[NDArray[np.uint8]] = []
    unreadable: dict[str, str] = {}
    left = 0
    for piece in _pieces(files, SourceConfig(), ()):
        if len(ids) >= most:
            left += len(piece.ids)
            continue
        decodings = decode_files(piece, settings=settings)
        errors = zip(piece.ids, decodings.errors, strict=True)
        unreadable |= {id_: error for id_, error in errors if error is not None}
        good = [
            id_ for id_, error in zip(piece.ids, decodings.errors, strict=True) if error is None
        ]
        room = most - len(ids)
        ids += good[:room]
        pixels.append(decodings.pixels[:room])
        left += len(good[room:])
    if not ids:
        reasons = "; ".join(f"{id_}: {reason}" for id_, reason in list(unreadable.items())[:3])
        raise SourceError(
            f"There must be a picture to explain, and none of the files given can be read "
            f"({reasons or 'there is none'})."
        )
    return ids, np.concatenate(pixels), unreadable, left


def _mistakes(
    run: Run, model: Model, items: collect._Items, most: int
) -> tuple[list[str], NDArray[np.uint8], list[str], int]:
    """The wrong answers on test that the network was surest of."""
    if not run.read("evaluation.json"):
        raise ModelError(
            f"Mistakes are known once a run is evaluated, and {run.root} is not: start the same "
            "`lorgnette run` again and it continues, or give files to explain."
        )
    predictions = Predictions.load(run.storage, "predictions/test.parquet")
    labels = predictions.labels
    empty = np.empty((0, model.spec.size, model.spec.size, 3), np.uint8)
    if labels is None or not len(predictions):
        return [], empty, [], 0
    answers = predictions.predicted
    wrong = np.flatnonzero((labels >= 0) & (answers != labels))
    surest = wrong[np.argsort(-predictions.probabilities[wrong, answers[wrong]], kind="stable")]
    chosen = surest[:most]
    if not len(chosen):
        return [], empty, [], 0
    ids = [str(predictions.ids[row]) for row in chosen]
    dataset: Dataset = items.dataset
    pixels = dataset.read(items.find(ids), model.spec.size)
    return ids, pixels, [predictions.classes[labels[row]] for row in chosen], len(wrong)


def _cases(
    model: Model, ids: list[str], pixels: NDArray[np.uint8], given: list[str] | None
) -> tuple[list[Case], tuple[int, int]]:
    """Each picture with the evidence for the answer and for the label, or for the runner-up."""
    classes = model.spec.classes
    p = model.probabilities(pixels)
    order = np.argsort(-p, axis=1, kind="stable")
    answered, other = order[:, 0].tolist(), order[:, 1].tolist()
    if given is not None:
        # A picture that is borderline can fall on its label's side here: then the runner-up stays.
        codes = [classes.index(name) for name in given]
        other = [
            code if code != first else second
            for code, first, second in zip(codes, answered, other, strict=True)
        ]
    heats = [gradcam.class_activation(model, pixels, codes) for codes in (answered, other)]

    def shown(n: int, heat: NDArray[np.float32]) -> str | None:
        return rasters.encode(rasters.overlay(pixels[n], heat, EDGE)) if heat.any() else None

    cases = [
        Case(
            id=id_,
            source=rasters.encode(pixels[n], EDGE),
            answered=classes[answered[n]],
            answered_probability=float(p[n, answered[n]]),
            answered_heat=shown(n, heats[0][n]),
            other=classes[other[n]],
            other_probability=float(p[n, other[n]]),
            other_heat=shown(n, heats[1][n]),
            given=None if given is None else given[n],
        )
        for n, id_ in enumerate(ids)
    ]
    return cases, (heats[0].shape[1], heats[0].shape[2])


def _stages(model: Model, pixels: NDArray[np.uint8]) -> list[Maps]:
    """For every stage the maps that vary most over the picture, each in its own range."""
    found = []
    for stage in gradcam.stages(model, pixels):
        spread = stage.maps.std(axis=(1, 2))
        busiest = np.argsort(-spread, kind="stable")[:MAPS]
        low = stage.maps[busiest].min(axis=(1, 2), keepdims=True)
        high = stage.maps[busiest].max(axis=(1, 2), keepdims=True)
        values = (stage.maps[busiest] - low) / np.maximum(high - low, 1e-9)
        tiles = [rasters.colored(value, rasters.HEAT) for value in values]
        board = rasters.sheet(tiles, 4, 64)
        found.append(
            Maps(
                name=stage.name,
                channels=len(stage.maps),
                shape=(stage.maps.shape[1], stage.maps.shape[2]),
                shown=len(busiest),
                source=rasters.encode(board, smooth=False),
            )
        )
    return found


def _filters(weights: NDArray[np.float32]) -> str:
    """The first layer's weights: in colour where there are three channels, grey is zero."""
    limit = float(np.abs(weights).max()) or 1.0
    tiles = []
    for kernel in weights[:FILTERS]:
        if kernel.shape[0] == 3:
            scaled = kernel.transpose(1, 2, 0) / (2 * limit) + 0.5
            tiles.append((255 * scaled).round().clip(0, 255).astype(np.uint8))
        else:
            tiles.append(rasters.signed(kernel.mean(axis=0), limit))
    return rasters.encode(rasters.sheet(tiles, 8, 40), smooth=False)


def render(facts: Explanation) -> str:
    """The page as text."""
    return sheet.render(
        "explain.html.j2",
        facts=facts,
        gradient=rasters.gradient(rasters.HEAT),
        tints={name: sheet.tint(code) for code, name in enumerate(facts.classes)},
    )
