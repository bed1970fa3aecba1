"""Recipes: a kernel as JSON. What a compiled model ships and tuning stores.

{"kernel": family, "parameters": {...}, "numeric": "fused" or "separate", "steps": [...]}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pywasm_jit.ir import Kernel, KernelError, Numeric
from pywasm_jit.kernels import KERNELS
from pywasm_jit.kernels.family import Family
from pywasm_jit.schedule import apply

Recipe = dict[str, Any]


def default(kernel: str, parameters: Mapping[str, Any], numeric: Numeric) -> Recipe:
    """The recipe with the default schedule for Wasm. Raises KernelError."""
    steps = _family(kernel).default(parameters, numeric)
    return {"kernel": kernel, "parameters": dict(parameters), "numeric": numeric, "steps": steps}


def naive(recipe: Mapping[str, Any]) -> Kernel:
    """The kernel before its schedule. Raises KernelError for what is no recipe."""
    family = _family(recipe.get("kernel"))
    parameters, numeric = recipe.get("parameters"), recipe.get("numeric")
    if numeric not in ("fused", "separate"):
        raise KernelError(f"a recipe's numeric class is fused or separate, not {numeric!r}")
    if not isinstance(parameters, Mapping):
        raise KernelError(f"a recipe's parameters are an object, not {parameters!r}")
    try:
        return family.naive(**parameters, numeric=numeric)
    except TypeError as error:
        raise KernelError(f"{recipe['kernel']}: {error}") from None


def build(recipe: Mapping[str, Any]) -> Kernel:
    """The scheduled kernel, ready to be rendered. Raises KernelError."""
    return apply(naive(recipe), recipe.get("steps", []))


def _family(name: object) -> Family:
    family = KERNELS.get(name) if isinstance(name, str) else None
    if family is None:
        raise KernelError(f"no kernel {name!r}; there are {', '.join(KERNELS)}")
    return family
