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


class Index(StrEnum):
    auto = "auto"
    flat = "flat"
    scan = "scan"
    clusters = "clusters"
    graph = "graph"


class DtypeOption(StrEnum):
    auto = "auto"
    i8 = "i8"
    f16 = "f16"
    f32 = "f32"


class MetricOption(StrEnum):
    cosine = "cosine"
    ip = "ip"
    l2 = "l2"


class WeightsOption(StrEnum):
    f32 = "f32"
    f16 = "f16"
    int8 = "int8"
    int4 = "int4"


class ActivationsOption(StrEnum):
    int16 = "int16"
    f32 = "f32"


class EncoderWeightsOption(StrEnum):
    auto = "auto"
    f32 = "f32"
    int8 = "int8"
    none = "none"


class KvOption(StrEnum):
    none = "none"
    hot = "hot"
    all = "all"


class Duplicate(StrEnum):
    error = "error"
    first = "first"
    last = "last"


_BUILD_HELP = """Build a site from documents or vectors.

[bold]SOURCE[/bold] is a folder of .txt, .md, .rst and .html files; a .jsonl, .csv or .parquet with
a row a document; a .npy, .npz or .parquet of vectors; or an hnswlib index.

[bold]Examples[/bold]

  pywasm build ./docs -o site                        a folder of documents
  pywasm build --python-docs -o site                 this Python's standard library
  pywasm build posts.jsonl -o site --text-column body --url-column link
  pywasm build vectors.npy -o site --documents texts.jsonl
  pywasm build ./docs -o site --encoder BAAI/bge-small-en-v1.5
  pywasm build ./docs -o site --generator smollm2    answers questions, too
  pywasm build ./docs -o site --watch                build again on every change

Only passages that changed since the last build are embedded again; a build that was stopped goes
on where it was. The same input gives the same bytes.
"""
_SOURCE, _TABLE, _TEXT, _LAYOUT, _ANSWERS, _OUTPUT = (
    "Choosing documents",
    "Columns of a table",
    "Text and encoder",
    "Index",
    "Answers",
    "Output",
)


@app.command(help=_BUILD_HELP)
def build(
    source: Annotated[
        Path | None, typer.Argument(help="Folder or file.", show_default=False)
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The site's folder.", rich_help_panel=_OUTPUT)
    ] = Path("site"),
    python_docs: Annotated[
        bool,
        typer.Option("--python-docs", help="This Python's docstrings.", rich_help_panel=_SOURCE),
    ] = False,
    include: Annotated[
        list[str] | None,
        typer.Option(help="Glob of files to take, e.g. '*.md'.", rich_help_panel=_SOURCE),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Glob of files to leave, e.g. 'drafts/**'.", rich_help_panel=_SOURCE),
    ] = None,
    base_url: Annotated[
        str,
        typer.Option(
            help="Address of the folder, for links to the files.", rich_help_panel=_SOURCE
        ),
    ] = "",
    documents: Annotated[
        Path | None,
        typer.Option(help="Table with a row for each vector.", rich_help_panel=_SOURCE),
    ] = None,
    hnswlib: Annotated[
        bool, typer.Option("--hnswlib", help="SOURCE is an hnswlib index.", rich_help_panel=_SOURCE)
    ] = False,
    dim: Annotated[
        int | None, typer.Option(help="Dimension of an hnswlib index.", rich_help_panel=_SOURCE)
    ] = None,
    on_duplicate: Annotated[
        Duplicate, typer.Option(help="What to do about equal ids.", rich_help_panel=_SOURCE)
    ] = Duplicate.error,
    skip_bad_vectors: Annotated[
        bool,
        typer.Option(
            "--skip-bad-vectors", help="Leave out NaN and zero vectors.", rich_help_panel=_SOURCE
        ),
    ] = False,
    text_column: Annotated[str, typer.Option(rich_help_panel=_TABLE)] = "",
    id_column: Annotated[str, typer.Option(rich_help_panel=_TABLE)] = "",
    url_column: Annotated[str, typer.Option(rich_help_panel=_TABLE)] = "",
    title_column: Annotated[str, typer.Option(rich_help_panel=_TABLE)] = "",
    vector_column: Annotated[str, typer.Option(rich_help_panel=_TABLE)] = "",
    encoder: Annotated[
        str,
        typer.Option(
            help="'minilm', a Hugging Face directory or hub name, or an .onnx file.",
            rich_help_panel=_TEXT,
        ),
    ] = "",
    encoder_weights: Annotated[
        EncoderWeightsOption,
        typer.Option(
            help="Of the site's encoder; auto: int8 if its loss is small.", rich_help_panel=_TEXT
        ),
    ] = EncoderWeightsOption.auto,
    chunk_tokens: Annotated[
        int | None, typer.Option(help="Most tokens of a passage.", rich_help_panel=_TEXT)
    ] = None,
    chunk_overlap: Annotated[
        int | None, typer.Option(help="Tokens that passages share.", rich_help_panel=_TEXT)
    ] = None,
    keyword: Annotated[
        bool, typer.Option(help="Index words for keyword search.", rich_help_panel=_TEXT)
    ] = True,
    language: Annotated[
        str, typer.Option(help="Language tag of the page, e.g. 'de'.", rich_help_panel=_TEXT)
    ] = "",
    suggest: Annotated[
        list[str] | None,
        typer.Option(help="A question to offer, or a file of them.", rich_help_panel=_TEXT),
    ] = None,
    index: Annotated[
        Index, typer.Option(help="How to search.", rich_help_panel=_LAYOUT)
    ] = Index.auto,
    metric: Annotated[MetricOption, typer.Option(rich_help_panel=_LAYOUT)] = MetricOption.cosine,
    dtype: Annotated[
        DtypeOption, typer.Option(help="Of the full vectors.", rich_help_panel=_LAYOUT)
    ] = DtypeOption.auto,
    codes: Annotated[
        str, typer.Option(help="Bits a dimension in memory: auto, 1 to 8.", rich_help_panel=_LAYOUT)
    ] = "auto",
    clusters: Annotated[
        int | None, typer.Option(help="Number of clusters.", rich_help_panel=_LAYOUT)
    ] = None,
    m: Annotated[int, typer.Option("--m", help="Links of a graph.", rich_help_panel=_LAYOUT)] = 16,
    ef_construction: Annotated[int, typer.Option(rich_help_panel=_LAYOUT)] = 100,
    title: Annotated[
        str, typer.Option(help="Of the site; else from the source.", rich_help_panel=_OUTPUT)
    ] = "",
    bundle: Annotated[
        bool, typer.Option(help="Copy page and browser library.", rich_help_panel=_OUTPUT)
    ] = True,
    tune: Annotated[
        bool,
        typer.Option(help="Tune the encoder on visitors' devices.", rich_help_panel=_OUTPUT),
    ] = True,
    pyodide_url: Annotated[
        str,
        typer.Option(help="Pyodide's files elsewhere (a CDN).", rich_help_panel=_OUTPUT),
    ] = "",
    generator: Annotated[
        str,
        typer.Option(
            help="Answers questions: 'smollm2', a .gguf file, a Hugging Face directory, or what "
            "[bold]pywasm compile[/bold] made of one.",
            rich_help_panel=_ANSWERS,
        ),
    ] = "none",
    kv: Annotated[
        KvOption | None,
        typer.Option(
            help="Passages whose KV is computed now and shipped; default: hot, where it loses "
            "little.",
            show_default=False,
            rich_help_panel=_ANSWERS,
        ),
    ] = None,
    kv_mb: Annotated[
        int, typer.Option(min=1, help="Most megabytes of it for hot.", rich_help_panel=_ANSWERS)
    ] = 32,
    threads: Annotated[
        int, typer.Option(help="For embedding; 0: all cores.", rich_help_panel=_OUTPUT)
    ] = 0,
    watch: Annotated[
        bool, typer.Option("--watch", help="Build again on change.", rich_help_panel=_OUTPUT)
    ] = False,
    as_json: Json = False,
) -> None:
    from pywasm.build import BuildOptions, build_site, watch_and_build
    from pywasm.build_report import print_result
    from pywasm.progress import Reporter
    from pywasm.sources import SourceOptions
    from pywasm.sources_table import Columns

    if codes != "auto" and codes not in "12345678":
        raise UserError(f"--codes {codes}: expected auto or a number of bits from 1 to 8")
    options = BuildOptions(
        source=source,
        site=output,
        source_options=SourceOptions(
            python_docs=python_docs,
            include=tuple(include or ()),
            exclude=tuple(exclude or ()),
            base_url=base_url,
            columns=Columns(text_column, id_column, url_column, title_column, vector_column),
            documents=documents,
            hnswlib=hnswlib,
            dim=dim,
        ),
        on_duplicate=on_duplicate.value,
        skip_bad_vectors=skip_bad_vectors,
        encoder=encoder,
        encoder_weights=encoder_weights.value,
        tune=tune,
        pyodide_url=pyodide_url,
        generator=generator,
        kv=kv.value if kv else None,
        kv_mb=kv_mb,
        chunk_tokens=chunk_tokens,
        chunk_overlap=chunk_overlap,
        keyword=keyword,
        language=language,
        suggest=tuple(suggest or ()),
        index=index.value,
        metric=metric.value,
        dtype=dtype.value,
        code_bits=None if codes == "auto" else int(codes),
        clusters=clusters,
        m=m,
        ef_construction=ef_construction,
        title=title,
        bundle=bundle,
        threads=threads,
    )
    reporter = Reporter(_errors, quiet=as_json)

    def show(result: dict[str, object]) -> None:
        if as_json:
            print(json.dumps(result, ensure_ascii=False), flush=True)
        else:
            print_result(result, Console())

    show(build_site(options, reporter))
    if watch:
        for result in watch_and_build(options, reporter):
            show(result)


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
