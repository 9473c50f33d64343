"""Ports as Kubernetes has them: a number, or the name a pod gives it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from adapter.schema.text import DNS_LABEL
from adapter.schema.words import show, wrong

MAX_PORT = 65_535
MAX_NAME_CHARS = 63


@dataclass(frozen=True, slots=True)
class Port:
    """Annotates an int | str."""

    def read(self, value: object) -> int | str:
        """Return the port, or raise the error that says what was wrong."""
        match value:
            case bool():
                pass
            case int() if 1 <= value <= MAX_PORT:
                return value
            case int():
                raise wrong(f"must be a port from 1 to {MAX_PORT} or the name of one, got {value}")
            case str() if value.isascii() and value.isdigit():
                raise wrong(f"must be a port or the name of one, got {show(value)}: write it without quotes")
            case str() if len(value) <= MAX_NAME_CHARS and re.fullmatch(DNS_LABEL, value):
                return value
        message = f"must be a port or the name of one (at most {MAX_NAME_CHARS} lower-case letters, digits and -)"
        raise wrong(f"{message}, got {show(value)}")

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "minimum": 1,
            "maximum": MAX_PORT,
            "pattern": f"^{DNS_LABEL}$",
            "maxLength": MAX_NAME_CHARS,
        }
