import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import lorgnette


def test_public_names() -> None:
    assert sorted(lorgnette.__all__) == lorgnette.__all__
    for name in lorgnette.__all__:
        assert getattr(lorgnette, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        lorgnette.nonsense  # noqa: B018


def test_every_module_imports_and_says_what_it_is() -> None:
    for module in pkgutil.walk_packages(lorgnette.__path__, "lorgnette."):
        if module.name != "lorgnette.__main__":
            assert importlib.import_module(module.name).__doc__, module.name


LAYERS = [
    ["cli", "__main__"],
    ["show", "api", "frames"],
    ["pipeline", "painter", "studies"],
    ["report"],
    ["audit", "evaluation", "training", "serving", "tuning"],
    ["model", "rundir", "predictions", "devices", "models"],
    ["dataset"],
    ["sources", "engines", "lock", "progress", "resolve", "memory"],
    ["storage", "config", "machine"],
    ["errors"],
]
"""From the top of the house to the bottom; the engine contract (`testing`) stands beside it."""


def test_imports_run_downward_only() -> None:
    level = {name: depth for depth, names in enumerate(LAYERS) for name in names}
    root = Path(lorgnette.__file__).parent
    for path in root.rglob("*.py"):
        part = path.relative_to(root).parts[0].removesuffix(".py")
        if part in ("__init__", "testing"):
            continue
        for target in re.findall(r"(?:from|import) lorgnette\.(\w+)", path.read_text()):
            assert target in level, f"{target} has no layer"
            if target != part:
                assert level[target] >= level[part], f"{path.name} imports {target} upward"
    # one level may know itself only where it is listed together on purpose
