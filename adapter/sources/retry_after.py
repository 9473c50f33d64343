"""How long a server asks to be left alone: the header Retry-After, in both of its forms. Pure.

Source: RFC 9110, sections 10.2.3 and 5.6.7.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime

_MOST_DIGITS = 12


def retry_after_ms(text: str, date: str, now_ms: int) -> int | None:
    """Return the time in milliseconds; None if the header says nothing that could be one. Not bounded from above.

    Args:
        text: The header's value: "120", or "Fri, 20 Nov 2026 12:00:00 GMT".
        date: The answer's header Date: a moment counts from there, since the clocks may differ; "": there is none.
        now_ms: Wall-clock time, for want of that.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return int(text[:_MOST_DIGITS]) * 1_000
    until_ms = _moment_ms(text)
    if until_ms is None:
        return None
    from_ms = _moment_ms(date)
    return max(0, until_ms - (now_ms if from_ms is None else from_ms))


def _moment_ms(text: str) -> int | None:
    try:
        return round(parsedate_to_datetime(text).timestamp() * 1_000)
    except (ValueError, TypeError, OverflowError):
        return None
