"""Running a compiled language model natively, under wasmtime: the oracle of the browser's runtime,
and what computes at build time.

The memory is laid out as in the browser: behind the weights the slots of a full chunk, scratch,
then the KV arena, which grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers

from pywasm.compile.fused import F32
from pywasm.compile.instance import PlanInstance, aligned
from pywasm.compile.plan_types import Numeric, Plan, Port
from pywasm.compile.run import open_instance
from pywasm.encoder import load_tokenizer
from pywasm.errors import UserError
from pywasm.generator.chat import render

Call = tuple[Callable[[int, int], None], int]
Ids = Sequence[int] | npt.NDArray[np.integer[Any]]


class NativeGenerator:
    """A plan with its weights in memory.

    KV blocks are numbered from 0; `reserve` makes them, `kv` is their content. A sequence is a
    table: the numbers of the blocks that hold its positions, 32 each.
    """

    def __init__(self, instance: PlanInstance, tokenizer: tokenizers.Tokenizer) -> None:
        self.plan = instance.plan
        self.info = self.plan.language_model()
        self.tokenizer = tokenizer
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self._instance = instance
        self._slots = instance.slots(self.plan.limits)
        self._scratch = self._slots[-1]
        largest = max(sum(map(aligned, kernel.scratch)) for kernel in self.plan.kernels)
        self.arena = self._scratch + largest
        instance.grow(self.arena)
        self._blocks = 0
        self._calls: dict[int, list[Call]] = {}
        self._free: list[int] = []

    @property
    def blocks(self) -> int:
        """KV blocks that there are."""
        return self._blocks

    @property
    def kv(self) -> npt.NDArray[np.float16]:
        """f16[blocks, elements of a block]: the arena itself, to be read and written, until
        `reserve` is called again."""
        elements = self.info.kv_block_bytes // 2
        return self._instance.view(self.arena, "f16", (self._blocks, elements))

    def reserve(self, blocks: int) -> None:
        """At least so many KV blocks. Raises UserError where memory does not reach."""
        if blocks > self._blocks:
            self._instance.grow(self.arena + blocks * self.info.kv_block_bytes)
            self._blocks = blocks

    def tokens(self, text: str, first: bool = True) -> list[int]:
        """Of a plain text; `first`: it begins the sequence (models want a token in front)."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        bos = self.info.bos
        return ids if bos is None or not first else [bos, *ids]

    def chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Of messages with a role and a content, and of the opening of the answer."""
        if not self.info.template:
            raise UserError(f"{self.plan.name}: has no chat template; give it plain text")
        bos, eos = self.info.bos, self.info.eos[0]
        text = render(
            self.info.template,
            messages,
            (self.tokenizer.id_to_token(bos) or "") if bos is not None else "",
            self.tokenizer.id_to_token(eos) or "",
        )
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def prefill(self, ids: Ids, start: int, table: Ids) -> None:
        """Writes the KV of `ids` at positions from `start` on into the blocks of `table`, which
        hold that of the positions before."""
        for first in range(0, len(ids), self.info.chunk):
            self._run(ids[first : first + self.info.chunk], start + first, table, False)

    def logits(self, ids: Ids, start: int, table: Ids) -> F32:
        """The same; f32[vocab] of the last of `ids`."""
        last = (len(ids) - 1) // self.info.chunk * self.info.chunk
        self.prefill(ids[:last], start, table)
        self._run(ids[last:], start + last, table, True)
        port = self.plan.outputs[0]
        view = self._instance.view(self._slots[port.slot], "f32", (self.info.vocab,))
        return np.array(view, np.float32)

    def generate(self, ids: Ids, most: int) -> Iterator[int]:
        """Greedy tokens behind a prompt, until the model ends, `most` or the context is full."""
        table = self._take(min(len(ids) + most, self.info.context))
        try:
            position = 0
            given: Ids = ids
            for _ in range(most):
                if position + len(given) > self.info.context:
                    return
                token = int(self.logits(given, position, table).argmax())
                if token in self.info.eos:
                    return
                yield token
                position += len(given)
                given = [token]
        finally:
            self._free += table

    def weight_address(self, number: int) -> int:
        """Of a tensor of the plan."""
        return self._instance.weight(number)

    def temporary(self, values: Sequence[Ids]) -> list[int]:
        """Addresses of numbers (i32) for `aux`, behind the arena: until it grows."""
        addresses = []
        at = self.arena + self._blocks * self.info.kv_block_bytes
        for numbers in values:
            data = np.asarray(numbers, "<i4").tobytes()
            self._instance.grow(at + len(data))
            self._instance.write(at, data)
            addresses.append(at)
            at += aligned(len(data))
        return addresses

    def aux(self, name: str, buffers: Sequence[int], extents: Sequence[int]) -> None:
        """Runs a kernel of plan.decoder.aux. `buffers`: addresses, scratch left out."""
        number = self.info.aux[name]
        kernel = self.plan.kernels[number]
        given = iter(buffers)
        scratch = self._scratch
        addresses = []
        sizes = iter(kernel.scratch)
        for buffer in kernel.buffers:
            if buffer.scratch:
                addresses.append(scratch)
                scratch += aligned(next(sizes))
            else:
                addresses.append(next(given))
        call, grid = self._instance.function(number, addresses, extents)
        call(0, grid)

    def _take(self, tokens: int) -> list[int]:
        """Blocks for that many tokens, none of which another table has."""
        missing = -(-tokens // self.info.kv_block) - len(self._free)
        if missing > 0:
            self._free += range(self._blocks, self._blocks + missing)
            self.reserve(self._blocks + missing)
        count = -(-tokens // self.info.kv_block)
        taken, self._free = self._free[:count], self._free[count:]
        return taken

    def _run(self, ids: Ids, start: int, table: Ids, head: bool) -> None:
        table = table[: -(-(start + len(ids)) // self.info.kv_block)]
        self._check(ids, start, table)
        for name, values in (("ids", ids), ("place", [start, len(ids)]), ("table", table)):
            data = np.asarray(values, "<i4").tobytes()
            self._instance.write(self._slots[self._port(name).slot], data)
        calls = self._prepared(len(ids))
        for call, grid in calls if head else calls[: self.info.head]:
            call(0, grid)

    def _check(self, ids: Ids, start: int, table: Ids) -> None:
        end = start + len(ids)
        if not len(ids) or start < 0 or end > self.info.context:
            raise ValueError(
                f"tokens at {start} to {end - 1}; the context has {self.info.context:,}"
            )
        if not (min(ids) >= 0 and max(ids) < self.info.vocab):
            raise ValueError(f"token ids {min(ids)} to {max(ids)} of {self.info.vocab:,}")
        needed = -(-end // self.info.kv_block)
        if len(table) < needed or min(table) < 0 or max(table) >= self._blocks:
            raise ValueError(f"{needed} KV blocks of {self._blocks} expected, found {list(table)}")

    def _prepared(self, rows: int) -> list[Call]:
        """All steps for a number of rows, at addresses that hold for all."""
        if rows not in self._calls:
            self._calls[rows] = [
                self._instance.call(step, {"rows": rows}, self._slots, self._scratch, self.arena)
                for step in self.plan.steps
            ]
        return self._calls[rows]

    def _port(self, name: str) -> Port:
        return next(port for port in self.plan.inputs if port.name == name)


def text_of(generator: NativeGenerator, tokens: Iterator[int]) -> Iterator[str]:
    """The text of tokens as they come, in pieces that end between characters."""
    ids: list[int] = []
    told = ""
    for token in tokens:
        ids.append(token)
        text = generator.tokenizer.decode(ids, skip_special_tokens=True)
        if not text.endswith("\ufffd"):  # the rest of a character is still to come
            yield text[len(told) :]
            told = text
    text = generator.tokenizer.decode(ids, skip_special_tokens=True)
    yield text[len(told) :]


def open_generator(directory: Path, numeric: Numeric = "fused") -> NativeGenerator:
    """A folder that `pywasm compile` made of a language model. Raises UserError."""
    instance = open_instance(directory, numeric)
    tokenizer = directory / instance.plan.language_model().tokenizer.file
    return NativeGenerator(instance, load_tokenizer(tokenizer))


def generator_of(
    plan: Plan, files: Mapping[str, bytes], numeric: Numeric = "fused"
) -> NativeGenerator:
    """The same of a plan whose files are in memory."""
    module = next(m for m in plan.modules if m.numeric == numeric and not m.shared)
    shards = [files[shard.file] for shard in plan.weights.shards]
    instance = PlanInstance(plan, shards, files[module.file], numeric)
    tokenizer = tokenizers.Tokenizer.from_buffer(files[plan.language_model().tokenizer.file])
    return NativeGenerator(instance, tokenizer)
