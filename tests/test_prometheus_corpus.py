"""What Prometheus 3 says of the same samples: as recorded, and where it is there, live."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from scaler.model import Labels
from scaler.rules import AggregateOp, Function
from tests.naive import FAILED
from tests.prometheus import corpus
from tests.prometheus.corpus import Answers, Corpus, Question
from tests.prometheus.pages import Page, pages
from tests.prometheus.server import running, version
from tests.range_functions import feed, run, run_groups, run_histograms

recorded = cache(corpus.load)
PAGES = len(recorded().pages)


def equal(got: float, want: float) -> bool:
    """Compare to 1e-12 of what is wanted. Numbers that are not finite are all unknown to us."""
    if not math.isfinite(got):
        return not math.isfinite(want)
    return abs(got - want) <= 1e-12 * abs(want)


def ours(page: Page, question: Question) -> dict[Labels, float | str]:
    """Return what we say; labels that are absent are gone."""
    signal, aggregate = question.signal, question.aggregate
    store = feed(*page.until(question.end_ms), signal, aggregate)
    if signal.function is Function.HISTOGRAM_QUANTILE:
        return run_histograms(store, question.end_ms, signal)
    if aggregate is not None:
        return run_groups(store, question.end_ms, signal, aggregate.op)
    return run(store, question.end_ms, signal)


def check(page: Page, question: Question, answers: Answers) -> int:
    """Compare all that one query brought; return how many numbers were equal."""
    said, numbers = ours(page, question), 0
    for labels in said.keys() | answers.keys():
        got, want = said.get(labels, "gone"), answers.get(labels)
        about = (question.promql(page), question.end_ms, labels, got, want)
        if isinstance(got, float):
            assert want is not None, about
            assert equal(got, want), about
            numbers += 1
        elif got in ("gone", "too few"):
            assert want is None, about
        elif got in ("no observations", "no histogram"):
            assert want is None or math.isnan(want), about
        elif got == "not finite":
            window = in_window(page, question, labels)
            assert any(isinstance(v, float) and not math.isfinite(v) for v in window), about
        elif got == "failed":
            assert in_window(page, question, labels)[-1] == FAILED, about
        else:
            assert got == "unknown", about
            assert question.aggregate is not None or want is None, about
    return numbers


def in_window(page: Page, question: Question, labels: Labels) -> list[float | str]:
    """Return what the reads in the window brought for one series."""
    begin_ms = question.end_ms - page.window_ms
    reads = zip(page.times_ms, page.series[labels], strict=True)
    return [value for time_ms, value in reads if begin_ms < time_ms <= question.end_ms]


@pytest.mark.parametrize("at", range(PAGES), ids=lambda at: recorded().pages[at][0].name)
def test_every_number_is_the_one_that_prometheus_gave(at: int) -> None:
    """On gaps, resets, late and vanishing series, and bounds hit exactly: the same number to 1e-12, or none."""
    page, asked = recorded().pages[at]
    for question, answers in asked:
        check(page, question, answers)


def test_the_corpus_says_something_of_everything() -> None:
    """Each function and each aggregation is compared on many numbers; so the test above cannot pass by saying none."""
    numbers: Counter[object] = Counter()
    for page, asked in recorded().pages:
        for question, answers in asked:
            equal_numbers = check(page, question, answers)
            numbers[question.signal.function] += equal_numbers
            if question.aggregate is not None:
                numbers[question.aggregate.op] += equal_numbers
    for function in Function:
        assert function is Function.VALUE or numbers[function] > 150, (function, numbers)
    for op in AggregateOp:
        assert numbers[op] > 40, (op, numbers)
    assert recorded().version.startswith("3.")


@pytest.fixture(scope="module")
def live_version() -> str:
    """Return the version of the Prometheus that is there; skip where there is none."""
    found = version()
    if found is None:
        pytest.skip("there is no Prometheus; tests/prometheus/get-prometheus unpacks one")
    return found


def live(folder: Path, found: str, of: list[Page]) -> Corpus:
    """Ask a live Prometheus."""
    with running(folder) as prometheus:
        return corpus.record(prometheus, found, of)


def test_the_live_prometheus_says_what_was_recorded(live_version: str, tmp_path: Path) -> None:
    """The corpus is what a real Prometheus answers: also a newer one."""
    again = live(tmp_path, live_version, [page for page, _ in recorded().pages])
    for (page, then), (_, now) in zip(recorded().pages, again.pages, strict=True):
        for (question, before), (_, after) in zip(then, now, strict=True):
            about = (question.promql(page), question.end_ms)
            assert before.keys() == after.keys(), about
            assert all(equal(after[labels], value) for labels, value in before.items()), about


@pytest.mark.parametrize("seed", [4, 5])
def test_every_number_is_the_one_that_the_live_prometheus_gives(live_version: str, tmp_path: Path, seed: int) -> None:
    """Other samples than the recorded ones, and still the same numbers."""
    for page, asked in live(tmp_path, live_version, pages(seed)).pages:
        for question, answers in asked:
            check(page, question, answers)
