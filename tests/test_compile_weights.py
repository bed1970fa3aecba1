"""Layouts and quantisation of weights, and where activations lie."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from pywasm.compile import memory, sizes, weights
from pywasm.compile.plan_types import check_expr, evaluate
from pywasm.tools.plan_types import TARGET, typescript
from pywasm_jit import poly

F32 = npt.NDArray[np.float32]
K, N = 64, 24


def matrix() -> F32:
    random = np.random.default_rng(2)
    made = random.normal(0, 1, (K, N)).astype(np.float32)
    made[:, 5] = 0
    made[3, 7] = 40
    return made


def test_panels_hold_eight_columns_side_by_side() -> None:
    made = matrix()
    (f32,), (f16,) = [weights.panels("w", made, "f32")], [weights.panels("w", made, "f16")]
    for k, n in ((0, 0), (5, 9), (63, 23)):
        assert f32.data[n // 8, k, n % 8] == made[k, n]
        assert f16.data[n // 8, k, n % 8] == made[k, n].astype(np.float16)
    huge = weights.panels("w", np.full((4, 8), 1e6, np.float32), "f16")
    assert np.isfinite(huge.data).all()


def test_eight_bits_with_a_scale_a_column() -> None:
    made = matrix()
    packed, scale, total = weights.panels_i8("w", made)
    assert packed.dtype == "i8x4" and packed.data.shape == (N // 8, K // 4, 8, 4)
    q = packed.data.transpose(1, 3, 0, 2).reshape(K, N).astype(np.int32)
    assert q.min() >= -127 and np.abs(q * scale.data - made).max() <= scale.data.max() / 2 + 1e-6
    assert (np.abs(q * scale.data - made) <= scale.data / 2 + 1e-6).all()
    assert np.array_equal(total.data, q.sum(axis=0)) and total.data.dtype == np.int32
    assert (q[:, 5] == 0).all() and scale.data[5] == 1


def test_four_bits_in_blocks_with_scale_and_offset() -> None:
    made = matrix()
    words, scale, total, offset = weights.panels_i4("w", made)
    assert words.data.shape == (N // 8, K // 32, 4, 8)
    assert words.data.dtype == np.int32
    for k, n in ((0, 0), (5, 9), (17, 3), (40, 16), (63, 23), (3, 7), (31, 5)):
        place = n // 8, k // 32, n % 8
        inside = k % 32
        word = int(words.data[n // 8, k // 32, inside % 16 // 4, n % 8])
        q = (word >> (8 * (inside % 4) + 4 * (inside // 16))) & 15
        step = float(scale.data[place])
        assert abs(step * q + float(offset.data[place]) - float(made[k, n])) <= step / 2 + 1e-6
    nibbles = np.stack([(words.data >> shift) & 15 for shift in range(0, 32, 4)]).sum(axis=(0, 3))
    assert np.array_equal(total.data, 64 * nibbles)


def test_tables_have_a_scale_a_row() -> None:
    table = matrix()
    table[4] = 0
    data, scale = weights.table_i8("t", table)
    back = data.data * scale.data[:, None]
    assert (np.abs(back - table) <= scale.data[:, None] / 2 + 1e-6).all()


def test_weights_lie_aligned_and_in_order() -> None:
    made = [
        weights.rows("a", np.arange(5)),
        *weights.panels_i8("b", matrix()),
        weights.rows("c", np.arange(3), "i32"),
    ]
    tensors, size = weights.place(made)
    for length in (100, 256, 1 << 20):
        flat = b"".join(weights.pieces(made, length))
        assert len(flat) == size
        assert {len(piece) for piece in list(weights.pieces(made, length))[:-1]} <= {length}
        for tensor, weight in zip(tensors, made, strict=True):
            assert tensor.offset % 256 == 0
            assert flat[tensor.offset : tensor.offset + tensor.bytes] == weight.data.tobytes()
    assert tensors[1].shape == [N // 8, K // 4, 8] and tensors[1].dtype == "i8x4"


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 5), st.integers(0, 40), st.integers(0, 40)),
        min_size=1,
        max_size=12,
    )
)
def test_values_that_live_together_have_slots_of_their_own(
    values: list[tuple[int, int, int, int]],
) -> None:
    lives = {f"v{i}": (first, first + more) for i, (first, more, _, _) in enumerate(values)}
    bytes_of = {
        f"v{i}": poly.add(poly.scale(sizes.ROWS, 4 * rows), poly.scale(sizes.BATCH, 4 * batch))
        for i, (_, _, rows, batch) in enumerate(values)
    }
    placement = memory.place(bytes_of, lives)
    for a in lives:
        for b in lives:
            apart = lives[a][1] < lives[b][0] or lives[b][1] < lives[a][0]
            assert a == b or apart or placement.slot[a] != placement.slot[b]
    for batch, seq in ((1, 1), (1, 256), (8, 128), (64, 1)):
        symbols = {"batch": batch, "seq": seq}
        for name, slot in placement.slot.items():
            largest = max(evaluate(sizes.to_expr(p), symbols) for p in placement.bytes[slot])
            assert evaluate(sizes.to_expr(bytes_of[name]), symbols) <= largest


def test_lifetimes_of_inputs_and_outputs() -> None:
    lives = memory.lifetimes([["x"], ["h", "x"]], [["h"], ["y"]], ["x"], ["y"])
    assert lives == {"x": (-1, 1), "h": (0, 1), "y": (1, 2)}


def test_sizes_are_written_shortly() -> None:
    assert sizes.to_expr(poly.constant(0)) == 0
    assert sizes.to_expr(poly.constant(7)) == 7
    assert sizes.to_expr(sizes.ROWS) == ["*", "batch", "seq"]
    both = poly.add(poly.scale(sizes.ROWS, 4), poly.constant(1))
    expr = sizes.to_expr(both)
    assert check_expr(expr) == ["+", 1, ["*", 4, "batch", "seq"]]
    assert evaluate(expr, {"batch": 2, "seq": 3}) == 25
    assert sizes.at_most(sizes.BATCH, sizes.ROWS) and not sizes.at_most(sizes.ROWS, sizes.BATCH)


def test_the_types_of_the_browser_are_those_of_the_schema() -> None:
    assert TARGET.read_text("utf-8") == typescript()
