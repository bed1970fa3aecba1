"""What several tests share: a cache of its own for each session, and one small real site."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from pywasm.cache_dir import cache_dir
from pywasm.encoder import Encoder, load_encoder
from pywasm.progress import Reporter

_USER_CACHE = cache_dir()
# Made once for all sessions; the rest must start empty.
_KEPT = ("models", "onnx", "engine", "compiled")


def link_cache(folder: Path) -> Path:
    """An empty cache, but for what would have to be fetched or compiled again."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _KEPT:
        (_USER_CACHE / name).mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(_USER_CACHE / name, target_is_directory=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test reads or writes the user's embeddings."""
    before = os.environ.get("PYWASM_CACHE")
    folder = link_cache(tmp_path_factory.mktemp("cache") / "pywasm")
    os.environ["PYWASM_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["PYWASM_CACHE"]
    else:
        os.environ["PYWASM_CACHE"] = before


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache without embeddings, for this test alone."""
    folder = link_cache(tmp_path / "fresh-cache")
    monkeypatch.setenv("PYWASM_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def encoder(session_cache: Path) -> Encoder:
    """MiniLM."""
    return load_encoder("minilm")


@pytest.fixture
def quiet() -> Reporter:
    """Progress that nobody sees."""
    return Reporter(Console(quiet=True), quiet=True)


DOCUMENTS = {
    "guide/dates.md": "# Dates\n\nParse a date from a string with strptime.\n\n"
    "## Time zones\n\nA zone tells how far local time is from UTC.\n",
    "guide/files.md": "# Files\n\nOpen a file for reading and close it afterwards.\n",
    "cooking.txt": "Boil pasta in salted water for nine minutes.\n\nDrain it, add the sauce.",
    "garden.html": "<html lang='en'><head><title>Garden</title></head><body><main>"
    "<h1 id='garden'>Garden</h1><p>Tomatoes need sun, water and patience to grow well.</p>"
    "<h2 id='pests'>Pests</h2><p>Slugs eat young lettuce during rainy nights.</p>"
    "</main></body></html>",
    "music.rst": "Music\n=====\n\nA fugue repeats its *subject* in every voice.\n",
}


def write_documents(folder: Path) -> Path:
    """A small folder of every kind of file."""
    for name, text in DOCUMENTS.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    return folder


@pytest.fixture(scope="session")
def built_site(tmp_path_factory: pytest.TempPathFactory, session_cache: Path) -> Path:
    """A site of DOCUMENTS, made by the real engine and MiniLM. Not to be written to."""
    from pywasm.build import BuildOptions, build_site
    from pywasm.sources import SourceOptions

    folder = tmp_path_factory.mktemp("built")
    source = write_documents(folder / "documents")
    site = folder / "site"
    reporter = Reporter(Console(quiet=True), quiet=True)
    links = SourceOptions(base_url="https://example.org/")
    build_site(
        BuildOptions(source, site, links, title="Notes", language="en", bundle=False), reporter
    )
    return site


@pytest.fixture
def site(built_site: Path, tmp_path: Path) -> Path:
    """A copy of the small site to damage."""
    return Path(shutil.copytree(built_site, tmp_path / "site"))
