"""A gang on Spark: a barrier stage whose tasks PyTorch's launcher joins, by `TorchDistributor`."""

from __future__ import annotations

import logging
import re
import threading
from typing import Any

from pyspark.ml.torch import distributor as spark_torch

from lorgnette.engines.attempt import Report
from lorgnette.engines.base import Task
from lorgnette.engines.spark.jobs import JobGroup, died, reason
from lorgnette.engines.spark.remote import FAILED, run_member
from lorgnette.errors import EngineError

_quiet = threading.local()


class LogServer(spark_torch.LogStreamingServer):  # type: ignore[misc]
    """Spark's server that prints what members write, silent for the gangs of this package."""

    def start(self, spark_host_address: str = "") -> None:
        """Serve, unless the thread has asked for quiet; port -1 says that nobody does."""
        if getattr(_quiet, "on", False):
            self.port = -1
        else:
            super().start(spark_host_address)


spark_torch.LogStreamingServer = LogServer


def launch(
    group: JobGroup, task: Task[int, Any], members: int, gpus: bool, limit: float | None
) -> list[Report]:
    """Start a gang once, as one job of Spark. Spark itself never starts such a job again.

    Raises:
        EngineError: Spark refuses such jobs.
        Exception: what Spark raises when a member or its executor died.
    """
    logging.getLogger("TorchDistributor").setLevel(logging.ERROR)
    group.enter()
    _quiet.on = True
    try:
        torch = spark_torch.TorchDistributor(members, local_mode=False, use_gpu=gpus)
        torch.logger.setLevel(logging.ERROR)
        reports: list[Report] | None = torch.run(run_member, task, limit)
    except RuntimeError as error:
        if type(error) is not RuntimeError:  # Spark's own are subclasses
            raise
        text = " ".join(str(error).split())
        raise EngineError(f"Spark refuses to start a gang: {text}") from error
    finally:
        _quiet.on = False
    return reports or []


def why(text: str) -> str:
    """What ended a gang, in a few words, by what Spark says of it."""
    marked = re.findall(re.escape(FAILED) + "(.*)", text)
    if marked:
        return str(marked[-1]).strip()
    if died(text):
        return "an executor died"
    place = re.search(r"barrier task \w+\(\d+, (\d+)\)", text)
    if place and "failed during training" in text:
        return f"member {place[1]}: its process died"
    return reason(text)
