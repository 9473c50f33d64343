"""What a wrong value is called: pydantic's findings in our words, without its links and without secrets."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pydantic_core import ErrorDetails, PydanticCustomError

OURS = "spillway"
"""The type of an error whose message is already in our words."""

SHOWN_CHARS = 80

_CREDENTIALS_GO = "passwordFile or passwordEnv"


_DEMANDS: Mapping[str, str] = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be finite",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list",
    "too_short": "must have at least {min_length}",
    "too_long": "must have at most {max_length}",
}
"""Type of pydantic's error → our words, with its context."""


@dataclass(frozen=True, slots=True)
class Unclear:
    """An unquoted YAML scalar that some readers take for text and others for a truth value, a number or a date."""

    text: str


def wrong(message: str) -> PydanticCustomError:
    """Return the error for a validator to raise. The message goes out as it is."""
    return PydanticCustomError(OURS, "{message}", {"message": message})


def show(value: object) -> str:
    """Write a value as its author would know it again, in at most 80 characters; never the inside of a container."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            text = json.dumps(value, ensure_ascii=not value.isprintable())
            return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 4] + '…" (' + f"{len(value)} characters)"
        case Unclear():
            return value.text[:SHOWN_CHARS]
        case int() | float():
            return f"{value}"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "a mapping"
        case _:
            return f"a {type(value).__name__}"


def translate(error: ErrorDetails, known: Collection[str], *, secret: bool) -> str:
    """Return our message for an error of pydantic.

    Args:
        error: One of `ValidationError.errors()`.
        known: The fields of the model that found the error, as users write them.
        secret: The model holds credentials: values are not shown.
    """
    kind, context = error["type"], error.get("ctx", {})
    if kind == OURS:
        return str(context["message"])
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        return _unknown_field(str(error["loc"][-1]), known, secret=secret)
    demand = _demand(kind, context)
    if demand is None:
        return f"is not valid ({kind})"
    return demand if secret else f"{demand}, got {_got(kind, error['input'], context)}"


def _demand(kind: str, context: Mapping[str, object]) -> str | None:
    if kind in {"literal_error", "enum"}:
        return "must be " + _choice(str(context["expected"]))
    template = _DEMANDS.get(kind)
    if template is None:
        return None
    return template.format_map(
        {name: f"{bound:.15g}" for name, bound in context.items() if isinstance(bound, int | float)}
    )


def _got(kind: str, value: object, context: Mapping[str, object]) -> str:
    if kind in {"too_short", "too_long"}:
        return str(context["actual_length"])
    if isinstance(value, Unclear):
        advice = f'write "{value.text}"' if kind == "string_type" else "write it in plain decimals"
        return f"{show(value)} without quotes, which readers of YAML take differently: {advice}"
    if kind == "string_type" and isinstance(value, int | float):
        return f"{show(value)}: quote it"
    if kind in {"float_type", "int_type"} and isinstance(value, str) and _is_number(value):
        return f"{show(value)}: write it without quotes"
    return show(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _choice(expected: str) -> str:
    """Rewrite pydantic's "'a', 'b' or 'c'"."""
    names = [name.strip().strip("'") for name in expected.replace(" or ", ", ").split(",")]
    return names[0] if len(names) == 1 else f"one of {', '.join(names)}"


def _unknown_field(name: str, known: Collection[str], *, secret: bool) -> str:
    if secret and name.lower() in {"password", "pass", "token", "secret"}:
        files = " or ".join(field for field in known if field.endswith(("TokenFile", "passwordFile", "passwordEnv")))
        place = (
            "put it into a Secret and name that in secretRef"
            if "secretRef" in known
            else f"name its {files or _CREDENTIALS_GO}"
        )
        return f"unknown field: a password is never part of the configuration; {place}"
    plain = {field.lower(): field for field in known}
    close = difflib.get_close_matches(name.replace("_", "").replace("-", "").lower(), plain, n=1, cutoff=0.6)
    if close:
        return f'unknown field; did you mean "{plain[close[0]]}"?'
    return f"unknown field; known here: {', '.join(known)}"
