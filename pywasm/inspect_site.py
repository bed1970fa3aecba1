"""`pywasm inspect`: what a site says about itself."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from pywasm.manifest import Answers, EncoderInfo, read_manifest

_SECTIONS = {
    "lexicon": "words and postings",
    "centroids": "cluster centres",
    "codes": "compact codes",
    "vectors": "full vectors",
    "records": "texts and metadata",
    "ids": "ids",
    "columns": "filter columns",
    "graph": "graph links",
}


def describe(site: Path) -> dict[str, object]:
    """The manifest without its binary parts, and sums. Raises UserError."""
    manifest = read_manifest(site)
    description = manifest.model_dump(exclude={"head", "suggestions", "assets", "shards"})
    raw = manifest.rows * manifest.dim * 4
    return {
        "site": str(site),
        **description,
        "suggestions": [suggestion.text for suggestion in manifest.suggestions],
        "shards": len(manifest.shards),
        "index_bytes": sum(shard.bytes for shard in manifest.shards),
        "asset_bytes": sum(asset.bytes for asset in manifest.assets),
        "raw_vector_bytes": raw,
        "resident_share": round(manifest.memory["resident_bytes"] / raw, 4) if raw else 0.0,
    }


def _typed(encoder: EncoderInfo) -> str:
    compiled = encoder.compiled
    if compiled is None:
        return "by words only: the site carries no encoder"
    text = f"weights in {compiled.weights}, {compiled.visit_bytes / 1e6:,.1f} MB"
    if compiled.ndcg is not None:
        text += f", nDCG@10 {compiled.ndcg:.3f} ({compiled.ndcg_f32:.3f} in f32)"
    return text


def _answered(answers: Answers) -> list[tuple[str, str]]:
    """Rows of the table."""
    rows = [
        (
            "answers",
            f"by {answers.name}, {answers.visit_bytes / 1e6:,.1f} MB, "
            f"{answers.context:,} tokens of context",
        )
    ]
    for loss in answers.losses:
        bits = f" in {loss.bits} bits" if loss.bits != 16 else ""
        rows.append(
            (
                f"{loss.mode} KV{bits}",
                f"KL {loss.kl_one:.4f} on one document, {loss.kl_two:.4f} on two; next token "
                f"equal {loss.same_one:.0%}, {loss.same_two:.0%}"
                + ("" if loss.allowed else "; too much, not used"),
            )
        )
    if answers.kv is not None:
        rows.append(
            (
                "KV shipped",
                f"of {answers.kv.chunks:,} passages, {answers.kv.tokens:,} tokens, "
                f"{answers.kv.bytes / 1e6:,.1f} MB, fetched by range",
            )
        )
    return rows


def print_description(found: dict[str, object], console: Console) -> None:
    """As tables."""
    manifest = read_manifest(Path(str(found["site"])))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    table.add_row("title", manifest.title)
    table.add_row("generation", f"{manifest.generation}  (pywasm {manifest.pywasm_version})")
    table.add_row("contents", f"{manifest.documents:,} documents, {manifest.rows:,} passages")
    kind = f"{manifest.kind}"
    if manifest.kind == "clusters":
        kind += f" ({manifest.clusters:,})"
    table.add_row("index", f"{kind}, {manifest.metric}, {manifest.dim} dimensions")
    codes = "" if manifest.kind == "flat" else f", codes of {manifest.code_bits} bit"
    table.add_row("vectors", f"{manifest.dtype}{codes}")
    table.add_row("keyword search", "yes" if manifest.keyword else "no")
    if manifest.encoder is not None:
        encoder = manifest.encoder
        table.add_row(
            "encoder", f"{encoder.name}: {encoder.pooling} pooling, {encoder.max_tokens} tokens"
        )
        for name, prefix in (
            ("query prefix", encoder.query_prefix),
            ("document prefix", encoder.document_prefix),
        ):
            if prefix:
                table.add_row(name, repr(prefix))
        table.add_row("typed questions", _typed(encoder))
        if encoder.compiled is not None and encoder.compiled.tuner is not None:
            tuner = encoder.compiled.tuner
            size = sum(file.bytes for file in tuner.files) / 1e6
            elsewhere = f", Pyodide from {tuner.pyodide}" if tuner.pyodide else ""
            table.add_row("tuner", f"{size:,.1f} MB{elsewhere}")
    if manifest.answers is not None:
        for name, value in _answered(manifest.answers):
            table.add_row(name, value)
    for column in manifest.columns:
        values = (
            f"{len(column.values or []):,} values"
            if column.type == "category"
            else f"{column.min:g} to {column.max:g}"
        )
        table.add_row("column", f"{column.name}: {column.type}, {values}")
    for licence in manifest.licences:
        table.add_row("licence", f"{licence.name} ({licence.of}) {licence.url}".rstrip())
    for suggestion in manifest.suggestions:
        table.add_row("suggested", suggestion.text)
    console.print(table)

    sizes = Table("section", "", "bytes", "share", box=None, header_style="dim")
    sizes.columns[2].justify = sizes.columns[3].justify = "right"
    total = sum(shard.bytes for shard in manifest.shards)
    for section, what in _SECTIONS.items():
        size = manifest.memory[f"{section}_bytes"]
        if size:
            sizes.add_row(section, what, f"{size:,}", f"{size / total:.0%}")
    sizes.add_row("total", f"{len(manifest.shards)} shards", f"{total:,}", "")
    console.print(sizes)
    resident = manifest.memory["resident_bytes"]
    raw = manifest.rows * manifest.dim * 4
    console.print(
        f"A browser holds {resident / 1e6:,.2f} MB to search at once: "
        f"{resident / raw:.1%} of the {raw / 1e6:,.1f} MB of raw vectors.",
        highlight=False,
    )
