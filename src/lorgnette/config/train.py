"""Settings of a training."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from lorgnette.config.base import (
    Fraction,
    LabelChoice,
    Positive,
    Probability,
    Settings,
)


class Augment(Settings):
    """Random changes to training images, drawn anew for each image and step."""

    flip_horizontal: bool = False
    """Mirror left and right with probability one half."""
    flip_vertical: bool = False
    """Mirror top and bottom with probability one half."""
    rotation: float = Field(default=0.0, ge=0.0, le=180.0)
    """Turn by up to this many degrees either way."""
    translation: Fraction = 0.0
    """Shift by up to this fraction of the edge, in both directions."""
    zoom_in: Probability = 0.0
    """Enlarge by up to this fraction: 0.3 shows as little as 70% of the edge."""
    zoom_out: float = Field(default=0.0, ge=0.0)
    """Shrink by up to this fraction: 0.2 shows as much as 120% of the edge."""
    fill: Literal["reflect", "nearest", "black"] = "reflect"
    """What stands where the picture was moved away from."""
    contrast: Probability = 0.0
    """Scale the distance from the image's mean by up to this fraction, either way."""
    invert: Fraction = 0.0
    """The probability that colours are inverted."""
    cutout: Probability = 0.0
    """The edge of a square that is greyed out, as a fraction of the image's."""


class OptimizerConfig(Settings):
    """How gradients become steps."""

    name: Literal["adam", "adamw", "sgd"] = "adamw"
    """Adam, AdamW (decoupled weight decay), or SGD."""
    lr: float = Field(default=2e-3, gt=0)
    """The learning rate, at its highest point."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Weight decay; biases and norms are spared."""
    momentum: Probability = 0.9
    """SGD only (Nesterov's)."""
    betas: tuple[Probability, Probability] = (0.9, 0.99)
    """Adam and AdamW only."""
    epsilon: float = Field(default=1e-8, gt=0)
    """Adam and AdamW only; what keeps the quotient finite. Keras: 1e-7."""
    epsilon_form: Literal["torch", "keras"] = "torch"
    """Adam and AdamW only; `keras` adds epsilon to the root of the second moment before that is
    corrected for its bias, so that in step t it counts for 1 / sqrt(1 - beta2^t) times as much."""


class ScheduleConfig(Settings):
    """How the learning rate moves over the steps of a run."""

    name: Literal["constant", "decay", "cosine", "one-cycle"] = "one-cycle"
    """`decay` multiplies by `rate` every `every` epochs (smoothly); `cosine` falls to zero;
    `one-cycle` rises for `warmup` of the run, then falls to zero."""
    warmup: Probability = 0.2
    """The fraction of all steps in which the rate rises; cosine and one-cycle."""
    rate: float = Field(default=0.96, gt=0, le=1)
    """`decay`: the factor."""
    every: float = Field(default=1.0, gt=0)
    """`decay`: the number of epochs to one factor."""


class StoppingConfig(Settings):
    """When to stop early, and which epoch's weights to keep."""

    monitor: Literal["val_loss", "val_accuracy"] = "val_loss"
    """What decides which epoch is best."""
    patience: int = Field(default=0, ge=0)
    """Stop after this many epochs without a better one; 0 trains to the end."""
    restore_best: bool = True
    """Keep the weights of the best epoch rather than those of the last."""


class UpdateConfig(Settings):
    """How the members of a training keep one network: when they tell each other what."""

    mode: Literal["sync", "periodic", "async", "hogwild"] = "sync"
    """`sync`: the gradients of all are averaged in every batch. `periodic`: each trains by itself,
    and weights are averaged now and then. `async`: one further process, the server, takes what
    members send in the order of its coming and answers with fresh weights. `hogwild`: all write
    into the same memory, without locks, on one machine."""
    every: Literal["batch", "epoch"] | Positive = "batch"
    """periodic: average after each batch, so many batches, or each epoch. async: send the gradient
    of each batch, or what so many batches or an epoch changed."""
    accumulate: Positive = 1
    """sync, also of one member: batches whose gradients are added up before a step."""

    @model_validator(mode="after")
    def _of_this_mode(self) -> Self:
        if self.every != "batch" and self.mode not in ("periodic", "async"):
            raise ValueError(
                f"every is for the modes periodic and async, and the mode is {self.mode}, which "
                "updates in every batch: leave it out"
            )
        if self.accumulate > 1 and self.mode != "sync":
            raise ValueError(
                f"accumulate is for the mode sync, and the mode is {self.mode}: use larger batches "
                "(train.batch_size), or every=K to talk less often"
            )
        return self


class TrainConfig(Settings):
    """How a network is trained."""

    epochs: Positive | None = None
    """Passes over the training part. None: as many as show 22,000 images, at least 12, at most
    100."""
    batch_size: Positive = 32
    """Images per step."""
    size: Positive | None = None
    """Edge of the images in pixels, one of the sizes that were prepared; the first if not given."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """How gradients become steps."""
    schedule: ScheduleConfig = ScheduleConfig()
    """How the learning rate moves."""
    stopping: StoppingConfig = StoppingConfig()
    """When to stop, and what to keep."""
    augment: Augment = Augment()
    """Random changes to the images."""
    normalize: Literal["standard", "unit"] = "standard"
    """`standard`: mean 0 and deviation 1 over the training part, by channel or feature. `unit`:
    pixels divided by 255, vectors as they are."""
    labels: LabelChoice = "decided"
    """What is learnt: the labels in force after all decisions, or those that the source gives."""
    label_smoothing: Probability = 0.05
    """Probability mass that targets give to the other classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced` weights the loss of each class by the inverse of its frequency."""
    average: Probability = 0.0
    """Exponential moving average of the weights, per step; 0 is off. The average is what is
    evaluated and kept."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto` takes a GPU where there is one."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the arithmetic in the network; `auto` takes bfloat16 where the hardware has it."""
    memory_gib: float | None = Field(default=None, gt=0)
    """Pixels up to this size are held in memory (the GPU's, where there is one); above it they are
    streamed shard by shard through a shuffle buffer of this size. None: half of what is free."""
    checkpoint_minutes: float = Field(default=5.0, gt=0)
    """A checkpoint is written after every epoch, and inside one after this time."""
    members: Positive = 1
    """Processes that train one network together, on `engine`."""
    update: UpdateConfig = UpdateConfig()
    """How they keep it one network."""

    @model_validator(mode="after")
    def _members_can(self) -> Self:
        mode = self.update.mode
        if mode != "sync" and self.members < 2:
            raise ValueError(
                f"update.mode={mode} is for members that train together, and there is one: use "
                "members=2 or more"
            )
        if mode == "hogwild" and self.device not in ("auto", "cpu"):
            raise ValueError(
                f"update.mode=hogwild shares the memory of a machine, and the device is "
                f"{self.device}: use device=cpu, or another mode"
            )
        return self
