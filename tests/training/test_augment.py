import math

import pytest
import torch
from torch import Tensor

from lorgnette.config import Augment
from lorgnette.training.augment import augment


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(8, 3, 12, 12, generator=generator(1)) * 255


def test_nothing_asked_nothing_changed(images: Tensor) -> None:
    assert torch.equal(augment(images, Augment(), generator()), images)


def test_the_seed_decides(images: Tensor) -> None:
    settings = Augment(flip_horizontal=True, rotation=20, translation=0.1, contrast=0.2, invert=0.5)
    one, same = (augment(images, settings, generator(3)) for _ in range(2))
    assert torch.equal(one, same)
    assert not torch.equal(one, augment(images, settings, generator(4)))


@pytest.mark.parametrize(("name", "axis"), [("flip_horizontal", 3), ("flip_vertical", 2)])
@pytest.mark.parametrize("resampled", [False, True])
def test_flips_mirror_about_half_of_the_images(name: str, axis: int, resampled: bool) -> None:
    images = torch.rand(200, 1, 8, 8) * 255
    # a rotation too small to matter takes the way of the affine map
    settings = Augment.model_validate({name: True, "rotation": 1e-6 if resampled else 0})
    changed = augment(images, settings, generator())
    mirrored = [
        torch.allclose(a, b, atol=0.05) for a, b in zip(changed, images.flip(axis), strict=True)
    ]
    kept = [torch.allclose(a, b, atol=0.05) for a, b in zip(changed, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 60 < sum(mirrored) < 140


def test_rotation_turns_about_the_centre_and_keeps_shapes_on_oblong_images() -> None:
    images = torch.zeros(1, 1, 21, 41)
    images[0, 0, 10, 20] = 100.0  # the centre stays
    images[0, 0, 10, 28] = 100.0  # 8 pixels to the right moves on a circle of 8 pixels
    settings = Augment(rotation=90, fill="black")
    for seed in range(5):
        turned = augment(images, settings, generator(seed))[0, 0]
        assert turned[10, 20] > 50
        turned[8:13, 18:23] = 0
        place = turned.flatten().argmax().item()
        y, x = place // 41 - 10, place % 41 - 20
        assert math.hypot(y, x) == pytest.approx(8, abs=1)


def test_translation_moves_by_up_to_its_fraction() -> None:
    images = torch.zeros(300, 1, 20, 20)
    images[:, :, 10, 10] = 100.0
    moved = augment(images, Augment(translation=0.2, fill="black"), generator())
    places = moved.flatten(1).argmax(dim=1)
    offsets = torch.stack([places // 20 - 10, places % 20 - 10])
    assert offsets.abs().max() <= 4
    assert offsets.min() <= -3
    assert offsets.max() >= 3


@pytest.mark.parametrize(("settings", "low", "high"), [
    (Augment(zoom_in=0.5, fill="black"), 1.0, 2.0),
    (Augment(zoom_out=1.0, fill="black"), 0.5, 1.0),
])  # fmt: skip
def test_zoom_scales_within_its_range(settings: Augment, low: float, high: float) -> None:
    images = torch.zeros(200, 1, 40, 40)
    images[:, :, 16:24, 16:24] = 1.0
    edges = augment(images, settings, generator()).sum(dim=(1, 2, 3)).sqrt() / 8
    assert edges.min() >= low - 0.1
    assert edges.max() <= high + 0.1
    assert edges.max() - edges.min() > 0.6 * (high - low)


def test_contrast_keeps_the_mean_and_the_range(images: Tensor) -> None:
    changed = augment(images * 0.5 + 60, Augment(contrast=0.3), generator())
    before, after = (images * 0.5 + 60).std(dim=(1, 2, 3)), changed.std(dim=(1, 2, 3))
    assert ((after / before - 1).abs() <= 0.3001).all()
    assert torch.allclose(changed.mean(dim=(1, 2, 3)), (images * 0.5 + 60).mean(dim=(1, 2, 3)))


def test_inversion_of_all(images: Tensor) -> None:
    assert torch.allclose(augment(images, Augment(invert=1.0), generator()), 255 - images)


def test_cutout_greys_a_square(images: Tensor) -> None:
    changed = augment(images, Augment(cutout=0.5), generator())
    hole = (changed != images).any(dim=1)
    assert (hole.sum(dim=(1, 2)) == 36).all()
    assert hole.any(dim=1).sum(dim=1).tolist() == [6] * 8


def test_the_layout_in_memory_does_not_matter(images: Tensor) -> None:
    settings = Augment(rotation=10, translation=0.1, contrast=0.1)
    last = images.contiguous(memory_format=torch.channels_last)
    assert torch.allclose(
        augment(images, settings, generator()), augment(last, settings, generator()), atol=1e-3
    )
