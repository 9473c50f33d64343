"""The bench measures what it says, and every script of it runs. Nothing here depends on how fast anything is."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from bench import (
    api_get,
    breaking,
    evaluate,
    exposition,
    hollow,
    kernels,
    loop_lag,
    main_job,
    measure,
    prometheus,
    prometheus_query,
    publish,
    redis_poll,
    report,
    scaling,
    scrape_peer,
    shedding,
    simulate,
    start,
)
from bench.__main__ import FULL, SCRIPTS
from bench.load import HEADERS, request
from bench.script import QUICK, BenchError, Options, require
from bench.script import report as report_of
from bench.shapes import REF, Shape, build, with_window

RUNS: dict[str, Callable[[Options], report.Result]] = {
    "kernels": kernels.run,
    "evaluate": evaluate.run,
    "exposition": exposition.run,
    "redis_poll": redis_poll.run,
    "api_get": api_get.run,
    "main_job": main_job.run,
    "breaking": breaking.run,
    "hollow": hollow.run,
    "loop_lag": loop_lag.run,
    "prometheus_query": prometheus_query.run,
    "start": start.run,
    "scaling": scaling.run,
    "scrape_peer": scrape_peer.run,
    "shedding": shedding.run,
    "simulate": simulate.run,
}
figures = st.lists(st.floats(0.001, 1e9), min_size=1, max_size=50)


@given(figures)
def test_a_spread_is_the_middle_and_the_ends(values: list[float]) -> None:
    """At least half of the figures are not above the median, half not below, and none outside the ends."""
    found = measure.spread(values)
    assert (found.low, found.high) == (min(values), max(values))
    assert sum(v <= found.median for v in values) * 2 >= len(values)
    assert sum(v >= found.median for v in values) * 2 >= len(values)


@given(figures, st.floats(0, 1))
def test_a_percentile_lies_where_its_share_of_the_values_does(values: list[float], share: float) -> None:
    """The share of the values that lie below a percentile is never more than asked for, and the ends are the ends."""
    found = measure.percentile(values, share)
    assert min(values) <= found <= max(values)
    assert sum(v < found for v in values) <= share * (len(values) - 1) + 1
    assert measure.percentile(values, 0) == min(values)
    assert measure.percentile(values, 1) == max(values)


def test_percentiles_between_two_values_are_linear() -> None:
    """Of 0 to 100 each percentile is its number, and half-way between two values half-way between them."""
    values = [float(v) for v in range(100, -1, -1)]
    assert [measure.percentile(values, share) for share in (0.0, 0.5, 0.99, 0.999)] == [0, 50, 99, pytest.approx(99.9)]
    assert measure.percentile([1.0, 2.0], 0.5) == 1.5
    assert measure.percentile([3.0], 0.99) == 3.0


def test_ratios_are_of_the_same_round() -> None:
    """A machine that was half as fast in a round changes both figures of it, and no ratio."""
    assert measure.ratios([10.0, 20.0, 10.0], [1.0, 2.0, 1.0]) == [10.0, 10.0, 10.0]
    with pytest.raises(ValueError, match="shorter"):
        measure.ratios([1.0, 2.0], [1.0])


def test_rounds_are_interleaved_and_begin_with_another_case_each() -> None:
    """Each round measures every case once, and none of them is always first."""
    order: list[str] = []

    def case(name: str) -> Callable[[], int]:
        def measured() -> int:
            order.append(name)
            return len(order)

        return measured

    found = measure.interleave({name: case(name) for name in "abc"}, 3)
    assert order == list("abcbcacab")
    assert found == {"a": [1, 6, 8], "b": [2, 4, 9], "c": [3, 5, 7]}


def test_a_call_is_timed_at_least_once_and_its_first_is_a_warm_up() -> None:
    """A call longer than the budget runs once; a short one is repeated until the budget is used."""
    calls: list[float] = []

    def call(least_s: float) -> None:
        calls.append(least_s)
        time.sleep(least_s)

    assert measure.seconds_a_call(lambda: call(0.002), 0.001) >= 0.002
    assert calls == [0.002]
    assert measure.seconds_a_call(lambda: call(0.0), 0.001) > 0
    assert len(calls) > 2


def test_cpu_time_is_that_of_the_whole_process() -> None:
    """What a thread computes counts, with the resolution that the system has."""
    before = measure.cpu_seconds(os.getpid())
    end = time.thread_time() + 0.05

    def spin() -> None:
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            pass

    thread = threading.Thread(target=spin)
    thread.start()
    thread.join()
    while time.thread_time() < end:
        pass
    assert measure.cpu_seconds(os.getpid()) - before >= 0.08
    assert measure.resident_mib(os.getpid()) > 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.000_012_34, "1.2e-05"),
        (0.012_34, "0.0123"),
        (1.0, "1.00"),
        (99.96, "100"),
        (123.4, "123"),
        (999.7, "1,000"),
        (1234.5, "1,234"),
    ],
)
def test_numbers_are_written_for_people(value: float, text: str) -> None:
    """Three digits that mean something."""
    assert measure.number(value) == text


def test_a_table_tells_how_many_times_better_and_how_many_floors() -> None:
    """Less time or more requests than a peer are times better; the floor is what ours is a multiple of."""
    rows = [
        report.row("time", "ms", [2.0, 4.0], peers={"peer": [20.0, 44.0]}, floors={"least": [1.0, 1.0]}),
        report.row("speed", "GB/s", [4.0], peers={"peer": [2.0]}, floors={"most": [16.0]}, more_is_better=True),
    ]
    assert report.cells(rows) == [
        ("time", "ms", "Spillway", "3.00", "2.00", "4.00", "", ""),
        ("", "", "peer", "32.0", "20.0", "44.0", "10.5 (10.0 to 11.0)", ""),
        ("", "", "floor: least", "1.00", "1.00", "1.00", "", "3.00 (2.00 to 4.00)"),
        ("speed", "GB/s", "Spillway", "4.00", "4.00", "4.00", "", ""),
        ("", "", "peer", "2.00", "2.00", "2.00", "2.00 (2.00 to 2.00)", ""),
        ("", "", "floor: most", "16.0", "16.0", "16.0", "", "4.00 (4.00 to 4.00)"),
    ]
    text, markdown = report.text_table(rows).splitlines(), report.markdown_table(rows).splitlines()
    assert len(text) == len(markdown) == 8
    assert {line.count("|") for line in markdown} == {9}


def test_a_result_survives_json_and_becomes_a_page(tmp_path: Path) -> None:
    """What a script writes is what the page is made from, and a script that failed is named on it."""
    curve = report.Curve("cost", "series", "ns", {"Spillway": [(1.0, 2.0), (10.0, 3.0)]})
    rows = (report.row("time", "ms", [2.0], peers={"peer": [20.0]}),)
    result = report.Result("Title", "About.", rows, (curve,), ("it is right",), ("nginx: install it",))
    found = json.loads(json.dumps(report_of("one", result, QUICK, 1.0, "idle")))
    assert report.from_json(found) == result
    assert found["rows"][0]["figures"][1]["ratio"] == {"median": 10.0, "low": 10.0, "high": 10.0}
    results = tmp_path / "results"
    results.mkdir()
    (results / "one.json").write_text(json.dumps(found))
    page = publish.publish(["one", "two"], results, publish.has_matplotlib()).read_text()
    for part in ("## Title", "| time | ms | Spillway | 2.00 |", "it is right", "nginx: install it", "## two"):
        assert part in page
    assert (results / "one-1.svg").exists() == publish.has_matplotlib()


def test_a_check_that_does_not_hold_ends_a_script() -> None:
    """Figures of a wrong result are not published."""
    assert require("anything", "it holds") == "it holds"
    with pytest.raises(BenchError, match="it holds"):
        require([], "it holds")


def test_a_shape_has_exactly_the_samples_it_says() -> None:
    """The window of each target holds as many samples as the shape has columns, seen from its newest."""
    for data in (build(Shape(3, 10, 20)), with_window(build(Shape(3, 10, 20)), 8)):
        newest = data.times_ms[-1]
        assert (data.times_ms > newest - data.shape.window_ms).all()
        assert data.rule.signal.window_ms == data.shape.window_ms
        assert [block.last_good_ms for block in data.blocks()] == newest.tolist()
        assert data.store.tables[REF].series() == data.shape.count


def test_requests_are_as_kube_apiserver_forwards_them() -> None:
    """One header block with the identity headers, the path without its query, and the Accept that is asked for."""
    raw = request("/a?labelSelector=b", "application/json").decode()
    head, end, rest = raw.partition("\r\n\r\n")
    assert (end, rest) == ("\r\n\r\n", "")
    lines = head.split("\r\n")
    assert lines[0] == "GET /a?labelSelector=b HTTP/1.1"
    assert "X-Forwarded-Uri: /a" in lines
    assert "Accept: application/json" in lines
    assert {line.partition(": ")[0] for line in lines[2:]} == {*HEADERS, "X-Forwarded-Uri"}


def test_hollow_hpas_send_what_a_kube_apiserver_forwarded() -> None:
    """Every header of the captured request is there, in its order; only the path and the audit's ID are others."""
    capture = Path(__file__).parent / "testdata/wire/aggregator-and-hpa-requests.txt"
    wanted = capture.read_text().split("--- ")[1].strip().splitlines()[2:]
    found = hollow.captured()("/a?labelSelector=b").decode().removesuffix("\r\n\r\n").split("\r\n")
    assert found[0] == "GET /a?labelSelector=b HTTP/1.1"
    assert [line.partition(":")[0] for line in found[1:]] == [line.partition(":")[0] for line in wanted]
    others = {line.partition(":")[0] for line in set(found[1:]) - set(wanted)}
    assert others == {"Audit-Id", "X-Forwarded-Uri"}
    assert "X-Forwarded-Uri: /a" in found


def test_a_served_length_is_outdated_from_when_the_list_grew() -> None:
    """What is true is not outdated, what was true is since the list is longer, and what never was is an error."""
    truth = hollow.Truth(redis.Redis(), 1, began=[10.0, 20.0, 30.0], grew=[11.0, 21.0, 31.0])
    assert truth.outdated_s(3, 40.0) == 0
    assert truth.outdated_s(2, 40.0) == 9.0
    assert truth.outdated_s(1, 40.0) == 19.0
    with pytest.raises(BenchError, match="length of 4"):
        truth.outdated_s(4, 40.0)


def test_a_client_s_limit_lets_a_burst_go_and_then_so_many_a_second() -> None:
    """The first 30 reads wait for nothing, and each after them a twentieth of a second longer."""
    bucket = hollow.Bucket(20.0, 30)
    waits = [bucket.take() for _ in range(50)]
    assert waits[:30] == [0.0] * 30
    assert waits[49] == pytest.approx(1.0, abs=0.2)


def test_the_load_for_k6_is_javascript(tmp_path: Path) -> None:
    """Node finds no mistake in the syntax of load.k6.js, and finds one where there is one."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not there to look at bench/load.k6.js: apt install nodejs")
    module = tmp_path / "load.mjs"  # so that it is read as what k6 takes it for
    text = (Path(publish.__file__).parent / "load.k6.js").read_text()
    for source, code in ((text, 0), (text + "\nconst = 1;", 1)):
        module.write_text(source)
        assert subprocess.run([node, "--check", module], capture_output=True).returncode == code


@pytest.mark.parametrize(
    ("counts", "said"), [((3, 3), "3 rounds"), ((1, 1), "1 round"), ((3, 1), "1 to 3 rounds"), ((), "0 rounds")]
)
def test_the_rounds_that_are_said_are_those_of_the_figures(
    counts: tuple[int, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What takes one round says one round, in print and in JSON, however many were asked for."""
    rows = tuple(report.row("time", "ms", [1.0] * count) for count in counts)
    found = report_of("one", report.Result("Title", "About.", rows), Options(rounds=5), 1.0, "idle")
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{said}, 1 s; ")
    assert found["rounds"] == max(counts, default=0)


_STATUS = b'{"kind":"Status","code":429,"reason":"TooManyRequests"}'


@pytest.mark.parametrize(
    ("status", "head", "body", "fine"),
    [
        (200, b"HTTP/1.1 200 OK", b"{}", True),
        (429, b"HTTP/1.1 429 Too Many Requests", _STATUS, True),
        (429, b"HTTP/1.1 429 Too Many Requests\r\nRETRY-After: 1", _STATUS, False),
        (429, b"HTTP/1.1 429 Too Many Requests", b"slow down", False),
        (429, b"HTTP/1.1 429 Too Many Requests", b"[]", False),
        (500, b"HTTP/1.1 500 Internal Server Error", _STATUS, False),
    ],
)
def test_what_is_shed_is_told_from_what_is_wrong(status: int, head: bytes, body: bytes, fine: bool) -> None:
    """Only 200, and 429 with a Status and without Retry-After, count as answers to a reader under load."""
    assert (shedding.wrong(status, head, body) is None) == fine


@pytest.mark.parametrize("sizes", [scaling.TARGETS, scaling.QUEUES, scaling.READERS])
def test_one_odd_point_moves_no_exponent(sizes: tuple[int, ...]) -> None:
    """Of the sizes that are measured enough are large that one which took half as long again changes little."""
    for odd in sizes:
        points = [(float(size), size * (1.5 if size == odd else 1.0)) for size in sizes]
        assert scaling.exponent(points) == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_an_exponent_is_that_of_the_larger_sizes(power: float) -> None:
    """What small sizes cost on top does not count."""
    points = [(10.0**e, (10.0**e) ** power + (1e9 if e < 4 else 0)) for e in range(1, 6)]
    assert scaling.exponent(points) == pytest.approx(power)


def test_every_script_has_its_quick_run() -> None:
    """`python -m bench` runs exactly what is tested here."""
    assert {*SCRIPTS, *FULL} == set(RUNS)


@pytest.mark.parametrize("name", SCRIPTS + FULL)
def test_a_quick_run_checks_its_results_and_says_everything(name: str) -> None:
    """Each script's equality checks hold, and its JSON has every field that the page is made from."""
    if name == "prometheus_query" and prometheus.executable() is None:
        pytest.skip(prometheus.MISSING)
    if name == "breaking" and not breaking.has_locust():
        pytest.skip(breaking.MISSING)
    result = RUNS[name](QUICK)
    assert result.checked
    found = json.loads(json.dumps(report_of(name, result, QUICK, 1.0, "idle")))
    assert report.from_json(found) == result
    assert {"script", "date", "machine", "neighbours", "quick", "rounds", "seconds"} <= found.keys()
    assert {"processor", "kernel", "python", "numpy"} <= found["machine"].keys()
    for row in result.rows:
        assert row.figures[0].who == report.OURS
        assert {len(each.rounds) for each in row.figures} == {1}
        # An exponent of two tiny sizes may be anything.
        assert all(value >= 0 for each in row.figures for value in each.rounds) or "exponent" in row.what
    for curve in result.curves:
        assert all(len(points) >= 2 for points in curve.lines.values())


def test_a_ratio_to_nothing_is_shown_and_no_error() -> None:
    """Processor time has a tick: a short run may see none of it."""
    figures = (report.Figures("Spillway", "ours", (2.0,)), report.Figures("peer", "peer", (0.0,)))
    found = report.Row("x", "ms", figures, more_is_better=True)
    assert found.ratio(figures[1]) == [math.inf]
    assert "inf" in report.text_table((found,))
