"""A trained model: a network, and what must be known to use it, loaded without executing code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from lorgnette import __version__
from lorgnette.config import CnnConfig, MlpConfig, PerceptronConfig, ResnetConfig, Settings
from lorgnette.devices import Device
from lorgnette.errors import ModelError
from lorgnette.models import build
from lorgnette.models.ensemble import EnsembleConfig
from lorgnette.models.inputs import as_input as as_input
from lorgnette.models.inputs import standardise as standardise
from lorgnette.models.inputs import to_probabilities as to_probabilities
from lorgnette.storage import Storage

FORMAT = 1


class ModelSpec(Settings):
    """What `model.json` holds."""

    format: int = FORMAT
    """The version of the format on disk."""
    version: str = __version__
    """The version of Lorgnette that trained it."""
    model: Annotated[
        CnnConfig | MlpConfig | PerceptronConfig | ResnetConfig | EnsembleConfig,
        Field(discriminator="family"),
    ]
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
    """Subtracted from each channel, in grey levels, or from each feature; 0 for an ensemble, whose
    members have their own."""
    deviation: tuple[float, ...]
    """What each channel or feature is divided by then; 1 for an ensemble."""

    @classmethod
    def load(cls, storage: Storage) -> ModelSpec:
        """Read the `model.json` of a run.

        Raises:
            ModelError: there is none, or it is damaged or of another format.
        """
        try:
            data = json.loads(storage.read("model.json"))
            if data.get("format") != FORMAT:
                raise ModelError(
                    f"The model in {storage.root} has format {data.get('format')} and this version "
                    f"reads format {FORMAT}: use the version that made it ({data.get('version')})."
                )
            return cls.model_validate(data)
        except FileNotFoundError as error:
            raise _absent(storage) from error
        except (ValueError, ValidationError, AttributeError) as error:
            raise _damaged(storage, error) from error

    @property
    def is_ensemble(self) -> bool:
        """Whether it is several networks that answer as one."""
        return self.model.family == "ensemble"

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
        spec = ModelSpec.load(storage)
        try:
            tensors = load_tensors(storage.read("model.safetensors"))
            network = build(spec.model, spec.input_shape, len(spec.classes))
            network.load_state_dict(tensors)
        except FileNotFoundError as error:
            raise _absent(storage) from error
        except (ValueError, SafetensorError, RuntimeError) as error:
            raise _damaged(storage, error) from error
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
            if not self.spec.is_ensemble:
                inputs = standardise(inputs, mean, deviation)
            with self.device.autocast():
                logits = self.network(inputs)
            found.append(to_probabilities(logits).cpu().numpy())
        return np.concatenate(found)


def weights(network: nn.Module) -> bytes:
    """All parameters and buffers as safetensors bytes."""
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    data: bytes = save_tensors(state)
    return data


def _absent(storage: Storage) -> ModelError:
    return ModelError(
        f"There is no trained model in {storage.root}: train one with `lorgnette run` or "
        "`lorgnette train`; an interrupted training continues with the same command."
    )


def _damaged(storage: Storage, error: Exception) -> ModelError:
    return ModelError(
        f"The model in {storage.root} is damaged ({type(error).__name__}): train it again, or "
        "restore model.json and model.safetensors from a copy."
    )
