"""`pywasm bench`: mounted by pywasm/cli.py."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from pywasm.errors import UserError

app = typer.Typer(
    no_args_is_help=True,
    help="Measure pywasm, and its peers beside it, in headless browsers.",
)


@app.callback()
def root() -> None:
    """Makes `search` a subcommand even while it is the only suite."""


@app.command()
def search(
    peers: Annotated[
        bool, typer.Option("--peers", help="Beside hnswlib, hnswlib-wasm, Mememo, EdgeVec, Voy.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer samples, smaller sets: under five minutes.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Cases by name or beginning of a name, e.g. 'wordnet'. Repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where result.json is written.")] = Path("bench-out"),
    wordnet: Annotated[
        Path | None,
        typer.Option(help="Folder with WordNet's vectors; else $PYWASM_WORDNET, else computed."),
    ] = None,
) -> None:
    """Search: latency, recall, memory, first visit, inserts, filters, build time, size."""
    # Into a file or a pipe nothing is folded.
    console = Console()
    console = console if console.is_terminal else Console(width=200)
    try:
        from . import table
        from .search import Options, run, selected

        wanted = tuple(only or ())
        selected(wanted)
    except ModuleNotFoundError as error:
        raise UserError(
            f"pywasm bench needs the Python package {error.name}: "
            "pip install 'pywasm-toolkit[bench]'"
        ) from error
    except ValueError as error:
        raise UserError(str(error)) from error
    # What ends the run ends the browsers: a SIGTERM takes the way of Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)
    options = Options(out, peers, quick, wanted, wordnet)
    result, failures = run(options, console)
    if result.rows:
        table.show(result, console)
    console.print(f"{out / 'result.json'}: {len(result.rows)} figures; samples.jsonl beside it")
    if failures:
        sys.exit(1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
