"""Settings of the data: where they come from, how they become arrays, how they are divided."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from lorgnette.config.base import (
    Positive,
    Settings,
)


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
