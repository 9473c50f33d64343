"""A target's page. First byte: which format, and how the pages are cut out of the rest.

The scanner is compared with the slow reading of `tests.naive_text`: the same series and bits, or the same line refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.test_textparse import check_like_twin, parser

_BETWEEN = b"\xff--\n"


@contextmanager
def opened() -> Iterator[Callable[[bytes], None]]:
    yield check


def check(data: bytes) -> None:
    """Read one page after the other with one parser, as a target is read again and again."""
    kind, rest = data[:1], data[1:]
    openmetrics = kind in (b"o", b"O")
    text = parser()
    for page in rest.split(_BETWEEN)[:4]:
        check_like_twin(text, page, openmetrics=openmetrics)
        check_like_twin(text, page, openmetrics=openmetrics)
    if kind == b"O":  # a target that changes its format
        check_like_twin(text, rest)


def seeds() -> list[bytes]:
    """Return inputs to start from."""
    return [
        b't# HELP a text \\n\n# TYPE a counter\na{x="1",y="\\"2\\\\"} 1.5e3 1700000000000\nup 1\n',
        b't{"a.b",x="1"} NaN\nhttp_requests_total{code="200",} +Inf\njob:errors:rate5m -0\n',
        b'oa{x="1"} 1 # {trace_id="5"} 0.5 1.5\n# UNIT a.b_s s\n# EOF\n',
        b"O# TYPE up gauge\nup 1 1.5\n# EOF\n",
        b'ta{x="1"} 1\na{x="2"} 2\n' + _BETWEEN + b'a{x="2"} 3\na{x="1"} 4\n' + _BETWEEN + b"a 5\n",
        b"tup 0.1234567890123456789e-5\na 9007199254740993\n",
    ]
