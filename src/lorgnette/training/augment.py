"""Random changes to a batch of images, a few batched operations on the images' own device."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lorgnette.config import Augment
from lorgnette.training.feed import Part

_PADDING = {"reflect": "reflection", "nearest": "border", "black": "zeros"}


def augment(
    images: Tensor,
    settings: Augment,
    generator: torch.Generator,
    part: Part | None = None,
) -> Tensor:
    """Change each image of a batch at random.

    Flips, rotation, translation and zoom are one affine map with one resampling; where there is
    nothing but flips, pixels are copied and none is interpolated.

    Args:
        images: float (N, C, H, W) in grey levels, 0 to 255.
        settings: what may change and by how much.
        generator: the source of randomness, on the CPU whatever the device of the images, so that
            every device draws the same.
        part: where these images are in the batch that several processes share: random numbers are
            drawn for the whole of it, so that an image is changed alike whoever has it.

    Returns:
        Float (N, C, H, W) in grey levels.
    """
    whole = len(images) if part is None else part.whole

    def own(drawn: Tensor) -> Tensor:
        """What was drawn for these images, of what was drawn for all, (whole, ...)."""
        return drawn if part is None else drawn[part.places]

    if not len(images):
        return images
    if settings.rotation or settings.translation or settings.zoom_in or settings.zoom_out:
        theta = own(_affine(whole, settings, generator, images.shape[2] / images.shape[3]))
        grid = F.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
        images = F.grid_sample(
            images,
            grid.to(images.dtype),
            mode="bilinear",
            padding_mode=_PADDING[settings.fill],
            align_corners=False,
        )
    else:
        signs = _signs(whole, settings, generator)
        images = _flip(images, own(signs[0]), own(signs[1]))
    if settings.contrast:
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        factor = 1 + settings.contrast * own(_uniform(whole, generator))
        images = (mean + (images - mean) * _column(factor, images)).clamp(0, 255)
    if settings.invert:
        chosen = own(torch.rand(whole, generator=generator)) < settings.invert
        images = torch.where(_column(chosen, images), 255 - images, images)
    if settings.cutout:
        starts = [
            own(torch.randint(0, size - edge + 1, (whole, 1), generator=generator))
            for size, edge in _edges(images, settings.cutout)
        ]
        images = _cutout(images, settings.cutout, starts)
    return images


def _uniform(n: int, generator: torch.Generator) -> Tensor:
    """Numbers from -1 to 1, (n,)."""
    return torch.rand(n, generator=generator) * 2 - 1


def _column(values: Tensor, images: Tensor) -> Tensor:
    """One value for each image, (N,), as (N, 1, 1, 1) on the images' device."""
    return values.to(images.device)[:, None, None, None]


def _affine(n: int, settings: Augment, generator: torch.Generator, aspect: float) -> Tensor:
    """The map from output to input coordinates (-1 to 1) of each image, (n, 2, 3).

    `aspect` is height over width: a rotation of coordinates that are scaled to the edges has to
    undo the scaling first.
    """
    angle = math.radians(settings.rotation) * _uniform(n, generator)
    zoom = torch.rand(n, generator=generator) * (settings.zoom_in + settings.zoom_out)
    scale = 1 - settings.zoom_in + zoom  # below 1 shows less of the input: enlarged
    shift = 2 * settings.translation * _uniform(2 * n, generator).view(n, 2)
    sign_x, sign_y = _signs(n, settings, generator)
    cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
    rows = [cos * sign_x, -sin * sign_y * aspect, shift[:, 0],
            sin * sign_x / aspect, cos * sign_y, shift[:, 1]]  # fmt: skip
    return torch.stack(rows, dim=1).view(n, 2, 3)


def _signs(n: int, settings: Augment, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """-1 where an image is mirrored and 1 where not: left-right and top-bottom, (n,) each."""
    draws = torch.rand(2, n, generator=generator) < 0.5
    allowed = torch.tensor([[settings.flip_horizontal], [settings.flip_vertical]])
    signs = torch.where(draws & allowed, -1.0, 1.0)
    return signs[0], signs[1]


def _flip(images: Tensor, sign_x: Tensor, sign_y: Tensor) -> Tensor:
    for signs, axis in ((sign_x, 3), (sign_y, 2)):
        if (signs < 0).any():
            images = torch.where(_column(signs < 0, images), images.flip(axis), images)
    return images


def _edges(images: Tensor, share: float) -> list[tuple[int, int]]:
    """Height and width of the images, each with the edge that a square of this share has there."""
    return [(size, max(1, round(share * size))) for size in images.shape[2:]]


def _cutout(images: Tensor, share: float, starts: list[Tensor]) -> Tensor:
    """Set a square of each image to the image's mean (DeVries & Taylor, 2017).

    `starts` are the top and the left edge of the squares, (N, 1) each.
    """
    inside = []
    for (size, edge), start in zip(_edges(images, share), starts, strict=True):
        place = torch.arange(size)[None]
        inside.append((place >= start) & (place < start + edge))
    hole = (inside[0][:, :, None] & inside[1][:, None, :])[:, None].to(images.device)
    return torch.where(hole, images.mean(dim=(2, 3), keepdim=True), images)
