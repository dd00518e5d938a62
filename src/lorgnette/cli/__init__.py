"""The command line: one thin command per verb. Options become settings, results become text."""

from lorgnette.cli import path
from lorgnette.cli.app import app, main

__all__ = ["app", "main", "path"]
