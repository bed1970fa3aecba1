"""A result on the terminal: every figure, ours beside the peers', then what was promised."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from .goals import Verdict, judge
from .result import Result, Row

OURS = "pywasm"
SHARES = ("recall@10", "peak_share", "bound_share", "hit_rate", "token_rate")  # a p99 says nothing


def show(result: Result, console: Console) -> None:
    """Print the figures and the goals of a result."""
    console.print(Group(figures(result.rows, console.width), "", goals(judge(result.rows))))
    noise = result.environment.get("noise", {})
    if {"before", "after"} <= noise.keys():
        before, after = noise["before"], noise["after"]
        console.print(
            f"Machine: fixed work took {before['median_ms']:.2f} ms before and "
            f"{after['median_ms']:.2f} ms after; p99/median {before['spread']} and "
            f"{after['spread']} (1.0: undisturbed).",
            style="dim",
        )


def number(value: float) -> str:
    """Three significant digits, thousands apart."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}"


def figures(rows: Sequence[Row], width: int = 200) -> Table:
    """One line a figure. The ratio is ours to the peer's: below 1 we need less. What does not fit
    a narrow terminal is in result.json.
    """
    table = Table(title="figures", title_justify="left", box=None, pad_edge=False)
    for name in ("case", "metric", "engine"):
        table.add_column(name, no_wrap=True)
    wide = width >= 120
    for name in ("median", *(("95 %",) if wide else ()), "p99", "bound", "ours/its"):
        table.add_column(name, justify="right", no_wrap=True)
    if wide:
        table.add_column("setting, note", overflow="fold")
    ours = {(row.case, row.metric): row for row in rows if row.engine == OURS}
    order = {(row.case, row.metric): place for place, row in reversed(list(enumerate(rows)))}
    previous: tuple[str, str] | None = None
    for row in sorted(rows, key=lambda row: (order[row.case, row.metric], row.engine != OURS)):
        key = (row.case, row.metric)
        share = row.metric in SHARES
        compared = row.engine != OURS and key in ours and row.median > 0 and not share
        cells = [
            row.case if previous is None or previous[0] != row.case else "",
            row.metric if previous != key else "",
            row.engine,
            f"{row.median:.4f}" if share else f"{number(row.median)} {row.unit}".strip(),
            *([f"{number(row.low)}-{number(row.high)}" if row.samples > 1 else ""] if wide else []),
            number(row.p99) if row.samples > 1 and not share else "",
            number(row.bound) if row.bound is not None else "",
            f"{ours[key].median / row.median:.2f}" if compared else "",
            *([", ".join(filter(None, (row.parameter, row.note)))] if wide else []),
        ]
        table.add_row(*cells, style="bold" if row.engine == OURS else None)
        previous = key
    return table


def goals(verdicts: Sequence[Verdict]) -> Table:
    """One line a goal."""
    table = Table(title="goals", title_justify="left", box=None, pad_edge=False)
    for name in ("case", "figure"):
        table.add_column(name, no_wrap=True)
    for name in ("measured", "must", "aim"):
        table.add_column(name, justify="right", no_wrap=True)
    for verdict in verdicts:
        goal = verdict.goal
        what = goal.metric if goal.field == "median" else f"{goal.metric} {goal.field}"
        if goal.engine != OURS:
            what += f" {goal.engine}"
        if goal.against is not None:
            what += " / " + (goal.against[1] if not goal.against[0] else goal.against[0])
        relation = ">=" if goal.more else "<="
        aim = "" if goal.aim is None else f"{relation} {number(goal.aim)}"
        if goal.aim_against is not None:
            aim = f"{relation} {goal.aim_against[1]}"
        table.add_row(
            goal.case,
            what,
            number(verdict.value),
            _mark(f"{relation} {number(goal.must)}", verdict.must),
            _mark(aim, verdict.aim),
        )
    return table


def _mark(text: str, held: bool | None) -> Text:
    if held is None:
        return Text(text, style="dim")
    return Text(f"{text} {'met' if held else 'MISSED'}", style="green" if held else "red")
