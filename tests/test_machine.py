from pathlib import Path

import psutil
import pytest

from lorgnette import machine

GIB = 2**30


def group(folder: Path, **files: int | str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{value}\n")


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "MEMBERSHIP", tmp_path / "membership")
    return tmp_path / "cgroup"


def test_the_limit_of_the_container_counts(cgroups: Path, tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("0::/pod/main\n")
    group(cgroups / "pod/main", memory_max="max", memory_current=GIB)
    group(cgroups / "pod", memory_max=GIB, memory_current=GIB // 2)
    (cgroups / "pod/memory.stat").write_text(f"anon 5\ninactive_file {GIB // 8}\n")
    assert machine.free_memory() == GIB // 2 + GIB // 8


def test_inside_a_container_its_own_group_is_the_root(cgroups: Path, tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("0::/known/only/outside\n")
    group(cgroups, memory_max=GIB // 4, memory_current=2 * GIB)
    assert machine.free_memory() == 0


def test_the_first_version_of_groups(cgroups: Path, tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("3:cpuset:/\n4:memory:/docker/1\n")
    place = cgroups / "memory/docker/1"
    place.mkdir(parents=True)
    (place / "memory.limit_in_bytes").write_text(f"{GIB // 2}\n")
    (place / "memory.usage_in_bytes").write_text(f"{GIB // 4}\n")
    assert machine.free_memory() == GIB // 4


def test_without_groups_it_is_what_the_machine_has_free(cgroups: Path) -> None:
    assert 0 < machine.free_memory() <= psutil.virtual_memory().total
    assert machine.processors() >= 1
