"""One Spark for all tests: a driver, two executor processes with one slot each, on loopback."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

MASTER = "local-cluster[2,1,1024]"


def check(missing: Callable[[str, str], NoReturn]) -> None:
    """Skip, or fail, where Spark cannot run."""
    if importlib.util.find_spec("pyspark") is None:
        missing("spark", "pyspark is not installed")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        missing("spark", "there is no java on the PATH")


@pytest.fixture(scope="session")
def spark_session(missing: Callable[[str, str], NoReturn]) -> Iterator[Any]:
    """A SparkSession on `local-cluster[2,1,1024]`; functions of test modules can be tasks."""
    check(missing)
    from pyspark.find_spark_home import _find_spark_home
    from pyspark.sql import SparkSession

    from lorgnette.engines.spark.session import wait_for_slots

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        session = (
            SparkSession.builder.master(MASTER)
            .appName("tests")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.executorEnv.PYTHONPATH", str(Path(__file__).parent))
            .config("spark.log.level", "ERROR")
            .config("spark.pyspark.python", sys.executable)
            .config("spark.sql.shuffle.partitions", "2")
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
            .getOrCreate()
        )
    session.sparkContext.setLogLevel("ERROR")
    wait_for_slots(session, 2, 120)
    application = session.sparkContext.applicationId
    yield session
    session.stop()
    # executors of a local cluster leave their logs in Spark's own folder
    shutil.rmtree(Path(_find_spark_home()) / "work" / application, ignore_errors=True)
