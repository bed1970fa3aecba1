"""The sites the tests drive: real documents with an encoder, and vectors with known answers."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from host import claim
from numpy.typing import NDArray

from pywasm.bench.browsers.process import Group

MODULES = [
    "argparse",
    "asyncio",
    "base64",
    "bisect",
    "calendar",
    "collections",
    "configparser",
    "contextlib",
    "copy",
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "fractions",
    "functools",
    "glob",
    "gzip",
    "hashlib",
    "heapq",
    "html",
    "inspect",
    "io",
    "itertools",
    "json",
    "logging",
    "math",
    "os",
    "pathlib",
    "pickle",
    "random",
    "re",
    "sched",
    "secrets",
    "shutil",
    "sqlite3",
    "statistics",
    "string",
    "subprocess",
    "tempfile",
    "textwrap",
    "threading",
    "time",
    "unittest",
    "urllib.parse",
    "uuid",
    "weakref",
    "zipfile",
]
QUESTION = "a temporary directory that deletes itself"
QUESTION_ANSWER = "tempfile.TemporaryDirectory"

ROWS, DIM = 6000, 64
CATEGORIES = ("red", "green", "blue", "grey")


def pywasm(*arguments: str) -> str:
    """Run the command line; its standard output. Fails the test with what it printed."""
    command = [sys.executable, "-m", "pywasm.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"pywasm {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def serving(site: Path) -> Iterator[str]:
    """`pywasm serve`; its address, an origin of its own."""
    command = [sys.executable, "-u", "-m", "pywasm.cli", "serve", str(site), "--port", "0"]
    with tempfile.TemporaryDirectory() as folder:
        claimed = False
        while not claimed:
            server = Group(command, Path(folder) / "log")
            try:
                address = server.wait_for_line(r"http://[^\s/]+:(\d+)")
                if claimed := claim(int(address[1])):
                    yield address[0]
            finally:
                server.end()


def docstrings() -> Iterator[dict[str, object]]:
    """A few hundred public functions and classes of the standard library."""
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name, thing in sorted(vars(module).items()):
            if name.startswith("_") or getattr(thing, "__module__", None) != module_name:
                continue
            text = inspect.getdoc(thing)
            if not (inspect.isfunction(thing) or inspect.isclass(thing)) or not text:
                continue
            if isinstance(thing, type) and issubclass(thing, BaseException):
                continue
            yield {
                "id": f"{module_name}.{name}",
                "title": f"{module_name}.{name}",
                "url": f"https://docs.python.org/3/library/{module_name}.html",
                "text": text[:600],
                "module": module_name,
                "kind": "class" if inspect.isclass(thing) else "function",
                "length": len(text),
            }


def build_docs(folder: Path) -> Path:
    """The documents as a site, embedded by MiniLM, with a suggested question."""
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "docs.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in docstrings()), "utf-8")
    site = folder / "site"
    pywasm("build", str(table), "-o", str(site), "--suggest", QUESTION)
    return site


@dataclasses.dataclass(frozen=True)
class VectorSite:
    """A built site and what it was built from: vectors f32[ROWS][DIM], unit length."""

    path: Path
    vectors: NDArray[np.float32]
    queries: NDArray[np.float32]
    category: list[str]
    year: NDArray[np.int64]

    def nearest(self, query: NDArray[np.float32], k: int, passing: object = None) -> list[str]:
        """Ids of the exact nearest, by cosine."""
        scores = self.vectors @ query
        if passing is not None:
            scores = np.where(np.asarray(passing), scores, -np.inf)
        return [f"row-{row}" for row in np.argsort(-scores, kind="stable")[:k]]


def vector_data(seed: int = 3) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(rows, queries) in 60 clusters, unit length."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((60, DIM))
    made = centres[random.integers(60, size=ROWS + 50)] + 0.7 * random.standard_normal(
        (ROWS + 50, DIM)
    )
    made = (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)
    return made[:ROWS], made[ROWS:]


def build_vectors(folder: Path, seed: int = 3, word: str = "first") -> VectorSite:
    """The vectors as a site with texts and metadata; `word` is in every text."""
    folder.mkdir(parents=True, exist_ok=True)
    vectors, queries = vector_data(seed)
    category = [CATEGORIES[row % 4] for row in range(ROWS)]
    year = 1900 + np.arange(ROWS) % 120
    np.save(folder / "vectors.npy", vectors)
    with (folder / "rows.jsonl").open("w") as file:
        for row in range(ROWS):
            record = {
                "id": f"row-{row}",
                "title": f"Row {row}",
                "url": f"https://example.org/{row}",
                "text": f"{word} number{row} shared{row % 50} colour {category[row]}",
                "category": category[row],
                "year": int(year[row]),
            }
            file.write(json.dumps(record) + "\n")
    site = folder / "site"
    table = str(folder / "rows.jsonl")
    pywasm("build", str(folder / "vectors.npy"), "-o", str(site), "--documents", table)
    return VectorSite(site, vectors, queries, category, year)
