"""`result.json`: one row a figure, in a form that stays comparable over time."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

SCHEMA = 1


class Row(BaseModel):
    """A figure: one metric of one engine in one case."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="null")

    suite: str
    case: str
    engine: str
    metric: str
    unit: str
    median: float
    p99: float
    samples: int
    low: float  # 95 % bootstrap interval of the median
    high: float
    bound: float | None = None  # the physical limit, in the row's unit
    parameter: str | None = None  # what the engine was set to
    note: str | None = None


class Result(BaseModel):
    """The file. `environment` says where and with what it was measured, and how steady it was."""

    schema_: int = SCHEMA
    environment: dict[str, Any]
    rows: list[Row]

    def write(self, directory: Path, samples: Iterable[tuple[Row, list[float]]]) -> None:
        """Write result.json and, beside it, samples.jsonl with every raw sample in order."""
        directory.mkdir(parents=True, exist_ok=True)
        body = {
            "schema": self.schema_,
            "environment": self.environment,
            "rows": [row.model_dump(exclude_none=True) for row in self.rows],
        }
        (directory / "result.json").write_text(json.dumps(body, indent=1) + "\n")
        with (directory / "samples.jsonl").open("w") as file:
            for row, values in samples:
                key = row.model_dump(include={"suite", "case", "engine", "metric", "unit"})
                file.write(json.dumps({**key, "values": values}) + "\n")


def read(path: Path) -> Result:
    """Read a result.json; raises ValueError for one of another schema."""
    body = json.loads(path.read_text())
    if body.get("schema") != SCHEMA:
        raise ValueError(f"{path}: schema {body.get('schema')!r}, expected {SCHEMA}")
    return Result(environment=body["environment"], rows=body["rows"])
