"""KV of chunks: computed once, compressed as far as each tolerates, chosen by expected use."""

from pathlib import Path

import numpy as np
import pytest

from pywasm import kv_compute
from pywasm.errors import UserError
from pywasm.kv_arena import I32, Sequence
from pywasm.kv_choice import choose, expected_use
from pywasm.kv_compute import Chunk, KvComputer
from pywasm.kv_loss import LossMeter, Question, cloze, divergence
from pywasm.kv_record import Bits, unpack
from pywasm.kv_shards import (
    KvEntry,
    KvRecord,
    check_kv,
    index_bytes,
    kv_key,
    parse_index,
    record_check,
    remove_kv,
    write_kv,
)
from tests.tiny_decoder import TinyDecoder

SYSTEM = np.arange(10, 22, dtype=np.int32)  # ends inside a block


def tokens(seed: int, count: int) -> I32:
    return np.random.default_rng(seed).integers(0, 97, count).astype(np.int32)


def opened(decoder: TinyDecoder) -> Sequence:
    return Sequence(decoder, decoder.shape, decoder.cos, decoder.sin)


def test_what_is_shipped_answers_nearly_as_what_was_computed(fresh_cache: Path) -> None:
    decoder = TinyDecoder()
    sequence = opened(decoder)
    computer = KvComputer(sequence, "model", SYSTEM, (8,))
    document, question = tokens(1, 50), tokens(2, 5)
    record = computer.record(Chunk(document, (question,)))
    assert record is not None and record.bits == 8 and record.tokens == 50
    other = TinyDecoder()
    browser = opened(other)
    browser.prefill(SYSTEM, 0)
    kv = unpack(record.data, decoder.shape, 50, 8)
    browser.write(len(SYSTEM), browser.turned(kv, len(SYSTEM)))
    rows = other.rows
    got = browser.logits(question, len(SYSTEM) + 50)
    assert other.rows - rows == len(question)
    full = opened(TinyDecoder())
    full.prefill(np.concatenate((SYSTEM, document)), 0)
    loss = divergence(full.logits(question, len(SYSTEM) + 50), got)
    assert 0 < loss < 1e-3


def test_bits_by_what_the_chunk_tolerates(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequence = opened(TinyDecoder())
    chunk = Chunk(tokens(3, 40), (tokens(4, 4), tokens(5, 3)))
    computer = KvComputer(sequence, "model", SYSTEM, (4, 8))
    found: list[int | None] = []
    for tolerance in (10.0, 1e-2, 0.0):
        monkeypatch.setattr(kv_compute, "TOLERANCE", tolerance)
        record = computer.record(chunk)
        found.append(record and record.bits)
    assert found == [4, 8, None]


def test_what_was_computed_is_not_computed_again(fresh_cache: Path) -> None:
    decoder = TinyDecoder()
    chunk = Chunk(tokens(6, 33), (tokens(7, 4),))
    first = KvComputer(opened(decoder), "model", SYSTEM, (4, 8)).record(chunk)
    rows = decoder.rows
    again = KvComputer(opened(decoder), "model", SYSTEM, (4, 8)).record(chunk)
    assert again == first and decoder.rows == rows
    (kept,) = fresh_cache.glob("kv/*/*.kv")
    kept.write_bytes(kept.read_bytes()[:-1])
    assert KvComputer(opened(decoder), "model", SYSTEM, (4, 8)).record(chunk) == first
    assert decoder.rows > rows
    rows = decoder.rows
    changed = Chunk(np.append(chunk.tokens[:-1], 0).astype(np.int32), chunk.probes)
    for identity, system, one in (
        ("another model", SYSTEM, chunk),
        ("model", SYSTEM[::-1].copy(), chunk),
        ("model", SYSTEM, changed),
    ):
        KvComputer(opened(decoder), identity, system, (4, 8)).record(one)
        assert decoder.rows > rows
        rows = decoder.rows


def test_the_index_finds_records_and_tells_damage(tmp_path: Path) -> None:
    random = np.random.default_rng(8)
    sizes = (9 << 20, 8 << 20, 5, 7 << 20)  # the second does not fit behind the first
    records = [
        KvRecord(kv_key("model", tokens(n, 9)), 9 + n, 8, random.bytes(size))
        for n, size in enumerate(sizes)
    ]
    done: list[int] = []
    kv = write_kv(tmp_path, "model", 12, iter(records), lambda: done.append(1))
    assert (kv.chunks, kv.tokens, len(kv.shards), len(done)) == (4, 42, 2, 4)
    assert kv.bytes == sum(sizes) and max(shard.bytes for shard in kv.shards) <= 16 << 20
    system, entries = parse_index((tmp_path / kv.index.file).read_bytes(), "index")
    assert system == 12
    found = {entry.key: entry for entry in entries}
    for record in records:
        entry = found[record.key]
        data = (tmp_path / kv.shards[entry.shard].file).read_bytes()
        assert data[entry.offset : entry.offset + entry.bytes] == record.data
        assert (entry.tokens, entry.bits) == (record.tokens, 8)
    assert check_kv(tmp_path, kv) == []
    shard = tmp_path / kv.shards[1].file
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    (problem,) = check_kv(tmp_path, kv)
    assert records[3].key.hex() in problem and str(shard) in problem
    shard.unlink()
    assert check_kv(tmp_path, kv) == [f"{shard}: missing"]
    remove_kv(tmp_path, None)
    assert not (tmp_path / "kv").exists()


def test_the_index_is_pinned() -> None:
    """docs/kv-cache.md says what these bytes are; a browser reads them."""
    entries = [
        KvEntry(b"b" * 16, b"C" * 16, 1, 2, 3, 4, 8),
        KvEntry(b"a" * 16, b"D" * 16, 0x01020304, 0, 5, 300, 4),
    ]
    data = index_bytes(12, entries)
    assert data == (
        b"PWKV\x01\0\0\0\x0c\0\0\0\x02\0\0\0"
        + (b"a" * 16 + b"D" * 16 + b"\x04\x03\x02\x01\0\0\0\0\x05\0\0\0\x2c\x01\x04\0")
        + (b"b" * 16 + b"C" * 16 + b"\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\x08\0")
    )
    key = kv_key("kv1 model", np.array([1, 2, 3], np.int32))
    assert key.hex() == "70c35c224eca57d9b61aa47a7ebfd422"
    assert record_check(b"").hex() == "e3b0c44298fc1c149afbf4c8996fb924"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "damaged"),
        (lambda data: b"x" + data[1:], "damaged"),
        (lambda data: data[:4] + b"\x02" + data[5:], "newer"),
        (lambda data: data[:16] + data[64:] + data[16:64], "ascend"),
    ],
)
def test_an_index_that_can_not_be_read(damage: object, message: str) -> None:
    entries = [KvEntry(bytes([n]) * 16, b"C" * 16, 1, 2, 3, 4, 8) for n in (1, 2)]
    assert callable(damage)
    with pytest.raises(UserError, match=message):
        parse_index(damage(index_bytes(12, entries)), "index")


def test_a_record_that_fits_no_shard(tmp_path: Path) -> None:
    record = KvRecord(b"k" * 16, 9, 8, bytes((16 << 20) + 1))
    with pytest.raises(UserError, match="chunk-tokens"):
        write_kv(tmp_path, "model", 12, [record], lambda: None)


def test_use_is_expected_of_what_is_suggested_and_of_what_is_dense() -> None:
    angles = np.array([0, 0.1, 0.2, 0.3, 2.0, 3.0])
    vectors = np.stack((np.cos(angles), np.sin(angles)), axis=1).astype(np.float32)
    none = np.zeros((0, 0), np.float32)
    use = expected_use(vectors, none, 0)
    assert use.sum() == pytest.approx(1)
    assert use[[1, 2]].min() > use[[4, 5]].max()
    asked = expected_use(vectors, vectors[5:], 0)
    assert asked[5] == asked.max() and asked.sum() == pytest.approx(1)
    assert expected_use(vectors[:1], none, 0).tolist() == [0]


def test_what_is_used_most_and_fits_is_chosen() -> None:
    use = np.array([0.5, 0.3, 0.2, 0.0])
    sizes = np.array([100, 10, 10, 1])
    assert choose(use, sizes, 20) == [1, 2]
    assert choose(use, sizes, 110) == [0, 1]
    assert choose(use, sizes, 120) == [0, 1, 2]
    assert choose(use, sizes, None) == [0, 1, 2, 3]
    assert choose(use, sizes, 5) == []


def test_exact_reuse_loses_nothing_and_each_other_mode_something() -> None:
    decoder = TinyDecoder()
    two = [
        Question((tokens(20, 45), tokens(21, 60)), tokens(22, 6), tokens(23, 4)),
        Question((tokens(24, 33), tokens(25, 31)), tokens(26, 5), tokens(27, 4)),
    ]
    one = [Question(q.documents[:1], q.question, q.answer) for q in two]
    done: list[int] = []
    found = LossMeter(opened(decoder), SYSTEM).measure(one, two, lambda: done.append(1))
    assert len(done) == 4
    losses = {(loss.mode, loss.bits): loss for loss in found}
    exact = losses["exact", 16]
    assert (exact.kl_one, exact.kl_two, exact.same_one, exact.same_two) == (0, 0, 1, 1)
    assert exact.allowed and exact.questions == 2
    # One document behind the same prefix is not moved.
    assert losses["linked", 16].kl_one == 0 < losses["linked", 16].kl_two
    four, eight = losses["shipped", 4], losses["shipped", 8]
    assert 0 < eight.kl_one < four.kl_one and 0 < eight.kl_two < four.kl_two
    # A test of one document alone would not see what linked documents lose.
    assert losses["linked", 16].kl_two > eight.kl_two


def test_a_loss_over_the_threshold_is_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pywasm.kv_loss.LARGEST_KL", 1e-9)
    asked = [Question((tokens(30, 20),), tokens(31, 3), tokens(32, 2))]
    found = LossMeter(opened(TinyDecoder()), SYSTEM).measure(asked, asked, lambda: None)
    allowed = {(loss.mode, loss.bits): loss.allowed for loss in found}
    assert allowed["exact", 16] and not allowed["shipped", 4]


def test_divergence() -> None:
    left = np.log(np.array([0.5, 0.25, 0.25], np.float32))
    right = np.log(np.array([0.25, 0.5, 0.25], np.float32))
    assert divergence(left, left + 3) == pytest.approx(0, abs=1e-7)
    assert divergence(left, right) == pytest.approx(0.25 * np.log(2))


@pytest.mark.parametrize("bits", [4, 8])
def test_a_chunk_that_was_too_much_is_kept_as_such(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, bits: Bits
) -> None:
    monkeypatch.setattr(kv_compute, "TOLERANCE", 0.0)
    decoder = TinyDecoder()
    chunk = Chunk(tokens(9, 12), (tokens(10, 3),))
    assert KvComputer(opened(decoder), "model", SYSTEM, (bits,)).record(chunk) is None
    rows = decoder.rows
    assert KvComputer(opened(decoder), "model", SYSTEM, (bits,)).record(chunk) is None
    assert decoder.rows == rows


def test_cloze() -> None:
    text = "Short one. The quick brown fox jumps over the lazy dog and then it sleeps. End."
    assert cloze(text) == ("The quick brown fox jumps", "over the lazy dog and then it sleeps.")
    assert cloze("Nothing that is long enough. At all.") is None
