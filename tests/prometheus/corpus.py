"""What a real Prometheus said of some pages: asked, kept in a file, read again."""

from __future__ import annotations

import gzip
import json
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaler.model import Labels, labels_of
from scaler.rules import Aggregate, AggregateOp, Function, Signal, duration_text
from tests.naive import ABSENT
from tests.prometheus.pages import BEGIN_MS, Page
from tests.prometheus.server import STALE, Prometheus, Series

FILE = Path(__file__).parents[1] / "testdata/prometheus/corpus.json.gz"
METRIC = "m"


@dataclass(frozen=True, slots=True)
class Question:
    """A query: a signal, aggregated or not, evaluated at one time."""

    signal: Signal
    aggregate: Aggregate | None
    end_ms: int

    def promql(self, page: Page) -> str:
        """Write the query as one would for Prometheus."""
        signal, aggregate = self.signal, self.aggregate
        window = f"[{duration_text(signal.window_ms or 0)}]"
        samples = f"{METRIC}{{page={json.dumps(page.name)}}}{window}"
        with_page = "" if aggregate is None else ", ".join(["page", *aggregate.by])
        match signal.function:
            case Function.QUANTILE_OVER_TIME:
                series = f"quantile_over_time({signal.quantile}, {samples})"
            case Function.PREDICT_LINEAR:
                series = f"predict_linear({samples}, {(signal.ahead_ms or 0) / 1000})"
            case Function.HISTOGRAM_QUANTILE:
                buckets = f"rate({samples})"
                if aggregate is not None and aggregate.op is AggregateOp.SUM:
                    buckets = f"sum by ({with_page}, le) ({buckets})"
                    return f"histogram_quantile({signal.quantile}, {buckets})"
                series = f"histogram_quantile({signal.quantile}, {buckets})"
            case _:
                series = f"{signal.function}({samples})"
        return series if aggregate is None else f"{aggregate.op} by ({with_page}) ({series})"


Answers = dict[Labels, float]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Pages, and what a Prometheus of this version answered."""

    version: str
    pages: tuple[tuple[Page, tuple[tuple[Question, Answers], ...]], ...]


def questions(page: Page) -> Iterator[Question]:
    """Yield what is asked of a page."""
    histograms = any(name == "le" for labels in page.series for name, _ in labels)
    for end_ms in page.ends_ms:
        for signal in _histogram_signals(page.window_ms) if histograms else _signals(page.window_ms):
            yield Question(signal, None, end_ms)
        if histograms:
            for by in ((), ("group",)):
                signal = Signal(Function.HISTOGRAM_QUANTILE, page.window_ms, quantile=0.9)
                yield Question(signal, Aggregate(by), end_ms)
        else:
            for op in AggregateOp:
                yield Question(Signal(Function.RATE, page.window_ms), Aggregate(("group",), op), end_ms)
                yield Question(Signal(Function.DELTA, page.window_ms), Aggregate(("group",), op), end_ms)


def _signals(window_ms: int) -> Iterator[Signal]:
    for function in Function:
        if function is Function.QUANTILE_OVER_TIME:
            yield from (Signal(function, window_ms, quantile=q) for q in (0.0, 0.37, 0.95, 1.0))
        elif function is Function.PREDICT_LINEAR:
            yield from (Signal(function, window_ms, ahead_ms=ahead_ms) for ahead_ms in (0, 90_500))
        elif function not in (Function.VALUE, Function.HISTOGRAM_QUANTILE):
            yield Signal(function, window_ms)


def _histogram_signals(window_ms: int) -> Iterator[Signal]:
    for q in (0.0, 0.5, 0.99, 1.0):
        yield Signal(Function.HISTOGRAM_QUANTILE, window_ms, quantile=q)


def record(prometheus: Prometheus, version: str, pages: Sequence[Page]) -> Corpus:
    """Feed a Prometheus that is still empty, and ask it."""
    prometheus.write([series for page in pages for series in _samples(page)])
    return Corpus(
        version,
        tuple((page, tuple((asked, _answers(prometheus, asked, page)) for asked in questions(page))) for page in pages),
    )


def _samples(page: Page) -> Iterator[Series]:
    """Yield the series of a page as Prometheus keeps them: an end is a stale marker, a failed read is nothing."""
    for labels, values in page.series.items():
        samples = []
        before: float | str = ABSENT
        for time_ms, value in zip(page.times_ms, values, strict=True):
            if value == ABSENT and before != ABSENT:
                samples.append((time_ms, struct.pack("<d", STALE)))
            elif not isinstance(value, str):
                samples.append((time_ms, struct.pack("<d", value)))
            before = value
        if samples:
            yield {"__name__": METRIC, "page": page.name, **dict(labels)}, samples


def _answers(prometheus: Prometheus, question: Question, page: Page) -> Answers:
    said = prometheus.query(question.promql(page), question.end_ms)
    return {
        tuple(pair for pair in labels if pair[0] not in ("page", "__name__")): float(value)
        for labels, value in said.items()
    }


def save(corpus: Corpus) -> None:
    """Write the corpus to its file: numbers so that they read back exactly, the same bytes for the same corpus."""
    text = json.dumps(
        {"version": corpus.version, "pages": [_page(*each) for each in corpus.pages]},
        separators=(",", ":"),
        allow_nan=False,
    )
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_bytes(gzip.compress(text.encode(), mtime=0))


def _page(page: Page, asked: Sequence[tuple[Question, Answers]]) -> dict[str, Any]:
    return {
        "name": page.name,
        "times": [time_ms - BEGIN_MS for time_ms in page.times_ms],
        "window": page.window_ms,
        "ends": [end_ms - BEGIN_MS for end_ms in page.ends_ms],
        "series": [[dict(labels), [_out(v) for v in values]] for labels, values in page.series.items()],
        "questions": [_question(question, answers) for question, answers in asked],
    }


def _question(question: Question, answers: Answers) -> dict[str, Any]:
    signal, aggregate = question.signal, question.aggregate
    return {
        "function": signal.function,
        "quantile": signal.quantile,
        "ahead": signal.ahead_ms,
        "aggregate": None if aggregate is None else [list(aggregate.by), aggregate.op],
        "end": question.end_ms - BEGIN_MS,
        "answers": [[dict(labels), _out(value)] for labels, value in sorted(answers.items())],
    }


def _out(value: float | str) -> float | str:
    return value if isinstance(value, str) or math.isfinite(value) else repr(value)


def _in(value: float | str) -> float | str:
    return float(value) if value in ("nan", "inf", "-inf") else value


def load() -> Corpus:
    """Read the corpus."""
    found = json.loads(gzip.decompress(FILE.read_bytes()))
    return Corpus(found["version"], tuple(_read(each) for each in found["pages"]))


def _read(found: dict[str, Any]) -> tuple[Page, tuple[tuple[Question, Answers], ...]]:
    page = Page(
        found["name"],
        tuple(BEGIN_MS + time_ms for time_ms in found["times"]),
        {labels_of(labels): [_in(v) for v in values] for labels, values in found["series"]},
        found["window"],
        tuple(BEGIN_MS + end_ms for end_ms in found["ends"]),
    )
    asked = []
    for each in found["questions"]:
        signal = Signal(Function(each["function"]), page.window_ms, quantile=each["quantile"], ahead_ms=each["ahead"])
        aggregate = each["aggregate"] and Aggregate(tuple(each["aggregate"][0]), AggregateOp(each["aggregate"][1]))
        answers = {labels_of(labels): float(value) for labels, value in each["answers"]}
        asked.append((Question(signal, aggregate, BEGIN_MS + each["end"]), answers))
    return page, tuple(asked)
