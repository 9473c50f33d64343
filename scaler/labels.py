"""What a valid label is, and the messages of k8s.io/apimachinery, pkg/api/validate/content, for what is none."""

from __future__ import annotations

import re

from scaler.gotext import byte_length

_ALPHANUMERIC = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_KEY = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_KEY_NAME = re.compile(_KEY)
_VALUE = re.compile(f"({_KEY})?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def _regex_text(problem: str, pattern: str, *examples: str) -> str:
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{problem} (e.g. {shown}regex used for validation is '{pattern}')"


def _too_long(text: str, limit: int) -> list[str]:
    return [f"must be no more than {limit} bytes"] if byte_length(text) > limit else []


def label_value_errors(value: str) -> list[str]:
    """Return what is wrong with a label's value; nothing for a valid one."""
    errors = _too_long(value, 63)
    if _VALUE.fullmatch(value) is None:
        problem = f"a valid label must be an empty string or {_ALPHANUMERIC.removeprefix('must ')}"
        errors.append(_regex_text(problem, _VALUE.pattern, "MyValue", "my_value", "12345"))
    return errors


def label_key_errors(key: str) -> list[str]:
    """Return what is wrong with a label's key; nothing for a valid one."""
    prefix, slash, name = key.rpartition("/")
    rule = _regex_text(_ALPHANUMERIC, _KEY, "MyName", "my.name", "123-abc")
    if "/" in prefix:
        return [f"a valid label key {rule} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    errors: list[str] = []
    if slash:
        errors += [f"prefix part {error}" for error in _subdomain_errors(prefix)]
    errors += ["name part must be non-empty"] if not name else [f"name part {e}" for e in _too_long(name, 63)]
    if _KEY_NAME.fullmatch(name) is None:
        errors.append(f"name part {rule}")
    return errors


def _subdomain_errors(text: str) -> list[str]:
    if not text:
        return ["must be non-empty"]
    errors = _too_long(text, 253)
    if _SUBDOMAIN.fullmatch(text) is None:
        problem = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
            "and must start and end with an alphanumeric character"
        )
        errors.append(_regex_text(problem, _SUBDOMAIN.pattern, "example.com"))
    return errors
