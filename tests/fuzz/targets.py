"""Every target by name. Adding one is a file with `opened` and `seeds`, and a line here."""

from __future__ import annotations

from types import ModuleType

from tests.fuzz import answers, configuration, exposition, http_bytes, redis_replies, selectors, watch_streams

TARGETS: dict[str, ModuleType] = {
    "answers": answers,
    "configuration": configuration,
    "exposition": exposition,
    "http": http_bytes,
    "redis": redis_replies,
    "selectors": selectors,
    "watch": watch_streams,
}
