"""`pywasm bench`: mounted by pywasm/cli.py."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pywasm.errors import UserError

if TYPE_CHECKING:
    from .result import Result

app = typer.Typer(
    no_args_is_help=True,
    help="Measure pywasm, and its peers beside it, in headless browsers.",
)

Quick = Annotated[
    bool, typer.Option("--quick", help="Fewer samples, smaller sets: under five minutes.")
]
Only = Annotated[
    list[str] | None,
    typer.Option(help="Cases by name or beginning of a name. Repeatable."),
]
Out = Annotated[Path, typer.Option(help="Where result.json is written.")]
OUT = Path("bench-out")


@app.callback()
def root() -> None:
    """One subcommand a suite."""


@app.command()
def search(
    peers: Annotated[
        bool, typer.Option("--peers", help="Beside hnswlib, hnswlib-wasm, Mememo, EdgeVec, Voy.")
    ] = False,
    quick: Quick = False,
    only: Only = None,
    out: Out = OUT,
    wordnet: Annotated[
        Path | None,
        typer.Option(help="Folder with WordNet's vectors; else $PYWASM_WORDNET, else computed."),
    ] = None,
) -> None:
    """Search: latency, recall, memory, first visit, inserts, filters, build time, size."""
    with _ready():
        from .search import Options, run

        options = Options(out, peers, quick, tuple(only or ()), wordnet)
        measured = run(options, _console())
    _end(*measured, out)


@app.command()
def inference(
    peers: Annotated[
        bool, typer.Option("--peers", help="Beside onnxruntime-web, LiteRT.js, onnxruntime.")
    ] = False,
    quick: Quick = False,
    only: Only = None,
    out: Out = OUT,
) -> None:
    """Inference: matrix products, MiniLM, tuning, opening, memory, first visit, size."""
    with _ready():
        from .inference import Options, run

        measured = run(Options(out, peers, quick, tuple(only or ())), _console())
    _end(*measured, out)


@app.command()
def answers(
    peers: Annotated[
        bool, typer.Option("--peers", help="Beside wllama and onnxruntime-web.")
    ] = False,
    quick: Quick = False,
    only: Only = None,
    out: Out = OUT,
    model: Annotated[
        str, typer.Option(help="A GGUF file of Llama's family with Q4_1 and Q8_0 weights.")
    ] = "smollm2",
) -> None:
    """Answers: prefill, decoding, first tokens by what is cached, chats, replacement, memory."""
    with _ready():
        from .answers import Options, run

        measured = run(Options(out, peers, quick, tuple(only or ()), model), _console())
    _end(*measured, out)


def _console() -> Console:
    # Into a file or a pipe nothing is folded.
    console = Console()
    return console if console.is_terminal else Console(width=200)


@contextlib.contextmanager
def _ready() -> Iterator[None]:
    """What can't be measured for want of a package is a person's error."""
    # What ends the run ends the browsers: a SIGTERM takes the way of Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(
            f"pywasm bench needs the Python package {error.name}: "
            "pip install 'pywasm-toolkit[bench]'"
        ) from error


def _end(result: Result, failures: list[tuple[str, str]], out: Path) -> None:
    from . import table

    console = _console()
    if result.rows:
        table.show(result, console)
    console.print(f"{out / 'result.json'}: {len(result.rows)} figures; samples.jsonl beside it")
    if failures:
        sys.exit(1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
