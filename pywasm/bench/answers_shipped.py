"""Cases rag1-shipped*: prompts of one document whose KV the site ships, through `library.ask`.

The prompt is the site's own: its system segment, a passage of about 128 tokens, the question; the
passage is handed to ask(), so that no search is in the times. `rag1-shipped-network`: a passage
that this browser never read, its KV fetched at 50 Mbit/s and 40 ms. `rag1-shipped`: the same
passages asked about again after a reload, from storage. `pywasm-none`, in turns with both: passages
of the same length that the site does not have. All find the system segment in memory.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from .answers_models import Models
from .context import Bench, Skipped
from .network import Line, Visit, literal
from .sites import build, served

LOCAL, NETWORK = "rag1-shipped", "rag1-shipped-network"
NAMES = (LOCAL, NETWORK)
OTHER = "pywasm-none"
PASSAGES = 12
TOKENS = 116  # of a passage: with its title and what stands around it, 128
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>shipped</title>
<link rel="icon" href="data:,">
<script type="module">
import { open } from "./pywasm/pywasm.js";
const OTHERS = %s;
const visit = (globalThis.visit = { asked: [] });
try {
  const index = await open("./", { generator: { threads: 1 } });
  const passages = [];
  for await (const row of index.rows()) passages.push(row);
  if (passages.length !== OTHERS.length - 1) throw new Error(`${passages.length} passages`);
  const ask = async (hit, question) => {
    const answer = index.ask(question, { hits: [hit], maxTokens: 1 });
    const { firstMs, ttftMs, promptTokens, sources } = await answer.stats;
    return { ms: firstMs ?? ttftMs, promptTokens, sources };
  };
  const other = (number) => ({ ...passages[0], id: `other ${number}`, text: OTHERS[number] });
  // The model is loaded, its code compiled, the system segment read.
  await ask(other(passages.length), "What is this for?");
  for (const [number, hit] of passages.entries()) {
    visit.asked.push({ shipped: await ask(hit, `What does part ${number} say in short?`),
      none: await ask(other(number), `What does part ${number} say in short?`) });
  }
  visit.status = index.status ? await index.status() : null;
} catch (error) {
  visit.error = String(error);
}
visit.done = true;
</script>
"""


def shipped(context: Bench, models: Models) -> None:
    """A first visit on a slow line and, in the same storage, visits after it."""
    site = _site(context, models)
    rounds = 2 if context.quick else 4
    with served(site) as address, contextlib.closing(context.browser.rpc()) as rpc:
        for number in range(rounds):
            with Visit(rpc, Line()) as visit:
                for case in (NETWORK, LOCAL):
                    context.step(f"{case}: visit {number + 1} of {rounds}")
                    page = site / f"{case}.html"
                    page.write_text(_page(models))
                    before = len(visit.requests())
                    visit.goto(f"{address}/{page.name}")
                    asked = visit.outcome(page.name, 300)["asked"]
                    urls = [url for url, _ in visit.requests()[before:]]
                    ranges = [url for url in urls if "/kv/" in url and url.endswith(".bin")]
                    keep(context, case, asked, len(ranges))
                    # What was fetched is written behind the answers.
                    visit.evaluate("() => new Promise((done) => setTimeout(done, 2000))")


def _site(context: Bench, models: Models) -> Path:
    source = context.work / "passages"
    source.mkdir()
    for number in range(PASSAGES):
        (source / f"passage{number:02}.txt").write_text(models.texts.take(TOKENS).text)
    site = context.work / "shipped"
    context.step(f"{LOCAL}: building a site with the KV of {PASSAGES} passages")
    build(source, site, "--generator", str(models.compiled), "--kv", "all")
    return site


def _page(models: Models) -> str:
    """A fresh page: passages that the site does not have are read once."""
    others = [models.texts.take(TOKENS).text for _ in range(PASSAGES + 1)]
    return _PAGE % literal(others)


def keep(context: Bench, case: str, asked: list[dict[str, Any]], fetched: int) -> None:
    """Samples of a visit that fetched so many ranges of KV. Raises Skipped where none was used
    again, RuntimeError where it came from elsewhere than the case says.
    """
    add = context.samples.add
    for found in asked:
        there = found["shipped"]["sources"]["shipped"]
        if there < TOKENS // 2:
            raise Skipped(f"the passage's KV was not used: {found['shipped']['sources']}")
        series = add(case, "pywasm", "ttft_ms", "ms", found["shipped"]["ms"])
        series.note = f"{found['shipped']['promptTokens']} tokens, {there} of them shipped"
        none = add(case, OTHER, "ttft_ms", "ms", found["none"]["ms"])
        none.note = f"{found['none']['promptTokens']} tokens, a passage that was never read"
    if (case == NETWORK) != (fetched > 0):
        raise RuntimeError(f"{case}: {fetched} ranges of KV were fetched from the host")
