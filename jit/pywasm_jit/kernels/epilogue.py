"""What is done to a matrix product's element before it is stored: bias, activation, residual."""

from __future__ import annotations

from dataclasses import dataclass

from pywasm_jit.builder import Array, Builder
from pywasm_jit.functions import activate
from pywasm_jit.ir import F32, Expr


@dataclass(frozen=True, slots=True)
class Epilogue:
    """activation(x + bias[column]) + residual[row, column]"""

    k: Builder
    bias: Array | None
    activation: str
    residual: Array | None

    @staticmethod
    def declare(
        k: Builder, rows: Expr, columns: int, bias: bool, activation: str, residual: bool
    ) -> Epilogue:
        """Adds the inputs bias f32[columns] and residual f32[rows, columns] where asked for."""
        added = k.input("bias", F32, columns) if bias else None
        return Epilogue(
            k, added, activation, k.input("residual", F32, rows, columns) if residual else None
        )

    def apply(self, value: Expr, row: Expr, column: Expr) -> Expr:
        if self.bias is not None:
            value = value + self.bias[column]
        value = activate(self.k, self.activation, value)
        if self.residual is not None:
            value = value + self.residual[row, column]
        return value
