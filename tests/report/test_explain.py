"""Explanations: Grad-CAM as its definition says, the right maps, whole pages."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from explain_runs import FAMILIES, SMALL, model_of, trained_run
from numpy.typing import NDArray
from PIL import Image
from report_runs import EVIL
from sheets import check
from torch import nn

from lorgnette.config import CnnConfig, MlpConfig
from lorgnette.errors import DatasetError, ModelError, SourceError
from lorgnette.model import Model, as_input, standardise
from lorgnette.report import gradcam, rasters, terminal
from lorgnette.report.explain import PAGE, examine, explain, render

RNG = np.random.default_rng(0)


def pixels_of(n: int = 3, size: int = 16, channels: int = 3) -> NDArray[np.uint8]:
    return RNG.integers(0, 256, (n, size, size, channels), np.uint8)


def inputs_of(model: Model, pixels: NDArray[np.uint8]) -> torch.Tensor:
    mean, deviation = torch.tensor(model.spec.mean), torch.tensor(model.spec.deviation)
    return standardise(as_input(torch.from_numpy(pixels)), mean, deviation)


@pytest.mark.parametrize("classes", [2, 3])
def test_with_a_global_average_it_is_the_weighted_sum_of_maps(classes: int) -> None:
    """There the gradient is the output layer's weights (Selvaraju et al. 2017, appendix A)."""
    config = CnnConfig(filters=(4, 6), pool=("max", "none"), head="average")
    model, pixels = model_of(config, classes=classes), pixels_of()
    body: Any = model.network.get_submodule("body")
    head: Any = model.network.get_submodule("head")
    with torch.no_grad():
        maps = body(inputs_of(model, pixels))
    weights = head[-1].weight.detach()
    for code in range(classes):
        row = weights[code] if classes > 2 else weights[0] * (1 if code else -1)
        naive = torch.einsum("k,nkhw->nhw", row, maps).relu().numpy()
        found = gradcam.class_activation(model, pixels, [code] * 3)
        highest = naive.max(axis=(1, 2), keepdims=True)
        np.testing.assert_allclose(found, naive / np.maximum(highest, 1e-12), atol=1e-5)


def test_evidence_lies_where_the_bright_spot_is() -> None:
    model = model_of(CnnConfig(filters=(1,), norm="none", pool="none", head="average"), channels=1)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.fill_(0.0)
        conv = next(m for m in model.network.modules() if isinstance(m, nn.Conv2d))
        conv.weight[0, 0, 1, 1] = 1.0
        linear = [m for m in model.network.modules() if isinstance(m, nn.Linear)][-1]
        linear.weight.fill_(1.0)
    pixels = np.zeros((1, 16, 16, 1), np.uint8)
    pixels[0, 11, 3] = 255
    heat = gradcam.class_activation(model, pixels, [1])[0]
    assert np.unravel_index(heat.argmax(), heat.shape) == (11, 3)
    assert heat.max() == 1
    # Nothing speaks against it, and so nothing for the other class.
    assert not gradcam.class_activation(model, pixels, [0]).any()


MAPS_OF = ("BatchNorm2d", "PenalisedConv2d", "PenalisedConv2d", "Sequential", "BatchNorm2d")
"""The last module before the pool: an activation that never falls stands behind it."""


@pytest.mark.parametrize(
    ("config", "kind"),
    list(zip(FAMILIES, MAPS_OF, strict=True)),
)
def test_the_last_convolutions_maps_are_found(config: Any, kind: str) -> None:
    model = model_of(config)
    images = inputs_of(model, pixels_of(1))
    shapes: list[tuple[int, ...]] = []
    last = [m for m in model.network.modules() if isinstance(m, nn.Conv2d)][-1]
    last.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape)))
    found = gradcam.last_maps(model.network, images)
    found.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape)))
    shapes.clear()
    with torch.no_grad():
        model.network(images)
    assert shapes[0] == shapes[1]
    assert type(found).__name__ == kind  # with norm and activation, where no pooling is between
    heat = gradcam.class_activation(model, pixels_of(), [0, 1, 1])
    assert heat.shape == (3, *shapes[0][2:])
    assert 0 <= heat.min() <= heat.max() <= 1
    stages = gradcam.stages(model, pixels_of()[0])
    blocks: Any = model.network.get_submodule("body")
    assert len(stages) == len(blocks)
    with torch.no_grad():
        expected = blocks(inputs_of(model, pixels := pixels_of(1)))
    np.testing.assert_allclose(
        gradcam.stages(model, pixels[0])[-1].maps, expected[0].numpy(), atol=1e-6
    )


def test_looking_changes_nothing() -> None:
    model, pixels = model_of(), pixels_of()
    before = model.probabilities(pixels)
    gradcam.class_activation(model, pixels, [0, 1, 0])
    gradcam.stages(model, pixels[0])
    np.testing.assert_array_equal(model.probabilities(pixels), before)
    assert all(parameter.grad is None for parameter in model.network.parameters())
    assert not any(module._forward_hooks for module in model.network.modules())


@pytest.mark.parametrize("channels", [1, 3])
def test_mistakes_on_test_the_surest_first(tmp_path: Path, channels: int) -> None:
    root = trained_run(tmp_path, channels=channels, wrong=3)
    facts = explain(str(root))
    # `finished_run` is wrong on the first three, and surer of each than of the one before.
    assert [case.id for case in facts.cases] == [f"test/0/{n}.png" for n in (2, 1, 0)]
    assert facts.mistakes == 3
    assert {case.given for case in facts.cases} == {"cats"}
    assert facts.filter_shape == (channels, 3, 3)
    assert [stage.shape for stage in facts.stages] == [(8, 8), (4, 4)]
    assert facts.resolution == (8, 8)
    assert len(facts.augmentations) == 4
    text = check((root / PAGE).read_text()).text
    for said in ("All 3 mistakes on test", "Grad-CAM", "4 of 4 maps", "Augmentation"):
        assert said in text


def test_no_mistakes_is_said(tmp_path: Path) -> None:
    facts = examine(str(trained_run(tmp_path, wrong=0)))
    assert facts.mistakes == 0
    assert facts.stages
    assert "no mistake" in check(render(facts)).text


def test_files_of_ones_own(tmp_path: Path) -> None:
    root = trained_run(tmp_path / "run")
    folder = tmp_path / "new"
    folder.mkdir()
    for n in range(3):
        Image.fromarray(pixels_of(1, 40)[0]).save(folder / f"{n}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    (root / "dataset" / "dataset.json").unlink()
    facts = explain(str(root), [str(folder)], str(tmp_path / "out"), most=2)
    assert [case.id for case in facts.cases] == ["0.png", "1.png"]
    assert list(facts.unreadable) == ["broken.png"]
    assert (facts.left, facts.mistakes, facts.augmentations) == (1, None, [])
    for case in facts.cases:
        assert case.answered != case.other
        assert case.answered_probability >= case.other_probability
    text = check((tmp_path / "out" / PAGE).read_text()).text
    assert "1 further file was left out" in text
    with pytest.raises(SourceError, match=r"none of the files.*broken\.png"):
        examine(str(root), [str(folder / "broken.png")])
    with pytest.raises(DatasetError):
        examine(str(root))


def test_what_cannot_be_explained_is_refused(tmp_path: Path) -> None:
    root = trained_run(tmp_path / "mlp", MlpConfig(units=(4,)))
    with pytest.raises(ModelError, match=r"mlp in .* has none"):
        examine(str(root))
    model = model_of()
    vectors = model.spec.model_copy(update={"features": ("v1", "v2")})
    with pytest.raises(ModelError, match="takes vectors of 2 features"):
        gradcam.check(Model(vectors, model.network, model.device), "here")


def test_names_cannot_become_code(tmp_path: Path) -> None:
    facts = examine(str(trained_run(tmp_path, SMALL)))
    case = facts.cases[0].model_copy(update={"id": EVIL, "given": EVIL})
    text = render(facts.model_copy(update={"cases": [case], "classes": ["cats", "dogs", EVIL]}))
    assert EVIL not in text
    assert EVIL in check(text).text


def test_heat_leaves_the_picture_visible() -> None:
    picture = np.full((16, 16, 3), 200, np.uint8)
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0] = 1
    drawn = rasters.overlay(picture, heat, 64)
    assert drawn.shape == (64, 64, 3)
    bright, dark = drawn[0, 0].astype(int), drawn[-1, -1].astype(int)
    assert np.ptp(bright) > 40  # coloured
    assert np.ptp(dark) < 5  # grey
    assert rasters.signed(np.zeros((1, 1)), 3.0)[0, 0].min() > 240
    assert rasters.sheet([picture] * 5, 4, 40).shape == (2 * 32 + 4, 4 * 32 + 3 * 4, 3)


def test_the_terminal_says_it_shortly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    Console(width=120).print(terminal.explanation(examine(str(trained_run(tmp_path)))))
    assert "test/0/2.png" in capsys.readouterr().out
