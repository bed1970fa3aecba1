"""`pywasm build`: its options, and what they are called inside."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pywasm.errors import UserError


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


HELP = """Build a site from documents or vectors.

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
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output.")
    ] = False,
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
    reporter = Reporter(Console(stderr=True), quiet=as_json)

    def show(result: dict[str, object]) -> None:
        if as_json:
            print(json.dumps(result, ensure_ascii=False), flush=True)
        else:
            print_result(result, Console())

    show(build_site(options, reporter))
    if watch:
        for result in watch_and_build(options, reporter):
            show(result)
