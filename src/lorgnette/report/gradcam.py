"""What a convolutional network sees: maps of its stages, its first filters, evidence for a class.

Class activation maps after Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via
Gradient-based Localization", ICCV 2017: with A_k the maps of the last convolution and y_c the
logit of a class, `L_c = ReLU(sum_k alpha_k A_k)`, `alpha_k = mean over places of dy_c / dA_k`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lorgnette.errors import ModelError
from lorgnette.model import Model, as_input, standardise

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Stage:
    """The output of one stage of a network for one picture.

    Attributes:
        name: in words.
        maps: float32 (channels, h, w).
    """

    name: str
    maps: Floats


def check(model: Model, name: str) -> None:
    """Refuse what has no maps to show.

    Raises:
        ModelError: the model takes vectors, has no convolution, or is an ensemble.
    """
    if model.spec.is_ensemble:
        raise ModelError(
            f"Maps are those of one network, and {name} holds an ensemble: explain one of its "
            "members (they are in its ensemble.json)."
        )
    if len(model.spec.input_shape) != 3:
        raise ModelError(
            f"Only models of pictures can be explained, and the one in {name} takes vectors of "
            f"{model.spec.input_shape[0]:,} features: `lorgnette inspect DATASET --run RUN` shows "
            "what its hidden layer makes of them."
        )
    if not any(isinstance(module, nn.Conv2d) for module in model.network.modules()):
        raise ModelError(
            f"Maps come from convolutions, and the {model.spec.model.family} in {name} has none: "
            "explain a run of the family cnn or resnet."
        )


def last_maps(network: nn.Module, images: Tensor) -> nn.Module:
    """The module whose output is the last convolution's maps, norm and activation included.

    It is found by watching one pass: of all outputs from the last convolution on that still have
    that convolution's edge lengths, the last. Pooling ends it, so the maps keep their detail.
    """
    trace: list[tuple[nn.Module, tuple[int, ...]]] = []

    def note(module: nn.Module, _: object, output: Tensor) -> None:
        trace.append((module, tuple(output.shape)))

    modules = [module for module in network.modules() if module is not network]
    with _hooked(modules, note), torch.no_grad():
        network(images[:1])
    last = max(n for n, (module, _) in enumerate(trace) if isinstance(module, nn.Conv2d))
    size = trace[last][1][2:]
    found = trace[last][0]
    for module, shape in trace[last:]:
        if len(shape) != 4 or shape[2:] != size:
            break
        found = module
    return found


def class_activation(
    model: Model, pixels: NDArray[np.uint8], codes: Sequence[int]
) -> NDArray[np.float32]:
    """Where in each picture the evidence for a class is.

    Args:
        model: with convolutions; see `check`.
        pixels: uint8 (N, H, W, C) as prepared.
        codes: for each picture the class that is asked about, (N,).

    Returns:
        float32 (N, h, w), from 0 to 1 in each picture; all zero where nothing speaks for the
        class.
    """
    images = _images(model, pixels)
    module = last_maps(model.network, images)
    caught: list[Tensor] = []
    with (
        _hooked([module], lambda _, __, output: caught.append(output)),
        torch.enable_grad(),
    ):
        # With a gradient asked of the input, maps are tracked whether or not weights are trained.
        logits = model.network(images.requires_grad_())
        if logits.shape[1] == 1:  # one logit speaks for the second class and against the first
            signs = torch.tensor([1.0 if code else -1.0 for code in codes], device=logits.device)
            scores = logits[:, 0] * signs
        else:
            scores = logits[torch.arange(len(codes)), torch.tensor(list(codes))]
        (gradient,) = torch.autograd.grad(scores.sum(), caught[0])
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    maps = caught[0].detach()
    if any(isinstance(each, nn.ReLU) for each in model.network.modules()):
        maps = maps.relu()  # it may stand behind the pool, where there are fewer values
    heat = (weights * maps).sum(dim=1).relu()
    highest = heat.amax(dim=(1, 2), keepdim=True)
    found: Floats = torch.where(highest > 0, heat / highest, heat).float().cpu().numpy()
    return found


@torch.no_grad()
def stages(model: Model, pixels: NDArray[np.uint8]) -> list[Stage]:
    """The maps that each stage of a network makes of one picture, (H, W, C)."""
    body = getattr(model.network, "body", model.network)
    found: list[Stage] = []

    def note(_: nn.Module, __: object, output: Tensor) -> None:
        if output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            # Copied: what follows may change it in place.
            maps = output[0].detach().float().cpu().numpy().copy()
            found.append(Stage(f"Stage {len(found) + 1}", maps))

    with _hooked(list(body.children()), note):
        model.network(_images(model, pixels[None]))
    return found


def first_filters(model: Model) -> Floats:
    """The weights of the first convolution: float32 (filters, channels, k, k)."""
    first = next(m for m in model.network.modules() if isinstance(m, nn.Conv2d))
    weights: Floats = first.weight.detach().float().cpu().numpy()
    return weights


def _images(model: Model, pixels: NDArray[np.uint8]) -> Tensor:
    """Pixels as the network takes them: float (N, C, H, W), standardised."""
    device = model.device.torch
    tensor = torch.from_numpy(np.ascontiguousarray(pixels)).to(device)
    mean = torch.tensor(model.spec.mean, device=device)
    deviation = torch.tensor(model.spec.deviation, device=device)
    return standardise(as_input(tensor), mean, deviation)


@contextlib.contextmanager
def _hooked(modules: Sequence[nn.Module], note: object) -> Iterator[None]:
    """Have every forward pass of some modules noted."""
    handles = [module.register_forward_hook(note) for module in modules]  # type: ignore[arg-type]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
