"""Records of KV: what goes in comes out, as nearly as its bits allow; the kernels have the same."""

import hashlib

import numpy as np
import pytest

from pywasm.errors import UserError
from pywasm.kv_arena import Sequence
from pywasm.kv_record import Bits, Kv, KvShape, pack, record_bytes, unpack
from pywasm_jit import recipes
from pywasm_jit.interpret import interpret
from tests.tiny_decoder import TinyDecoder

SHAPE = KvShape(layers=2, heads=3, head_dim=8)


def some_kv(tokens: int) -> Kv:
    random = np.random.default_rng(1)
    keys = random.normal(0, 1, (2, 3, 8, tokens))
    keys[:, :, 3] *= 40  # keys have channels far out, which must not cost the others their steps
    values = random.normal(0, 1, (2, 3, tokens, 8))
    return Kv(keys.astype(np.float16), values.astype(np.float16))


def filled(tokens: int) -> tuple[TinyDecoder, Sequence]:
    decoder = TinyDecoder()
    sequence = Sequence(decoder, decoder.shape, decoder.cos, decoder.sin)
    sequence.prefill(np.arange(tokens, dtype=np.int32) % decoder.vocab, 0)
    return decoder, sequence


@pytest.mark.parametrize("tokens", [1, 2, 31, 33, 128])
@pytest.mark.parametrize("bits", [8, 4])
def test_a_number_is_off_by_half_a_step_at_most(tokens: int, bits: Bits) -> None:
    kv = some_kv(tokens)
    data = pack(kv, bits)
    assert len(data) == record_bytes(SHAPE, tokens, bits)
    back = unpack(data, SHAPE, tokens, bits)
    for was, now in ((kv.keys, back.keys), (kv.values, back.values)):
        wide = was.astype(np.float32)
        off = np.abs(now - wide)
        size = wide.max(axis=3, keepdims=True) - wide.min(axis=3, keepdims=True)
        slack = np.abs(wide).max(axis=3, keepdims=True) * 2**-9  # scale and low are f16
        assert (off <= size / ((1 << bits) - 1) / 2 + slack).all()
        if tokens > 2:
            assert off.any()


def test_a_channel_far_out_costs_the_others_nothing() -> None:
    kv = some_kv(64)
    back = unpack(pack(kv, 8), SHAPE, 64, 8)
    quiet = np.delete(back.keys - kv.keys, 3, axis=2)
    assert np.abs(quiet).max() < 0.03


def test_the_bytes_are_pinned() -> None:
    """A site that was built stays readable."""
    digests = [hashlib.sha256(pack(some_kv(33), bits)).hexdigest()[:16] for bits in (8, 4)]
    assert digests == ["b38e10f3495d862c", "3ff2e0e845102b36"]


def test_a_record_of_another_length_is_refused() -> None:
    with pytest.raises(UserError, match="expected"):
        unpack(pack(some_kv(5), 8)[:-1], SHAPE, 5, 8)


@pytest.mark.parametrize("bits", [8, 4])
def test_records_are_those_of_the_kernels(bits: Bits) -> None:
    """Which round in f32 in another order: a code next to a tie may be its neighbour."""
    start, tokens = 27, 11
    decoder, sequence = filled(start + tokens)
    shape = decoder.shape
    parameters = {
        "kv_heads": shape.heads,
        "head_dim": shape.head_dim,
        "layers": shape.layers,
        "bits": bits,
    }
    places = shape.places(tokens, bits)
    extents = {"rows": tokens, "positions": len(decoder.cos), "blocks": 12, "kv_blocks": 12}
    decoder.kv[np.isnan(decoder.kv)] = 0
    memory = {
        "cos": bytearray(decoder.cos.tobytes()),
        "sin": bytearray(decoder.sin.tobytes()),
        "place": bytearray(np.array([start, tokens], np.int32).tobytes()),
        "table": bytearray(np.arange(12, dtype=np.int32).tobytes()),
        "kv": bytearray(decoder.kv.tobytes()),
    }
    memory |= {name: bytearray(size) for name, (_, size) in places.items() if name != "end"}
    interpret(recipes.naive(recipes.default("kv_pack", parameters, "fused")), memory, extents)
    record = bytearray(record_bytes(shape, tokens, bits))
    for name, (offset, size) in places.items():
        if name != "end":
            record[offset : offset + size] = memory[name]
    kv = sequence.read(start, start + tokens)
    ours = pack(sequence.unturned(kv, start), bits)
    codes = places["key_scale"][0]
    assert np.mean(np.frombuffer(ours, np.uint8) != np.frombuffer(record, np.uint8)) < 0.01
    scales, theirs = (np.frombuffer(data[codes:], "<f2") for data in (ours, bytes(record)))
    np.testing.assert_allclose(scales, theirs, rtol=2**-10, atol=1e-6)

    memory["kv"] = bytearray(len(memory["kv"]))
    interpret(recipes.naive(recipes.default("kv_unpack", parameters, "fused")), memory, extents)
    back = sequence.turned(unpack(bytes(record), shape, tokens, bits), start)
    decoder.kv[:] = np.frombuffer(bytes(memory["kv"]), np.float16).reshape(decoder.kv.shape)
    placed = sequence.read(start, start + tokens)
    np.testing.assert_allclose(placed.keys, back.keys, rtol=2**-10, atol=1e-3)
    np.testing.assert_allclose(placed.values, back.values, rtol=2**-10, atol=1e-3)
    assert np.abs(placed.keys - kv.keys).max() > 0


@pytest.mark.parametrize(("start", "end"), [(0, 5), (7, 32), (30, 34), (20, 130)])
def test_the_arena_is_read_and_put_back(start: int, end: int) -> None:
    decoder, sequence = filled(140)
    before = decoder.kv.copy()
    kv = sequence.read(start, end)
    places = np.arange(start, end)
    sides = before.reshape(len(before), decoder.shape.layers, 2, 2, -1)
    key = sides[places // 32, 1, 0, 1].reshape(-1, 16, 32)[np.arange(len(places)), :, places % 32]
    assert np.array_equal(kv.keys[1, 1].T, key)
    decoder.kv[:] = 0
    sequence.write(start, kv)
    again = sequence.read(start, end)
    assert np.array_equal(again.keys, kv.keys) and np.array_equal(again.values, kv.values)
    untouched = np.count_nonzero(decoder.kv)
    assert untouched <= kv.keys.size + kv.values.size


def test_keys_are_turned_and_turned_back() -> None:
    decoder = TinyDecoder()
    sequence = Sequence(decoder, decoder.shape, decoder.cos, decoder.sin)
    random = np.random.default_rng(2)
    kv = Kv(
        random.normal(0, 1, (3, 2, 16, 20)).astype(np.float16),
        random.normal(0, 1, (3, 2, 20, 16)).astype(np.float16),
    )
    turned = sequence.turned(kv, 100)
    assert np.abs(turned.keys - kv.keys).max() > 0.5
    assert np.abs(sequence.unturned(turned, 100).keys - kv.keys).max() < 0.01
    moved = sequence.moved(turned, 60)
    assert np.abs(moved.keys - sequence.turned(kv, 160).keys).max() < 0.01
