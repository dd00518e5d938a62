"""The documents say what the program does: commands and options in them exist."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from lorgnette.cli import app
from lorgnette.resolve import load

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def commands(text: str) -> list[list[str]]:
    """The lines that begin with `lorgnette` in code blocks, as words."""
    lines = re.findall(r"^    .*?\b(lorgnette [a-z].*)$", text, re.MULTILINE)
    lines += re.findall(r"`(lorgnette [a-z][^`]*)`", text)
    return [shlex.split(line.split(" > ")[0], comments=True) for line in lines]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_in_the_documents_exist(page: Path) -> None:
    verbs = get_command(app).commands  # type: ignore[attr-defined]
    for _, verb, *words in commands(page.read_text()):
        if verb == "--help":
            continue
        assert verb in verbs, f"{page.name}: lorgnette {verb}"
        command = verbs[verb]
        if hasattr(command, "commands"):  # a group, of which one command needs no name
            command = command.commands.get(words[0] if words else "", command.commands["here"])
        options = {name for option in command.params for name in option.opts}
        for word in words:
            if word.startswith("--"):
                assert word in options, f"{page.name}: lorgnette {verb} {word}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_in_the_documents_exist(page: Path) -> None:
    for setting in re.findall(r"--set ([a-z_.]+=[\w.]+)(?=[\s`)])", page.read_text()):
        if setting.startswith("section."):
            continue
        if setting.startswith("split.") and not setting.endswith(("true", "false")):
            continue  # parts make sense only together
        load(settings=[setting])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_in_the_documents_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"
