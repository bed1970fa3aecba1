"""Answers, from the library and on the page: from what is found, whatever goes wrong."""

from __future__ import annotations

import datetime
import gzip
import inspect
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from answers import MOST, AnswerPage, ask, known_answer, wait_stored
from client import Client
from host import Host, flip
from sites import pywasm

from pywasm.bench.browsers import Browser, Page, PageError

Serve = Callable[[Path], Host]
Tab = Callable[[Browser, Host], Client]
Visit = Callable[[Browser, Host], AnswerPage]

QUESTION = "How do I compress bytes with gzip?"
MODEL = r"/generator/"
WEIGHTS = r"/generator/weights-"
SAVE_DATA = """Object.defineProperty(navigator, "connection", { value: { saveData: true } });"""


@pytest.fixture(scope="module")
def smollm2_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few real documents and the model of the demo, as `pywasm build` makes it."""
    folder = tmp_path_factory.mktemp("smollm2")
    things = {
        "datetime.datetime.strptime": datetime.datetime.strptime,
        "datetime.date.fromisoformat": datetime.date.fromisoformat,
        "datetime.date.isoformat": datetime.date.isoformat,
        "gzip.compress": gzip.compress,
        "json.loads": json.loads,
        "tempfile.TemporaryDirectory": tempfile.TemporaryDirectory,
    }
    rows = [
        {"id": name, "title": name, "text": f"{name}\n\n{inspect.getdoc(thing)}"}
        for name, thing in things.items()
    ]
    table = folder / "rows.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    site = folder / "site"
    pywasm("build", str(table), "-o", str(site), "--generator", "smollm2", "--kv", "none")
    return site


@pytest.fixture
def visit() -> Iterator[Visit]:
    """Opens the page of a site; all are closed at the end of the test."""
    pages: list[Page] = []

    def open_page(browser: Browser, host: Host) -> AnswerPage:
        page = browser.new_page()
        pages.append(page)
        shown = AnswerPage(page, host)
        shown.visit()
        return shown

    yield open_page
    for page in pages:
        page.close()


def test_an_answer_of_the_library(
    browser: Browser, serve: Serve, answering_site: Path, tab: Tab
) -> None:
    """The text that the model makes of these documents; known again, also after a reload."""
    client = tab(browser, serve(answering_site))
    client.open("/")
    assert client.host.requests(MODEL) == []
    first = ask(client.page, QUESTION)
    titles = [hit["title"] for hit in first["sources"]]
    assert "gzip.open" in titles and first["told"]["sources"] == [titles]
    assert first["text"] == known_answer(QUESTION, first["sources"])
    stats = first["stats"]
    assert stats["cachedTokens"] == 0
    assert (stats["reason"] == "length") == (len(first["text"]) == MOST)
    assert stats["firstMs"] >= stats["searchMs"] + stats["ttftMs"] and stats["loadMs"] > 0
    assert [event["status"] for event in first["told"]["progress"]][-1:] == ["generator"]
    again = ask(client.page, QUESTION)
    assert again["text"] == first["text"] and again["told"]["progress"] == []
    assert again["stats"]["sources"]["memory"] == stats["promptTokens"] - 1
    assert again["stats"]["loadMs"] < stats["loadMs"]

    wait_stored(client.page)
    client.load()
    client.open("/")
    later = ask(client.page, QUESTION)
    assert later["text"] == first["text"]
    assert later["stats"]["sources"]["storage"] > stats["promptTokens"] / 2


def test_the_documents_are_known_to_other_questions(
    chromium: Browser, serve: Serve, answering_site: Path, tab: Tab
) -> None:
    """Prepared while the visitor types: only the question is left to read."""
    client = tab(chromium, serve(answering_site))
    client.open("/")
    assert client.call("prepare", QUESTION) == 0  # nothing is loaded for a guess
    assert client.host.requests(MODEL) == []
    client.page.evaluate("async () => { await index.generator.load(); }", timeout=60)
    prepared = client.call("prepare", QUESTION)
    assert prepared > 100
    answer = ask(client.page, QUESTION)
    assert answer["text"] == known_answer(QUESTION, answer["sources"])
    assert answer["stats"]["sources"]["memory"] == prepared
    assert client.call("prepare", QUESTION) == 0


def test_smollm2_answers(chromium: Browser, serve: Serve, smollm2_site: Path, tab: Tab) -> None:
    """Names the document's function, cites it, and need not read it again after a reload."""
    client = tab(chromium, serve(smollm2_site))
    client.open("/")
    question = "How do I parse a date?"
    first = ask(client.page, question, timeout=240)
    titles = [hit["title"] for hit in first["sources"]]
    cited = {titles[citation["source"]] for citation in first["citations"]}
    assert any(title in first["text"] for title in cited), first
    assert all(title.startswith("datetime.") for title in cited)
    wait_stored(client.page)
    client.load()
    client.open("/")
    later = ask(client.page, question, timeout=240)
    assert (later["text"], later["citations"]) == (first["text"], first["citations"])
    assert later["stats"]["sources"]["storage"] >= 0.9 * later["stats"]["promptTokens"]
    assert later["stats"]["ttftMs"] < first["stats"]["ttftMs"]
    stopped = """async (question) => {
      const answer = index.ask(question);
      for await (const piece of answer) break;
      return answer.stats;
    }"""
    stats = client.page.evaluate(stopped, "How do I compress bytes with gzip?", 120)
    assert stats["reason"] == "aborted" and stats["tokens"] < 10


def test_nothing_found_asks_no_model(
    chromium: Browser, serve: Serve, answering_site: Path, tab: Tab
) -> None:
    client = tab(chromium, serve(answering_site))
    client.open("/")
    answer = ask(client.page, "xqzzkw vvqj?", mode="keyword")
    assert (answer["text"], answer["sources"], answer["citations"]) == ("", [], [])
    assert answer["stats"]["reason"] == "nothing"
    assert client.host.requests(MODEL) == []


def test_a_question_that_can_not_be_answered(
    chromium: Browser, serve: Serve, answering_site: Path, docs_site: Path, tab: Tab
) -> None:
    client = tab(chromium, serve(answering_site))
    client.open("/")
    with pytest.raises(PageError, match="context of 512"):
        ask(client.page, "why " * 150)
    with pytest.raises(PageError, match="a text expected"):
        ask(client.page, " ")
    client.open("/", generator=False)
    with pytest.raises(PageError, match="carries no language model"):
        ask(client.page, QUESTION)
    other = tab(chromium, serve(docs_site))
    other.open("/")
    assert other.page.evaluate("() => index.generator") is None
    with pytest.raises(PageError, match="carries no language model"):
        ask(other.page, QUESTION)


def test_a_hundred_answers_left_in_the_middle(
    chromium: Browser, serve: Serve, answering_site: Path, tab: Tab
) -> None:
    """They hold nothing but what they have read; the next one is whole."""
    client = tab(chromium, serve(answering_site))
    client.open("/")
    sources = ask(client.page, QUESTION)["sources"]
    numbers = (f"{number} question" for number in range(10_000))
    long = next(text for text in numbers if len(known_answer(text, sources, 150)) == 150)
    leave = """async ({ question, hits }) => {
      const controller = new AbortController();
      const answer = index.ask(question, { hits, signal: controller.signal, maxTokens: 150 });
      try {
        for await (const piece of answer) controller.abort();
      } catch (error) { return error.code; }
      return "whole";
    }"""
    cache = "async () => (await (await index.generator.load()).status()).kv"
    sent = {"question": long, "hits": sources}
    said = [client.page.evaluate(leave, sent) for _ in range(100)]
    assert set(said) <= {"aborted", "whole"} and said.count("aborted") > 50
    after = client.page.evaluate(cache)
    assert after["leases"] == 0
    # Of 32 tokens: the prompt has some 8, the whole answer 5, and where one answer went further
    # than all before it, the block that both have in part is there twice.
    assert after["blocks"] <= 30
    answer = ask(client.page, QUESTION)
    assert answer["text"] == known_answer(QUESTION, answer["sources"])


def test_what_is_stored_can_be_cleared(
    chromium: Browser, serve: Serve, answering_site: Path, tab: Tab
) -> None:
    """By a visit that has not loaded the model: weights and KV are gone."""
    client = tab(chromium, serve(answering_site))
    client.open("/")
    ask(client.page, QUESTION)
    client.load()
    client.open("/")
    client.call("clear")
    client.load()
    client.open("/")
    fetched = len(client.host.requests(WEIGHTS))
    assert ask(client.page, QUESTION)["stats"]["cachedTokens"] == 0
    assert len(client.host.requests(WEIGHTS)) > fetched


def test_the_page_tells_before_it_downloads(
    browser: Browser, serve: Serve, answering_site: Path, visit: Visit
) -> None:
    """A question, Enter: an offer with the size; taken, an answer; given again after a reload."""
    host = serve(answering_site)
    shown = visit(browser, host)
    shown.type("gzip")
    shown.submit()  # words: nothing to answer
    shown.page.wait_for("document.querySelector('#results li') !== null")
    assert shown.page.evaluate("() => document.querySelector('#answer').hidden")
    shown.type(QUESTION)
    shown.submit()
    assert "KB" in shown.text("#answer button") and "sample" in shown.text("#answer")
    assert host.requests(MODEL) == []
    shown.click("#answer button")
    text = shown.wait_answer()
    sources = shown.page.evaluate(
        "async (q) => (await __pywasm.index.search(q, { k: 2 })).hits", QUESTION
    )
    assert text.replace(" ", "") == known_answer(QUESTION, sources, 128)
    assert "gzip.open" in shown.text(".sources")
    assert "often wrong" in shown.text("#answer .caution")
    assert "tokens read" in shown.text("#answer .hint")
    wait_stored(shown.page, "__pywasm.index")
    shown.visit(shown.page.evaluate("() => location.pathname + location.search"))
    assert shown.wait_answer() == text  # used before: no offer
    assert "were read before" in shown.text("#answer .hint")
    shown.click("#inspect")
    shown.page.wait_for("document.querySelector('#inspector .why') !== null")
    assert "stored here" in shown.text("#inspector .why")


def test_the_download_can_be_cancelled(
    chromium: Browser, serve: Serve, answering_site: Path, visit: Visit
) -> None:
    """And be begun again with the button that asks, which needs no offer."""
    host = serve(answering_site)
    held = time.monotonic() + 60

    def slow(body: bytes) -> bytes:
        time.sleep(max(0.0, held - time.monotonic()))
        return body

    host.faults.change[WEIGHTS] = slow
    shown = visit(chromium, host)
    shown.type(QUESTION)
    shown.click("#ask")
    shown.page.wait_for("document.querySelectorAll('.sources li').length === 2")  # sources first
    shown.page.wait_for("__pywasm.index.generator.state.state === 'loading'")
    assert shown.text("#answer .stop") == "Cancel"
    shown.click("#answer .stop")
    shown.page.wait_for("document.querySelector('#answer').hidden")
    assert shown.model()["state"] == "idle"
    held = time.monotonic()
    shown.click("#ask")
    assert shown.wait_answer() != ""


def test_typing_on_ends_the_answer(
    chromium: Browser, serve: Serve, answering_site: Path, visit: Visit
) -> None:
    shown = visit(chromium, serve(answering_site))
    shown.type(QUESTION)
    shown.click("#ask")
    shown.wait_answer()
    assert "ask=" in shown.page.evaluate("() => location.search")
    shown.type(f"{QUESTION} And")
    assert shown.page.evaluate("() => document.querySelector('#answer').hidden")
    assert "ask=" not in shown.page.evaluate("() => location.search")


def test_a_damaged_model(
    chromium: Browser, serve: Serve, answering_site: Path, visit: Visit
) -> None:
    """Search goes on; the page says what is wrong; mended, another try is enough."""
    host = serve(answering_site)
    host.faults.change[WEIGHTS] = flip(100)
    shown = visit(chromium, host)
    shown.type(QUESTION)
    shown.click("#ask")
    shown.page.wait_for("document.querySelector('#answer [role=alert]') !== null", 60)
    assert "weights-" in shown.text("#answer [role=alert]")
    assert "gzip.open" in shown.text("#results")
    host.faults.change.clear()
    shown.click("#answer .quiet")
    assert shown.wait_answer() != ""


def test_a_visitor_who_saves_data(chromium: Browser, serve: Serve, answering_site: Path) -> None:
    """Is asked each time before anything is downloaded."""
    host = serve(answering_site)
    page = chromium.new_page()
    page.add_init_script(SAVE_DATA)
    shown = AnswerPage(page, host)
    for _ in range(2):
        shown.visit("/?q=how+to+compress+bytes%3F&ask=")
        page.wait_for("document.querySelector('#answer button') !== null")
        assert "KB" in shown.text("#answer button")
        shown.click("#answer button")
        assert shown.wait_answer() != ""
    page.close()


def test_a_site_without_a_model_has_no_button(
    chromium: Browser, serve: Serve, docs_site: Path, visit: Visit
) -> None:
    shown = visit(chromium, serve(docs_site))
    shown.type(QUESTION)
    shown.submit()
    shown.page.wait_for("document.querySelector('#results li') !== null")
    assert shown.page.evaluate(
        "() => document.querySelector('#ask').hidden && document.querySelector('#answer').hidden"
    )
