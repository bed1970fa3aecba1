"""KV that outlasts answers, visits and damage in real browsers, bit for bit what is computed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from generators import ROOT, GeneratorPage, sample_prompt, sample_text
from host import Host, prelude

from pywasm.bench.browsers import Browser, PageError, launch
from pywasm.bench.browsers.chromium import ChromiumPage

Tab = Callable[[Browser, Host], GeneratorPage]

WORKER = r"pywasm/generator-worker\.js$"
WORDS = (ROOT / "README.md").read_text("utf-8").split()
DENIED = "StorageManager.prototype.getDirectory = () => Promise.reject(new Error('denied'));"

# Fulfilled when nothing is being written any more.
SETTLED = """async () => {
  for (let before = -1, same = 0; same < 3;) {
    const { bytes } = (await generator.status()).kv.storage;
    same = bytes === before ? same + 1 : 0;
    before = bytes;
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
}"""
FILES = """async () => {
  const root = await (await navigator.storage.getDirectory()).getDirectoryHandle("pywasm-kv");
  const files = {};
  for await (const directory of root.values())
    for await (const file of directory.values()) files[file.name] = (await file.getFile()).size;
  return files;
}"""
# Changes each record: mode 0 cuts it, 1 changes a byte in its middle, 2 leaves nothing of it.
DAMAGE = """async (mode) => {
  const root = await (await navigator.storage.getDirectory()).getDirectoryHandle("pywasm-kv");
  let damaged = 0;
  for await (const directory of root.values()) for await (const file of directory.values()) {
    const { size } = await file.getFile();
    const stream = await file.createWritable({ keepExistingData: true });
    if (mode === 0) await stream.truncate(Math.floor(size / 2));
    if (mode === 1) await stream.write({ type: "write", position: size >> 1, data: "?" });
    if (mode === 2) await stream.truncate(0);
    await stream.close();
    damaged++;
  }
  return damaged;
}"""
TALK = """async ({ id, texts, options, secret, sliding }) => {
  const system = "Be brief.";
  const conversation = await generator.conversation({ id, private: secret, sliding, system });
  const stats = [];
  for (const text of texts) {
    const generation = conversation.send(text, options);
    await generation.text();
    stats.push(await generation.stats);
  }
  return { messages: conversation.messages, stats };
}"""


def segments(*texts: str) -> dict[str, Any]:
    """A prompt of a system prompt, documents and a question."""
    kinds = ["system", *["document"] * (len(texts) - 2), "question"]
    return {"segments": [{"kind": k, "text": t} for k, t in zip(kinds, texts, strict=True)]}


def settled(tab: GeneratorPage) -> None:
    """Waits until all that is to be stored is."""
    tab.page.evaluate(SETTLED)


def used(tab: GeneratorPage) -> dict[str, int]:
    """Tokens since the model was opened, by where their KV came from."""
    tokens: dict[str, int] = tab.status()["kv"]["tokens"]
    return tokens


def test_bits_at_split_points(
    tabbed: Browser, smollm2: Path, serve: Callable[[Path], Host], generator_tab: Tab
) -> None:
    """Logits behind a cached prefix are those of a full run, wherever the prefix ends."""
    rng = random.Random(4)

    def text(words: int) -> str:
        return " ".join(rng.choices(WORDS, k=words))

    pairs = []
    for split in range(3, 43, 4):
        head = text(split)
        pairs.append([f"{head} {text(12)}", f"{head} {text(12)}"])
    tab = generator_tab(tabbed, serve(smollm2))
    tab.open(threads=2, storage="memory")
    found, ends = [], []
    for before, prompt in pairs:
        tab.logits(before)
        known = used(tab)["memory"]
        found.append(tab.logits(prompt))
        ends.append(used(tab)["memory"] - known)
    assert min(ends) > 2
    assert len({end % 32 for end in ends}) > 5  # mostly inside a block
    tab.load()
    tab.open(threads=2, storage="memory")
    for (_, prompt), logits in zip(reversed(pairs), reversed(found), strict=True):
        assert tab.logits(prompt) == logits
    assert used(tab)["memory"] < len(pairs) * 6  # first words that two of them share


def test_bits_through_storage(
    chromium: Browser, smollm2: Path, serve: Callable[[Path], Host], generator_tab: Tab
) -> None:
    """Demoted, saved and read again in a later visit: the logits of a full run, from any document
    on; a conversation goes on without reading what was said.
    """
    rng = random.Random(5)
    parts = [" ".join(rng.choices(WORDS, k=count)) for count in (9, 40, 25, 33, 8)]
    tab = generator_tab(chromium, serve(smollm2))
    tab.open(threads=2)
    whole = tab.logits(segments(*parts))
    tab.load()
    tab.open(threads=2, storage="memory")
    assert tab.logits(segments(*parts)) == whole
    wanted = [tab.logits(segments(*parts[:n], "And?")) for n in (1, 2, 3)]
    tab.load()
    for n in (1, 2, 3):
        tab.load()
        tab.open(threads=2)
        assert tab.logits(segments(*parts[:n], "And?")) == wanted[n - 1]
        assert used(tab)["storage"] > 0
        settled(tab)
    tab.load()
    tab.open(threads=2)
    assert tab.logits(segments(*parts)) == whole
    tokens = used(tab)
    assert tokens["storage"] > 4 * tokens["computed"]

    talk = {"id": "c", "texts": [parts[1]], "options": {"maxTokens": 12}, "secret": False}
    first = tab.page.evaluate(TALK, talk)
    settled(tab)
    more = {**talk, "texts": ["And then?"]}
    there = tab.page.evaluate(TALK, more)
    tab.page.evaluate("() => generator.close()")
    tab.load()
    tab.open(threads=2, storage="memory")
    anew = [*there["messages"][:-1]]
    text = tab.generate({"messages": anew}, maxTokens=12)["text"]
    assert there["messages"][: len(first["messages"])] == first["messages"]
    assert there["messages"][-1]["content"] == text
    assert there["stats"][0]["cachedTokens"] > first["stats"][0]["promptTokens"]


@pytest.mark.parametrize("tier", ["opfs", "indexeddb"])
def test_next_visit(browser: Browser, tiny: Host, generator_tab: Tab, tier: str) -> None:
    """Prompts and conversations are found again, in every browser's storage."""
    if tier == "opfs" and browser.name == "webkit":
        pytest.skip("it has no file system for workers")
    denied = tier == "indexeddb" and browser.name != "webkit"
    tiny.faults.change[WORKER] = prelude(DENIED if denied else "")
    tab = generator_tab(browser, tiny)
    tab.open(threads=1)
    prompt = sample_prompt(20) + "?" * 150
    assert tab.generate(prompt, maxTokens=60)["text"] == sample_text(prompt, 60)
    talk = {"id": "c", "texts": ["x" * 70, "y" * 40], "options": {"maxTokens": 9}, "secret": False}
    said = tab.page.evaluate(TALK, talk)
    settled(tab)
    assert tab.status()["kv"]["storage"]["tier"] == tier
    tab.load()
    tab.open(threads=1)
    made = tab.generate(prompt, maxTokens=60)
    assert made["text"] == sample_text(prompt, 60)
    assert made["stats"]["sources"]["storage"] == len(prompt) - 1
    again = tab.page.evaluate(TALK, {**talk, "texts": ["z"]})
    assert again["messages"][:-2] == said["messages"]
    before = said["stats"][-1]
    assert again["stats"][0]["cachedTokens"] >= before["promptTokens"] + before["tokens"] - 2
    assert tab.page.evaluate("() => generator.conversations()") == ["c"]


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_damaged(chromium: Browser, tiny: Host, generator_tab: Tab, mode: int) -> None:
    """Damaged records and conversations are as good as none, and are written again."""
    tab = generator_tab(chromium, tiny)
    tab.open(threads=1)
    prompt = sample_prompt(20) + "?" * 150
    tab.generate(prompt, maxTokens=5)
    talk = {"id": "c", "texts": ["x"], "options": {"maxTokens": 9}, "secret": False}
    tab.page.evaluate(TALK, talk)
    settled(tab)
    tab.load()
    assert tab.page.evaluate(DAMAGE, mode) > 2
    for stored in (0, len(prompt) - 1):
        tab.load()
        tab.open(threads=1)
        made = tab.generate(prompt, maxTokens=60)
        assert made["text"] == sample_text(prompt, 60)
        assert made["stats"]["sources"]["storage"] == stored
        settled(tab)
    talked = tab.page.evaluate(TALK, talk)
    assert len(talked["messages"]) == 3


def test_clear_and_private(tabbed: Browser, tiny: Host, generator_tab: Tab) -> None:
    """A private conversation leaves no file, forget() none of its own, clear() none at all."""
    tab = generator_tab(tabbed, tiny)
    tab.open(threads=1)
    talk = {"id": "p", "texts": ["x" * 70, "y"], "options": {"maxTokens": 9}, "secret": True}
    tab.page.evaluate(TALK, talk)
    settled(tab)
    assert set(tab.page.evaluate(FILES)) == set()
    tab.page.evaluate(TALK, {**talk, "id": "c", "secret": False})
    settled(tab)
    assert len(tab.page.evaluate(FILES)) > 3
    tab.page.evaluate("async () => (await generator.conversation({ id: 'c' })).forget()")
    kept = set(tab.page.evaluate(FILES))  # the system prompt is everybody's
    assert len(kept) <= 1
    tab.generate("x" * 99, maxTokens=9)
    tab.page.evaluate("() => generator.clear()")  # while it is being written
    assert tab.page.evaluate(FILES) == {}


def test_sliding(chromium: Browser, tiny: Host, generator_tab: Tab) -> None:
    """A conversation that may slide goes on behind the context's end, after a reload as well; one
    that may not says what is the matter.
    """
    tab = generator_tab(chromium, tiny)
    tab.open(threads=1)
    talk = {"id": "c", "texts": ["x" * 90], "options": {"maxTokens": 20}, "secret": False}
    with pytest.raises(PageError, match="sample reads at most 511") as caught:
        tab.page.evaluate(TALK, {**talk, "texts": ["x" * 90] * 9})
    assert caught.value.code == "argument"
    slides = {**talk, "id": "s", "sliding": True}
    for _ in range(3):
        said = tab.page.evaluate(TALK, {**slides, "texts": ["x" * 90] * 6})
    assert len(said["messages"]) == 1 + 2 * 18
    assert said["stats"][-1]["promptTokens"] < 512 + 120  # the window and the new message
    settled(tab)
    tab.load()
    tab.open(threads=1)
    again = tab.page.evaluate(TALK, slides)
    assert again["messages"][:-2] == said["messages"]
    assert again["stats"][0]["cachedTokens"] > 100
    assert tab.status()["kv"]["blocks"] <= 16 + 4  # of one context, and what it was before


def test_quota(chromium: Browser, tiny: Host, generator_tab: Tab) -> None:
    """Where the browser gives no more room, answers go on."""
    # What the browser says and what it gives are two things.
    estimate = "StorageManager.prototype.estimate = async () => ({ quota: 1e9 });"
    tiny.faults.change[WORKER] = prelude(estimate)
    tab = generator_tab(chromium, tiny)
    assert isinstance(tab.page, ChromiumPage)
    quota = {"origin": tiny.url, "quotaSize": 60_000}
    tab.page.cdp().send("Storage.overrideQuotaForOrigin", quota)
    tab.open(threads=1)
    for number in range(12):
        prompt = f"{number} {sample_prompt(5)}" + "?" * 200
        assert tab.generate(prompt, maxTokens=9)["text"] == sample_text(prompt, 9)
    settled(tab)
    storage = tab.status()["kv"]["storage"]
    assert storage["full"]
    assert storage["bytes"] < 60_000


def test_two_tabs(tabbed: Browser, tiny: Host, generator_tab: Tab) -> None:
    """Two tabs that answer share what is stored; one that clears it hurts nobody."""
    prompts = [f"{number} {sample_prompt(5)}" + "?" * 150 for number in range(6)]
    tabs = [generator_tab(tabbed, tiny) for _ in range(2)]
    for tab in tabs:
        tab.open(threads=1)
    for number, prompt in enumerate(prompts):
        made = tabs[number % 2].generate(prompt, maxTokens=9)
        assert made["text"] == sample_text(prompt, 9)
    for tab in tabs:
        settled(tab)
    third = generator_tab(tabbed, tiny)
    third.open(threads=1)
    for prompt in prompts:
        made = third.generate(prompt, maxTokens=9)
        assert made["text"] == sample_text(prompt, 9)
        assert made["stats"]["sources"]["storage"] > 100
    tabs[0].page.evaluate("() => generator.clear()")
    for prompt in prompts:
        assert tabs[1].generate(prompt, maxTokens=9)["text"] == sample_text(prompt, 9)


def test_killed_while_saving(tiny: Host, tmp_path: Path) -> None:
    """SIGKILL to the browser while KV is written: what is found later is whole."""
    prompts = [f"{number} {sample_prompt(5)}" + "?" * 300 for number in range(8)]
    with launch("chromium", tmp_path / "profile") as browser:
        tab = GeneratorPage(browser.new_page(), tiny)
        tab.open(threads=1)
        for prompt in prompts:
            tab.generate(prompt, maxTokens=3)
        browser.kill()
    with launch("chromium", tmp_path / "profile") as browser:
        tab = GeneratorPage(browser.new_page(), tiny)
        tab.open(threads=1)
        for prompt in prompts:
            assert tab.generate(prompt, maxTokens=9)["text"] == sample_text(prompt, 9)
