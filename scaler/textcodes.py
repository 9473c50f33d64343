"""What can be wrong with a page: a code for each, and its words."""

from __future__ import annotations

from typing import Final

from scaler.jit import inlined

CODES: Final = 64
(
    METRIC_NAME,
    LABEL_NAME,
    EQUALS,
    QUOTE_WANTED,
    ESCAPE,
    UNCLOSED,
    COMMA,
    UTF8,
    LABEL_TWICE,
    MANY_LABELS,
    VALUE,
    RANGE,
    TIMESTAMP,
    TRAILING,
    META_NAME,
    META_TYPE,
    CUT,
    NAME_TWICE,
    NAME_EMPTY,
    SPACE_WANTED,
    BLANK_LINE,
    COMMENT,
    META_TYPE_OPEN,
    UNIT,
    TIMESTAMP_OPEN,
    EXEMPLAR,
    AFTER_END,
    NO_END,
    SERIES_TWICE,
) = range(1, 30)

MAX_LABELS: Final = 256

MESSAGES: Final = {
    METRIC_NAME: "expected a metric name",
    LABEL_NAME: "expected a label name or '}'",
    EQUALS: "expected '=' after label name",
    QUOTE_WANTED: "expected '\"' before label value",
    ESCAPE: 'unknown escape in quotes: only \\\\, \\" and \\n are allowed',
    UNCLOSED: "quotes are not closed on their line",
    COMMA: "expected ',' or '}' after label value",
    UTF8: "not valid UTF-8",
    LABEL_TWICE: "label name given twice",
    MANY_LABELS: f"more than {MAX_LABELS} labels",
    VALUE: "expected a number",
    RANGE: "number out of the range of a float64",
    TIMESTAMP: "expected an integer timestamp in milliseconds",
    TRAILING: "unexpected text at the end of the line",
    META_NAME: "expected a metric name in the comment",
    META_TYPE: "expected counter, gauge, histogram, summary or untyped after # TYPE",
    CUT: "last line does not end with a line feed: the page may have been cut",
    NAME_TWICE: "metric name given twice",
    NAME_EMPTY: "name in quotes is empty",
    SPACE_WANTED: "expected one space",
    BLANK_LINE: "blank line, which OpenMetrics does not allow",
    COMMENT: "expected # HELP, # TYPE, # UNIT or # EOF, the only comments of OpenMetrics",
    META_TYPE_OPEN: "expected counter, gauge, histogram, gaugehistogram, summary, info, stateset or unknown "
    "after # TYPE",
    UNIT: "expected a unit that the metric's name ends with, after '_'",
    TIMESTAMP_OPEN: "expected a timestamp in seconds",
    EXEMPLAR: "expected an exemplar, # {labels} value",
    AFTER_END: "unexpected text after # EOF",
    NO_END: "page does not end with # EOF: it may have been cut",
}


@inlined
def failure(position: int, code: int) -> int:
    """Return a code and a position as one negative number, which CODES takes apart again."""
    return -(position * CODES + code)
