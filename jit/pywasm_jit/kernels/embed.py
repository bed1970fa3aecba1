"""Token, position and type embeddings, added, and their layer normalisation."""

from __future__ import annotations

from pywasm_jit.builder import Builder
from pywasm_jit.ir import DTYPES, F32, I32, Expr, Kernel, KernelError, Numeric, Operand, op
from pywasm_jit.kernels.family import Family, by_rows
from pywasm_jit.kernels.normalisation import write_layer_norm


def embed(
    width: int,
    types: int = 0,
    dtype: str = "f32",
    type_ids: bool = False,
    layer_norm: bool = False,
    eps: float = 1e-12,
    position_offset: int = 0,
    *,
    numeric: Numeric,
) -> Kernel:
    """y[b * seq + s] = word[ids] + position[s + position_offset] + type_row[type]

    ids i32[batch * seq]; types i32[batch * seq] if `type_ids` (else type 0, if there are any);
    word f32, f16 or i8 [vocab, width], for i8 with scale f32[vocab]; position
    f32[positions, width]; type_row f32[types, width] if `types`; gamma, beta f32[width] if
    `layer_norm`. Ids outside of a table take its first or last row.
    """
    if dtype not in ("f32", "f16", "i8"):
        raise KernelError(f"embed: a table of {dtype!r} is none of f32, f16, i8")
    k = Builder("embed", numeric)
    batch, seq, vocab, positions = (k.extent(e) for e in ("batch", "seq", "vocab", "positions"))
    rows = batch * seq
    ids = k.input("ids", I32, rows)
    kinds = k.input("types", I32, rows) if types and type_ids else None
    word = k.input("word", DTYPES[dtype], vocab, width)
    scales = k.input("scale_of_word", F32, vocab) if dtype == "i8" else None
    position = k.input("position", F32, positions, width)
    type_row = k.input("type_row", F32, types, width) if types else None
    gamma = k.input("gamma", F32, width) if layer_norm else None
    beta = k.input("beta", F32, width) if layer_norm else None
    y = k.output("y", F32, rows, width)
    with (
        k.parallel("row", rows) as row,
        k.let("id", _clamped(ids[row], vocab)) as found,
        k.let("place", _clamped(row % seq + position_offset, positions)) as place,
        k.let("type", _clamped(kinds[row] if kinds else op("add", row, 0) * 0, types)) as kind,
    ):

        def value(i: Expr) -> Expr:
            if scales is None:
                total = word[found, i] + position[place, i]
            else:
                total = k.mac(op("to_f32", word[found, i]), scales[found], position[place, i])
            return total if type_row is None else total + type_row[kind, i]

        if gamma is not None and beta is not None:
            write_layer_norm(k, width, eps, value, gamma, beta, y, row)
        else:
            with k.parallel("out", width) as i:
                y[row, i] = value(i)
    return k.kernel()


def _clamped(number: Expr, count: Operand) -> Expr:
    """0 to count - 1"""
    return op("max", op("min", number, op("sub", count, 1)), 0)


FAMILY = Family(embed, by_rows)
