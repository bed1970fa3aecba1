"""The last fusions: sums into what makes or reads them, and what turns rows into embeddings."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Literal

from pywasm.compile.fused import (
    Add,
    Embed,
    Encoder,
    LayerNorm,
    Linear,
    Normalize,
    Op,
    Pool,
    inputs_of,
    is_pooled,
)
from pywasm.errors import UserError


def fuse_epilogues(encoder: Encoder) -> Encoder:
    """Sums become the residual of a matrix product, else of a layer normalisation; embeddings are
    normalised as they are made. Raises UserError for a sum that neither takes."""
    ops = list(encoder.ops)
    uses = Counter(name for op in ops for name in inputs_of(op))
    uses[encoder.output] += 1
    for add in [op for op in ops if isinstance(op, Add)]:
        ops = _without_sum(encoder, ops, add, uses)
    for norm in [op for op in ops if isinstance(op, LayerNorm)]:
        made = next((op for op in ops if op.output == norm.x), None)
        if isinstance(made, Embed) and made.norm is None and uses[made.output] == 1:
            whole = replace(made, output=norm.output, norm=norm.norm)
            ops = [whole if op is norm else op for op in ops if op is not made]
    return replace(encoder, ops=ops)


def _without_sum(encoder: Encoder, ops: list[Op], add: Add, uses: Counter[str]) -> list[Op]:
    made = {op.output: index for index, op in enumerate(ops)}
    # The one that is made later: the other is there by then.
    later, earlier = sorted((add.a, add.b), key=lambda name: -made[name])
    product = ops[made[later]]
    if isinstance(product, Linear) and product.residual is None and uses[later] == 1:
        whole = replace(product, output=add.output, residual=earlier)
        return [whole if op is add else op for op in ops if op is not product]
    readers = [op for op in ops if add.output in inputs_of(op)]
    match readers:
        case [LayerNorm(residual=None) as norm] if uses[add.output] == 1:
            whole_norm = replace(norm, x=later, residual=earlier)
            return [whole_norm if op is norm else op for op in ops if op is not add]
    raise UserError(
        f"{encoder.where}: the sum {add.output!r} (operator Add) follows no matrix product and "
        "stands before no layer normalisation; it is not supported"
    )


def with_pooling(encoder: Encoder, kind: Literal["mean", "cls"], normalize: bool) -> Encoder:
    """`encoder` giving f32[batch, width] instead of hidden states.

    One whose model pools them itself keeps that.
    """
    ops = list(encoder.ops)
    output, widths = encoder.output, dict(encoder.widths)
    if not is_pooled(encoder):
        ops.append(Pool("pooled", output, kind))
        widths["pooled"], output = widths[output], "pooled"
    if normalize and not isinstance(ops[-1], Normalize):
        ops.append(Normalize("embedding", output))
        widths["embedding"], output = widths[output], "embedding"
    return replace(encoder, ops=ops, widths=widths, output=output)
