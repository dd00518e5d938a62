"""A Ray cluster for the tests: two nodes on loopback, connected once for the whole session."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest

from lorgnette.config import EngineConfig
from lorgnette.engines.ray.session import connect

QUIET = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # loopback alone
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # no token in the home directory
}
NODE: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 100 * 2**20}


@pytest.fixture(scope="session")
def ray_cluster(missing: Callable[[str, str], NoReturn]) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` of two nodes with one CPU each; this process is connected."""
    if importlib.util.find_spec("ray") is None:
        missing("ray", "ray is not installed")
    folder = tempfile.mkdtemp(prefix="lorgnette-ray-")  # Ray's sockets want a short path
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET.items():
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)

        import ray
        from ray.cluster_utils import Cluster

        cluster = Cluster(
            initialize_head=True, head_node_args={**NODE, "num_cpus": 1, "temp_dir": folder}
        )
        cluster.add_node(**NODE, num_cpus=1)
        connect(EngineConfig(name="ray", address=cluster.address))
        yield cluster
        ray.shutdown()
        cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
