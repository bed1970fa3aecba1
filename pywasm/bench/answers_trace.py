"""Case trace-500: replacement policies of the KV cache on 500 questions of skewed popularity.

No model runs: the knowledge tree, its blocks and its policies do (web/src/generation/trace.ts).
3 % of the documents are in 60 % of the requests, two documents a request (RAGCache, Jin et al.
2024); every policy has the same bytes. A sample is a trace of another seed.
"""

from __future__ import annotations

import json
import shutil
import subprocess

from .answers_models import Models
from .context import Bench
from .peers import PACKAGE

CASE = "trace-500"
SCRIPT = PACKAGE / "trace.mjs"


def trace(context: Bench, _: Models) -> None:
    """hit_rate: documents of the prompts whose KV was there; token_rate: tokens."""
    context.step(f"{CASE}: four policies")
    node = shutil.which("node")
    if node is None or not SCRIPT.exists():
        raise RuntimeError(f"{CASE} needs Node.js and a checkout of the project: {SCRIPT}")
    seeds = 5 if context.quick else 20
    done = subprocess.run([node, SCRIPT, str(seeds)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{SCRIPT.name}: {done.stderr[-1000:]}")
    for policy, traces in json.loads(done.stdout).items():
        for metric, name in (("hit_rate", "hitRate"), ("token_rate", "tokenRate")):
            rates = [found[name] for found in traces]
            context.samples.add(CASE, policy, metric, "", rates).mean = True
        seconds = [found["computeMs"] / 1e3 for found in traces]
        series = context.samples.add(CASE, policy, "prefill_s", "s", seconds)
        series.note = "of all 500 prompts, by a model of this machine's prefill"
