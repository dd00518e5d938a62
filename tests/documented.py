"""The code in the documents, for the tests that run it."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "frames.md"


def documented(section: str, folder: Path) -> list[str]:
    """The blocks of Python in a section of docs/frames.md, with a folder in place of /data."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(f"\n## {section}\n")
    found = re.findall(r"```python\n(.*?)```", rest.partition("\n## ")[0], re.DOTALL)
    assert found, section
    return [block.replace('"/data/', f'"{folder}/') for block in found]
