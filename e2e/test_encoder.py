"""Encoders in real browsers: the right vectors everywhere, threads, storage, faults."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoders import ROOT, SAMPLE, EncoderPage, encoder_site
from host import Host, flip, prelude
from numpy.typing import NDArray
from processes import memory, renderers, reset
from sites import pywasm
from threads import several

from pywasm.bench.browsers import Browser, PageError
from pywasm.bench.browsers.chromium import ARGS
from pywasm.bench.browsers.process import Group, find

GOLDEN = json.loads((ROOT / "tests/data/minilm.json").read_text("utf-8"))["rows"]
TEXTS = [row["text"] for row in GOLDEN]
WORKER = r"pywasm/encoder-worker\.js$"
WORDS = ["one", "two", "three", "red", "green", "blue", "trees"]
# The module that asks for relaxed SIMD is the one with its opcode.
NO_RELAXED = "WebAssembly.validate = (bytes) => ![...bytes].includes(0x85);"

Vectors = NDArray[np.float32]
Tab = Callable[[Browser, Host], EncoderPage]


@pytest.fixture
def sample(serve: Callable[[Path], Host], tmp_path: Path) -> Host:
    """The sample model on a host of this test's own."""
    return serve(encoder_site(SAMPLE, tmp_path / "site"))


@pytest.fixture(scope="session")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with MiniLM compiled as f32; tests don't change it."""
    folder = tmp_path_factory.mktemp("minilm")
    pywasm("compile", "minilm", "-o", str(folder / "model"))
    return encoder_site(folder / "model", folder / "site")


@pytest.fixture(scope="session")
def minilm_int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with weights in 8 bits, as sites carry it."""
    folder = tmp_path_factory.mktemp("minilm-int8")
    pywasm("compile", "minilm", "-o", str(folder / "model"), "--weights", "int8")
    return encoder_site(folder / "model", folder / "site")


def sample_vectors(texts: list[str]) -> Vectors:
    """What the sample model makes of words that it knows."""
    plan = json.loads((SAMPLE / "plan.json").read_text())
    shards = [(SAMPLE / shard["file"]).read_bytes() for shard in plan["weights"]["shards"]]
    flat = np.frombuffer(b"".join(shards), np.float32)
    word, w = flat[: 12 * 8].reshape(12, 8), flat[12 * 8 :].reshape(8, 8)
    tokenizer = json.loads((SAMPLE / plan["encoder"]["tokenizer"]["file"]).read_text())
    vocabulary = tokenizer["model"]["vocab"]
    rows = []
    for text in texts:
        pieces = " ".join(text.split()).replace("trees", "tree ##s").split()
        rows.append((word[[2, *(vocabulary[piece] for piece in pieces), 3]] @ w).mean(0))
    return np.array(rows)


def test_sample(browser: Browser, sample: Host, encoder_tab: Tab) -> None:
    """Isolated or not, one thread or three: the same vectors."""
    texts = [" ".join(WORDS[:count]) for count in range(8)] * 20
    wanted = sample_vectors(texts)
    for isolate in (True, False):
        sample.faults.isolate = isolate
        tab = encoder_tab(browser, sample)
        for threads in (1, several(browser)):
            assert tab.open(threads=threads, rows=64)["dim"] == 8
            assert np.array(tab.encode(texts)) == pytest.approx(wanted, abs=1e-6)
            status = tab.status()
            # WebKitGTK has no SharedArrayBuffer, whatever the headers.
            shared = isolate and browser.name != "webkit"
            assert status["threads"] == (threads if shared else 1)
            assert status["numeric"] == ("separate" if browser.name == "webkit" else "fused")
            tab.page.evaluate("() => encoder.close()")


@pytest.mark.parametrize("isolate", [True, False], ids=["isolated", "not-isolated"])
def test_golden(
    browser: Browser, minilm: Path, serve: Callable[[Path], Host], encoder_tab: Tab, isolate: bool
) -> None:
    """MiniLM agrees with PyTorch to 1e-4 a component; two threads give the bits of one."""
    host = serve(minilm)
    host.faults.isolate = isolate
    tab = encoder_tab(browser, host)
    assert tab.open(threads=2)["maxTokens"] == 256
    vectors = np.array(tab.encode(TEXTS), np.float32)
    wanted = np.array([row["embedding"] for row in GOLDEN])
    assert np.abs(vectors - wanted).max() < 1e-4
    if tab.status()["threads"] == 2:
        alone = encoder_tab(browser, host)
        alone.open(threads=1)
        assert np.array_equal(np.array(alone.encode(TEXTS), np.float32), vectors)


def test_int8(
    browser: Browser, minilm_int8: Path, serve: Callable[[Path], Host], encoder_tab: Tab
) -> None:
    """In 8 bits every text keeps a cosine of 0.99 to PyTorch's f32."""
    tab = encoder_tab(browser, serve(minilm_int8))
    tab.open(threads=2)
    vectors = np.array(tab.encode(TEXTS))
    cosines = (vectors * np.array([row["embedding"] for row in GOLDEN])).sum(1)
    assert cosines.min() > 0.99
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)


def test_numeric_classes(
    browsers: Callable[[str], Browser],
    minilm: Path,
    serve: Callable[[Path], Host],
    encoder_tab: Tab,
) -> None:
    """Within a numeric class every browser gives the same bits, however texts are batched."""
    host = serve(minilm)

    def vectors(browser: str, **options: Any) -> Vectors:
        tab = encoder_tab(browsers(browser), host)
        tab.open(threads=1, **options)
        made = np.array(tab.encode(TEXTS), np.float32)
        tab.page.evaluate("() => encoder.close()")
        return made

    fused = vectors("chromium")
    assert np.array_equal(vectors("firefox"), fused)
    assert np.array_equal(vectors("chromium", rows=32), fused)
    separate = vectors("webkit")
    assert not np.array_equal(separate, fused)
    host.faults.change[WORKER] = prelude(NO_RELAXED)
    assert np.array_equal(vectors("chromium"), separate)


def test_reopen(
    tabbed: Browser, minilm: Path, serve: Callable[[Path], Host], encoder_tab: Tab
) -> None:
    """The second visit downloads nothing but the plan; without a network it does without that."""
    host = serve(minilm)
    tab = encoder_tab(tabbed, host)
    tab.open()
    first = tab.encode(["a query"])
    assert tab.status()["storage"] == {"tier": "opfs", "stored": 0, "files": 8}
    assert tab.page.evaluate(
        "() => progress.some((e) => e.status === 'weights' && e.loaded === e.total)"
    )
    tab.load()
    host.log.clear()
    tab.open()
    assert tab.encode(["a query"]) == first
    assert tab.status()["storage"] == {"tier": "opfs", "stored": 8, "files": 8}
    assert host.requests("model/") == [("/model/plan.json", "")]
    # A second tab at the same time reads the same files.
    other = encoder_tab(tabbed, host)
    other.open()
    assert other.status()["storage"]["stored"] == 8
    host.faults.down = lambda path: "/model/" in path
    other.load()
    other.open()
    assert other.encode(["a query"]) == first


def test_other_storage(browser: Browser, sample: Host, encoder_tab: Tab) -> None:
    """Without a file system IndexedDB is used; without that, nothing is stored and all works."""
    denied = "StorageManager.prototype.getDirectory = () => Promise.reject(new Error('denied'));"
    if browser.name == "webkit":
        denied = ""  # it has no file system for workers
    sample.faults.change[WORKER] = prelude(denied)
    tab = encoder_tab(browser, sample)
    for stored in (0, 4):
        tab.load()
        tab.open(threads=1)
        assert tab.status()["storage"] == {"tier": "indexeddb", "stored": stored, "files": 4}
    sample.faults.change[WORKER] = prelude(
        denied + "IDBFactory.prototype.open = () => { throw 1 };"
    )
    tab.load()
    tab.open(threads=1)
    assert tab.status()["storage"]["tier"] == "memory"
    assert np.array(tab.encode(["red"])) == pytest.approx(sample_vectors(["red"]), abs=1e-6)


def test_resumes(
    chromium: Browser, minilm: Path, serve: Callable[[Path], Host], encoder_tab: Tab
) -> None:
    """A download that was cut goes on with the shards that are missing."""
    host = serve(minilm)
    shards = json.loads((minilm / "model/plan.json").read_text())["weights"]["shards"]
    missing = {f"/model/{shard['file']}" for shard in shards[len(shards) // 2 :]}
    host.faults.down = lambda path: path in missing
    tab = encoder_tab(chromium, host)
    with pytest.raises(PageError, match="could not be fetched") as caught:
        tab.open()
    assert caught.value.code == "network"
    host.faults.down = lambda path: False
    host.log.clear()
    tab.open()
    assert {path for path, _ in host.requests(r"weights-.*\.bin")} == missing
    assert np.abs(np.array(tab.encode(TEXTS[:1])) - np.array(GOLDEN[0]["embedding"])).max() < 1e-4


DAMAGE = """async () => {
  let folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("pywasm-models");
  for await (const entry of folder.values()) folder = entry;
  for await (const [name, file] of folder.entries()) {
    if (!name.startsWith("weights")) continue;
    const writable = await file.createWritable({ keepExistingData: true });
    await writable.write({ type: "write", position: 50, data: new Uint8Array([1, 2, 3]) });
    await writable.close();
    return name;
  }
}"""


def test_damage(chromium: Browser, sample: Host, encoder_tab: Tab) -> None:
    """Damaged storage is fetched again; a damaged host is an error with file and hash."""
    tab = encoder_tab(chromium, sample)
    tab.open(threads=1)
    tab.load()
    damaged = tab.page.evaluate(DAMAGE)
    sample.log.clear()
    tab.open(threads=1)
    assert sample.requests(r"\.bin") == [(f"/model/{damaged}", "")]
    assert np.array(tab.encode(["red"])) == pytest.approx(sample_vectors(["red"]), abs=1e-6)
    sample.faults.change[damaged] = flip(50)
    with pytest.raises(PageError, match=f"{damaged}.*SHA-256.*expected") as caught:
        tab.open(threads=1, storage="memory")
    assert caught.value.code == "corrupt"


def test_closed_in_a_run(
    tabbed: Browser, minilm: Path, serve: Callable[[Path], Host], encoder_tab: Tab
) -> None:
    """What is running is rejected; two encoders don't disturb one another."""
    tab = encoder_tab(tabbed, serve(minilm))
    tab.open(threads=2)
    codes = tab.page.evaluate("""async () => {
      const { Encoder } = await import("/pywasm/encoder.js");
      const other = await Encoder.open("/model/", { threads: 2 });
      const running = other.encode(Array.from({ length: 64 }, () => "many words ".repeat(100)));
      const mine = encoder.encode("one at the same time");
      await new Promise((resolve) => setTimeout(resolve, 100));
      await other.close();
      const code = await running.then(() => "done", (error) => error.code);
      const after = await other.encode("x").then(() => "done", (error) => error.code);
      return [code, after, (await mine)[0].length];
    }""")
    assert codes == ["closed", "closed", 384]


def test_abort_in_a_run(
    chromium: Browser, minilm: Path, serve: Callable[[Path], Host], encoder_tab: Tab
) -> None:
    """A run of many steps ends early on every thread, and the next one is right."""
    tab = encoder_tab(chromium, serve(minilm))
    for threads in (1, 2):
        tab.open(threads=threads, rows=16384)
        wanted = tab.encode(["after it"])
        code, aborted, after, again = tab.page.evaluate("""async () => {
          const texts = Array.from({ length: 48 }, () => "many words ".repeat(150));
          const controller = new AbortController();
          const started = performance.now();
          const call = encoder.encode(texts, { signal: controller.signal });
          setTimeout(() => controller.abort(), 300);
          const code = await call.then(() => "done", (error) => error.code);
          const aborted = performance.now() - started;
          const vectors = await encoder.encode(["after it"]);
          return [code, aborted, performance.now() - started, vectors.map((v) => Array.from(v))];
        }""")
        assert (code, again) == ("aborted", wanted)
        # All of it would take many seconds.
        assert aborted < 1000
        assert after < 3500
        tab.page.evaluate("() => encoder.close()")


MEMORY_PAGE = """<!doctype html><link rel=icon href="data:,"><script type=module>
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
await wait(1500);
for (const visit of ["first", "second"]) {
  await fetch(`/before-${visit}`);
  await wait(500);
  const { Encoder } = await import("/pywasm/encoder.js");
  const encoder = await Encoder.open("/model/", { threads: THREADS });
  await encoder.encode("a query");
  await fetch(`/open-${visit}`);
  await wait(500);
  await encoder.close();
  await wait(1000);
  await fetch(`/closed-${visit}`);
  await wait(500);
}
</script>"""


@pytest.mark.parametrize("threads", [1, 2])
def test_memory(minilm: Path, serve: Callable[[Path], Host], tmp_path: Path, threads: int) -> None:
    """The renderer holds the weights once and little else at any time, and nothing after close().

    No driver is attached: DevTools keep the bodies of answers in the renderer.
    """
    host = serve(minilm)
    size = json.loads((minilm / "model/plan.json").read_text())["weights"]["bytes"]
    page = minilm / f"memory-{threads}.html"
    page.write_text(MEMORY_PAGE.replace("THREADS", str(threads)))
    command = [find("chromium", "chromium-browser", "google-chrome"), *ARGS]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"{host.url}/{page.name}"]
    browser = Group(command, tmp_path / "log")

    def when(path: str) -> tuple[int, int]:
        end = time.monotonic() + 60
        while not host.requests(path):
            assert time.monotonic() < end, f"the page never asked for {path}"
            time.sleep(0.02)
        return memory(renderers(browser.process.pid))

    try:
        empty, _ = when("/before-first")
        for visit in ("first", "second"):
            when(f"/before-{visit}")
            reset(renderers(browser.process.pid))
            now, peak = when(f"/open-{visit}")
            closed, _ = when(f"/closed-{visit}")
            shares = [f"{(value - empty) / size:.2f}" for value in (peak, now, closed)]
            print(
                f"{visit} visit, x weights: peak {shares[0]}, open {shares[1]}, closed {shares[2]}"
            )
            assert peak - empty < 1.6 * size
            assert closed - empty < 0.3 * size
    finally:
        browser.end()


def test_strict_policy(tabbed: Browser, sample: Host, encoder_tab: Tab) -> None:
    """`wasm-unsafe-eval` is all that a page has to allow."""
    policy = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'"
    sample.faults.headers["Content-Security-Policy"] = policy
    page = tabbed.new_page()
    script = sample.root / "page.js"
    script.write_text("""import { Encoder } from "/pywasm/encoder.js";
const encoder = await Encoder.open("/model/", { threads: 2 });
const [vector] = await encoder.encode("red");
document.title = JSON.stringify([...vector, (await encoder.status()).threads]);
""")
    (sample.root / "page.html").write_text(
        "<!doctype html><script type=module src=page.js></script>"
    )
    page.goto(f"{sample.url}/page.html")
    *vector, threads = json.loads(page.wait_for("document.title"))
    assert vector == pytest.approx(sample_vectors(["red"])[0].tolist(), abs=1e-6)
    assert threads == 2
    page.close()


def test_dead_worker(tabbed: Browser, sample: Host, encoder_tab: Tab) -> None:
    """A worker that dies is an error for who waits, and is started again by the next call."""
    sample.faults.change[WORKER] = prelude(
        "addEventListener('message', (e) => { if (e.data.method === 'timings') close(); });"
    )
    tab = encoder_tab(tabbed, sample)
    tab.open(threads=1)
    with pytest.raises(PageError) as caught:
        tab.page.evaluate("() => { encoder.timings(['red']); return encoder.encode('red'); }")
    assert caught.value.code == "worker"
    assert np.array(tab.encode(["red"])) == pytest.approx(sample_vectors(["red"]), abs=1e-6)


def test_dead_thread(tabbed: Browser, sample: Host, encoder_tab: Tab) -> None:
    """A thread that never does its part is done without."""
    wanted = pytest.approx(sample_vectors(["red"]), abs=1e-6)
    silent = """if (self.name === "pywasm-thread") addEventListener("message", (e) => {
      if (e.data.kind !== "run") return;
      e.stopImmediatePropagation();
      setTimeout(() => { throw new Error("lost"); });
    });"""
    sample.faults.change[WORKER] = prelude(silent)
    tab = encoder_tab(tabbed, sample)
    tab.open(threads=2)
    assert tab.status()["threads"] == 2
    assert np.array(tab.encode(["red"])) == wanted
    tab.page.wait_for(
        "encoder.encode('red').then(() => encoder.status()).then((s) => s.threads === 1)"
    )
    assert np.array(tab.encode(["red"])) == wanted


def test_no_simd(browser: Browser, sample: Host, encoder_tab: Tab) -> None:
    """A browser without SIMD is told so."""
    sample.faults.change[WORKER] = prelude("WebAssembly.validate = () => false;")
    tab = encoder_tab(browser, sample)
    with pytest.raises(PageError, match="SIMD") as caught:
        tab.open()
    assert caught.value.code == "unsupported"


def test_no_memory(chromium: Browser, sample: Host, encoder_tab: Tab) -> None:
    """Memory that there is not: how much was needed; the page lives on."""
    sample.faults.change[WORKER] = prelude(
        "WebAssembly.Memory = function () { throw new RangeError('could not allocate'); };"
    )
    tab = encoder_tab(chromium, sample)
    with pytest.raises(PageError, match=r"sample needs \d\.\d MB of memory") as caught:
        tab.open()
    assert caught.value.code == "memory"
    del sample.faults.change[WORKER]
    tab.load()
    tab.open()
    assert np.array(tab.encode(["red"])) == pytest.approx(sample_vectors(["red"]), abs=1e-6)
