"""Every setting, one frozen model per stage; the meaning stands under each field.

How a configuration is put together from these defaults, a recipe and the command line is in
`lorgnette.resolve`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
Weight = Annotated[float, Field(ge=0.0)]
Activation = Literal["relu", "gelu", "silu", "tanh", "elu"]
Norm = Literal["batch", "none"]
LabelChoice = Literal["decided", "given"]


class Settings(BaseModel):
    """The base of all settings: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class SourceConfig(Settings):
    """Where images and labels come from."""

    location: str = ""
    """A folder, a CSV or Parquet table, or a directory of Parquet files that are one table; a local
    path or a URL such as `s3://bucket/folder`."""
    kind: Literal["auto", "folder", "table", "kaggle"] = "auto"
    """How to read it; `auto` goes by what is there. `kaggle`: the layout of one of the two
    published sets, downloaded or generated."""
    images: str | None = None
    """Tables: what paths are relative to; the table's own folder if not given."""
    path: str | None = None
    """Tables: the column with the image's path; found by its usual names if not given."""
    content: str | None = None
    """Parquet tables that hold the images themselves: the column with the encoded bytes (or with a
    struct of bytes and path); found by its usual names if not given and there are no paths."""
    label: str | None = None
    """Tables: the column with the label; found by its usual names if not given."""
    id: str | None = None
    """Tables: the column with the item's id; the path serves if not given."""
    group: str | None = None
    """What belongs together and never straddles a split. Tables: a column. Folders: `stem` (the
    file name without its extension), `parent` (the directory), or a regular expression with one
    capture group, searched in the path below the class folder."""
    split: str | None = None
    """Tables: the column with a given split (train, val or test)."""
    features: str | None = None
    """Tables and the published glasses set: the columns that are numbers, as names, ranges and
    patterns (`v1..v512`, `v*`, `age,height`), or columns with a list of numbers each; rows are then
    vectors, without images."""
    corrections: str | None = None
    """The published glasses set: a table of corrected labels that go over the given ones (columns
    id and glasses; blank: undecidable, the image is left out). None are applied if not given."""


class PrepareConfig(Settings):
    """How images become arrays."""

    size: tuple[Positive, ...] = (64,)
    """Edge lengths in pixels; several are prepared in one pass and training uses the first."""
    color: Literal["rgb", "gray"] = "rgb"
    """Three channels, or the luminance (ITU-R 601) alone."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """What happens to an image that is not square: the centre is cut out, white is added, or the
    aspect is given up."""
    missing: Literal["error", "drop", "mean"] = "error"
    """Vectors: what becomes of a row that lacks a number. It is an error, the row is set aside, or
    the mean of the training part stands in."""
    shard_items: Positive | None = None
    """Items per shard, the unit of work, of memory and of resumption. None: a sixteenth of the
    items, at least 64, at most 2,048 and at most 128 MiB of pixels."""
    pixel_limit: Positive = 178_956_970
    """Images with more pixels than this are not decoded (a decompression bomb)."""

    @model_validator(mode="after")
    def _sizes_differ(self) -> Self:
        if not self.size or len(set(self.size)) != len(self.size):
            raise ValueError(f"size must list one or more different edge lengths, got {self.size}")
        return self


class SplitConfig(Settings):
    """How items are divided; the parts are all ratios (they sum to 1) or all counts.

    The default suits data sets from some thousand items up.
    """

    train: float = Field(default=0.8, gt=0)
    """The part to train on: a ratio below 1, or a number of items."""
    val: float = Field(default=0.1, gt=0)
    """The part for every choice: early stopping, thresholds, tuning."""
    test: float = Field(default=0.1, gt=0)
    """The part that is read once, at the end."""
    given: bool = True
    """Honour the split that the source gives, where it gives one."""

    @model_validator(mode="after")
    def _ratios_or_counts(self) -> Self:
        parts = (self.train, self.val, self.test)
        if all(part < 1 for part in parts):
            if abs(sum(parts) - 1) > 1e-6:
                raise ValueError(f"ratios must sum to 1, got {parts} with sum {sum(parts):g}")
        elif not all(part >= 1 and float(part).is_integer() for part in parts):
            raise ValueError(f"the parts must be all ratios or all whole counts, got {parts}")
        return self

    @property
    def counts(self) -> bool:
        """Whether the parts are numbers of items rather than ratios."""
        return self.train >= 1


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


class AuditConfig(Settings):
    """How labels are judged."""

    folds: int = Field(default=5, ge=2)
    """Parts of the data; each is judged by a network trained on the others."""
    rounds: int = Field(default=4, ge=2)
    """The first learns the labels as they are, each later one those that the last has mended."""
    epochs: Positive | None = None
    """Passes of each network over its part. None: as many as a training makes."""
    divisions: Positive = 1
    """How often each round divides the data anew; more make opinions steadier."""
    hold_out: bool = True
    """Judge the test part of the split by networks that have seen none of it, so that its labels
    change nothing elsewhere."""


class EvaluateConfig(Settings):
    """How results are judged."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """The coverage of the intervals."""
    mistakes: int = Field(default=24, ge=0)
    """How many of the worst mistakes the report shows."""


class EngineConfig(Settings):
    """Where work runs."""

    name: Literal["local", "spark", "ray"] = "local"
    """`local`: processes on this machine. `spark` and `ray`: those of a cluster, which needs this
    package and storage that all its machines reach."""
    workers: Positive | None = None
    """Processes; as many as there are processors, here or in the cluster, if not given."""
    master: str | None = None
    """Spark: the URL of the master (`spark://host:7077`, `yarn`, `local-cluster[2,1,1024]`). None:
    the session that is open, or what the environment configures."""
    address: str | None = None
    """Ray: the address of a cluster (`host:6379`, `ray://host:10001`, `auto`). None: the one that
    is connected, or a new one on this machine."""
    gpus: float = Field(default=0.0, ge=0)
    """GPUs for each worker and each member of a gang; below 1 several share one (Ray)."""
    patience_seconds: float = Field(default=120.0, gt=0)
    """How long to wait for a cluster that does not answer, or that has no worker to give."""
    limit_minutes: float = Field(default=1440.0, gt=0)
    """An item of work, or a member of a gang, that takes longer is ended and started again."""

    @model_validator(mode="after")
    def _of_this_engine(self) -> Self:
        for name, engine in (("master", "spark"), ("address", "ray")):
            if getattr(self, name) is not None and self.name != engine:
                raise ValueError(
                    f"{name} is for the engine {engine}, and the engine is {self.name}"
                )
        return self


class Config(Settings):
    """A whole run: one section per stage."""

    recipe: str = "default"
    """The recipe that this configuration started from; for the record."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Fixes splits, initial weights, order and augmentation."""
    source: SourceConfig = SourceConfig()
    """Where images and labels come from."""
    prepare: PrepareConfig = PrepareConfig()
    """How images become arrays."""
    split: SplitConfig = SplitConfig()
    """How items are divided."""
    model: ModelConfig = ResnetConfig()
    """The network."""
    train: TrainConfig = TrainConfig()
    """How it is trained."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """How it is judged."""
    audit: AuditConfig = AuditConfig()
    """How labels are judged."""
    engine: EngineConfig = EngineConfig()
    """Where work runs."""
