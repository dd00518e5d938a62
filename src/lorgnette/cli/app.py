"""The application that commands belong to, and how its errors are told."""

from __future__ import annotations

import sys
import traceback
from contextlib import suppress
from typing import Annotated

import typer
from rich.console import Console

from lorgnette import __version__
from lorgnette.errors import ConfigError, LorgnetteError
from lorgnette.storage import refusals

app = typer.Typer(
    help="From a pile of images with half-trusted labels to a classifier whose numbers can be "
    "trusted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

INTERRUPTED = 130
"""The exit status after Ctrl-C."""


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


def main() -> None:
    """Run the command line; errors become one sentence and an exit status."""
    debug = "--debug" in sys.argv
    try:
        with refusals("a file"):
            status = app(standalone_mode=False)
        if status == INTERRUPTED:  # Typer turns the interrupt into its exit status
            raise KeyboardInterrupt
        sys.exit(status if isinstance(status, int) else 0)
    except KeyboardInterrupt:
        _fail("Interrupted; the same command continues where it stopped.", INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe has had enough
        with suppress(OSError):
            sys.stdout.close()
        sys.exit(0)
    except LorgnetteError as error:
        if debug:
            traceback.print_exc()
        _fail(str(error), 2 if isinstance(error, ConfigError) else 1)
    except Exception as error:
        usage = _usage(error)
        if usage:
            _fail(usage, 2)
        if debug:
            traceback.print_exc()
        _fail(
            f"Something unforeseen happened ({type(error).__name__}: {error}): run it again with "
            "--debug and report what it shows.",
            1,
        )


def _usage(error: Exception) -> str | None:
    """The sentence of an error that Typer's parser raised, else None."""
    format_message = getattr(error, "format_message", None)
    if format_message is None:
        return None
    context = getattr(error, "ctx", None)
    hint = f" See `{context.command_path} --help`." if context else ""
    return f"{format_message().rstrip('.')}.{hint}"


def _fail(sentence: str, status: int) -> None:
    Console(stderr=True, highlight=False).print("[bold red]Error:[/] ", end="")
    print(sentence, file=sys.stderr)
    sys.exit(status)
