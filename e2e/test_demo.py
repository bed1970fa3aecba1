"""The page that every built site carries, as `pywasm serve` serves it."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from sites import QUESTION, QUESTION_ANSWER, serving

from pywasm.bench.browsers import Browser, Page
from pywasm.bench.browsers.chromium import ChromiumPage


@pytest.fixture(scope="module")
def served(docs_site: Path) -> Iterator[str]:
    """The documents, served."""
    with serving(docs_site) as address:
        yield address


TYPE = """(text) => {
  const box = document.querySelector("#query");
  box.value = text;
  box.dispatchEvent(new Event("input", { bubbles: true }));
}"""
RESULTS = "document.querySelector('#results')"


def type_words(page: Page, text: str) -> None:
    page.evaluate(TYPE, text)


def test_typed_words_and_a_question(browser: Browser, served: str) -> None:
    """Words give highlighted results; a suggested question finds what shares no word with it."""
    page = browser.new_page()
    page.goto(served)
    page.wait_for("document.querySelectorAll('#chips button, #chips a').length > 0")
    type_words(page, "temporary directory")
    page.wait_for(f"{RESULTS}.querySelectorAll('mark').length > 0")
    assert "tempfile" in page.evaluate(f"() => {RESULTS}.textContent")
    type_words(page, "")
    chip = page.wait_for(
        "[...document.querySelectorAll('#chips button, #chips a')].map((c) => c.textContent)"
    )
    assert any(QUESTION in text for text in chip)
    page.evaluate("() => document.querySelector('#chips button, #chips a').click()")
    page.wait_for(f"{RESULTS}.textContent.includes({QUESTION_ANSWER!r})")
    assert page.evaluate("() => document.querySelector('#status').textContent.trim()") != ""
    page.close()


def test_nothing_in_the_console(chromium: Browser, served: str) -> None:
    """No error, no warning, no request that fails, with everything on the page opened."""
    page = chromium.new_page(isolated=True)
    assert isinstance(page, ChromiumPage)
    said: list[str] = []
    page.tab.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.tab.on("pageerror", lambda error: said.append(f"thrown: {error}"))
    page.tab.on("requestfailed", lambda request: said.append(f"failed: {request.url}"))
    page.goto(served)
    page.wait_for("document.querySelectorAll('#chips button, #chips a').length > 0")
    type_words(page, "json")
    page.wait_for(f"{RESULTS}.children.length > 0")
    page.evaluate("() => document.querySelector('#inspect').click()")
    page.wait_for("document.querySelector('#inspector').hidden === false")
    assert [line for line in said if not line.startswith(("log:", "info:", "debug:"))] == []
    page.close()


def test_keyboard_alone(chromium: Browser, served: str) -> None:
    """Type, walk down with the arrow to the first result, back and clear with Escape."""
    page = chromium.new_page()
    assert isinstance(page, ChromiumPage)
    page.goto(served)
    page.wait_for("document.querySelectorAll('#chips button, #chips a').length > 0")
    page.tab.focus("#query")
    page.tab.keyboard.type("temporary directory")
    page.wait_for(f"{RESULTS}.textContent.includes('tempfile')")
    page.tab.keyboard.press("ArrowDown")
    inside = f"() => {RESULTS}.contains(document.activeElement)"
    assert page.evaluate(inside) is True
    page.tab.keyboard.press("Escape")  # back to the box
    assert page.evaluate("() => document.activeElement.id") == "query"
    page.tab.keyboard.press("Escape")
    assert page.evaluate("() => document.querySelector('#query').value") == ""
    page.close()


def test_a_phone_is_wide_enough(chromium: Browser, served: str) -> None:
    """At 360 pixels nothing has to be scrolled sideways."""
    page = chromium.new_page()
    assert isinstance(page, ChromiumPage)
    page.tab.set_viewport_size({"width": 360, "height": 640})
    page.goto(served)
    type_words(page, "temporary directory")
    page.wait_for(f"{RESULTS}.children.length > 0")
    widths = "() => [document.documentElement.scrollWidth, innerWidth]"
    scroll, width = page.evaluate(widths)
    assert scroll <= width
    page.close()


def test_serve_sends_what_a_good_host_sends(served: str, docs_site: Path) -> None:
    """Ranges, isolation, caching by content, revalidation of the manifest."""
    shard = next((docs_site / "data").glob("*.bin"))
    request = urllib.request.Request(
        f"{served}/data/{shard.name}", headers={"Range": "bytes=16384-32767"}
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 206
        assert answer.read() == shard.read_bytes()[16384:32768]
        assert "immutable" in answer.headers["Cache-Control"]
        assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    with urllib.request.urlopen(f"{served}/manifest.json") as answer:
        assert "no-cache" in answer.headers["Cache-Control"] and answer.headers["ETag"]
