"""Tuning on the device: Python in the browser finds kernels, which survive a reload."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from encoders import EncoderPage, encoder_site
from host import Host, flip
from sites import pywasm

from pywasm.bench.browsers import Browser
from pywasm.site_tuner import write_tuner
from pywasm_jit import recipes
from pywasm_jit.kernels.matmul import share, tile_rows
from pywasm_jit.schedule import Schedule
from pywasm_jit.wasm import WasmTarget, render

TUNE = """async ({ bundle, options }) => {
  const { tune } = await import(bundle);
  globalThis.states = [];
  return new Promise((resolve) => {
    const onChange = (status) => {
      states.push(status.state);
      if (["done", "restored", "failed", "off"].includes(status.state)) resolve(status);
    };
    globalThis.tuner = tune(encoder, { folder: "/tune/", mode: "on", onChange, ...options });
  });
}"""
TEXT = ["How do I parse a date from a string of any format that a user may have typed?"]
STRICT = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'"


@pytest.fixture(scope="session")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with MiniLM whose recipes are of a slow schedule, so that tuning surely wins."""
    folder = tmp_path_factory.mktemp("slow")
    pywasm("compile", "minilm", "-o", str(folder / "model"))
    path = folder / "model/plan.json"
    plan = json.loads(path.read_text("utf-8"))
    for kernel in plan["kernels"]:
        for variant in kernel["variants"].values():
            if variant["recipe"]["kernel"] == "matmul":
                schedule = Schedule(recipes.naive(variant["recipe"]))
                share(schedule, 64)
                tile_rows(schedule, 1, (), 1)
                variant["recipe"]["steps"] = schedule.steps
    path.write_text(json.dumps(plan), "utf-8")
    site = encoder_site(folder / "model", folder / "site")
    write_tuner(site, "")
    return site


Tab = Callable[[Browser, Host], EncoderPage]


def tuned(tab: EncoderPage, **options: Any) -> dict[str, Any]:
    """The status that tuning ends with."""
    bundle = f"{tab.host.url}/pywasm/tuning.js"
    status: dict[str, Any] = tab.page.evaluate(TUNE, {"bundle": bundle, "options": options}, 150.0)
    return status


def test_winners_are_adopted_and_survive_a_reload(
    tabbed: Browser, slow: Path, serve: Callable[[Path], Host], encoder_tab: Tab
) -> None:
    """Two threads, while the model answers; the bits of every vector stay what they were."""
    host = serve(slow)
    tab = encoder_tab(tabbed, host)
    tab.open(threads=2)
    before = tab.encode(TEXT)
    tab.page.evaluate(
        """() => { globalThis.answers = (async () => {
          let count = 0;
          while (!globalThis.tuner || !["done", "failed"].includes(tuner.status.state)) {
            await encoder.encode(["a question while it is tuned"]);
            await new Promise((resolve) => setTimeout(resolve, 200));
            count++;
          }
          return count;
        })(); }"""
    )
    status = tuned(tab)
    assert status["state"] == "done", status.get("reason")
    assert status["total"] == status["done"] >= 4
    assert len(status["winners"]) >= 3
    assert all(winner["gain"] < 0.9 for winner in status["winners"])
    assert status["stats"]["discarded"] == 0
    assert status["device"]["relaxed"] is True
    assert tab.page.evaluate("() => answers") > 0
    assert {"booting", "probing", "tuning"} <= set(tab.page.evaluate("() => states"))
    assert len(tab.status()["adopted"]) == len(status["winners"])
    assert tab.encode(TEXT) == before

    tab.load()
    host.log.clear()
    tab.open(threads=2)
    tab.encode(TEXT)
    again = tuned(tab)
    assert again["state"] == "restored"
    assert [w["name"] for w in again["winners"]] == [w["name"] for w in status["winners"]]
    assert host.requests("tune/") == []  # no Python this time
    assert tab.encode(TEXT) == before


def test_strict_policy_and_one_thread(
    chromium: Browser, slow: Path, serve: Callable[[Path], Host], encoder_tab: Tab
) -> None:
    """With only wasm-unsafe-eval, not isolated."""
    host = serve(slow)
    host.faults.isolate = False
    host.faults.headers["Content-Security-Policy"] = STRICT
    tab = encoder_tab(chromium, host)
    tab.open()
    status = tuned(tab, limitMs=4000)
    assert status["state"] == "done", status.get("reason")
    assert status["done"] >= 1


def test_a_stored_kernel_that_is_damaged_is_not_run(
    chromium: Browser, slow: Path, serve: Callable[[Path], Host], encoder_tab: Tab
) -> None:
    """A flipped byte on disk: the hash tells, the default runs, the kernel is tuned anew."""
    host = serve(slow)
    tab = encoder_tab(chromium, host)
    tab.open(threads=1)
    before = tab.encode(TEXT)
    assert tuned(tab)["state"] == "done"
    tab.page.evaluate(
        """() => new Promise((resolve, reject) => {
          const opening = indexedDB.open("pywasm tuned kernels", 1);
          opening.onsuccess = () => {
            const transaction = opening.result.transaction("kernels", "readwrite");
            transaction.objectStore("kernels").openCursor().onsuccess = ({ target }) => {
              const cursor = target.result;
              if (!cursor) return;
              if (cursor.value.winner) cursor.value.winner.module[100] ^= 1;
              cursor.update(cursor.value);
              cursor.continue();
            };
            transaction.oncomplete = () => { opening.result.close(); resolve(true); };
            transaction.onabort = () => reject(transaction.error);
          };
        })"""
    )
    tab.load()
    tab.open(threads=1)
    host.log.clear()
    status = tuned(tab, limitMs=1)
    assert status["state"] == "done"
    assert host.requests(r"tune/.*\.whl")
    assert tab.encode(TEXT) == before


def test_where_it_may_not_run_it_says_why(
    chromium: Browser, slow: Path, serve: Callable[[Path], Host], encoder_tab: Tab
) -> None:
    """Save-Data, a site without the folder, Python that does not start: the model just goes on."""
    host = serve(slow)
    tab = encoder_tab(chromium, host)
    tab.page.evaluate(
        "() => Object.defineProperty(navigator, 'connection', { value: { saveData: true } })"
    )
    tab.open(threads=1)
    before = tab.encode(TEXT)
    assert "save data" in tuned(tab, mode="auto")["reason"]
    assert tuned(tab, mode="off")["state"] == "off"
    assert "--no-tune" in tuned(tab, folder="/nowhere/")["reason"]
    assert host.requests("tune/") == []
    host.faults.change[r"tune/pyodide/pyodide\.asm\.wasm$"] = flip(4)
    failed = tuned(tab)
    assert failed["state"] == "failed", failed
    assert tab.encode(TEXT) == before


def test_python_in_the_browser_writes_the_same_bytes(
    tabbed: Browser, slow: Path, serve: Callable[[Path], Host], encoder_tab: Tab
) -> None:
    """CPython here and Pyodide there give identical modules, in both numeric classes."""
    tab = encoder_tab(tabbed, serve(slow))
    for numeric in ("fused", "separate"):
        chosen = [
            recipes.default(
                "matmul", {"K": 384, "N": 1536, "bias": True, "activation": "gelu"}, numeric
            ),
            recipes.default("layer_norm", {"width": 384, "eps": 1e-12}, numeric),
            recipes.default("attention", {"heads": 12, "head_dim": 32, "scale": 0.25}, numeric),
        ]
        there = tab.page.evaluate(
            """async ({ origin, chosen, relaxed }) => {
              const contents = await (await fetch(`${origin}/tune/tune.json`)).json();
              const folder = `${origin}/tune/${contents.pyodide}`;
              const { loadPyodide } = await import(`${folder}pyodide.mjs`);
              const python = await loadPyodide({ indexURL: folder });
              const wheel = await fetch(`${origin}/tune/${contents.wheel}`);
              python.unpackArchive(await wheel.arrayBuffer(), "wheel");
              python.globals.set("chosen", chosen);
              return python.runPython(`
import base64, json
from pywasm_jit import recipes
from pywasm_jit.wasm import WasmTarget, render
kernels = [(f"k{n}", recipes.build(recipe)) for n, recipe in enumerate(json.loads(chosen))]
base64.b64encode(render(kernels, WasmTarget(${relaxed ? "True" : "False"}))).decode()`);
            }""",
            {
                "origin": tab.host.url,
                "chosen": json.dumps(chosen),
                "relaxed": numeric == "fused",
            },
            120.0,
        )
        kernels = [(f"k{n}", recipes.build(recipe)) for n, recipe in enumerate(chosen)]
        here = render(kernels, WasmTarget(relaxed=numeric == "fused"))
        assert base64.b64decode(there) == here
