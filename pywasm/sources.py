"""From what a person names on the command line to a Source."""

import glob
from dataclasses import dataclass, field
from pathlib import Path

from pywasm.documents import Source
from pywasm.errors import UserError
from pywasm.python_docs import PythonDocsSource
from pywasm.sources_folder import READERS, FolderSource
from pywasm.sources_hnswlib import HNSWLIB, HnswlibSource
from pywasm.sources_table import TABLES, Columns, TableSource
from pywasm.sources_vectors import ARRAYS, VectorSource, array_vectors, parquet_vectors


@dataclass(frozen=True)
class SourceOptions:
    """What the options of `pywasm build` say about the source."""

    python_docs: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    base_url: str = ""
    columns: Columns = field(default_factory=Columns)
    documents: Path | None = None
    hnswlib: bool = False
    dim: int | None = None


def open_source(source: Path | None, options: SourceOptions) -> Source:
    """The source, its beginning checked. Raises UserError for what is not one."""
    if options.python_docs:
        if source is not None:
            raise UserError(f"--python-docs takes no SOURCE, but {source} is given; leave one out")
        return PythonDocsSource()
    if source is None:
        raise UserError("what shall be built? Give a SOURCE (folder or file) or --python-docs")
    if not source.exists():
        raise UserError(f"{source}: no such file or folder")
    if source.is_dir():
        return FolderSource(source, options.include, options.exclude, options.base_url)
    suffixes = [suffix.lower() for suffix in source.suffixes] or [""]
    kind = suffixes[-2] if suffixes[-1] == ".gz" and len(suffixes) > 1 else suffixes[-1]
    if kind in TABLES:
        if options.documents is not None:
            return VectorSource(
                source, parquet_vectors(source, options.columns), options.documents, options.columns
            )
        return TableSource(source, options.columns)
    if options.hnswlib or kind in HNSWLIB:
        return HnswlibSource(source, options.dim, options.documents, options.columns)
    if kind in ARRAYS:
        return VectorSource(source, array_vectors(source), options.documents, options.columns)
    if kind in READERS or kind in (".html", ".htm"):
        return FolderSource(source.parent, ("./" + glob.escape(source.name),), (), options.base_url)
    known = "a folder, " + ", ".join([*TABLES, *ARRAYS, *HNSWLIB])
    raise UserError(f"{source}: {kind or 'no suffix'} is not something pywasm reads ({known})")


def watched_paths(source: Path | None, options: SourceOptions) -> list[Path]:
    """What a build depends on. Raises UserError where nothing of it can change."""
    if source is None:
        raise UserError("--watch needs a SOURCE; the standard library does not change")
    return [source, *([options.documents] if options.documents is not None else [])]
