"""The command line: `pywasm build`, `inspect`, `verify`, `serve`, `compile`, `generate`, ..."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from pywasm import __version__
from pywasm.bench.cli import app as bench_app
from pywasm.cli_build import HELP as BUILD_HELP
from pywasm.cli_build import build
from pywasm.errors import UserError

app = typer.Typer(
    name="pywasm",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From documents to a static site that anyone's browser searches at native speed.\n\n"
    "[bold]Start here:[/bold]  pywasm build ./docs -o site   then   pywasm serve site",
)
app.add_typer(bench_app, name="bench")
_errors = Console(stderr=True)

Site = Annotated[Path, typer.Argument(help="A folder made by [bold]pywasm build[/bold].")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


class WeightsOption(StrEnum):
    f32 = "f32"
    f16 = "f16"
    int8 = "int8"
    int4 = "int4"


class ActivationsOption(StrEnum):
    int16 = "int16"
    f32 = "f32"


app.command(help=BUILD_HELP)(build)


@app.command()
def inspect(site: Site, as_json: Json = False) -> None:
    """What is in a site: contents, sizes, parameters, licences, the memory a browser needs."""
    from pywasm.inspect_site import describe, print_description

    description = describe(site)
    if as_json:
        print(json.dumps(description, ensure_ascii=False))
    else:
        print_description(description, Console())


@app.command()
def verify(
    site: Site,
    queries: Annotated[int, typer.Option(help="Sampled for recall; 0: none.")] = 100,
    as_json: Json = False,
) -> None:
    """Check every checksum, and recall against brute force. Exits 1 where something is damaged."""
    from pywasm.progress import Reporter
    from pywasm.verify import print_verification, verify_site

    result = verify_site(site, queries, Reporter(_errors, quiet=as_json))
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        print_verification(result, Console())
    if result["problems"]:
        raise typer.Exit(1)


@app.command()
def serve(
    site: Site,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("-p", "--port", help="0: any that is free.")] = 8000,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Preview a site with the headers of a good host: isolation, ranges, compression, caching."""
    from pywasm.serve import serve as run

    run(site, host, port, open_browser, Console())


@app.command(name="compile")
def compile_(
    model: Annotated[
        str,
        typer.Argument(
            help="A Hugging Face directory, an .onnx or .gguf file, a hub name, 'minilm' or "
            "'smollm2'."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write.")],
    weights: Annotated[
        WeightsOption | None,
        typer.Option(
            help="How matrices and token embeddings are stored. Of an encoder: f32, unless given. "
            "Of a language model: as its file has them, in 8 bits what is not in few bits already.",
            show_default=False,
        ),
    ] = None,
    activations: Annotated[
        ActivationsOption,
        typer.Option(help="In a language model's matrix products. f32: exact and slower."),
    ] = ActivationsOption.int16,
    as_json: Json = False,
) -> None:
    """Compile a transformer for the browser: a plan, its kernels and its weights.

    The plan is run natively and compared with the model before anything is written: what is printed
    is what it costs to store an encoder's weights in fewer bits, or to compute a language model's
    products in integers.
    """
    from pywasm.compile.command import compile_to, print_compiled
    from pywasm.generator import command as generator

    status = _errors if not as_json else None
    if generator.is_language_model(model):
        result = generator.compile_to(
            model, output, weights.value if weights else "auto", activations.value, status
        )
        show = generator.print_compiled
    else:
        result = compile_to(model, output, weights.value if weights else "f32", status)
        show = print_compiled
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        show(result, Console())


@app.command()
def generate(
    model: Annotated[
        Path,
        typer.Argument(help="A folder that [bold]pywasm compile[/bold] made of a language model."),
    ],
    prompt: Annotated[str, typer.Argument(help="What to answer.")],
    tokens: Annotated[int, typer.Option(min=1, help="Most tokens of the answer.")] = 256,
    plain: Annotated[
        bool, typer.Option("--plain", help="Go on with the text: no chat template.")
    ] = False,
) -> None:
    """Answer a prompt natively, with the kernels that a browser runs; the likeliest token each."""
    from pywasm.generator.command import generate_to

    generate_to(model, prompt, tokens, plain)


@app.command()
def profile(
    model: Annotated[
        str, typer.Argument(help="A folder made by [bold]pywasm compile[/bold], or a model.")
    ],
    weights: Annotated[
        WeightsOption, typer.Option(help="Of a model that is not compiled yet.")
    ] = WeightsOption.f32,
    batch: Annotated[int, typer.Option(min=1, help="Texts together.")] = 1,
    seq: Annotated[int, typer.Option(min=1, help="Tokens of each.")] = 128,
    relaxed: Annotated[bool, typer.Option(help="With relaxed SIMD.")] = True,
    as_json: Json = False,
) -> None:
    """The time of each kernel of an encoder, and its distance to the roofline of this machine."""
    from pywasm.compile.command import profile_model

    profile_model(model, weights.value, batch, seq, relaxed, as_json, Console())


def _version(wanted: bool) -> None:
    if wanted:
        print(f"pywasm {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print and exit.")
    ] = False,
) -> None:
    """Runs before every command."""


def main() -> None:
    """The `pywasm` command: what a person can mend is one red line and exit status 2."""
    from pywasm.engine_instance import EngineError

    try:
        app()
    except UserError as error:
        _fail(str(error))
    except EngineError as error:
        _fail(f"the engine refused ({error.status.name}): {error}")
    except OSError as error:  # a full disk, a folder that may not be written
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _fail(message: str) -> NoReturn:
    text = " ".join(message.split()).replace("[", r"\[")
    _errors.print(f"[bold red]error:[/bold red] {text}", highlight=False, soft_wrap=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
