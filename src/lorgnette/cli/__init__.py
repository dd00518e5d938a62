"""The command line: one thin command per verb. Options become settings, results become text."""

from lorgnette.cli import audit, look, path, review, settle, supply
from lorgnette.cli.app import app, main

__all__ = ["app", "audit", "look", "main", "path", "review", "settle", "supply"]
