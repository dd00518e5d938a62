"""A decision about a label: as it is wanted, as it is written, and as it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import ConfigDict, Field

from lorgnette.config import Settings

Action = Literal["relabel", "confirm", "drop", "undecidable", "undo"]
By = Literal["person", "rule", "import"]


class Decision(Settings):
    """A line of the ledger."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    id: str
    """The item."""
    action: Action
    """`relabel` gives another label, `confirm` keeps the one in force; `drop` and `undecidable`
    leave the item out; `undo` takes back the newest of these that is not undone."""
    from_: str | None = Field(default=None, alias="from")
    """The label in force before."""
    to: str | None = None
    """The label in force after; none where the item is left out."""
    reason: str = ""
    """A rule, a note, or the file of an import."""
    who: str = ""
    """A name."""
    by: By
    """What kind of decision it was."""
    when: str = ""
    """ISO 8601, UTC."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A decision to be.

    Attributes:
        id: the item.
        action: see `Decision`.
        to: the new label of `relabel`; for `confirm` the label that is meant, if it must be that
            (where it is not, a person is told, and an import relabels).
        reason: a rule, a note, or the file of an import.
        who: a name.
        by: what kind of decision it is.
        origin: where it was written, for messages ("row 7 of labels.csv").
    """

    id: str
    action: str
    to: str | None = None
    reason: str = ""
    who: str = ""
    by: str = "person"
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands for an item.

    Attributes:
        label: in force; None where the item is left out.
        action: of the decision that stands.
        by: what kind of decision it is.
        who: whose.
        when: ISO 8601, UTC.
        given: the label that the source gives.
        count: all decisions about the item, undone ones and undos too.
    """

    label: str | None
    action: str
    by: str
    who: str
    when: str
    given: str | None
    count: int
