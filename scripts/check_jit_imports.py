"""Fails when `jit/` imports anything but the standard library and itself.

import-linter sees the project's own packages only; that `pywasm_jit` must run in a bare Pyodide
is a statement about everybody else's.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / "jit"


def imported(tree: ast.AST) -> list[tuple[int, str]]:
    """(line, top-level module) of every absolute import."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name.split(".")[0]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.append((node.lineno, node.module.split(".")[0]))
    return found


def main() -> int:
    """Print every forbidden import; 1 when there is one."""
    allowed = sys.stdlib_module_names | {"pywasm_jit"}
    bad = [
        f"{path.relative_to(ROOT.parent)}:{line}: imports {name}; jit/ needs nothing but the "
        "standard library"
        for path in sorted(ROOT.rglob("*.py"))
        for line, name in imported(ast.parse(path.read_text("utf-8"), str(path)))
        if name not in allowed
    ]
    print("\n".join(bad), end="\n" if bad else "")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
