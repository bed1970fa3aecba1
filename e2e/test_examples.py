"""The example applications, built as a user would and driven in Chromium."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from client import Client
from host import Host
from sites import QUESTION_ANSWER

from pywasm.bench.browsers import Browser

Tab = Callable[[Browser, Host], Client]
Serve = Callable[[Path], Host]

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
# Installed packages are kept between runs: they are the slow part.
BUILDS = ROOT / "build" / "examples"

TYPE = """(text) => {
  const box = document.querySelector("input");
  // React listens to the native setter.
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(box, text);
  box.dispatchEvent(new Event("input", { bubbles: true }));
}"""
FOUND = (
    "[...document.querySelectorAll('li')].some(({ textContent }) => /tempfile/.test(textContent))"
)


def finds(client: Client) -> None:
    """Types a question and waits for the right hit."""
    client.page.wait_for("document.querySelector('input') !== null")
    for _ in range(60):
        client.page.evaluate(TYPE, "temporary directory")
        try:
            client.page.wait_for(FOUND, 0.5)
            return
        except Exception:
            client.page.evaluate(TYPE, "")  # the page was still opening the index
    raise AssertionError(client.page.evaluate("() => document.body.innerText"))


def expose(file: Path, opened: str, exposed: str) -> None:
    """Edits a copy of an example so that the page's index is the global `index`."""
    source = file.read_text("utf-8")
    assert opened in source
    file.write_text(source.replace(opened, exposed), "utf-8")


def understands(client: Client) -> None:
    """A question that shares no word with its answer: the encoder's worker was found."""
    client.page.wait_for("globalThis.index !== undefined")
    found = client.search("a folder which is gone when I am done with it", mode="vector", k=5)
    assert QUESTION_ANSWER in [hit["title"] for hit in found["hits"]]


def takes_changes(client: Client) -> None:
    """Inserts a row and compacts: what only builder.wasm and writer.js can do."""
    client.page.wait_for("globalThis.index !== undefined")
    dim = client.page.evaluate("() => index.site.dim")
    assert client.ids("quokka", mode="keyword") == []
    client.insert([{"id": "new", "vector": np.eye(dim)[0], "text": "a quokka"}])
    assert client.ids("quokka", mode="keyword") == ["new"]
    client.call("compact")
    assert client.status()["local"]
    assert client.ids("quokka", mode="keyword") == ["new"]


def npm(folder: Path, *arguments: str) -> None:
    """Run npm; fails with what it printed."""
    command = ["npm", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (
        f"{' '.join(command)}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    )


def project(name: str) -> Path:
    """A copy of an example whose packages are installed, ours as `npm pack` makes it."""
    folder = BUILDS / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in (EXAMPLES / name).rglob("*"):
        if file.is_file() and "node_modules" not in file.parts:
            target = folder / file.relative_to(EXAMPLES / name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    npm(ROOT / "web", "pack", "--silent", "--pack-destination", str(folder))
    (package,) = folder.glob("pywasm-*.tgz")
    manifest = json.loads((folder / "package.json").read_text())
    manifest["dependencies"]["pywasm"] = f"file:{package.name}"
    (folder / "package.json").write_text(json.dumps(manifest))
    # The package changes under the same version; what is installed of it must go.
    shutil.rmtree(folder / "node_modules" / "pywasm", ignore_errors=True)
    (folder / "package-lock.json").unlink(missing_ok=True)
    npm(folder, "install", "--no-audit", "--no-fund", "--loglevel=error")
    return folder


def test_plain_script(
    browser: Browser, serve: Serve, docs_site: Path, tab: Tab, tmp_path: Path
) -> None:
    site = shutil.copytree(docs_site, tmp_path / "site")
    shutil.copyfile(EXAMPLES / "plain-script" / "index.html", site / "plain.html")
    client = tab(browser, serve(site))
    client.load("/plain.html")
    finds(client)


@pytest.mark.parametrize("isolate", [True, False], ids=["isolated", "plain-host"])
def test_cross_origin(
    chromium: Browser, serve: Serve, docs_site: Path, tab: Tab, tmp_path: Path, isolate: bool
) -> None:
    """Page on one origin, bundle and index on another."""
    folder = shutil.copytree(EXAMPLES / "cross-origin", tmp_path / "page")
    expose(folder / "main.js", "const index =", "const index = globalThis.index =")
    page = serve(folder)
    page.faults.isolate = isolate
    client = tab(chromium, page)
    other = serve(docs_site)
    client.load(f"/?site={other.url}/")
    finds(client)
    assert other.requests(r"worker\.js") and other.requests(r"engine\.wasm")
    assert not other.requests(r"writer\.js") and not other.requests(r"builder\.wasm")
    understands(client)
    takes_changes(client)
    assert other.requests(r"writer\.js") and other.requests(r"builder\.wasm")


def test_strict_policy(
    chromium: Browser, serve: Serve, docs_site: Path, tab: Tab, tmp_path: Path
) -> None:
    """A Content-Security-Policy with nothing but 'self' and wasm-unsafe-eval."""
    site = shutil.copytree(docs_site, tmp_path / "site")
    html = (EXAMPLES / "plain-script" / "index.html").read_text("utf-8")
    start = html.index('<script type="module">') + len('<script type="module">')
    end = html.index("</script>")
    (site / "main.js").write_text(html[start:end])
    expose(site / "main.js", "const index =", "const index = globalThis.index =")
    (site / "strict.html").write_text(html[: start - 1] + " src=main.js>" + html[end:])
    host = serve(site)
    policy = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'"
    host.faults.headers["Content-Security-Policy"] = f"{policy}; worker-src 'self'"
    client = tab(chromium, host)
    client.load("/strict.html")
    finds(client)
    understands(client)
    takes_changes(client)


def test_vite(chromium: Browser, serve: Serve, docs_site: Path, tab: Tab) -> None:
    folder = project("vite")
    expose(folder / "main.js", "const index =", "const index = globalThis.index =")
    shutil.rmtree(folder / "public", ignore_errors=True)
    shutil.copytree(docs_site, folder / "public" / "site")
    npm(folder, "run", "build")
    client = tab(chromium, serve(folder / "dist"))
    client.load("/index.html")
    finds(client)
    understands(client)
    takes_changes(client)


@pytest.mark.timeout(900)
def test_next(chromium: Browser, serve: Serve, docs_site: Path, tab: Tab) -> None:
    folder = project("next")
    exposed = "opening.then((opened) => { setIndex(globalThis.index = opened); },"
    expose(folder / "app" / "search.jsx", "opening.then(setIndex,", exposed)
    shutil.rmtree(folder / "public", ignore_errors=True)
    shutil.copytree(docs_site, folder / "public" / "site")
    npm(folder, "run", "build")
    client = tab(chromium, serve(folder / "out"))
    client.load("/index.html")
    finds(client)
    understands(client)
    takes_changes(client)
