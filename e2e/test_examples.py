"""The example applications, built as their READMEs say, in Chromium."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from host import Host

from pywasm.bench.browsers import Browser, Page

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
Serve = Callable[[Path], Host]

TYPE = """(text) => {
  const input = document.querySelector("#query");
  // React listens to its own property of the element: the prototype's setter reaches both.
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(input, text);
  input.dispatchEvent(new Event("input", { bubbles: true }));
}"""
FOUND = "[...document.querySelectorAll('#results a')].map((link) => link.textContent)"


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A tab, closed at the end."""
    page = chromium.new_page()
    yield page
    page.close()


def finds_something(page: Page) -> None:
    """Types a query, again until the page has opened its index and listens."""
    for _ in range(60):
        page.evaluate(TYPE, "temporary")
        page.evaluate("() => new Promise((resolve) => setTimeout(resolve, 250))")
        if found := page.evaluate(f"() => {FOUND}"):
            assert any(title.startswith("tempfile.") for title in found)
            return
        page.evaluate(TYPE, "")
    pytest.fail("the example found nothing")


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The npm package as it would be published."""
    folder = tmp_path_factory.mktemp("package")
    npm(ROOT / "web", "pack", "--pack-destination", str(folder))
    return next(folder.glob("*.tgz"))


def npm(folder: Path, *arguments: str) -> None:
    """Run npm; fails the test with what it printed."""
    done = subprocess.run(
        ["npm", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"npm {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"


def built(name: str, package: Path, site: Path, folder: Path) -> Path:
    """Example `name` installed and built in `folder`, with the site in its public folder."""
    example = folder / name
    ignored = shutil.ignore_patterns("node_modules", "dist", "out", ".next")
    shutil.copytree(EXAMPLES / name, example, ignore=ignored)
    description = json.loads((example / "package.json").read_text("utf-8"))
    description["dependencies"]["pywasm"] = f"file:{package}"
    (example / "package.json").write_text(json.dumps(description), "utf-8")
    shutil.copytree(site, example / "public/site")
    npm(example, "install", "--no-audit", "--no-fund")
    npm(example, "run", "build")
    return example


def test_plain_script(
    serve: Serve, docs_site: Path, copy_of: Callable[[Path], Path], page: Page
) -> None:
    """One HTML file beside the site's own page."""
    site = copy_of(docs_site)
    shutil.copyfile(EXAMPLES / "plain-script/index.html", site / "plain.html")
    page.goto(f"{serve(site).url}/plain.html")
    finds_something(page)


def test_cross_origin(serve: Serve, docs_site: Path, page: Page) -> None:
    """Page on one origin, bundle and index on another."""
    other = serve(docs_site)
    other.faults.isolate = False
    other.faults.headers = {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "Content-Range",
    }
    own = serve(EXAMPLES / "cross-origin")
    own.faults.isolate = False
    page.goto(f"{own.url}/index.html?site={other.url}/")
    finds_something(page)
    assert all("pywasm" not in path and "data/" not in path for path, _ in own.log)


@pytest.mark.parametrize(("name", "output"), [("vite", "dist"), ("next", "out")])
def test_bundled(
    name: str,
    output: str,
    package: Path,
    docs_site: Path,
    tmp_path: Path,
    serve: Serve,
    page: Page,
) -> None:
    """The package in a project that bundles it, served as static files."""
    example = built(name, package, docs_site, tmp_path)
    page.goto(f"{serve(example / output).url}/index.html")
    finds_something(page)
    fetched = page.evaluate("() => performance.getEntriesByType('resource').map((r) => r.name)")
    assert not any("/site/pywasm/" in address for address in fetched)
