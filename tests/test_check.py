"""`spillway check`: what it prints and how it exits."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import yaml

from adapter.check import check
from adapter.options import CheckOptions
from tests.counters import Counters
from tests.redis_server import RedisServer
from tests.test_app import metric, static


def run(*metrics: dict[str, object], directory: Path, probe: bool = False) -> tuple[int, str, str]:
    """Check some metrics; return the exit code and what went to stdout and stderr."""
    file = directory / "m.yaml"
    file.write_text(yaml.safe_dump_all(metrics))
    out, err = io.StringIO(), io.StringIO()
    code = check(CheckOptions((file,), probe), out, err)
    return code, out.getvalue(), err.getvalue()


def test_a_valid_configuration_is_ok(tmp_path: Path) -> None:
    """Without --probe nothing is read."""
    dead = metric("dead", {"redis": {"url": "redis://127.0.0.1:1/0", "queues": [{"list": "a"}]}})
    assert run(static("one", 1), dead, directory=tmp_path) == (0, "ok: 2 metrics\n", "")


def test_every_error_is_printed_and_the_code_is_1(tmp_path: Path) -> None:
    """Each error has a line of its own that names place and path, and a count ends the report."""
    bad = static("one", 1)
    bad["spec"] |= {"interval": "soon", "signal": {"function": "rat"}}
    code, out, err = run(bad, static("Two", 1), directory=tmp_path)
    assert (code, out) == (1, "")
    *errors, count = err.splitlines()
    assert len(errors) == 3
    assert all(":" in line and "m.yaml" in line for line in errors)
    assert count == "3 errors; nothing of it would be used"


def test_probe_shows_what_an_hpa_would_get(tmp_path: Path) -> None:
    """A row an item with value and age, or with the reason it is unknown; a dead source makes the code 1."""
    directory = tmp_path / "redis"
    directory.mkdir()
    with RedisServer(directory) as server, Counters() as pages:
        with server.client() as client:
            client.rpush("orders", *range(1500))
            client.set("text", "x")
        redis = {"redis": {"url": server.url, "queues": [{"list": "orders"}, {"list": "text"}]}}
        scrape = {"scrape": {"targets": {"urls": [pages.url(3)]}, "metric": "http_requests_total"}}
        rate = metric("rate", scrape, signal={"function": "rate", "window": "10s"}, aggregate={"with": "sum"})
        code, out, err = run(metric("backlog", redis), rate, directory=tmp_path, probe=True)
    rows = {line.split("  ")[0]: line for line in out.splitlines()}
    lines = out.splitlines()
    assert lines[0].split() == ["METRIC", "LABELS", "VALUE", "AGE", "UNKNOWN"]
    assert lines[1].split()[:3] == ["shop/backlog", "queue=orders", "1500"]
    assert lines[1].split()[3].endswith("s")
    assert "WrongType: " in lines[2]
    assert "TooFewSamples: " in rows["shop/rate"]
    assert (code, err) == (1, "")
    code, out, _ = run(rate, directory=tmp_path, probe=True)
    assert "connection refused" in out
    assert code == 1


def test_probe_of_a_rate_alone_is_no_fault(tmp_path: Path) -> None:
    """A rate needs two reads; that a probe has only one is not the source's fault."""
    with Counters() as pages:
        scrape = {"scrape": {"targets": {"urls": [pages.url(3)]}, "metric": "http_requests_total"}}
        rate = metric("rate", scrape, signal={"function": "rate", "window": "10s"})
        code, out, _ = run(rate, directory=tmp_path, probe=True)
    assert "TooFewSamples" in out
    assert code == 0


@pytest.mark.parametrize("probe", [False, True])
def test_a_path_that_is_not_there_is_an_error(tmp_path: Path, probe: bool) -> None:
    """A missing file is named."""
    err = io.StringIO()
    assert check(CheckOptions((tmp_path / "none.yaml",), probe), io.StringIO(), err) == 1
    assert "none.yaml" in err.getvalue()
