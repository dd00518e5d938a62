"""The command line: one thin command per verb. Options become settings, results become text."""

from lorgnette.cli import look, path, supply
from lorgnette.cli.app import app, main

__all__ = ["app", "look", "main", "path", "supply"]
