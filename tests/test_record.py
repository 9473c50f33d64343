"""`spillway record`: what is in the file, whatever ends the recorder, and how large it may become."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from adapter.explain.errors import ExplainError
from adapter.explain.record import hole, record, rows_at
from adapter.explain.recording import HEADER, Recording, Row, format_of, lines_of, moment, rows_of
from adapter.explain_options import Name, RecordOptions
from adapter.simulate.recording import read_recording
from tests.adapter_process import Adapter
from tests.test_app import static, write
from tests.waiting import until_sync

NOON_MS = 1_800_014_400_000
DAY_MS = 86_400_000
SUFFIXES = ["csv", pytest.param("parquet", marks=pytest.mark.skipif("not _has_pyarrow()"))]


def _has_pyarrow() -> bool:
    try:
        import pyarrow  # noqa: F401 - only whether it is there
    except ImportError:
        return False
    return True


def at(step: int, value: float | None = 1.0, name: str = "backlog", labels: str = "") -> Row:
    """Return a row, so many quarters of a minute after noon."""
    return Row(NOON_MS + 15_000 * step, "shop", name, labels, value, "" if value is not None else "NoData")


def opened(path: Path, max_bytes: int = 1 << 20, max_age_ms: int = 31 * DAY_MS) -> Recording:
    return Recording(path, format_of(path), max_bytes, max_age_ms)


def times(path: Path, name: str | None = None) -> list[int]:
    """Return the steps after noon that a reader finds."""
    return [round((t - NOON_MS / 1000) / 15) for t in read_recording(path, name).time_s]


def known(path: Path, name: str | None = None) -> set[float]:
    """Return the different values that a reader finds; on a slow machine some moments may have been missed."""
    values = read_recording(path, name).values
    return set(values[~np.isnan(values)].tolist())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_simulate_reads_what_was_recorded(tmp_path: Path, suffix: str) -> None:
    """Items of one moment are summed, an unknown one makes the moment unknown, metrics are told apart by name."""
    path = tmp_path / f"r.{suffix}"
    with opened(path) as recording:
        recording.add([at(0, 2.5, labels="queue=a,b"), at(0, 4.0, labels='q="x"'), at(0, 7.0, "other")])
        recording.add([at(1, 3.0, labels="queue=a,b"), at(1, None), at(1, 8.0, "other")])
        recording.flush(NOON_MS)
        recording.add([at(2, 0.0), at(2, 9.0, "other")])
        recording.flush(NOON_MS)
    table = read_recording(path, "backlog")
    assert (table.kind, times(path, "backlog")) == ("value", [0, 1, 2])
    assert np.array_equal(table.values, [6.5, np.nan, 0.0], equal_nan=True)
    assert read_recording(path, "other").values.tolist() == [7.0, 8.0, 9.0]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_next_recorder_takes_the_journal_in(tmp_path: Path, suffix: str) -> None:
    """Rows that were not in the file yet are not lost, those in both are there once, a line that was cut is dropped."""
    path, tail = tmp_path / f"r.{suffix}", tmp_path / f"r.{suffix}.tail"
    with opened(path) as recording:
        recording.add([at(0)])
        recording.add([at(1)])
        recording.flush(NOON_MS)
    tail.write_text(lines_of([at(1), at(2), at(3)]) + lines_of([at(4)])[:20])
    assert times(path) == [0, 1]
    with opened(path) as recording:
        assert (recording.rows, recording.last_ms) == (4, at(3).time_ms)
        recording.add([at(5)])
        recording.flush(NOON_MS)
    assert times(path) == [0, 1, 2, 3, 5]
    assert not tail.exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_oldest_rows_make_room(tmp_path: Path, suffix: str) -> None:
    """The file stays below its size, holds the newest rows without a gap, and whole moments."""
    path = tmp_path / f"r.{suffix}"
    random = np.random.default_rng(1)
    with opened(path, max_bytes=65_536) as recording:
        for step in range(12_000):
            recording.add([at(step, random.random(), labels="a"), at(step, random.random(), labels="b")])
            if step % 4_000 == 3_999:
                recording.flush(at(step).time_ms)
                assert path.stat().st_size <= 65_536
        assert recording.dropped == 24_000 - recording.rows > 0
    found = times(path)
    assert found == list(range(found[0], 12_000))
    assert len(found) > 200
    assert read_recording(path).values[0] != pytest.approx(0)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_that_are_too_old_are_forgotten(tmp_path: Path, suffix: str) -> None:
    """What is older than the age allowed goes with the next flush."""
    path = tmp_path / f"r.{suffix}"
    with opened(path, max_age_ms=60_000) as recording:
        for step in range(10):
            recording.add([at(step)])
        recording.flush(at(9).time_ms)
        assert recording.dropped == 5
    assert times(path) == [5, 6, 7, 8, 9]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_no_recording_is_left_alone(tmp_path: Path, suffix: str) -> None:
    """A file of something else is refused and stays as it is."""
    path = tmp_path / f"r.{suffix}"
    path.write_text("name,age\nme,3\n")
    with pytest.raises(ExplainError, match="is there already and is no recording"), opened(path):
        pass
    assert path.read_text() == "name,age\nme,3\n"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_two_recorders_do_not_write_one_file(tmp_path: Path) -> None:
    """The second one is told that there is another; a directory that is not there is named."""
    again = pytest.raises(ExplainError, match="another recorder is writing it")
    with opened(tmp_path / "r.csv"), again, opened(tmp_path / "r.csv"):
        pass
    with pytest.raises(ExplainError, match="No such file or directory"), opened(tmp_path / "none" / "r.csv"):
        pass


def test_the_journal_is_taken_in_the_more_rarely_the_larger_the_file(tmp_path: Path) -> None:
    """After a row at first, then after an eighth of what is there, and in any case after ten minutes."""
    with opened(tmp_path / "r.csv") as recording:
        flushed = []
        for step in range(200):
            recording.add([at(step)])
            if recording.due(NOON_MS):
                recording.flush(NOON_MS)
                flushed.append(step)
        assert flushed[:9] == list(range(9))
        assert np.diff(flushed)[-1] > 15
        recording.add([at(200)])
        assert not recording.due(NOON_MS + 599_999)
        assert recording.due(NOON_MS + 600_000)


def test_lines_hold_any_text() -> None:
    """Commas, quotes and line ends in labels come back, line ends as blanks; times to the millisecond."""
    rows = [Row(1_234, "shop", "m", 'a="x",b=\n', None, 'SourceError: "a", b\r\nc'), Row(5, "s", "m", "", 1e-9)]
    text = lines_of(rows)
    assert len(text.splitlines()) == 2
    assert rows_of(text) == [rows[0]._replace(labels='a="x",b= ', unknown='SourceError: "a", b  c'), rows[1]]
    assert moment(1_234) == "1970-01-01T00:00:01.234Z"
    with pytest.raises(ValueError, match="row 1 has 2 cells"):
        rows_of("a,b\n")


def test_rows_of_an_answer() -> None:
    """Every item is a row; what is unknown, stale or not there has none but a reason; there is always one."""
    name = Name("shop", "Backlog")
    known = {"labels": {"queue": "a"}, "milli": 1_500, "validForMs": 1}
    document = {
        "items": [known, known | {"validForMs": 0}, {"labels": {}, "unknown": {"reason": "WrongType", "detail": "x"}}],
        "state": {"known": False, "message": "m"},
    }
    assert [(row.labels, row.value, row.unknown) for row in rows_at(1, name, document)] == [
        ("queue=a", 1.5, ""),
        ("queue=a", None, "Stale"),
        ("", None, "WrongType: x"),
    ]
    assert {row.metric for row in rows_at(1, name, document)} == {"Backlog"}
    empty = {"items": [], "state": {"known": False, "message": "NoData: not read yet"}}
    assert rows_at(1, name, empty) == [Row(1, "shop", "Backlog", "", None, "NoData: not read yet")]
    assert rows_at(1, name, "no adapter") == [Row(1, "shop", "Backlog", "", None, "no adapter")]


def options(out: Path, *names: str, **changes: object) -> RecordOptions:
    found = {
        "names": tuple(Name(*name.split("/")) for name in names),
        "out": out,
        "port": 1,
        "config": (),
        "interval_ms": 1_000,
        "duration_ms": 4_500,
        "max_age_ms": DAY_MS,
        "max_bytes": 1 << 20,
    }
    return RecordOptions(**(found | changes))  # type: ignore[arg-type]  # as the command line has them


def test_a_time_without_rows_is_a_hole() -> None:
    """After a pause the value from before does not hold: a row without one follows it."""
    asked = options(Path("r.csv"), "shop/a", "shop/b")
    assert list(hole(None, 50_000, asked)) == []
    assert list(hole(49_000, 50_000, asked)) == []
    assert [(row.time_ms, row.metric, row.unknown) for row in hole(10_000, 50_000, asked)] == [
        (11_000, "a", "not recorded"),
        (11_000, "b", "not recorded"),
    ]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_it_reads_sources_itself(tmp_path: Path, suffix: str) -> None:
    """With a configuration and no adapter, the sources' values are in the file, from the first known one on."""
    config = write(tmp_path / "m.yaml", static("one", 1.5), static("two", 2), static("three", 3))
    out, said = tmp_path / f"r.{suffix}", io.StringIO()
    assert record(options(out, "shop/one", "shop/Two", config=(config,)), said) == 0, said.getvalue()
    assert known(out, "one") == {1.5}
    assert known(out, "Two") == {2.0}
    assert "recording shop/one, shop/Two every 1.0 s" in said.getvalue()
    for names, words in ((("shop/none",), "there is no metric shop/none; there are shop/one"),):
        said = io.StringIO()
        assert record(options(out, *names, config=(config,)), said) == 1
        assert words in said.getvalue()


@contextmanager
def recorder(adapter: Adapter, out: Path, *names: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `spillway record` against an adapter; it is over when the block is."""
    command = [sys.executable, "-m", "adapter", "record", *names, "--out", str(out), "--interval", "1s"]
    command += ["--port", str(adapter.port("explain_port"))]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def rows_in(out: Path) -> int:
    """Count the moments a reader finds; 0 while there are none."""
    return len(read_recording(out).time_s) if out.exists() and len(format_of(out).read(out.read_bytes())) > 1 else 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_kill_9_leaves_a_file_that_can_be_read_and_gone_on_with(tmp_path: Path, suffix: str) -> None:
    """At every moment there is a whole file; the next recorder goes on with it, and marks the time between."""
    config, out = write(tmp_path / "m.yaml", static("one", 1.5)), tmp_path / f"r.{suffix}"
    with Adapter(tmp_path, config) as adapter:
        with recorder(adapter, out, "shop/one"):
            until_sync(lambda: rows_in(out) >= 2, 60)
        before = read_recording(out)
        assert known(out) == {1.5}
        # Some seconds later, so that a moment is missed.
        until_sync(lambda: adapter.explain("/shop/one/values").json()["now"] > (before.time_s[-1] + 3) * 1000, 60)
        with recorder(adapter, out, "shop/one") as process:
            until_sync(lambda: rows_in(out) >= len(before.time_s) + 3, 60)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=20)
        assert process.returncode == 0, said
        assert b"after" in said
    after = read_recording(out)
    assert np.array_equal(after.time_s[: len(before.time_s)], before.time_s)
    assert np.isnan(after.values[len(before.values) :]).any()
    assert known(out) == {1.5}
    assert not (tmp_path / f"r.{suffix}.tail").exists()


def test_an_adapter_that_goes_away_leaves_unknown_rows(tmp_path: Path) -> None:
    """What a reader would not have got is not made up, and the recorder waits for the adapter to come back."""
    config, out = write(tmp_path / "m.yaml", static("one", 1.5)), tmp_path / "r.csv"
    with Adapter(tmp_path, config) as adapter:
        with recorder(adapter, out, "shop/one") as process:
            until_sync(lambda: rows_in(out) >= 2, 60)
            adapter.signal(signal.SIGKILL)
            until_sync(lambda: "no adapter answers there" in out.read_text(), 60)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
        assert process.returncode == 0
    assert np.isnan(read_recording(out).values[-1])


def test_it_says_why_it_cannot_record(tmp_path: Path) -> None:
    """Without an adapter, or without the metric, nothing is written and the reason and what to do are said."""
    out = tmp_path / "r.csv"
    said = io.StringIO()
    assert record(options(out, "shop/one"), said) == 1
    assert "no adapter answers there" in said.getvalue()
    assert "port-forward" in said.getvalue()
    assert not out.exists()
    with Adapter(tmp_path, write(tmp_path / "m.yaml", static("one", 1))) as adapter:
        said = io.StringIO()
        assert record(options(out, "shop/on", port=adapter.port("explain_port")), said) == 1
        assert "there is no metric shop/on; there is shop/one" in said.getvalue()
    assert not out.exists()


def test_the_columns_are_named() -> None:
    """A CSV begins with the names that simulate looks for."""
    assert json.dumps(HEADER) == '["time", "namespace", "metric", "labels", "value", "unknown"]'
