"""Folders, tables, vectors and the standard library as streams of documents."""

import gzip
import json
import urllib.parse
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from pywasm.documents import Document, Notes, Source
from pywasm.errors import UserError
from pywasm.python_docs import PythonDocsSource, page_of
from pywasm.sources import SourceOptions, open_source
from pywasm.sources_folder import find_files, glob_pattern
from pywasm.sources_table import Columns
from tests.conftest import DOCUMENTS, write_documents


def read(source: Source, notes: Notes | None = None) -> list[Document]:
    return list(source.documents(notes or Notes()))


def text_of(document: Document) -> str:
    return "\n".join(block.text for block in document.blocks)


def test_a_folder_gives_its_files_in_order(tmp_path: Path) -> None:
    write_documents(tmp_path)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "secret.md").write_text("# no")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    found = read(open_source(tmp_path, SourceOptions(base_url="https://x.org/")))
    assert [document.id for document in found] == sorted(DOCUMENTS)
    by_id = {document.id: document for document in found}
    assert by_id["guide/dates.md"].title == "Dates"
    assert by_id["guide/dates.md"].url == "https://x.org/guide/dates.md"
    assert by_id["guide/dates.md"].metadata == {"folder": "guide"}
    assert by_id["cooking.txt"].title == "cooking"
    assert by_id["garden.html"].title == "Garden"


def test_include_and_exclude(tmp_path: Path) -> None:
    write_documents(tmp_path)
    options = SourceOptions(include=("*.md", "*.txt"), exclude=("guide/f*",))
    assert [document.id for document in read(open_source(tmp_path, options))] == [
        "cooking.txt",
        "guide/dates.md",
    ]
    with pytest.raises(UserError, match=r"no file matches \*\.org"):
        open_source(tmp_path, SourceOptions(include=("*.org",)))


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("*.md", "a/b/c.md", True),
        ("a/*.md", "a/b/c.md", False),
        ("a/**", "a/b/c.md", True),
        ("a/**/*.md", "a/c.md", True),
        ("./c.md", "a/c.md", False),
        ("a/[!x]?.md", "a/bc.md", True),
        ("a/[!x]?.md", "a/xc.md", False),
        ("c+.md", "c+.md", True),
    ],
)
def test_globs(glob: str, path: str, matches: bool) -> None:
    assert (glob_pattern(glob).fullmatch(path) is not None) == matches


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert len(find_files(tmp_path, ("*.md",), ())) == 1


def test_one_file_is_a_source(tmp_path: Path) -> None:
    (tmp_path / "a[1].md").write_text("# A\n\nwords")
    (tmp_path / "b.md").write_text("# B")
    assert [d.id for d in read(open_source(tmp_path / "a[1].md", SourceOptions()))] == ["a[1].md"]


ROWS = [
    {"id": "x", "text": "one two", "title": "X", "url": "/x", "year": 1999, "tags": ["a"]},
    {"id": "y", "text": "three", "title": None, "url": "", "year": 2001.5, "kind": "k"},
]


def write_jsonl(file: Path) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))


def write_jsonl_gz(file: Path) -> None:
    file.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS).encode()))


def write_parquet(file: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), file, row_group_size=1)


@pytest.mark.parametrize(
    ("name", "write"),
    [("t.jsonl", write_jsonl), ("t.jsonl.gz", write_jsonl_gz), ("t.parquet", write_parquet)],
)
def test_tables_find_their_usual_columns(tmp_path: Path, name: str, write: object) -> None:
    assert callable(write)
    write(tmp_path / name)
    first, second = read(open_source(tmp_path / name, SourceOptions()))
    assert (first.id, first.title, first.url, text_of(first)) == ("x", "X", "/x", "one two")
    assert first.metadata["year"] == 1999.0 and first.metadata["tags"] == '["a"]'
    assert (second.id, second.title, second.url) == ("y", "", "")
    assert second.origin.endswith("row 2")


def test_csv_with_named_columns_quotes_and_another_encoding(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(
        "nr;body\n".replace(";", ",").encode() + '007,"Größe, ""so""\nweiter"\n'.encode("cp1252")
    )
    notes = Notes()
    options = SourceOptions(columns=Columns(text="body", id="none"))
    (document,) = read(open_source(file, options), notes)
    assert document.id == "t:1" and document.metadata == {"nr": "007"}
    assert 'Größe, "so"\nweiter' in text_of(document)
    assert len(notes.warnings) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.jsonl", '{"text": 1}\n{oops\n', "line 2: not valid JSON"),
        ("t.jsonl", '{"text": 1}\n[1]\n', "line 2: expected a JSON object"),
        ("t.jsonl", '{"words": "a"}\n', r"which column is the text\? .*columns: words"),
        ("t.csv", "text,b\n1,2\n1\n", "line 3: 1 fields, expected 2"),
        ("t.csv", "text,text\n1,2\n", "two columns are called 'text'"),
        ("t.csv", "", "empty; expected a line of column names"),
        ("t.parquet", "PAR", "not a readable Parquet file"),
        ("t.npy", "NUMPY", "not a readable array"),
        ("t.doc", "x", r"\.doc is not something pywasm reads"),
        ("t.bin", "short", "not an hnswlib index"),
    ],
)
def test_bad_files_are_named_with_the_place(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(UserError, match=message) as raised:
        read(open_source(file, SourceOptions()))
    assert str(file) in str(raised.value)


def test_a_row_without_id_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"id": "a", "text": "x"}\n{"id": "", "text": "y"}\n')
    with pytest.raises(UserError, match="row 2: column 'id' is empty"):
        read(open_source(tmp_path / "t.jsonl", SourceOptions()))


def test_vectors_of_every_kind_of_file(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    np.save(tmp_path / "v.npy", vectors)
    np.savez(tmp_path / "v.npz", vectors=vectors, other=np.arange(3))
    table = pyarrow.table({"vector": vectors.tolist(), "id": list("abcde")})
    pyarrow.parquet.write_table(table, tmp_path / "v.parquet")
    (tmp_path / "v.jsonl").write_text(
        "".join(json.dumps({"vector": v, "n": 1}) + "\n" for v in vectors.tolist())
    )
    for name in ("v.npy", "v.npz", "v.parquet", "v.jsonl"):
        columns = Columns(vector="vector") if name[2:] in ("parquet", "jsonl") else Columns()
        source = open_source(tmp_path / name, SourceOptions(columns=columns))
        assert source.dim == 4 and not source.has_text
        found = read(source)
        assert np.allclose([document.vector for document in found], vectors)


def test_vectors_with_documents(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.eye(2, dtype=np.float16))
    write_jsonl(tmp_path / "t.jsonl")
    options = SourceOptions(documents=tmp_path / "t.jsonl")
    source = open_source(tmp_path / "v.npy", options)
    assert source.has_text
    assert [(d.id, text_of(d)) for d in read(source)] == [("x", "one two"), ("y", "three")]
    for rows, message in ((3, "3 vectors, but only 2 documents"), (1, "more documents than the 1")):
        np.save(tmp_path / "v.npy", np.ones((rows, 2), np.float32))
        with pytest.raises(UserError, match=message):
            read(open_source(tmp_path / "v.npy", options))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3, np.float32), r"shape \(3,\); expected floats of shape"),
        (np.zeros((3, 2), np.int64), "int64 of shape"),
        (np.zeros((0, 2), np.float32), "no vectors in it"),
    ],
)
def test_arrays_of_another_shape_are_refused(
    tmp_path: Path, array: np.ndarray, message: str
) -> None:
    np.save(tmp_path / "v.npy", array)
    with pytest.raises(UserError, match=message):
        open_source(tmp_path / "v.npy", SourceOptions())


def test_an_hnswlib_index_gives_live_elements_by_label(tmp_path: Path) -> None:
    hnswlib = pytest.importorskip("hnswlib")
    vectors = np.random.default_rng(2).normal(size=(6, 8)).astype(np.float32)
    index = hnswlib.Index("l2", 8)
    index.init_index(6)
    index.add_items(vectors, [50, 40, 30, 20, 10, 0])
    index.mark_deleted(20)
    index.save_index(str(tmp_path / "i.bin"))
    found = read(open_source(tmp_path / "i.bin", SourceOptions()))
    assert [document.id for document in found] == ["0", "10", "30", "40", "50"]
    assert np.allclose([document.vector for document in found], vectors[[5, 4, 2, 1, 0]])


def test_the_standard_library_documents_itself() -> None:
    source = PythonDocsSource()
    found = {document.id: document for document in read(source)}
    assert 3000 < len(found) == source.total
    for name in ("heapq.nlargest", "str.split", "datetime.datetime.strptime", "os.path.join"):
        assert name in found
    largest = found["heapq.nlargest"]
    assert urllib.parse.urlparse(largest.url).fragment == "heapq.nlargest"
    assert largest.metadata == {"module": "heapq", "kind": "function"}
    text = text_of(largest)
    assert text.startswith("heapq.nlargest(n, iterable, key=None)")
    assert not any(" at 0x" in text_of(document) for document in found.values())
    excluded = ("antigravity", "this", "idlelib", "test", "turtle")
    assert not any(document.metadata["module"] in excluded for document in found.values())


@pytest.mark.parametrize(
    ("name", "module", "kind", "page"),
    [
        ("len", "builtins", "function", "functions.html#len"),
        ("str.split", "builtins", "method", "stdtypes.html#str.split"),
        ("ValueError", "builtins", "class", "exceptions.html#ValueError"),
        ("asyncio.sleep", "asyncio", "function", "asyncio-task.html#asyncio.sleep"),
        ("heapq", "heapq", "module", "heapq.html#module-heapq"),
        (
            "xml.etree.ElementTree.parse",
            "xml.etree.ElementTree",
            "function",
            "xml.etree.elementtree.html#xml.etree.ElementTree.parse",
        ),
    ],
)
def test_pages_of_the_documentation(name: str, module: str, kind: str, page: str) -> None:
    assert page_of(name, module, kind) == page


def test_sources_that_are_none(tmp_path: Path) -> None:
    for source, options, message in (
        (None, SourceOptions(), "what shall be built"),
        (tmp_path / "nowhere", SourceOptions(), "no such file or folder"),
        (tmp_path, SourceOptions(python_docs=True), "takes no SOURCE"),
    ):
        with pytest.raises(UserError, match=message):
            open_source(source, options)
