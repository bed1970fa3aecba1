"""manifest.json: what a site says about itself. The one definition.

`python -m pywasm.tools.manifest_types` writes the TypeScript types from it.
"""

import json
import re
from pathlib import Path
from typing import Literal

import pydantic
import xxhash

from pywasm.errors import UserError

MANIFEST_VERSION = 1
FILE_NAME = "manifest.json"
_LINE = re.compile(rb'\{"pywasm":(\d+),"xxh64":"([0-9a-f]{16})","manifest":(.*)\}\n?', re.S)


class _Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class ColumnInfo(_Model):
    """A metadata column that filters can name."""

    name: str
    type: Literal["category", "number"]
    values: list[str] | None = pydantic.Field(
        None, description="Of a category: its values in the order of their codes in the index"
    )
    min: float | None = pydantic.Field(None, description="Of a number: its least value")
    max: float | None = pydantic.Field(None, description="Of a number: its greatest value")


class FileInfo(_Model):
    """A file of the site, by its path below the folder of the manifest."""

    file: str
    bytes: int
    sha256: str


class TunerInfo(_Model):
    """What tunes the encoder's kernels on a visitor's device, in a folder of the site."""

    folder: str = pydantic.Field(description="Path, ending in '/', of the folder with tune.json")
    pyodide: str = pydantic.Field(description="Where Pyodide is, if it is not in that folder")
    files: list[FileInfo]


class CompiledEncoder(_Model):
    """The encoder as a browser runs it, in a folder of the site (docs/format.md)."""

    plan: str = pydantic.Field(description="Path of its plan.json")
    weights: Literal["f32", "f16", "int8", "int4"]
    files: list[FileInfo] = pydantic.Field(description="All of the folder, the plan included")
    visit_bytes: int = pydantic.Field(description="What the first typed query downloads")
    cosine: float = pydantic.Field(
        description="Least cosine of its vectors and the index's, on texts of the index"
    )
    ndcg: float | None = pydantic.Field(
        None, description="nDCG@10 of its queries on texts of the index, where weights lose some"
    )
    ndcg_f32: float | None = pydantic.Field(None, description="The same of the model in f32")
    tuner: TunerInfo | None = pydantic.Field(None, description="Null: kernels stay as they are")


class EncoderInfo(_Model):
    """What made the vectors, and what queries must be put through."""

    name: str
    dim: int
    pooling: Literal["mean", "cls", "max"]
    normalize: bool
    query_prefix: str
    document_prefix: str
    max_tokens: int = pydantic.Field(description="Special tokens included")
    licence: str
    sha256: str = pydantic.Field(description="Of its weights, configuration and tokenizer")
    compiled: CompiledEncoder | None = pydantic.Field(
        None, description="Null where the site carries none: typed queries then find words only"
    )


class AnswerPrompt(_Model):
    """The segments of a question's prompt, each tokenised on its own (docs/kv-cache.md).

    Special tokens written in `system` and `answer` are special tokens; in what is put into
    `document` and `question` they are text.
    """

    system: str = pydantic.Field(
        description="The model's chat markup up to the beginning of the documents"
    )
    document: str = pydantic.Field(description="With {title} and {text}")
    question: str = pydantic.Field(description="With {question}")
    answer: str = pydantic.Field(description="Chat markup that has the model answer")
    characters: int = pydantic.Field(
        description="Most Unicode code points of a document's text; the rest is cut off"
    )
    documents: int = pydantic.Field(description="How many a prompt has, where nobody says")


class ModeLoss(_Model):
    """What a way of using KV again costs, against full recomputation, on questions of this site."""

    mode: Literal["exact", "shipped", "linked"]
    bits: Literal[4, 8, 16] = pydantic.Field(description="Of a number in KV; 16: as it is")
    questions: int = pydantic.Field(description="Of each kind")
    kl_one: float = pydantic.Field(
        description="Mean KL divergence of next-token distributions, nats: questions that need "
        "one document"
    )
    kl_two: float = pydantic.Field(description="The same of questions that need two")
    same_one: float = pydantic.Field(description="Share of most probable tokens that are the same")
    same_two: float
    allowed: bool = pydantic.Field(description="Whether the loss is under the threshold")


class ShippedKv(_Model):
    """KV of chunks behind the system prompt, computed at build time (docs/kv-cache.md)."""

    identity: str = pydantic.Field(description="What it is good for; a reader compares")
    system_tokens: int = pydantic.Field(description="Position of every chunk's first token")
    chunks: int
    tokens: int
    bytes: int = pydantic.Field(description="Of all shards; fetched by range, never eagerly")
    index: FileInfo
    shards: list[FileInfo]


class Answers(_Model):
    """The language model of a site, in a folder of it (docs/plan.md), and its prompt."""

    name: str
    licence: str
    url: str
    plan: str = pydantic.Field(description="Path of its plan.json")
    source_sha256: str = pydantic.Field(description="The plan's own")
    weights: str = pydantic.Field(description="How most matrices are stored, e.g. int4")
    context: int = pydantic.Field(description="Most tokens of prompt and answer together")
    visit_bytes: int = pydantic.Field(description="What the first question downloads")
    files: list[FileInfo] = pydantic.Field(description="All of the folder, the plan included")
    prompt: AnswerPrompt
    losses: list[ModeLoss] = pydantic.Field(description="Empty where nothing was measured")
    kv: ShippedKv | None = pydantic.Field(None, description="Null: none is shipped")


class LicenceInfo(_Model):
    name: str
    of: str = pydantic.Field(description="What it is the licence of")
    url: str


class Suggestion(_Model):
    text: str
    vector: str = pydantic.Field(description="Base64 of f16[dim], little-endian")


class Manifest(_Model):
    """The body of manifest.json (docs/format.md)."""

    pywasm_version: str
    title: str
    language: str = pydantic.Field(description="BCP 47, or empty where it is not known")
    generation: str = pydantic.Field(description="A hash of head and shards")
    rows: int
    documents: int
    kind: Literal["flat", "scan", "clusters", "graph"]
    dim: int
    metric: Literal["cosine", "ip", "l2"]
    dtype: Literal["f32", "f16", "i8"]
    code_bits: int
    clusters: int
    columns: list[ColumnInfo]
    encoder: EncoderInfo | None
    answers: Answers | None = pydantic.Field(None, description="Null: the site answers nothing")
    licences: list[LicenceInfo]
    suggestions: list[Suggestion]
    page_bytes: int
    pages_per_shard: int
    shards: list[FileInfo]
    head: str = pydantic.Field(description="Base64 of the index head")
    keyword: bool = pydantic.Field(description="Whether texts were indexed for keyword search")
    memory: dict[str, int] = pydantic.Field(
        description="Bytes of the index by section, and resident_bytes: what a browser holds to "
        "search without waiting"
    )
    assets: list[FileInfo]
    previous: list[str] = pydantic.Field(
        description="Shards of the generation before that are still there"
    )


def manifest_bytes(manifest: Manifest) -> bytes:
    """The one line of manifest.json."""
    body = json.dumps(
        manifest.model_dump(exclude_none=False), ensure_ascii=False, separators=(",", ":")
    ).encode()
    check = xxhash.xxh64_hexdigest(body)
    return b'{"pywasm":%d,"xxh64":"%s","manifest":%s}\n' % (MANIFEST_VERSION, check.encode(), body)


def read_manifest(site: Path) -> Manifest:
    """Checked. Raises UserError where it is missing, damaged, or of a newer version."""
    file = site / FILE_NAME
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise UserError(
            f"{site}: no {FILE_NAME} here; expected a folder made by `pywasm build`"
        ) from error
    return parse_manifest(data, str(file))


def parse_manifest(data: bytes, where: str) -> Manifest:
    """As read_manifest, from bytes; `where` names them in errors."""
    match = _LINE.fullmatch(data)
    if match is None:
        raise UserError(
            f"{where}: damaged: {len(data):,} bytes that do not have the form of a manifest; "
            "build the site again"
        )
    version = int(match.group(1))
    if version > MANIFEST_VERSION:
        raise UserError(
            f"{where}: made by a newer pywasm (format {version}, this one reads up to "
            f"{MANIFEST_VERSION}); update pywasm"
        )
    found = xxhash.xxh64_hexdigest(match.group(3))
    if found != match.group(2).decode():
        raise UserError(
            f"{where}: damaged: checksum {found}, expected {match.group(2).decode()}; "
            "build the site again"
        )
    try:
        return Manifest.model_validate_json(match.group(3))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{where}: {place}: {first['msg']}") from error
