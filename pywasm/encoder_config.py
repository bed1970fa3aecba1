"""What turns a model's last hidden states into embeddings: pooling, prefixes, limits, licence."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pywasm.errors import UserError

Pooling = Literal["mean", "cls", "max"]
_BGE_QUERY = "Represent this sentence for searching relevant passages: "


@dataclass(frozen=True)
class EncoderConfig:
    """`max_tokens` counts special tokens."""

    pooling: Pooling = "mean"
    normalize: bool = True
    query_prefix: str = ""
    document_prefix: str = ""
    max_tokens: int = 512
    licence: str = ""
    url: str = ""


def read_config(directory: Path, name: str) -> EncoderConfig:
    """From the sentence-transformers files where they are there, else from what is known of `name`.

    Raises UserError for modules that pywasm has no counterpart of.
    """
    model = _json(directory / "config.json")
    modules = _json(directory / "modules.json") or []
    kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in modules]
    for kind in kinds:
        if kind not in ("Transformer", "Pooling", "Normalize"):
            raise UserError(
                f"{directory}: modules.json asks for a {kind} layer, which pywasm does not run"
            )
    query, document = _prefixes(directory, _described_as(name, model))
    return EncoderConfig(
        pooling=_pooling(directory, name, model),
        normalize="Normalize" in kinds or not kinds,
        query_prefix=query,
        document_prefix=document,
        max_tokens=_max_tokens(directory, model),
        licence=_licence(directory),
        url=_url(name),
    )


def _json(file: Path) -> Any:
    if not file.is_file():
        return {}
    try:
        return json.loads(file.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{file}: not valid JSON ({error})") from error


def _described_as(name: str, model: dict[str, Any]) -> str:
    return f"{name} {model.get('_name_or_path', '')}".lower()


def _pooling(directory: Path, name: str, model: dict[str, Any]) -> Pooling:
    file = directory / "1_Pooling" / "config.json"
    modes = _json(file)
    chosen = [key for key, on in modes.items() if key.startswith("pooling_mode_") and on is True]
    match chosen:
        case ["pooling_mode_mean_tokens"]:
            return "mean"
        case ["pooling_mode_cls_token"]:
            return "cls"
        case ["pooling_mode_max_tokens"]:
            return "max"
        case []:
            return "cls" if "bge" in _described_as(name, model) else "mean"
    raise UserError(f"{file}: pooling {', '.join(chosen)} is not supported (mean, cls or max)")


def _prefixes(directory: Path, described: str) -> tuple[str, str]:
    prompts = _json(directory / "config_sentence_transformers.json").get("prompts") or {}
    query = prompts.get("query", "")
    document = prompts.get("document", prompts.get("passage", ""))
    if query or document:
        return query, document
    if re.search(r"\be5-|-e5-", described) and "instruct" not in described:
        return "query: ", "passage: "
    if re.search(r"bge-\w+-en", described):
        return _BGE_QUERY, ""
    return "", ""


def _max_tokens(directory: Path, model: dict[str, Any]) -> int:
    limits = [512]
    if given := _json(directory / "sentence_bert_config.json").get("max_seq_length"):
        limits.append(int(given))
    if positions := model.get("max_position_embeddings"):
        # RoBERTa and MPNet leave the first positions, up to the padding id, unused.
        after_padding = model.get("model_type") in ("roberta", "xlm-roberta", "camembert", "mpnet")
        limits.append(int(positions) - (int(model.get("pad_token_id", 1)) + 1) * after_padding)
    return min(limits)


def _licence(directory: Path) -> str:
    """`license:` in the front matter of the model card."""
    card = directory / "README.md"
    if card.is_file():
        front = card.read_text("utf-8", errors="replace").split("\n---", 1)[0]
        if match := re.search(r"^license:\s*(\S+)", front, re.M):
            return match.group(1)
    return ""


def _url(name: str) -> str:
    is_hub_name = re.fullmatch(r"[\w.\-]+/[\w.\-]+", name) and not Path(name).exists()
    return f"https://huggingface.co/{name}" if is_hub_name else ""
