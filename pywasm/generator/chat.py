"""Chat templates: from messages to the text that a model knows, as Hugging Face renders it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import jinja2
import jinja2.sandbox

from pywasm.errors import UserError


def render(
    template: str,
    messages: Sequence[Mapping[str, str]],
    bos_token: str = "",
    eos_token: str = "",
    answer: bool = True,
) -> str:
    """`messages` have a role and a content. `answer`: with the opening of the answer behind them.

    The template comes with the model and is not trusted: it runs in Jinja's sandbox. Raises
    UserError where it refuses the messages, or is none.
    """
    try:
        return (
            _environment()
            .from_string(template)
            .render(
                messages=list(messages),
                bos_token=bos_token,
                eos_token=eos_token,
                add_generation_prompt=answer,
                tools=None,
            )
        )
    except (jinja2.TemplateError, TypeError, ValueError) as error:
        raise UserError(f"the model's chat template: {error}") from error


def _environment() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda text: datetime.datetime.now().strftime(text)
    environment.filters["tojson"] = _json  # Jinja's own escapes for HTML
    return environment


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
