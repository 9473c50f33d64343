"""Durations as users write them: "1m30s"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.config import JsonDict
from pydantic_core import CoreSchema, core_schema

from adapter.schema.strict import cel
from adapter.schema.words import show, wrong
from scaler.rules import duration_text

SECOND_MS = 1_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

DURATION_PATTERN = "^([0-9]+(ms|s|m|h))+$"
MAX_DURATION_CHARS = 32
_PART = re.compile("([0-9]+)(ms|s|m|h)")
_UNIT_MS = {"ms": 1, "s": SECOND_MS, "m": 60_000, "h": HOUR_MS}


def parse_duration(text: str) -> int | None:
    """Return the milliseconds of "1m30s"; None if the text is no duration. At most 32 characters."""
    if len(text) > MAX_DURATION_CHARS or not re.fullmatch(DURATION_PATTERN[1:-1], text):
        return None
    return sum(int(count) * _UNIT_MS[unit] for count, unit in _PART.findall(text))


@dataclass(frozen=True, slots=True)
class Duration:
    """Annotates an int of milliseconds that users write as "1m30s". Bounds are inclusive, in milliseconds."""

    min_ms: int = 0
    max_ms: int = DAY_MS

    def read(self, value: object) -> int:
        """Return the milliseconds, or raise the error that says what was wrong."""
        duration_ms = parse_duration(value) if isinstance(value, str) else None
        if duration_ms is None:
            raise wrong(f"must be a duration such as 15s or 1m30s, got {show(value)}")
        if duration_ms < self.min_ms:
            raise wrong(f"must be at least {duration_text(self.min_ms)}, got {show(value)}")
        if duration_ms > self.max_ms:
            raise wrong(f"must be at most {duration_text(self.max_ms)}, got {show(value)}")
        return duration_ms

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        text = core_schema.plain_serializer_function_ser_schema(duration_text, return_schema=core_schema.str_schema())
        return core_schema.no_info_plain_validator_function(self.read, serialization=text)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        least, most = duration_text(self.min_ms), duration_text(self.max_ms)
        rule = f"duration(self) >= duration('{least}') && duration(self) <= duration('{most}')"
        bounds = cel((rule, f"must be from {least} to {most}"))
        return {"type": "string", "pattern": DURATION_PATTERN, "maxLength": MAX_DURATION_CHARS, **bounds}


def default_as_text(schema: JsonDict) -> None:
    """Write the default in a field's JSON schema as users write it."""
    default = schema["default"]
    schema["default"] = duration_text(default) if isinstance(default, int) else default
