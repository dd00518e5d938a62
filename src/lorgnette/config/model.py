"""Settings of the network, one model per family."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lorgnette.config.base import (
    Activation,
    Norm,
    NotNegative,
    Positive,
    Probability,
    Settings,
    Weight,
)


class CnnConfig(Settings):
    """A plain convolutional network: blocks of convolution, pooling, norm and activation, a head.

    A per-block setting is one value for all blocks or a list with one value each.
    """

    family: Literal["cnn"] = "cnn"
    """The name of the family."""
    filters: tuple[Positive, ...] = (32, 64, 128)
    """Output channels of each block; their number is the number of blocks."""
    kernel: Positive | tuple[Positive, ...] = 3
    """Edge of the convolution kernels."""
    stride: Positive | tuple[Positive, ...] = 1
    """Step of the convolutions."""
    padding: Literal["same", "valid"] = "same"
    """Whether convolutions keep the edge length (`same`) or lose `kernel - 1` pixels."""
    pool: Literal["max", "average", "none"] | tuple[Literal["max", "average", "none"], ...] = "max"
    """Pooling after each convolution."""
    pool_size: Positive = 2
    """Edge and step of the pooling windows; what is left over at the border is dropped."""
    order: tuple[Literal["conv", "pool", "norm", "activation"], ...] = (
        "conv",
        "norm",
        "activation",
        "pool",
    )
    """The order inside a block."""
    norm: Norm = "batch"
    """Batch normalisation, or none."""
    norm_scale: bool = True
    """Whether the norm has a learnt scale (gamma)."""
    activation: Activation = "relu"
    """The nonlinearity of blocks and dense layers."""
    head: Literal["flatten", "max", "average"] = "average"
    """How the last map becomes a vector: flattened, or its global maximum or average."""
    dense: tuple[Positive, ...] = ()
    """Units of the dense layers before the output."""
    dropout: Probability | tuple[Probability, ...] = 0.0
    """Dropout after each dense layer (before the output where there are none)."""
    l1: Weight | tuple[Weight, ...] = 0.0
    """Weight of the sum of absolute weights in the loss, for each convolution and dense layer but
    the output."""
    l2: Weight | tuple[Weight, ...] = 0.0
    """Weight of the sum of squared weights in the loss, for the same layers."""
    output: Literal["auto", "sigmoid", "softmax"] = "auto"
    """One logit (two classes) or K; `auto` takes one where there are two classes."""
    initialization: Literal["torch", "keras"] = "torch"
    """`keras`: Glorot-uniform weights, zero biases, norm momentum 0.99 and epsilon 1e-3."""

    @model_validator(mode="after")
    def _per_block(self) -> Self:
        blocks = len(self.filters)
        if blocks == 0:
            raise ValueError("filters must name at least one block")
        for name in ("kernel", "stride", "pool"):
            _one_or_each(name, getattr(self, name), blocks, "blocks")
        if "conv" not in self.order or len(set(self.order)) != len(self.order):
            raise ValueError(f"order must hold conv once and no step twice, got {self.order}")
        return self


class ResnetConfig(Settings):
    """A small residual network: stages that widen and halve, a global pooling, an output."""

    family: Literal["resnet"] = "resnet"
    """The name of the family."""
    widths: tuple[Positive, ...] = (16, 32, 64, 128)
    """Channels of each stage; each stage halves the edge length."""
    blocks: NotNegative | tuple[NotNegative, ...] = (0, 0, 1, 0)
    """Residual blocks per stage: one value for all, or a list with one value each."""
    head: Literal["average", "max", "both"] = "max"
    """How the last map becomes a vector: its global average, its maximum, or one behind the other.
    The maximum finds small things in large pictures."""
    dropout: Probability = 0.0
    """Dropout before the output."""
    output: Literal["auto", "sigmoid", "softmax"] = "auto"
    """One logit (two classes) or K; `auto` takes one where there are two classes."""

    @model_validator(mode="after")
    def _per_stage(self) -> Self:
        _one_or_each("blocks", self.blocks, len(self.widths), "stages")
        return self


class PerceptronConfig(Settings):
    """One affine layer from the input, a vector or the values of an image, to the output."""

    family: Literal["perceptron"] = "perceptron"
    """The name of the family."""
    l1: Weight = 0.0
    """Weight of the sum of absolute weights in the loss."""
    l2: Weight = 0.0
    """Weight of the sum of squared weights in the loss."""
    output: Literal["auto", "sigmoid", "softmax"] = "auto"
    """One logit (two classes) or K; `auto` takes one where there are two classes."""
    initialization: Literal["torch", "keras"] = "torch"
    """`keras`: Glorot-uniform weights, zero biases."""


class MlpConfig(Settings):
    """Dense layers on vectors or the values of images: each affine, norm, activation, dropout.

    A per-layer setting is one value for all hidden layers or a list with one value each.
    """

    family: Literal["mlp"] = "mlp"
    """The name of the family."""
    units: tuple[Positive, ...] = (64, 32)
    """Units of each hidden layer; their number is the number of hidden layers."""
    activation: Activation | tuple[Activation, ...] = "relu"
    """The nonlinearity of each hidden layer."""
    norm: Norm | tuple[Norm, ...] = "none"
    """Batch normalisation before the activation, or none."""
    norm_scale: bool = True
    """Whether the norm has a learnt scale (gamma)."""
    dropout: Probability | tuple[Probability, ...] = 0.0
    """Dropout after each hidden layer."""
    l1: Weight | tuple[Weight, ...] = 0.0
    """Weight of the sum of absolute weights in the loss, for each hidden layer."""
    l2: Weight | tuple[Weight, ...] = 0.0
    """Weight of the sum of squared weights in the loss, for each hidden layer."""
    output: Literal["auto", "sigmoid", "softmax"] = "auto"
    """One logit (two classes) or K; `auto` takes one where there are two classes."""
    initialization: Literal["torch", "keras"] = "torch"
    """`keras`: Glorot-uniform weights, zero biases, norm momentum 0.99 and epsilon 1e-3."""

    @model_validator(mode="after")
    def _per_layer(self) -> Self:
        if not self.units:
            raise ValueError(
                "units must name at least one hidden layer, got none (without hidden layers the "
                "family is perceptron)"
            )
        for name in ("activation", "norm", "dropout", "l1", "l2"):
            _one_or_each(name, getattr(self, name), len(self.units), "hidden layers")
        return self


def _one_or_each(name: str, value: object, count: int, of_what: str) -> None:
    """Refuse a list of another length than the number of layers."""
    if isinstance(value, tuple) and len(value) != count:
        got = f"{len(value)}: {list(value)}"
        raise ValueError(
            f"{name} must be one value or one for each of the {count} {of_what}, got {got}"
        )


ModelConfig = Annotated[
    CnnConfig | MlpConfig | PerceptronConfig | ResnetConfig, Field(discriminator="family")
]
