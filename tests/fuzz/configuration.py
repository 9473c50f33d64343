"""A configuration file: metrics, or errors with their lines; never an exception, and quickly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from adapter.config.files import File
from adapter.config.load import parse

DATA = Path(__file__).parent.parent / "testdata" / "config"


@contextmanager
def opened() -> Iterator[Callable[[bytes], None]]:
    yield check


def check(data: bytes) -> None:
    """Load the bytes as a file, and beside another one."""
    good = (DATA / "queues.good.yaml").read_bytes()
    alone = parse([File("a.yaml", data)])
    both = parse([File("a.yaml", data), File("b.yaml", good)])
    assert not (alone.errors and alone.metrics)
    for text in (*alone.errors, *alone.warnings):
        assert text.startswith("a.yaml:")
        assert text.isprintable()
        assert len(text) < 2_000
    assert len({metric.rule.ref for metric in alone.metrics}) == len(alone.metrics)
    if alone.errors:
        assert set(alone.errors) <= set(both.errors)
        assert not both.metrics
    for metric in alone.metrics:
        rule = metric.rule
        assert rule.interval_ms >= 1_000
        assert rule.max_age_ms >= 2 * rule.interval_ms


def seeds() -> list[bytes]:
    """Return inputs to start from."""
    billion = b"".join(b"  x%d: &x%d [%s]\n" % (i, i, b",".join([b"*x%d" % (i - 1)] * 9)) for i in range(1, 12))
    return [
        *(path.read_bytes() for path in sorted(DATA.glob("*.yaml")) if path.stat().st_size < 4096),
        b"spec:\n  x0: &x0 lol\n" + billion,
        b"spec: " + b"[" * 1000,
        b"spec: " + b"{a: " * 100,
        b"- " * 1000,
        b"a: " + b"9" * 5000,
        b"a: 1e" + b"9" * 50,
        b"a: !!python/object/apply:os.system [x]",
        b"%YAML 1.1\n---\n? [a]\n: b\n...\n",
        b"\xef\xbb\xbfa: \x85 \xe2\x80\xa8 &a *a",
        b"\xfe\xff\x00a",
    ]
