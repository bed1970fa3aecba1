"""Browsers, sites and hosts shared by all end-to-end tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from answers import answer_site
from client import Client
from encoders import EncoderPage
from generators import SAMPLE as GENERATOR_SAMPLE
from generators import GeneratorPage, generator_site
from host import Host
from sites import VectorSite, build_docs, build_vectors, pywasm

from pywasm.bench.browsers import BROWSERS, Browser, Page, launch


@pytest.fixture(scope="session")
def browsers() -> Iterator[Callable[[str], Browser]]:
    """Browsers by name, each launched once when first asked for."""
    running: dict[str, Browser] = {}

    def get(name: str) -> Browser:
        if name not in running:
            running[name] = launch(name)
        return running[name]

    yield get
    for browser in running.values():
        browser.close()


@pytest.fixture(params=BROWSERS)
def browser(request: pytest.FixtureRequest, browsers: Callable[[str], Browser]) -> Browser:
    """Each of the three."""
    return browsers(request.param)


@pytest.fixture(params=["chromium", "firefox"])
def tabbed(request: pytest.FixtureRequest, browsers: Callable[[str], Browser]) -> Browser:
    """Those whose driver handles several tabs and service workers."""
    return browsers(request.param)


@pytest.fixture
def chromium(browsers: Callable[[str], Browser]) -> Browser:
    """Chromium alone, for faults that only its driver can cause."""
    return browsers("chromium")


@pytest.fixture(scope="session")
def docs_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real documents with an encoder; tests don't change it."""
    return build_docs(tmp_path_factory.mktemp("docs"))


@pytest.fixture(scope="session")
def answering_site(docs_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the sample decoder; tests don't change it."""
    return answer_site(docs_site, tmp_path_factory.mktemp("answers") / "site")


@pytest.fixture(scope="session")
def vector_site(tmp_path_factory: pytest.TempPathFactory) -> VectorSite:
    """Vectors with known neighbours; tests don't change it."""
    return build_vectors(tmp_path_factory.mktemp("vectors"))


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Host]]:
    """Starts hosts: every one is an origin of its own, so storage never leaks between tests."""
    hosts: list[Host] = []

    def start(root: Path) -> Host:
        hosts.append(Host(root))
        return hosts[-1]

    yield start
    for host in hosts:
        host.stop()


@pytest.fixture
def host(serve: Callable[[Path], Host], vector_site: VectorSite) -> Host:
    """The vector site on a host of this test's own."""
    return serve(vector_site.path)


@pytest.fixture
def tab() -> Iterator[Callable[[Browser, Host], Client]]:
    """Opens tabs on a host's blank page; all are closed at the end of the test."""
    pages: list[Page] = []

    def open_tab(browser: Browser, host: Host) -> Client:
        page = browser.new_page()
        pages.append(page)
        client = Client(page, host)
        client.load()
        return client

    yield open_tab
    for page in pages:
        page.close()


@pytest.fixture
def new_page() -> Iterator[Callable[[Browser], Page]]:
    """Opens pages that are closed at the end of the test."""
    pages: list[Page] = []

    def open_page(browser: Browser) -> Page:
        pages.append(browser.new_page())
        return pages[-1]

    yield open_page
    for page in pages:
        page.close()


@pytest.fixture
def encoder_tab(new_page: Callable[[Browser], Page]) -> Callable[[Browser, Host], EncoderPage]:
    """Opens tabs for encoders."""
    return lambda browser, host: EncoderPage(new_page(browser), host)


@pytest.fixture
def generator_tab(
    new_page: Callable[[Browser], Page],
) -> Callable[[Browser, Host], GeneratorPage]:
    """Opens tabs for generators."""
    return lambda browser, host: GeneratorPage(new_page(browser), host)


@pytest.fixture
def tiny(serve: Callable[[Path], Host], tmp_path: Path) -> Host:
    """The sample decoder on a host of this test's own."""
    return serve(generator_site(GENERATOR_SAMPLE, tmp_path / "site"))


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with SmolLM2 as it is published: weights of 4 bits; tests don't change it."""
    folder = tmp_path_factory.mktemp("smollm2")
    pywasm("compile", "smollm2", "-o", str(folder / "model"))
    return generator_site(folder / "model", folder / "site")


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """A copy of a site that the test may change."""

    def copy(site: Path) -> Path:
        return Path(shutil.copytree(site, tmp_path / "copy"))

    return copy
