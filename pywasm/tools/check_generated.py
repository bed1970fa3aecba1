"""Fails when a checked-in generated file is stale; names the command that mends it.

python -m pywasm.tools.check_generated
"""

from __future__ import annotations

import subprocess
import sys

GENERATORS = ("abi_codegen", "manifest_types", "plan_types", "unicode_tables")


def main() -> int:
    """Run every generator with ``--check``; 1 when one differs."""
    failed = 0
    for name in GENERATORS:
        module = f"pywasm.tools.{name}"
        if subprocess.run([sys.executable, "-m", module, "--check"], check=False).returncode:
            print(f"stale: run `python -m {module}`", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
