"""Case chat-resume-2000: a chat of 2,000 tokens is gone on with after a reload."""

from __future__ import annotations

import contextlib

from .answers_engines import Tabs
from .answers_models import Models
from .answers_rag import stored
from .browsers.chromium import Chromium
from .context import Bench

CASE = "chat-resume-2000"
CHAT = "bench"
TOKENS = 2000
SAID = 1950  # tokens of what the person says; the template and the answer are the rest


def resume(context: Bench, models: Models) -> None:
    """From conversation() to where its KV is in memory, in a tab that has answered before; then
    the next message, which must find it there.
    """
    texts = models.texts
    with contextlib.closing(Chromium(None, ())) as browser:
        tabs = Tabs(context, models, browser)
        engine = tabs.ours(1, storage="local")
        context.step(f"{CASE}: a chat of {TOKENS} tokens")
        engine.ask("say", {"id": CHAT, "text": texts.take(SAID).text, "maxTokens": 24})
        stored(engine)
        engine.page.close()
        rounds = 2 if context.quick else 8
        for number in range(rounds):
            context.step(f"{CASE}: reload {number + 1} of {rounds}")
            engine = tabs.ours(1, storage="local")
            first = {"segments": [{"kind": "text", "text": texts.take(200).text}]}
            engine.ask("first", first)
            found = engine.ask("say", {"id": CHAT, "text": "Go on.", "maxTokens": 1})
            if found["cachedTokens"] < SAID:
                raise RuntimeError(f"{CASE}: only {found['cachedTokens']} tokens were there")
            series = context.samples.add(CASE, "pywasm", "resume_ms", "ms", found["resume"])
            series.note = f"{found['cachedTokens']} tokens in memory again"
            context.samples.add(CASE, "pywasm", "ttft_ms", "ms", found["first"])
            engine.page.close()
