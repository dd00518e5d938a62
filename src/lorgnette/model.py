"""A trained model: a network, and what must be known to use it, loaded without executing code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from lorgnette import __version__
from lorgnette.config import ModelConfig, Settings
from lorgnette.devices import Device
from lorgnette.errors import ModelError
from lorgnette.models import build
from lorgnette.storage import Storage

FORMAT = 1


class ModelSpec(Settings):
    """What `model.json` holds."""

    format: int = FORMAT
    """The version of the format on disk."""
    version: str = __version__
    """The version of Lorgnette that trained it."""
    model: ModelConfig
    """The family and its settings."""
    classes: tuple[str, ...]
    """The classes, in the order of the probabilities."""
    features: tuple[str, ...] = ()
    """The columns of numbers, in their order, where items are vectors; empty for images."""
    impute: bool = False
    """Whether the training mean stands in for a number that a vector lacks."""
    size: int
    """The edge of the images in pixels; 0 for vectors."""
    color: Literal["rgb", "gray"]
    """What the channels are."""
    fit: Literal["crop", "pad", "stretch"]
    """How an image that is not square was made so."""
    mean: tuple[float, ...]
    """Subtracted from each channel, in grey levels, or from each feature."""
    deviation: tuple[float, ...]
    """What each channel or feature is divided by then."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(C, H, W) of images, (F,) of vectors."""
        if self.features:
            return (len(self.features),)
        return (3 if self.color == "rgb" else 1, self.size, self.size)

    @property
    def things(self) -> str:
        """What the model takes: `vectors` or `images`."""
        return "vectors" if self.features else "images"


def as_input(items: Tensor) -> Tensor:
    """Items as they are stored, to what networks take.

    Uint8 (N, H, W, C) becomes float (N, C, H, W), channels last in memory; vectors stay (N, F).
    """
    return items.permute(0, 3, 1, 2).float() if items.ndim == 4 else items.float()


def standardise(inputs: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Inputs with zero mean and unit deviation: (N, C, H, W) by channel, or (N, F) by feature.

    A number that a vector lacks (NaN) becomes 0, which is the mean.
    """
    if inputs.ndim == 2:
        return torch.nan_to_num((inputs - mean) / deviation, nan=0.0)
    return (inputs - mean[:, None, None]).div_(deviation[:, None, None])


def to_probabilities(logits: Tensor) -> Tensor:
    """Logits (N, 1) or (N, K) to float32 probabilities (N, 2) or (N, K)."""
    logits = logits.float()
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    return logits.softmax(dim=1)


@dataclass(frozen=True, eq=False)
class Model:
    """A network with its specification, on a device and ready to predict.

    Attributes:
        spec: what `model.json` says.
        network: in evaluation mode.
        device: where it computes.
    """

    spec: ModelSpec
    network: nn.Module
    device: Device

    @classmethod
    def of(cls, spec: ModelSpec, network: nn.Module, device: Device) -> Model:
        """A model ready to predict; the network is put in evaluation mode."""
        device = device.exact() if spec.features else device
        return cls(spec, device.place(network).eval(), device)

    def save(self, storage: Storage) -> None:
        """Write `model.safetensors`, then `model.json`, which makes it a model."""
        storage.write("model.safetensors", weights(self.network))
        text = self.spec.model_dump_json(indent=1, exclude_none=True) + "\n"
        storage.write("model.json", text.encode())

    @classmethod
    def load(cls, storage: Storage, device: Device) -> Model:
        """Read the model of a run.

        Raises:
            ModelError: there is none, or its files are damaged or do not belong together.
        """
        try:
            data = json.loads(storage.read("model.json"))
            tensors = load_tensors(storage.read("model.safetensors"))
            if data.get("format") != FORMAT:
                raise ModelError(
                    f"The model in {storage.root} has format {data.get('format')} and this version "
                    f"reads format {FORMAT}: use the version that made it ({data.get('version')})."
                )
            spec = ModelSpec.model_validate(data)
            network = build(spec.model, spec.input_shape, len(spec.classes))
            network.load_state_dict(tensors)
        except FileNotFoundError as error:
            raise ModelError(
                f"There is no trained model in {storage.root}: train one with `lorgnette run` or "
                "`lorgnette train`; an interrupted training continues with the same command."
            ) from error
        except (ValueError, ValidationError, SafetensorError, RuntimeError) as error:
            raise ModelError(
                f"The model in {storage.root} is damaged ({type(error).__name__}): train it again, "
                "or restore model.json and model.safetensors from a copy."
            ) from error
        return cls.of(spec, network, device)

    @torch.inference_mode()
    def probabilities(self, items: NDArray[Any] | Tensor, batch: int = 256) -> NDArray[Any]:
        """What the model thinks of prepared items.

        Args:
            items: uint8 (N, H, W, C) as `prepare` makes them with the model's size and colour, or
                float32 (N, F).
            batch: items per step.

        Returns:
            float32 (N, K), rows summing to 1.
        """
        tensor = torch.from_numpy(items) if isinstance(items, np.ndarray) else items
        mean = torch.tensor(self.spec.mean, device=self.device.torch)
        deviation = torch.tensor(self.spec.deviation, device=self.device.torch)
        found = [np.empty((0, len(self.spec.classes)), np.float32)]
        for part in torch.split(tensor, batch):
            inputs = as_input(part.to(self.device.torch))
            with self.device.autocast():
                logits = self.network(standardise(inputs, mean, deviation))
            found.append(to_probabilities(logits).cpu().numpy())
        return np.concatenate(found)


def weights(network: nn.Module) -> bytes:
    """All parameters and buffers as safetensors bytes."""
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    data: bytes = save_tensors(state)
    return data
