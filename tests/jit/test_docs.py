"""docs/kernels.md is run as it is printed, and prints what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "kernels.md"


def test_the_walk_through_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    assert len(blocks) == 5
    program = "\n".join(blocks)
    exec(compile(program, str(PAGE), "exec"), {"__name__": "walk"})
    promised = re.findall(r"^print\(.*\)  # (.*)$", program, re.M)
    assert capsys.readouterr().out.splitlines() == promised
