"""From a JSON schema that pydantic wrote to TypeScript interfaces."""

import json
import sys
from pathlib import Path
from typing import Any

import pydantic

GENERATED = Path(__file__).parents[2] / "web" / "src" / "generated"
_PRIMITIVES = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}


def interfaces(model: type[pydantic.BaseModel]) -> list[str]:
    """An exported interface for each model that `model` is made of, and for itself, last."""
    schema = model.model_json_schema(mode="validation")
    parts = [_interface(name, inner) for name, inner in schema.get("$defs", {}).items()]
    return [*parts, _interface(model.__name__, schema)]


def _interface(name: str, model: dict[str, Any]) -> str:
    lines = [_comment(model, ""), f"export interface {name} {{\n"]
    for field, schema in model["properties"].items():
        optional = "" if field in model["required"] else "?"
        lines += [_comment(schema, "  "), f"  {field}{optional}: {_type(schema)};\n"]
    return "".join(lines) + "}\n"


def _comment(schema: dict[str, Any], indent: str) -> str:
    text = " ".join(str(schema.get("description", "")).split())
    return f"{indent}/** {text} */\n" if text else ""


def _type(schema: dict[str, Any]) -> str:
    if "x-typescript" in schema:
        return str(schema["x-typescript"])
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_type(option) for option in schema["anyOf"]))
    if "additionalProperties" in schema:
        key = _type(schema["propertyNames"]) if "propertyNames" in schema else "string"
        return f"Record<{key}, {_type(schema['additionalProperties'])}>"
    if "type" not in schema:
        return "unknown"
    if schema["type"] == "array":
        inner = _type(schema["items"])
        return f"({inner})[]" if "|" in inner else f"{inner}[]"
    return _PRIMITIVES[schema["type"]]


def write_or_check(target: Path, wanted: str, module: str, arguments: list[str]) -> int:
    """Writes `target`; with --check only compares, and says which `module` to run (exit status)."""
    if arguments == ["--check"]:
        if target.is_file() and target.read_text("utf-8") == wanted:
            return 0
        print(f"{target} is out of date; run python -m {module}", file=sys.stderr)
        return 1
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(wanted, "utf-8")
    return 0
