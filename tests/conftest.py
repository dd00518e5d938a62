"""What tests share: an S3 server on loopback, real data, and parts that a machine may lack.

`LORGNETTE_REQUIRE=spark,ray,browser,real_data,s3,postgres,fetch` turns the skip for a missing part
into a failure, so that continuous integration cannot pass by leaving tests out.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ray_cluster import ray_cluster as ray_cluster
from spark_session import spark_session as spark_session

# Networks here are tiny: threads that wait for each other would take longer than the work, and many
# times longer beside another process.
os.environ.setdefault("OMP_NUM_THREADS", "1")

CLUSTERS = ("spark", "ray")
"""Clusters of this machine: markers of tests, and words in the names of their modules."""

Missing = Callable[[str, str], NoReturn]


def cluster_of(module: str) -> str | None:
    """The cluster that a test module needs, as its name says."""
    return next((name for name in CLUSTERS if name in Path(module).stem.split("_")), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules that take longest first, so that processes end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (not cluster_of(item.path.name), item.path not in slow))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than processors: tests of clusters, kills and gangs wait more than they compute."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep a module's tests, and all of a cluster, in one process.

    So each cluster starts once, and what a module prepares is prepared once. (The groups of
    `--dist loadgroup` would say the same, and are lost on pytest 9.2 with xdist 3.8.)
    """
    scheduler: Any = importlib.import_module("xdist.scheduler").LoadScopeScheduling

    class ByModuleOrCluster(scheduler):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.split("::")[0]
            return cluster_of(module) or module

    return ByModuleOrCluster(config, log)


@pytest.fixture(scope="session")
def missing() -> Missing:
    """Call `missing(part, reason)` where a part of the world is absent: it skips, or fails."""

    def skip_or_fail(part: str, reason: str) -> NoReturn:
        required = os.environ.get("LORGNETTE_REQUIRE", "").replace(",", " ").split()
        if part in required:
            pytest.fail(f"LORGNETTE_REQUIRE names {part}, and {reason}", pytrace=False)
        pytest.skip(reason)

    return skip_or_fail


@pytest.fixture(scope="session")
def real_data(missing: Missing) -> Path:
    """The folder that LORGNETTE_REAL_DATA names."""
    folder = os.environ.get("LORGNETTE_REAL_DATA")
    if not folder:
        missing("real_data", "LORGNETTE_REAL_DATA is not set")
    return Path(folder)


@pytest.fixture(scope="session")
def s3_endpoint(missing: Missing) -> Iterator[str]:
    """The URL of an S3 server on loopback, and an environment in which `s3://…` leads to it."""
    try:
        server_module: Any = importlib.import_module("moto.server")
    except ImportError as error:
        missing("s3", f"moto is not installed ({error})")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        patch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
        yield endpoint
    server.stop()


@pytest.fixture
def s3_bucket(s3_endpoint: str) -> str:
    """A new, empty bucket as `s3://name`; write to it through `lorgnette.storage.Storage`."""
    import urllib.request

    name = f"bucket-{uuid.uuid4().hex[:12]}"
    request = urllib.request.Request(f"{s3_endpoint}/{name}", method="PUT")
    with urllib.request.urlopen(request, timeout=10):
        return f"s3://{name}"


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A prepared dataset that nobody changes: 120 pictures of 24 pixels in two classes."""
    from lorgnette.config import PrepareConfig, SourceConfig
    from lorgnette.dataset.prepare import prepare
    from lorgnette.engines.local import LocalEngine
    from pictures import folder_of

    folder = tmp_path_factory.mktemp("dataset")
    source = SourceConfig(location=str(folder_of(folder / "source", 60)))
    settings = PrepareConfig(size=(24,), shard_items=16)
    return prepare(source, str(folder / "out"), settings, LocalEngine(2))


@pytest.fixture
def shown(missing: Missing, tmp_path: Path) -> Callable[[Path], str]:
    """Open a page in chromium: what its document has become, if the console stayed silent.

    A refused request, a script error and a script that the policy stops all go to the console.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        missing("browser", "there is no chromium on the PATH")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
        "--disable-background-networking --disable-component-update --enable-logging=stderr"
    )

    def show(page: Path) -> str:
        done = subprocess.run(
            [
                *(chromium, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}"),
                *("--dump-dom", page.as_uri()),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
            env={**os.environ, "HOME": str(tmp_path)},
        )
        assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
        return done.stdout

    return show
