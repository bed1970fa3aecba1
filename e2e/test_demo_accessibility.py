"""axe-core objects to nothing in any state of the demo page, light or dark, wide or narrow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from host import Host

from pywasm.bench.browsers import Browser

AXE = Path(__file__).parents[1] / "web/node_modules/axe-core/axe.min.js"
STATES = {
    "idle": ("", None),
    "filtered words": ("?q=file&f=module:tempfile", None),
    "question and inspector": ("?suggest=0", "#inspect"),
    "open filter": ("?q=file", ".facet summary"),
    "whole text": ("?q=file", "button:text-is('Show all') >> nth=0"),
    "nothing found": ("?q=xqzzkw", None),
}
# On a site that answers; the page is not loaded anew between them.
ANSWERS = {
    "offer": ("() => document.querySelector('#search').requestSubmit()", "#answer button"),
    "answer": ("() => document.querySelector('#answer button').click()", ".caution"),
    "inspector": ("() => document.querySelector('#inspect').click()", ".inspector .why"),
}
RUN = """() => axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) =>
  violations.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes[0].html}`))"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_no_violations(
    chromium: Browser, serve: Callable[[Path], Host], docs_site: Path, scheme: str, width: int
) -> None:
    """Every state; at 360 px also that nothing is cut off at the side."""
    host = serve(docs_site)
    page: Any = chromium.new_page()
    found = {}
    try:
        page.tab.set_viewport_size({"width": width, "height": 800})
        page.tab.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for state, (address, click) in STATES.items():
            page.goto(f"{host.url}/{address}")
            page.wait_for("window.__pywasm !== undefined")
            if address:
                page.wait_for("document.querySelector('#status').textContent.includes('ms')")
            if click:
                page.tab.click(click)
            page.tab.evaluate(AXE.read_text("utf-8"))
            found[state] = page.evaluate(RUN)
            wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            if page.evaluate(f"() => {wide}") > 0:
                found[state].append(f"wider than the window of {width} px")
    finally:
        page.close()
    assert {state: problems for state, problems in found.items() if problems} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_no_violations_of_answers(
    chromium: Browser,
    serve: Callable[[Path], Host],
    answering_site: Path,
    scheme: str,
    width: int,
) -> None:
    """Before the download, with an answer, with what it took."""
    page: Any = chromium.new_page()
    found = {}
    try:
        page.tab.set_viewport_size({"width": width, "height": 800})
        page.tab.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.goto(f"{serve(answering_site).url}/?q=How+do+I+open+a+gzip+file%3F")
        page.wait_for("document.querySelector('#status').textContent.includes('ms')")
        page.tab.evaluate(AXE.read_text("utf-8"))
        for state, (action, awaited) in ANSWERS.items():
            page.evaluate(action)
            page.wait_for(f"document.querySelector({awaited!r}) !== null")
            found[state] = page.evaluate(RUN)
            wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            if page.evaluate(f"() => {wide}") > 0:
                found[state].append(f"wider than the window of {width} px")
    finally:
        page.close()
    assert {state: problems for state, problems in found.items() if problems} == {}
