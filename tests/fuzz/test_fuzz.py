"""Every target on what was worth keeping, and on some hundreds of changes to it; `make fuzz` looks for more."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaler.jit import compile_all
from tests.fuzz.bounds import HangError, bounded
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
EXAMPLES = {
    "answers": 500,
    "configuration": 300,
    "exposition": 800,
    "http": 300,
    "redis": 200,
    "selectors": 500,
    "watch": 100,
}
_TOKENS = (
    b"",
    b"\0",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"*a",
    b"&a ",
    b": ",
    b",",
    b"=",
    b"%00",
    b"%zz",
    b"%2f",
    b"\xff\xfe",
    b"\xf0\x9f\x98\x80",
    b"9" * 400,
    b"-1",
    b"+5",
    b" 12",
    b"1e999",
    b"18446744073709551616",
    b"# EOF\n",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"HTTP/1.1\r\n",
)


def inputs(name: str) -> list[bytes]:
    """Return what a target starts from: its seeds, and the corpus that was found."""
    found = CORPUS / name
    return [*TARGETS[name].seeds(), *(path.read_bytes() for path in sorted(found.glob("*")))]


def edited(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """Return bytes with pieces cut out and others put in."""
    for at, cut, piece in edits:
        start = at % (len(data) + 1)
        data = data[:start] + piece + data[start + cut :]
    return data


edits = st.lists(
    st.tuples(st.integers(0, 4000), st.integers(0, 8), st.sampled_from(_TOKENS) | st.binary(max_size=4)),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    """An input that happens to be the first does not pay for the kernels."""
    compile_all()


@pytest.mark.parametrize("name", TARGETS)
def test_corpus(name: str) -> None:
    """What has been found before is right: no crash, no hang, bounded memory, no wrong number."""
    with TARGETS[name].opened() as check:
        for data in inputs(name):
            _run(check, data)


@pytest.mark.parametrize("name", TARGETS)
def test_changed(name: str) -> None:
    """So is what a few changes make of it."""
    known = inputs(name)
    with TARGETS[name].opened() as check:

        @settings(max_examples=_examples(name), suppress_health_check=list(HealthCheck))
        @given(st.sampled_from(known), edits)
        def changed(data: bytes, changes: list[tuple[int, int, bytes]]) -> None:
            _run(check, edited(data, changes))

        changed()


def _examples(name: str) -> int:
    profile = os.environ.get("HYPOTHESIS_PROFILE", "default")
    return EXAMPLES[name] * (1 if profile == "default" else 20)


def _run(check: Callable[[bytes], None], data: bytes) -> None:
    with bounded():
        check(data)


def test_a_hang_is_seen() -> None:
    """The watchdog of these tests ends an input that never ends by itself."""

    def turn(_: bytes) -> None:
        while True:
            pass

    with pytest.raises(HangError):
        _run(turn, b"")


@pytest.mark.skipif(sys.platform != "linux", reason="the bound needs /proc")
def test_a_memory_bomb_is_seen() -> None:
    """An input that takes more memory than it may is an error."""
    with pytest.raises(MemoryError):
        _run(lambda _: bytearray(1 << 33).clear(), b"")
