"""What a plan's integers cost: its next tokens compared with those of the model in f32."""

from __future__ import annotations

import numpy as np

from pywasm.compile.plan_types import Agreement
from pywasm.generator.decoder import Decoder
from pywasm.generator.reference import forward, log_probabilities
from pywasm.generator.run import NativeGenerator

TEXTS = (
    "What is the capital of France?",
    "Parse a date from a string with strptime, then format it for the user's time zone.",
    "The heapq module implements the heap queue algorithm, also known as the priority queue.",
    "Tomatoes need sun, water and patience to grow well; slugs eat young lettuce at night.",
    "def mean(numbers):\n    return sum(numbers) / len(numbers)\n",
)
_COMPARED = 6  # of each text, its last positions: behind them little is known of what comes
_TOP = 20


def measure(generator: NativeGenerator, decoder: Decoder) -> Agreement:
    """Over the last positions of TEXTS. The reference is `decoder` in numpy."""
    texts = [generator.tokens(text) for text in TEXTS]
    generator.reserve(-(-max(map(len, texts)) // generator.info.kv_block))
    same, kl, differences = [], [], []
    for ids, wanted in zip(texts, forward(decoder, texts), strict=True):
        first = max(len(ids) - _COMPARED, 1)
        table = range(-(-len(ids) // generator.info.kv_block))
        generator.prefill(ids[:first], 0, table)
        for position in range(first, len(ids)):
            found = log_probabilities(
                generator.logits(ids[position : position + 1], position, table)
            )
            expected = log_probabilities(wanted[position])
            top = np.argsort(-expected)[:_TOP]
            same.append(found.argmax() == expected.argmax())
            kl.append(float((np.exp(expected) * (expected - found)).sum()))
            differences.append(float(np.abs(found - expected)[top].max()))
    return Agreement(
        positions=len(same),
        same_top=float(np.mean(same)),
        mean_kl=float(np.mean(kl)),
        max_difference=max(differences),
    )
