"""A site that answers with the sample decoder, whose every answer is known; pages that ask it."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from generators import SAMPLE, sample_text
from host import Host

from pywasm.answer_prompt import document_text, fill
from pywasm.bench.browsers import Page
from pywasm.manifest import AnswerPrompt, Answers, manifest_bytes, read_manifest

# A character is a token of the sample, and its context has 512 of them.
PROMPT = AnswerPrompt(
    system="System.",
    document="\n\n{title}\n{text}",
    question="\n\nQuestion: {question}",
    answer="\nAnswer:",
    characters=80,
    documents=2,
)
MOST = 64

ASK = """async ({ question, options }) => {
  const told = { progress: [], starts: [], sources: [] };
  const answer = index.ask(question, {
    ...options,
    onSources: (hits) => told.sources.push(hits.map(({ id }) => id)),
    onProgress: (event) => told.progress.push(event),
    onStart: (start) => told.starts.push(start),
  });
  const text = await answer.text();
  const [sources, citations, stats] =
    await Promise.all([answer.sources, answer.citations, answer.stats]);
  return { text, sources, citations, stats, told };
}"""
TYPE = """(text) => {
  const box = document.querySelector("#query");
  box.value = text;
  box.dispatchEvent(new Event("input", { bubbles: true }));
}"""


def answer_site(site: Path, folder: Path) -> Path:
    """A copy of `site` that carries the sample decoder."""
    shutil.copytree(site, folder)
    shutil.copytree(SAMPLE, folder / "generator")
    plan = json.loads((SAMPLE / "plan.json").read_text("utf-8"))
    answers = Answers(
        name="sample",
        licence="",
        url="",
        plan="generator/plan.json",
        source_sha256=plan["source_sha256"],
        weights="f32",
        context=plan["decoder"]["context"],
        visit_bytes=sum(file.stat().st_size for file in SAMPLE.iterdir()),
        files=[],
        prompt=PROMPT,
        losses=[],
        kv=None,
    )
    manifest = read_manifest(folder).model_copy(update={"answers": answers})
    (folder / "manifest.json").write_bytes(manifest_bytes(manifest))
    return folder


def known_answer(question: str, sources: list[dict[str, Any]], most: int = MOST) -> str:
    """What the sample says to the question after reading the sources."""
    documents = (document_text(PROMPT, hit["title"], hit["text"]) for hit in sources)
    asked = fill(PROMPT.question, question=question)
    return sample_text("".join([PROMPT.system, *documents, asked, PROMPT.answer]), most)


def ask(page: Page, question: str, timeout: float = 60, **options: Any) -> dict[str, Any]:
    """index.ask of a page with an open index: all of the answer, and what it told meanwhile."""
    sent = {"question": question, "options": {"maxTokens": MOST, **options}}
    answer: dict[str, Any] = page.evaluate(ASK, sent, timeout)
    return answer


def wait_stored(page: Page, index: str = "index") -> None:
    """Until what the model has read is stored, which is done behind the answers."""
    written = f"async () => (await (await {index}.generator.load()).status()).kv.storage.bytes"
    seen = [-1]
    while len(seen) < 4 or seen[-1] == 0 or len(set(seen[-4:])) > 1:
        assert len(seen) < 200, f"never at rest: {seen[-4:]}"
        seen.append(page.evaluate(written))
        time.sleep(0.1)


class AnswerPage:
    """The demo page of a site that answers."""

    def __init__(self, page: Page, host: Host) -> None:
        self.page = page
        self.host = host

    def visit(self, path: str = "/") -> None:
        """(Re)load."""
        self.page.goto(self.host.url + path)
        self.page.wait_for("globalThis.__pywasm !== undefined")

    def type(self, text: str) -> None:
        """Into the search box."""
        self.page.evaluate(TYPE, text)

    def submit(self) -> None:
        """As Enter does."""
        self.page.evaluate("() => document.querySelector('#search').requestSubmit()")

    def click(self, selector: str) -> None:
        """The first that matches."""
        self.page.evaluate("(s) => document.querySelector(s).click()", selector)

    def text(self, selector: str) -> str:
        """Of all that match."""
        found: str = self.page.evaluate(
            "(s) => [...document.querySelectorAll(s)].map((e) => e.textContent).join(' ')", selector
        )
        return found

    def wait_answer(self, timeout: float = 60.0) -> str:
        """Until the answer is over; its text."""
        self.page.wait_for("document.querySelector('#answer .caution') !== null", timeout)
        return self.text(".answer-text")

    def model(self) -> dict[str, Any]:
        """The state of the site's language model."""
        state: dict[str, Any] = self.page.evaluate("() => __pywasm.index.generator.state")
        return state
