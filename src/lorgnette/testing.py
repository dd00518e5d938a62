"""The contract of engines, as tests that every engine must pass.

    class TestMine(EngineContract):
        @pytest.fixture
        def engine(self): return MyEngine(workers=2)

        @pytest.fixture
        def impatient(self): return MyEngine(workers=2, limit=LIMIT_SECONDS)

Agreement on success alone proves little, so most of it injects failures: raised errors, verdicts,
retries, a killed worker, a killed member of a gang, members that wait for one that is gone, work
that never ends.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from lorgnette.engines.base import ATTEMPTS, Engine, Outcome, Task
from lorgnette.errors import ConfigError, EngineError

LIMIT_SECONDS = 8.0
"""How long an item and a member may take on the engine of the fixture `impatient`."""


def square(item: int) -> int:
    """Succeed."""
    return item * item


def worker_id(item: int) -> int:
    """Tell which process runs this."""
    return os.getpid()


def fail_on(item: int, *, bad: int) -> int:
    """Raise on one item, always."""
    if item == bad:
        raise ValueError(f"item {item} is bad")
    return item


def refuse(item: int) -> int:
    """Raise what is a verdict and not an accident."""
    raise ConfigError(f"item {item} is refused")


def tries(folder: str, item: int) -> int:
    """Count a try of an item in a folder that outlives the process; returns its number."""
    path = Path(folder) / str(item)
    with path.open("a") as file:
        file.write("x")
    return len(path.read_text())


def fail_first(item: int, *, folder: str) -> int:
    """Raise the first time that an item is tried."""
    if tries(folder, item) == 1:
        raise OSError("the first try fails")
    return item


def die_first(item: int, *, folder: str, victim: int) -> int:
    """Kill the process the first time that the victim is tried."""
    if tries(folder, item) == 1 and item == victim:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def die(item: int, *, victim: int) -> int:
    """Kill the process whenever the victim is tried."""
    if item == victim:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def reduce_ranks(rank: int) -> int:
    """Sum all ranks over the gang."""
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo")
    total = torch.tensor(rank)
    dist.all_reduce(total)
    dist.destroy_process_group()
    return int(total) * 10 + rank


def die_in_gang_first(rank: int, *, folder: str) -> int:
    """Kill member 1 the first time that the gang runs."""
    if tries(folder, rank) == 1 and rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return reduce_ranks(rank)


def fail_in_gang(rank: int) -> int:
    """Raise in one member, always."""
    if rank == 0:
        raise ValueError("member 0 fails")
    return rank


def refuse_in_gang(rank: int, *, folder: str) -> int:
    """Raise a verdict in member 1 while member 0 waits for it."""
    import torch
    import torch.distributed as dist

    tries(folder, rank)
    dist.init_process_group("gloo")
    if rank == 1:
        raise ConfigError("member 1 refuses")
    dist.all_reduce(torch.zeros(1))
    return rank


def hang(item: int, *, folder: str, victim: int) -> int:
    """Never end, on one item, the first time."""
    if tries(folder, item) == 1 and item == victim:
        time.sleep(3600)
    return item


def where(rank: int) -> tuple[int, str]:
    """Tell the number of threads that torch would use, and the process."""
    import torch

    return torch.get_num_threads(), f"{os.uname().nodename}:{os.getpid()}"


def _by_item(outcomes: list[Outcome[int, int]]) -> dict[int, Outcome[int, int]]:
    found = {outcome.item: outcome for outcome in outcomes}
    assert len(found) == len(outcomes), "an item has more than one outcome"
    return found


class EngineContract:
    """What every engine does; a subclass provides the fixture `engine`."""

    def test_every_item_has_one_outcome(self, engine: Engine) -> None:
        """Values, seconds and attempts are there."""
        outcomes = _by_item(list(engine.map(Task.of(square), range(20))))
        assert {item: outcome.value for item, outcome in outcomes.items()} == {
            item: item * item for item in range(20)
        }
        assert all(o.error is None and o.attempts == 1 for o in outcomes.values())
        assert all(o.seconds >= 0 for o in outcomes.values())

    def test_nothing_to_do(self, engine: Engine) -> None:
        """No items, no outcomes."""
        assert list(engine.map(Task.of(square), [])) == []

    def test_a_failing_item_is_tried_a_bounded_number_of_times(self, engine: Engine) -> None:
        """It ends as an error and takes no other item with it."""
        outcomes = _by_item(list(engine.map(Task.of(fail_on, bad=3), range(6))))
        assert len(outcomes) == 6
        assert outcomes[3].error is not None
        assert "item 3 is bad" in outcomes[3].error
        assert "ValueError" in (outcomes[3].traceback or "")
        assert outcomes[3].attempts == ATTEMPTS
        assert all(outcomes[i].value == i for i in range(6) if i != 3)

    def test_a_verdict_is_not_tried_again(self, engine: Engine) -> None:
        """A LorgnetteError is final at once."""
        (outcome,) = engine.map(Task.of(refuse), [1])
        assert outcome.attempts == 1
        assert outcome.error == "item 1 is refused"

    def test_a_flaky_item_succeeds_on_its_second_try(self, engine: Engine, tmp_path: Path) -> None:
        """And its outcome says so."""
        outcomes = _by_item(list(engine.map(Task.of(fail_first, folder=str(tmp_path)), range(4))))
        assert [outcomes[i].value for i in range(4)] == [0, 1, 2, 3]
        assert all(o.attempts == 2 for o in outcomes.values())

    def test_a_lost_worker_is_not_a_lost_item(self, engine: Engine, tmp_path: Path) -> None:
        """The item goes to another worker; the others' items are not tried twice."""
        task = Task.of(die_first, folder=str(tmp_path), victim=2)
        outcomes = _by_item(list(engine.map(task, range(8))))
        assert {i: o.value for i, o in outcomes.items()} == {i: i for i in range(8)}
        assert outcomes[2].attempts == 2

    def test_an_item_that_kills_its_workers_ends_as_an_error(self, engine: Engine) -> None:
        """And the rest is done."""
        outcomes = _by_item(list(engine.map(Task.of(die, victim=1), range(4))))
        assert outcomes[1].value is None
        assert "died" in (outcomes[1].error or "")
        assert outcomes[1].attempts == ATTEMPTS
        assert all(outcomes[i].value == i for i in (0, 2, 3))

    def test_items_are_drawn_as_workers_become_free(self, engine: Engine) -> None:
        """An endless source is fine, and leaving early leaves nothing behind."""
        drawn: list[int] = []

        def endless() -> object:
            number = 0
            while True:
                drawn.append(number)
                yield number
                number += 1

        outcomes = engine.map(Task.of(square), endless())  # type: ignore[arg-type]
        first = [next(outcomes) for _ in range(5)]
        outcomes.close()  # type: ignore[attr-defined]
        assert len(_by_item(first)) == 5
        assert len(drawn) <= 5 + 2 * engine.workers

    def test_a_gang_talks(self, engine: Engine) -> None:
        """Members reach each other; values come by rank."""
        assert engine.gang(Task.of(reduce_ranks), 2) == [10, 11]

    def test_a_gang_that_loses_a_member_starts_again(self, engine: Engine, tmp_path: Path) -> None:
        """A bounded number of times."""
        task = Task.of(die_in_gang_first, folder=str(tmp_path))
        assert engine.gang(task, 2) == [10, 11]
        assert len((tmp_path / "1").read_text()) == 2

    def test_a_gang_that_always_fails_is_an_error(self, engine: Engine) -> None:
        """With the reason."""
        message = ""
        try:
            engine.gang(Task.of(fail_in_gang), 2)
        except EngineError as error:
            message = str(error)
        assert "member 0 fails" in message

    def test_a_verdict_in_a_gang_is_not_tried_again(self, engine: Engine, tmp_path: Path) -> None:
        """It comes out as it was raised, also where others wait for the member."""
        message = ""
        try:
            engine.gang(Task.of(refuse_in_gang, folder=str(tmp_path)), 2)
        except ConfigError as error:
            message = str(error)
        assert message == "member 1 refuses"
        assert len((tmp_path / "1").read_text()) == 1

    def test_members_are_processes_of_their_own(self, engine: Engine) -> None:
        """And none of them is the caller."""
        places = {place for _, place in engine.gang(Task.of(where), 2)}
        assert len(places) == 2
        assert f"{os.uname().nodename}:{os.getpid()}" not in places

    def test_a_hang_is_ended_and_tried_again(self, impatient: Engine, tmp_path: Path) -> None:
        """An item that takes too long counts as one whose worker died."""
        task = Task.of(hang, folder=str(tmp_path), victim=1)
        outcomes = _by_item(list(impatient.map(task, range(3))))
        assert {i: o.value for i, o in outcomes.items()} == {0: 0, 1: 1, 2: 2}
        assert outcomes[1].attempts == 2

    def test_a_gang_that_hangs_is_started_again(self, impatient: Engine, tmp_path: Path) -> None:
        """As if a member had died."""
        assert impatient.gang(Task.of(hang, folder=str(tmp_path), victim=1), 2) == [0, 1]
        assert len((tmp_path / "1").read_text()) == 2
