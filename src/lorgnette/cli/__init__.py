"""The command line: one thin command per verb. Options become settings, results become text."""

from lorgnette.cli import audit, ensemble, look, path, review, settle, supply, tune
from lorgnette.cli.app import app, main

__all__ = ["app", "audit", "ensemble", "look", "main", "path", "review", "settle", "supply", "tune"]
