"""The engine seam: two verbs, `map` for independent work and `gang` for work that talks.

The code of a task travels as the name of a module-level function and plain data, so that a worker
needs the installed package and nothing else: no pickled closures, no `__main__`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")
P = ParamSpec("P")

ATTEMPTS = 3
"""How often an item is tried, and a gang started, before it counts as failed."""


@dataclass(frozen=True, slots=True)
class Task(Generic[Item, Value]):
    """A module-level function by name, with the keyword arguments that all items share.

    Attributes:
        function: `"package.module:name"`; called as `name(item, **arguments)`.
        arguments: plain data that can be pickled.
    """

    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        function: Callable[Concatenate[Item, P], Value],
        /,
        *args: P.args,
        **arguments: P.kwargs,
    ) -> Task[Item, Value]:
        """The task that calls `function(item, **arguments)`, type-checked.

        Raises:
            TypeError: `function` is not at the top level of an importable module, or a shared
                argument was given by position.
        """
        if args:
            raise TypeError("the arguments that items share are passed by keyword")
        if "." in function.__qualname__ or function.__module__ == "__main__":
            raise TypeError(
                f"a task is a function at the top level of an importable module, "
                f"not {function.__module__}.{function.__qualname__}"
            )
        return cls(f"{function.__module__}:{function.__qualname__}", arguments)

    def __call__(self, item: Item) -> Value:
        """Import the function where this runs and call it."""
        module, _, name = self.function.partition(":")
        value: Value = getattr(importlib.import_module(module), name)(item, **self.arguments)
        return value


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Item, Value]):
    """What became of one item: a value or an error, never silence.

    Attributes:
        item: the item as it was given.
        value: what the task returned; None where it failed.
        error: one sentence; None where it succeeded.
        traceback: the worker's traceback, for `--debug`.
        seconds: wall time of the last attempt.
        attempts: how often it was tried, from 1.
    """

    item: Item
    value: Value | None = None
    error: str | None = None
    traceback: str | None = None
    seconds: float = 0.0
    attempts: int = 1


class Engine(Protocol):
    """Where work runs. Implementations must pass the contract suite in `lorgnette.testing`."""

    name: str

    @property
    def workers(self) -> int:
        """How many items run at once; a cluster is asked when this is first read."""
        ...

    def map(self, task: Task[Item, Value], items: Iterable[Item]) -> Iterator[Outcome[Item, Value]]:
        """Run `task` on every item, in any order; yield one `Outcome` per item as it ends.

        An item that raises is tried again, `ATTEMPTS` times in all (a `LorgnetteError` at once
        counts as final: it is a verdict, not an accident). An item whose worker died is handed to
        another worker, within the same bound. `items` is drawn from as workers become free, so an
        endless iterable is fine.
        """
        ...

    def gang(self, task: Task[int, Value], members: int) -> list[Value]:
        """Run `task(rank)` in `members` processes that can reach each other; values by rank.

        The environment of each member is set for `torch.distributed.init_process_group()`. When
        a member dies, all are started again, `ATTEMPTS` times in all: a task that wants to
        continue rather than begin again loads its last checkpoint.

        Raises:
            EngineError: the gang failed on every attempt.
        """
        ...
