"""Records of KV: what goes in comes out, as nearly as its bits allow; their bytes are pinned."""

import hashlib

import numpy as np
import pytest

from pywasm.errors import UserError
from pywasm.kv_arena import Sequence
from pywasm.kv_record import Kv, KvShape, pack, record_bytes, unpack
from pywasm.kv_shards import Bits
from tests.tiny_decoder import TinyDecoder

SHAPE = KvShape(layers=2, heads=3, head_dim=8)


def some_kv(tokens: int, seed: int = 1) -> Kv:
    random = np.random.default_rng(seed)
    keys = random.normal(0, 1, (2, 3, 8, tokens))
    keys[:, :, 3] *= 40  # keys have channels far out, which must not cost the others their steps
    values = random.normal(0, 1, (2, 3, tokens, 8))
    return Kv(keys.astype(np.float16), values.astype(np.float16))


@pytest.mark.parametrize("tokens", [1, 2, 31, 33, 128])
@pytest.mark.parametrize(("bits", "steps"), [(16, 0), (8, 255), (4, 15)])
def test_a_number_is_off_by_half_a_step_at_most(tokens: int, bits: Bits, steps: int) -> None:
    kv = some_kv(tokens)
    data = pack(kv, bits)
    assert len(data) == record_bytes(SHAPE, tokens, bits)
    back = unpack(data, SHAPE, tokens, bits)
    for was, now in ((kv.keys, back.keys), (kv.values, back.values)):
        wide = was.astype(np.float32)
        off = np.abs(now.astype(np.float32) - wide)
        if not steps:
            assert not off.any()
            continue
        size = wide.max(axis=3, keepdims=True) - wide.min(axis=3, keepdims=True)
        # scale and low are rounded to f16, and so is what comes out
        slack = np.abs(wide).max(axis=3, keepdims=True) * 2**-9
        assert (off <= size / steps / 2 + slack).all()
        if tokens > 2:
            assert off.any()


def test_a_channel_far_out_costs_the_others_nothing() -> None:
    kv = some_kv(64)
    back = unpack(pack(kv, 8), SHAPE, 64, 8)
    quiet = np.delete(back.keys.astype(np.float32) - kv.keys.astype(np.float32), 3, axis=2)
    assert np.abs(quiet).max() < 0.03


def test_the_bytes_are_pinned() -> None:
    """A site that was built stays readable: docs/kv-cache.md says what these bytes are."""
    keys = np.arange(2 * 3, dtype=np.float16).reshape(1, 1, 2, 3)
    values = np.array([[-1, 1], [0, 0], [2, 5]], np.float16).reshape(1, 1, 3, 2)
    made = pack(Kv(keys, values), 4)
    step = np.float16(2 / 15).tobytes()
    zero, three, minus_one, two = (np.float16(n).tobytes() for n in (0, 3, -1, 2))
    assert made == b"".join(
        (
            *(step, step, zero, three),  # of channels 0 and 1: scale, low
            bytes((0x80, 0x0F, 0x80, 0x0F)),  # codes 0 8 15, filled up with 0
            *(step, zero, np.float16(3 / 15).tobytes(), minus_one, zero, two),
            bytes((0xF0, 0x00, 0xF0)),
        )
    )
    digests = [hashlib.sha256(pack(some_kv(33), bits)).hexdigest()[:16] for bits in (16, 8, 4)]
    assert digests == ["3060ca28284cbc56", "9cb2ce7a31e83692", "b1187e5450642303"]


def test_a_record_of_another_length_is_refused() -> None:
    with pytest.raises(UserError, match="expected"):
        unpack(pack(some_kv(5), 8)[:-1], SHAPE, 5, 8)


@pytest.mark.parametrize(("start", "end"), [(0, 5), (7, 32), (30, 34), (20, 130)])
def test_the_arena_is_read_and_put_back(start: int, end: int) -> None:
    decoder = TinyDecoder()
    sequence = Sequence(decoder, decoder.shape, decoder.cos, decoder.sin)
    ids = np.arange(140, dtype=np.int32) % decoder.vocab
    sequence.prefill(ids, 0)
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
