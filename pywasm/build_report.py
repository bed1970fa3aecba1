"""What `pywasm build` prints at its end."""

from rich.console import Console
from rich.table import Table


def print_result(result: dict[str, object], console: Console) -> None:
    """The few lines after a build."""
    warnings = result["warnings"]
    assert isinstance(warnings, list)
    for warning in warnings:
        console.print(f"[yellow]warning:[/yellow] {warning}", soft_wrap=True, highlight=False)
    table = Table.grid(padding=(0, 2))
    counts = result["counts"]
    assert isinstance(counts, dict)
    bits = result["code_bits"]
    kind = f"{result['kind']}, vectors {result['dtype']}"
    if result["kind"] != "flat":
        kind += f", codes {bits} bit{'s' * (bits != 1)}"
    table.add_row("site", str(result["site"]))
    table.add_row("documents", f"{result['documents']:,}")
    table.add_row(
        "passages",
        f"{result['rows']:,} ({result['embedded']:,} embedded, {result['reused']:,} reused)",
    )
    for name, count in counts.items():
        if count:
            table.add_row(name, f"{count:,} left out")
    table.add_row("index", kind)
    if result["recall"] is not None:
        table.add_row("recall@10", f"{result['recall']:.3f} measured at the usual effort")
    table.add_row(
        "size",
        f"{_megabytes(result['bytes'])} ({_megabytes(result['resident_bytes'])} held in a browser)",
    )
    encoder = result["encoder"]
    if isinstance(encoder, dict):
        table.add_row("encoder", _encoder_row(encoder, result["tuner_bytes"]))
    answers = result["answers"]
    if isinstance(answers, dict):
        table.add_row("answers", _answers_row(answers))
    table.add_row("time", f"{result['seconds']} s")
    console.print(table)
    console.print(f"[dim]preview it:[/dim]  pywasm serve {result['site']}")


def _encoder_row(encoder: dict[str, object], tuner_bytes: object) -> str:
    row = f"in {encoder['weights']}, {_megabytes(encoder['visit_bytes'])} for typed questions"
    ndcg, full = encoder["ndcg"], encoder["ndcg_f32"]
    if isinstance(ndcg, float) and isinstance(full, float) and full:
        row += f"; nDCG@10 {ndcg:.3f}, {full:.3f} in f32 ({max(0.0, 1 - ndcg / full):.1%} lost)"
    if tuner_bytes:
        row += f"; tuner, fetched when idle, {_megabytes(tuner_bytes)}"
    return row


def _answers_row(answers: dict[str, object]) -> str:
    row = f"by {answers['name']}, {_megabytes(answers['visit_bytes'])} for the first question"
    kv = answers["kv"]
    if isinstance(kv, dict):
        row += f"; KV of {kv['chunks']:,} passages, {_megabytes(kv['bytes'])}, fetched by range"
    return row


def _megabytes(value: object) -> str:
    assert isinstance(value, int)
    return f"{value / 1e6:,.1f} MB"
