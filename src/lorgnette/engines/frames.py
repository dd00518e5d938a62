"""What is known of a frame of either cluster: a table whose rows are on its machines."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Field(NamedTuple):
    """What a column of a frame holds."""

    kind: Literal["bytes", "text", "number", "numbers", "vector", "other"]
    """`bytes`: encoded images, or structs with a field `bytes` of them. `numbers`: a list of
    numbers. `vector`: one of Spark ML."""
    type: str
    """The type as the cluster calls it, for messages."""
