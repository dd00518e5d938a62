"""The Spark session: the one that is open, or one that is opened here, with bounded waits."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from typing import IO

from pyspark import SparkConf, SparkContext
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession
from pyspark.sql.utils import is_remote

from lorgnette.config import EngineConfig
from lorgnette.errors import ConfigError, EngineError

POLL_SECONDS = 0.1
SETTLED_SECONDS = 3.0
YOUNG_SECONDS = 30.0
LOOPBACK = "127.0.0.1"

_opening = threading.Lock()


def session_of(settings: EngineConfig) -> SparkSession:
    """The Spark session that is open in this process, or a new one on the master of the settings.

    Raises:
        ConfigError: a session on another master is open.
        EngineError: the master does not answer in `patience_seconds`, or refuses.
    """
    # Spark says that of recent releases of pandas, which it is not asked for here
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
    with _opening:
        if is_remote():
            raise EngineError(
                "The engine spark runs its own tasks on the cluster, which a session of Spark "
                "Connect cannot do. Give the master itself (engine.master, spark://host:7077)."
            )
        context = SparkContext._active_spark_context
        if context is None:
            return _opened(settings)
        if settings.master not in (None, context.master):
            raise ConfigError(
                f"One process has one Spark session: one on {context.master} is open, and "
                f"engine.master is {settings.master}. Leave engine.master out, or stop the session."
            )
        return SparkSession.builder.getOrCreate()


def slots(session: SparkSession) -> int:
    """How many tasks the cluster can run at once, with the executors that it has now."""
    context = session.sparkContext._jsc.sc()
    profile = context.resourceProfileManager().defaultResourceProfile()
    return int(context.maxNumConcurrentTasks(profile))


def grows(session: SparkSession) -> bool:
    """Whether executors come and go with the work (`spark.dynamicAllocation.enabled`)."""
    conf = session.sparkContext.getConf()
    return str(conf.get("spark.dynamicAllocation.enabled", "false")).lower() == "true"


def wait_for_slots(session: SparkSession, wanted: int, patience: float) -> int:
    """Wait until the cluster can run `wanted` tasks at once; returns how many it can run.

    Raises:
        EngineError: it cannot after `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while (found := slots(session)) < wanted:
        if time.monotonic() > deadline:
            raise EngineError(
                f"The Spark cluster at {session.sparkContext.master} must run {wanted} "
                f"{'task' if wanted == 1 else 'tasks'} at once, and {patience:g} seconds "
                f"(engine.patience_seconds) have not brought it beyond {found}. Add workers, or "
                "take them from other applications."
            )
        time.sleep(POLL_SECONDS)
    return found


def settled_slots(session: SparkSession, patience: float) -> int:
    """How many tasks the cluster can run at once, when its executors have come.

    Spark does not know how many will come. While a session is young, their number must have stayed
    the same for some seconds.

    Raises:
        EngineError: none has come after `patience` seconds.
    """
    found = wait_for_slots(session, 1, patience)
    deadline = time.monotonic() + patience
    since = time.monotonic()
    while time.monotonic() < min(deadline, since + SETTLED_SECONDS) and _young(session):
        time.sleep(POLL_SECONDS)
        if (now := slots(session)) != found:
            found, since = now, time.monotonic()
    return found


def _young(session: SparkSession) -> bool:
    """Whether executors may still be on their way."""
    return bool(time.time() - session.sparkContext.startTime / 1000 < YOUNG_SECONDS)


def _opened(settings: EngineConfig) -> SparkSession:
    """A new session; the wait for it is bounded, since Spark's own is long or endless."""
    master = settings.master or "the master that the environment configures"
    opened: list[SparkSession] = []
    errors: list[str] = []  # as text: the JVM is asked for it
    java = Java()

    def start() -> None:
        try:
            opened.append(_build(settings.master, java, log))
        except Exception as error:
            text = str(error)
            errors.append(_reason(text) or " ".join([f"{type(error).__name__}:", *text.split()]))

    with tempfile.TemporaryFile() as log:
        thread = threading.Thread(target=start, name="lorgnette-spark-session", daemon=True)
        thread.start()
        thread.join(settings.patience_seconds)
        if opened:
            return opened[0]
        late = thread.is_alive()
        java.abandon()
        thread.join(5)  # it gets an error and cleans up
        reason = (
            f"did not answer in {settings.patience_seconds:g} seconds (engine.patience_seconds)"
            if late
            else f"gave no session: {_last_words(log) or errors[0]}"
        )
    raise EngineError(
        f"Spark at {master} {reason}. Check that it runs and that this machine can reach it."
    )


class Java:
    """The JVM of a session that is being opened, unless this process has one already."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.fresh = SparkContext._gateway is None
        self.abandoned = False

    def start(self, conf: SparkConf, log: IO[bytes]) -> None:
        """Start it; what it writes goes to `log`.

        Raises:
            EngineError: it was abandoned meanwhile.
        """
        if not self.fresh:
            return
        gateway = launch_gateway(conf, {"stdout": log, "stderr": log})
        with self.lock:
            if self.abandoned:
                if gateway.proc is not None:
                    gateway.proc.kill()
                raise EngineError("Nobody waits for this session any more.")
            SparkContext._gateway, SparkContext._jvm = gateway, gateway.jvm

    def abandon(self) -> None:
        """End it, so that whoever waits for its answer gets an error."""
        with self.lock:
            self.abandoned = True
            process = getattr(SparkContext._gateway, "proc", None)  # None under spark-submit
            if self.fresh and process is not None:
                process.kill()
                process.wait()
                SparkContext._gateway = SparkContext._jvm = None
                SparkContext._active_spark_context = None


def _build(master: str | None, java: Java, log: IO[bytes]) -> SparkSession:
    """Connect a JVM to the master."""
    conf = SparkConf().setAppName("lorgnette")
    conf.set("spark.ui.showConsoleProgress", "false")
    conf.set("spark.log.level", "ERROR")
    local = master is not None and master.startswith("local")
    if master is not None:
        conf.setMaster(master)
    if local:
        conf.set("spark.driver.host", LOOPBACK).set("spark.driver.bindAddress", LOOPBACK)
    with _loopback() if local else contextlib.nullcontext():
        java.start(conf, log)
        context = SparkContext(conf=conf)
        if context.master.startswith("local") and "PYSPARK_PYTHON" not in os.environ:
            context.pythonExec = sys.executable
        atexit.register(context.stop)  # or else executors are replaced while they are ended
        return SparkSession.builder.getOrCreate()


@contextlib.contextmanager
def _loopback() -> Iterator[None]:
    """Make the JVM that is started meanwhile, and its executors, listen on loopback only."""
    name = "SPARK_LOCAL_IP"
    if name in os.environ:
        yield
        return
    os.environ[name] = LOOPBACK
    try:
        yield
    finally:
        del os.environ[name]


def _reason(text: str) -> str:
    """The first line of a text that names an error; empty where none does."""
    lines = (line.strip(" :") for line in text.splitlines())
    return next((line for line in lines if "xception: " in line or "rror: " in line), "")


def _last_words(log: IO[bytes]) -> str:
    """What the JVM wrote about an error; empty if it wrote nothing."""
    log.seek(0)
    return _reason(log.read()[-20000:].decode(errors="replace"))
