"""Generators in real browsers: the right text everywhere, threads, storage, aborts, faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generators import (
    ROOT,
    GeneratorPage,
    generator_site,
    sample_prompt,
    sample_text,
)
from host import Host, prelude
from sites import pywasm
from threads import several

from pywasm.bench.browsers import Browser, PageError

WORKER = r"pywasm/generator-worker\.js$"
# The module that asks for relaxed SIMD is the one with its opcode.
NO_RELAXED = "WebAssembly.validate = (bytes) => ![...bytes].includes(0x85);"
GOLDEN: list[dict[str, Any]] = json.loads((ROOT / "tests/data/smollm2.json").read_text("utf-8"))[
    "rows"
]
Tab = Callable[[Browser, Host], GeneratorPage]


def test_sample(browser: Browser, tiny: Host, generator_tab: Tab) -> None:
    """Isolated or not, one thread or three: the same text, from long prompts and short ones."""
    prompts = ["a", sample_prompt(100), "long " * 60]
    for isolate in (True, False):
        tiny.faults.isolate = isolate
        tab = generator_tab(browser, tiny)
        for threads in (1, several(browser)):
            assert tab.open(threads=threads)["context"] == 512
            for prompt in prompts:
                made = tab.generate(prompt, maxTokens=100)
                assert made["text"] == sample_text(prompt, 100)
                assert made["stats"]["promptTokens"] == len(prompt)
            shared = isolate and browser.name != "webkit"
            assert tab.status()["threads"] == (threads if shared else 1)
            tab.page.evaluate("() => generator.close()")


AT_ONCE = """async (prompts) => {
  const order = [];
  const texts = await Promise.all(prompts.map(async (prompt, index) => {
    let text = "";
    for await (const piece of generator.generate(prompt, { maxTokens: 60 })) {
      text += piece;
      order.push(index);
    }
    return text;
  }));
  return { texts, order };
}"""


def test_two_at_once(browser: Browser, tiny: Host, generator_tab: Tab) -> None:
    """Two answers at the same time: each is right, and they take turns."""
    tab = generator_tab(browser, tiny)
    tab.open(threads=2)
    prompts = [sample_prompt(60), sample_prompt(60) + " and more"]
    found = tab.page.evaluate(AT_ONCE, prompts)
    assert found["texts"] == [sample_text(prompt, 60) for prompt in prompts]
    half = found["order"][: len(found["order"]) // 2]
    assert min(half.count(0), half.count(1)) > 5


ABORTS = """async ({ prompt, times, wait }) => {
  for (let round = 0; round < times; round++) {
    const controller = new AbortController();
    const generation = generator.generate(prompt, { signal: controller.signal, maxTokens: 400 });
    const reading = generation.text().then(() => "done", (error) => error.name);
    await new Promise((resolve) => setTimeout(resolve, wait * Math.random()));
    controller.abort();
    const name = await reading;
    if (name !== "AbortError" && name !== "done") throw new Error(name);
  }
  return generator.status();
}"""


def test_aborts(browser: Browser, tiny: Host, generator_tab: Tab) -> None:
    """A hundred answers aborted at any moment leave nothing behind."""
    tab = generator_tab(browser, tiny)
    tab.open(threads=2)
    argument = {"prompt": sample_prompt(400), "times": 1, "wait": 10}
    for _ in range(2):  # one whole answer stays in the cache, another has room beside it
        tab.generate(argument["prompt"], maxTokens=400)
    first = tab.page.evaluate(ABORTS, argument)
    last = tab.page.evaluate(ABORTS, {**argument, "times": 100}, 120)
    for status in (first, last):
        assert (status["running"], status["kv"]["leases"]) == (0, 0)
    assert last["memory"] == first["memory"]
    assert tab.generate("after", maxTokens=20)["text"] == sample_text("after", 20)


def test_stored(browser: Browser, tiny: Host, generator_tab: Tab) -> None:
    """The second visit finds all files; without OPFS, too; without any storage it works as well."""
    denied = "StorageManager.prototype.getDirectory = () => Promise.reject(new Error('denied'));"
    if browser.name == "webkit":
        denied = ""  # it has no file system for workers
    for script in {"", denied}:
        tiny.faults.change[WORKER] = prelude(script)
        tier = "indexeddb" if script == denied else "opfs"
        tab = generator_tab(browser, tiny)
        for stored in (0, 3):
            tab.load()
            tab.open(threads=1)
            assert tab.status()["storage"] == {"tier": tier, "stored": stored, "files": 3}
            assert tab.generate("a", maxTokens=9)["text"] == sample_text("a", 9)
    nowhere = denied + "IDBFactory.prototype.open = () => { throw 1 };"
    tiny.faults.change[WORKER] = prelude(nowhere)
    tab = generator_tab(browser, tiny)
    tab.open(threads=1)
    assert tab.status()["storage"]["tier"] == "memory"
    assert tab.generate("a", maxTokens=9)["text"] == sample_text("a", 9)


def test_too_long(chromium: Browser, tiny: Host, generator_tab: Tab) -> None:
    """A prompt that does not fit is told how long it is; the next one is answered."""
    tab = generator_tab(chromium, tiny)
    tab.open(threads=1)
    with pytest.raises(PageError, match="has 600 tokens, sample reads at most 511") as caught:
        tab.generate("x" * 600)
    assert caught.value.code == "argument"
    assert tab.generate("b", maxTokens=9)["text"] == sample_text("b", 9)


def test_closed_in_the_middle(tabbed: Browser, tiny: Host, generator_tab: Tab) -> None:
    """What is being generated ends with an error, other generators go on."""
    tab = generator_tab(tabbed, tiny)
    tab.open(threads=2)
    prompt = sample_prompt(150)
    codes = tab.page.evaluate(
        """async (prompt) => {
      const { Generator } = await import("/pywasm/generator.js");
      const other = await Generator.open("/model/", { threads: 2 });
      const running = other.generate(prompt, { maxTokens: 150 });
      const mine = generator.generate(prompt, { maxTokens: 150 }).text();
      for await (const _ of other.generate(prompt)) { await other.close(); break; }
      const code = (promise) => promise.then(() => "done", (error) => error.code);
      return [await code(running.stats), await code(other.generate("x").stats), await mine];
    }""",
        prompt,
    )
    assert codes == ["closed", "closed", sample_text(prompt, 150)]


def test_dead_worker(tabbed: Browser, tiny: Host, generator_tab: Tab) -> None:
    """A worker that dies is an error for who waits, and is started again by the next call."""
    tiny.faults.change[WORKER] = prelude(
        "addEventListener('message', (e) => { if (e.data.method === 'timings') close(); });"
    )
    tab = generator_tab(tabbed, tiny)
    tab.open(threads=1)
    with pytest.raises(PageError) as caught:
        tab.page.evaluate(
            "() => { generator.timings({ rows: 1 }).catch(() => 0);"
            " return generator.generate('x'.repeat(400)).text(); }"
        )
    assert caught.value.code == "worker"
    assert tab.generate("b", maxTokens=9)["text"] == sample_text("b", 9)


def test_strict_policy(tabbed: Browser, tiny: Host, generator_tab: Tab) -> None:
    """`wasm-unsafe-eval` is all that a page has to allow, templates included."""
    policy = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'"
    tiny.faults.headers["Content-Security-Policy"] = policy
    (tiny.root / "page.js").write_text("""import { Generator } from "/pywasm/generator.js";
const generator = await Generator.open("/model/", { threads: 2 });
const [first] = await generator.tokenize({ messages: [{ role: "user", content: "x" }] });
const text = await generator.generate("a", { maxTokens: 9 }).text();
document.title = JSON.stringify([text, first[0], (await generator.status()).threads]);
""")
    (tiny.root / "page.html").write_text("<!doctype html><script type=module src=page.js></script>")
    page = tabbed.new_page()
    page.goto(f"{tiny.url}/page.html")
    assert json.loads(page.wait_for("document.title")) == [sample_text("a", 9), 256, 2]
    page.close()


def test_small_device(chromium: Browser, tiny: Host, generator_tab: Tab) -> None:
    """A device without memory is told what the model needs before it downloads."""
    plan = json.loads((tiny.root / "model/plan.json").read_text())
    plan["slots"].append({"bytes": 900 << 20})
    (tiny.root / "model/plan.json").write_text(json.dumps(plan))
    tiny.faults.change[WORKER] = prelude(
        "Object.defineProperty(navigator, 'deviceMemory', { value: 1 });"
    )
    tab = generator_tab(chromium, tiny)
    with pytest.raises(PageError, match=r"sample needs 900\.\d MB of memory") as caught:
        tab.open()
    assert caught.value.code == "memory"
    assert tiny.requests(r"weights-.*\.bin") == []


def prompt_of(row: dict[str, Any]) -> Any:
    """Of a golden row, as Generator takes it."""
    return {"messages": row["messages"]} if row["kind"] == "chat" else row["text"]


def log_probabilities(logits: list[float]) -> Any:
    """f64[vocabulary]."""
    found = np.array(logits, np.float64)
    shifted = found - found.max()
    return shifted - np.log(np.exp(shifted).sum())


def check_golden(tab: GeneratorPage, tolerance: float) -> None:
    """Prompts have the golden tokens, and the next token's probabilities are those of float32.

    The most probable token is equal, so is the order of the 20 most probable ones but where they
    are nearer to one another than `tolerance`, which no log-probability is further off.
    """
    for row in GOLDEN:
        prompt = prompt_of(row)
        ids = tab.page.evaluate(
            "async (p) => (await generator.tokenize(p)).flatMap((ids) => Array.from(ids))", prompt
        )
        assert ids == row["input_ids"]
        found = log_probabilities(tab.logits(prompt))
        wanted = np.array(row["top_logits"]) - row["logsumexp"]
        mine = found[row["top_ids"]]
        print(row["text"][-30:], "max difference", np.abs(mine - wanted).max())
        assert np.abs(mine - wanted).max() < tolerance
        assert found.argmax() == row["top_ids"][0]
        for a in range(20):
            for b in range(a + 1, 20):
                assert mine[a] > mine[b] or wanted[a] - wanted[b] < tolerance


@pytest.mark.parametrize("threads", [1, 2])
def test_golden(
    tabbed: Browser, smollm2: Path, serve: Callable[[Path], Host], generator_tab: Tab, threads: int
) -> None:
    """SmolLM2 with integer activations agrees with transformers in float32 to 0.15."""
    tab = generator_tab(tabbed, serve(smollm2))
    assert tab.open(threads=threads)["name"] == "smollm2"
    assert tab.status()["threads"] == threads
    check_golden(tab, 0.15)


def test_threads_agree(
    browsers: Callable[[str], Browser],
    smollm2: Path,
    serve: Callable[[Path], Host],
    generator_tab: Tab,
) -> None:
    """One thread or two, Chromium or Firefox: the same text; and the same logits within a class."""
    host = serve(smollm2)

    def made(browser: str, threads: int) -> list[Any]:
        tab = generator_tab(browsers(browser), host)
        tab.open(threads=threads)
        texts = [tab.generate(prompt_of(row), maxTokens=16)["text"] for row in GOLDEN]
        logits = tab.logits(prompt_of(GOLDEN[1]))
        tab.page.evaluate("() => generator.close()")
        return [texts, logits]

    alone = made("chromium", 1)
    assert made("chromium", 2) == alone
    assert made("firefox", 2) == alone
    host.faults.change[WORKER] = prelude(NO_RELAXED)
    assert made("chromium", 1)[1] != alone[1]


def test_f32(
    chromium: Browser,
    tmp_path: Path,
    serve: Callable[[Path], Host],
    generator_tab: Tab,
) -> None:
    """With activations in f32 the golden texts come out word for word; KV is rounded to halves."""
    pywasm("compile", "smollm2", "-o", str(tmp_path / "model"), "--activations", "f32")
    tab = generator_tab(chromium, serve(generator_site(tmp_path / "model", tmp_path / "site")))
    tab.open(threads=2)
    assert tab.status()["activations"] == "f32"
    check_golden(tab, 0.01)
    for row in GOLDEN:
        made = tab.generate(prompt_of(row), maxTokens=len(row["greedy_ids"]))
        assert made["text"] == row["greedy_text"].removesuffix("<|im_end|>")
        assert made["stats"]["reason"] == (
            "stop" if "<|im_end|>" in row["greedy_text"] else "length"
        )


def test_memory_after_aborts(
    chromium: Browser, smollm2: Path, serve: Callable[[Path], Host], generator_tab: Tab
) -> None:
    """A hundred answers of a real model, aborted reading or writing, hold no more than one."""
    tab = generator_tab(chromium, serve(smollm2))
    tab.open(threads=2)
    argument = {"prompt": "Once upon a time, " * 20, "times": 1, "wait": 150}
    first = tab.page.evaluate(ABORTS, argument)
    last = tab.page.evaluate(ABORTS, {**argument, "times": 100}, 120)
    assert (last["running"], last["kv"]["leases"]) == (0, 0)
    # What the prompt and its beginnings of answers left in the cache has room in what there was.
    assert last["memory"]["total"] - first["memory"]["total"] < 8 << 20


def test_abort_is_quick(
    chromium: Browser, smollm2: Path, serve: Callable[[Path], Host], generator_tab: Tab
) -> None:
    """An abort is heard within a chunk of the prompt, on one thread and on two."""
    tab = generator_tab(chromium, serve(smollm2))
    for threads in (1, 2):
        tab.open(threads=threads)
        aborted, reason = tab.page.evaluate(
            """async () => {
          const controller = new AbortController();
          const { signal } = controller;
          const generation = generator.generate("word ".repeat(2000), { signal });
          await new Promise((resolve) => setTimeout(resolve, 400));
          const started = performance.now();
          controller.abort();
          const { reason } = await generation.stats;
          return [performance.now() - started, reason];
        }"""
        )
        assert reason == "aborted"
        assert aborted < 500
        tab.page.evaluate("() => generator.close()")
