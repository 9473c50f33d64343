"""The whole adapter as a process: real Redis, real pages, real signals, TLS."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.adapter_process import VALUES, Adapter
from tests.counters import Counters
from tests.redis_server import RedisServer
from tests.waiting import until_sync


def metric(name: str, source: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """Return an ExternalMetric in the namespace shop."""
    return {
        "apiVersion": "spillway.dev/v1alpha1",
        "kind": "ExternalMetric",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"interval": "1s", "source": source, **spec},
    }


def static(name: str, value: float) -> dict[str, Any]:
    """Return a metric of one fixed value."""
    return metric(name, {"static": {"series": [{"labels": {"queue": "a"}, "value": value}]}})


def write(path: Path, *metrics: dict[str, Any]) -> Path:
    """Write metrics to a file in one step, as an editor or a ConfigMap does."""
    temporary = path.with_suffix(".new")
    temporary.write_text(yaml.safe_dump_all(metrics))
    temporary.rename(path)
    return path


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    directory = tmp_path / "redis"
    directory.mkdir()
    with RedisServer(directory) as server:
        yield server


@pytest.fixture
def counters() -> Iterator[Counters]:
    with Counters() as pages:
        yield pages


def test_a_thousand_queues_and_two_hundred_targets_are_each_right(
    tmp_path: Path, redis_server: RedisServer, counters: Counters
) -> None:
    """1,000 Redis queues and 200 scraped targets in one configuration, read every second: every value is right."""
    queues = [f"q{n}" for n in range(1000)]
    metrics = [
        metric(f"backlog-{m}", {"redis": {"url": redis_server.url, "queues": [{"list": q} for q in queues[m::20]]}})
        for m in range(20)
    ]
    urls = [counters.url(n) for n in range(200)]
    scrape = {"scrape": {"targets": {"urls": urls}, "metric": "http_requests_total", "match": 'code!~"5.."'}}
    rate = {"function": "rate", "window": "10s"}
    metrics.append(metric("requests", scrape, signal=rate, aggregate={"with": "sum"}))
    up = {"scrape": {"targets": {"urls": urls}, "metric": "up"}}
    metrics.append(metric("up", up, aggregate={"by": ["page"], "with": "sum"}))
    with redis_server.client() as client:
        pipeline = client.pipeline()
        for n, queue in enumerate(queues):
            if n:
                pipeline.rpush(queue, *range(n))
        pipeline.execute()
    with Adapter(tmp_path, write(tmp_path / "m.yaml", *metrics)) as adapter:
        for m in range(20):
            assert adapter.values(f"backlog-{m}") == {f"queue=q{n}": quantity(n) for n in range(m, 1000, 20)}
        until_sync(lambda: adapter.get(VALUES + "up").status == 200)  # a target slow at first is unknown, not left out
        assert adapter.values("up") == {f"page={n}": quantity(n) for n in range(200)}
        # Each page grows by n + 1 a second, three quarters of it without error: 0.75 × (1 + … + 200) a second.
        expected = 0.75 * sum(range(1, 201))
        total = until_sync(lambda: close_to(adapter, "requests", expected), 60)
        assert total == pytest.approx(expected, rel=0.02)
        own = adapter.metrics()
        assert own['spillway_source_endpoints{source="redis",state="closed"}'] == 1
        assert own['spillway_source_endpoints{source="scrape",state="closed"}'] == 200
        assert own["spillway_metrics"] == 22


def quantity(n: int) -> str:
    """Return a whole number as a Kubernetes quantity."""
    return f"{n // 1000}k" if n and n % 1000 == 0 else str(n)


def close_to(adapter: Adapter, name: str, expected: float) -> float | None:
    """Return the metric's only item once it is known and its window is full enough to be near what is expected."""
    found = adapter.get(VALUES + name)
    if found.status != 200:
        return None
    text = found.json()["items"][0]["value"]
    value = float(text.removesuffix("m")) / 1000 if text.endswith("m") else float(text.replace("k", "e3"))
    return value if abs(value - expected) < 0.02 * expected else None


def test_redis_stopped_and_killed_makes_only_its_metrics_unknown_and_they_recover(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    """Nothing served is ever wrong because of an outage: the last value until maxAge, then 503 with the reason."""
    source = {"redis": {"url": redis_server.url, "queues": [{"list": "orders"}, {"list": "mail"}]}}
    config = write(
        tmp_path / "m.yaml",
        metric("each", source, whenUnknown={"maxAge": "3s"}),
        metric("total", source, whenUnknown={"maxAge": "3s"}, aggregate={"with": "sum"}),
        static("fixed", 7),
    )
    with redis_server.client() as client:
        client.rpush("orders", *range(5))
        client.rpush("mail", *range(2))
    right = {"each": {"queue=mail": "2", "queue=orders": "5"}, "total": {"": "7"}}
    with Adapter(tmp_path, config) as adapter:

        def each_answer_is_right_or_unknown(metric: str, reason: str) -> str | None:
            assert adapter.values("fixed") == {"queue=a": "7"}
            found = adapter.get(VALUES + metric)
            if found.status == 200:
                assert {tuple(i["metricLabels"].values()): i["value"] for i in found.json()["items"]} == {
                    tuple(v.split("=")[1] for v in labels.split(",") if v): value
                    for labels, value in right[metric].items()
                }
                return None
            assert found.status == 503
            assert "Retry-After" not in found.headers
            message: str = found.json()["message"]
            return message if reason in message else None

        for stop, reason in ((redis_server.pause, "timeout"), (redis_server.kill, "connection refused")):
            assert adapter.values("each") == right["each"]
            stop()
            for name in ("each", "total"):
                message = until_sync(partial(each_answer_is_right_or_unknown, name, reason), 30)
                assert message is not None
                assert f"metric shop/{name} is unknown" in message
                assert "SourceError" in message
                assert adapter.get(VALUES + name).json()["message"] == message  # constant while it lasts
            selected = adapter.get(VALUES + "each?labelSelector=queue%3Dmail").json()["message"]
            assert "queue=orders" not in selected
            if stop == redis_server.pause:
                redis_server.resume()
            else:
                redis_server.start()
                with redis_server.client() as client:
                    client.rpush("orders", *range(5))
                    client.rpush("mail", *range(2))
            until_sync(lambda: adapter.get(VALUES + "each").status == 200, 40)
            until_sync(lambda: adapter.values("each") == right["each"], 40)
        log = adapter.log()
        assert log.count("source failing") <= 4  # a line for a change of state, not one a poll
        own = adapter.metrics()
        assert own['spillway_metric_reads_total{metric="fixed",namespace="shop",outcome="ok"}'] > 3


def test_configuration_is_reloaded_and_a_bad_one_keeps_the_last_good(tmp_path: Path) -> None:
    """A change is taken up by itself; a mistake is logged with its place and changes nothing; removed series go."""
    config = write(tmp_path / "m.yaml", static("one", 1), static("two", 2))
    with Adapter(tmp_path, config) as adapter:
        assert adapter.values("two") == {"queue=a": "2"}
        bad = static("one", 5)
        bad["spec"]["interval"] = "soon"
        write(config, bad)
        until_sync(lambda: "configuration refused" in adapter.log())
        assert "spec.interval" in adapter.log()
        assert adapter.values("one") == {"queue=a": "1"}
        assert adapter.metrics()["spillway_config_last_reload_successful"] == 0
        write(config, static("one", 5))
        adapter.signal(signal.SIGHUP)
        until_sync(lambda: adapter.get(VALUES + "two").status == 404)
        until_sync(lambda: adapter.get(VALUES + "one").status == 200)
        assert adapter.values("one") == {"queue=a": "5"}
        assert not [name for name in adapter.metrics() if 'metric="two"' in name]
        assert adapter.metrics()['spillway_config_reloads_total{result="failure"}'] == 1


def test_sigterm_drains_and_exits_with_0(tmp_path: Path) -> None:
    """On SIGTERM readyz turns 503 at once, reads are served with Connection: close through the delay, the code is 0."""
    config = write(tmp_path / "m.yaml", static("one", 1))
    with Adapter(tmp_path, config, "--shutdown-delay", "30s") as adapter:
        adapter.signal(signal.SIGTERM)
        until_sync(lambda: adapter.get("/readyz").status == 503)
        found = adapter.get(VALUES + "one")
        assert found.status == 200
        assert found.headers["Connection"] == "close"
        assert adapter.get("/livez").status == 200
        adapter.signal(signal.SIGTERM)  # a second one does not wait
        assert adapter.wait() == 0
        assert "Traceback" not in adapter.log()


def test_after_kill_9_values_are_back_at_once_and_rates_are_unknown_until_two_samples(
    tmp_path: Path, counters: Counters
) -> None:
    """A restart without any farewell serves what one read can tell and makes up nothing that needs two."""
    scrape = {"scrape": {"targets": {"urls": [counters.url(0)]}, "metric": "http_requests_total"}}
    slow = metric("requests", scrape, signal={"function": "rate", "window": "1h"}, aggregate={"with": "sum"})
    slow["spec"]["interval"] = "5s"
    config = write(tmp_path / "m.yaml", slow, static("one", 1))
    with Adapter(tmp_path, config) as adapter:
        adapter.signal(signal.SIGKILL)
        adapter.wait()
        adapter.start()
        assert adapter.values("one") == {"queue=a": "1"}
        found = adapter.get(VALUES + "requests")
        assert found.status == 503
        assert "TooFewSamples" in found.json()["message"]
        until_sync(lambda: adapter.get(VALUES + "requests").status == 200, 30)


def test_it_says_why_it_cannot_start(tmp_path: Path) -> None:
    """Every error of a bad configuration, and a port in use, end it with one line each and code 1."""
    bad = static("one", 5)
    bad["spec"] |= {"interval": "soon", "signal": {"function": "rat"}}
    adapter = Adapter(tmp_path, write(tmp_path / "bad.yaml", bad))
    with pytest.raises(RuntimeError):
        adapter.start()
    assert adapter.wait() == 1
    said = adapter.log().splitlines()
    assert len(said) == 2
    assert all(line.startswith(f"spillway serve: {tmp_path / 'bad.yaml'}:") for line in said)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        adapter = Adapter(tmp_path, write(tmp_path / "m.yaml", static("one", 1)), "--metrics-port", str(port))
        with pytest.raises(RuntimeError):
            adapter.start()
        assert adapter.wait() == 1
        assert f"{port}" in adapter.log()
        assert "Traceback" not in adapter.log()


def test_explain_and_metrics_ports_answer_only_what_they_are_for(tmp_path: Path) -> None:
    """Explain names what led to a value, lists what there is, and is not for other hosts' names."""
    with Adapter(tmp_path, write(tmp_path / "m.yaml", static("one", 1.5))) as adapter:
        found = adapter.explain("/shop/one").json()
        assert found["items"][0]["value"] == 1.5
        assert found["targets"][0]["series"][0]["samples"][-1]["value"] == 1.5
        assert adapter.explain().json() == {"metrics": [{"namespace": "shop", "metric": "one"}]}
        assert adapter.explain("/shop/two").status == 404
        with socket.create_connection(("127.0.0.1", adapter.port("explain_port"))) as connection:
            connection.sendall(b"GET /explain HTTP/1.1\r\nHost: evil.example:8081\r\nConnection: close\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 403")


def test_logs_are_json_when_asked(tmp_path: Path) -> None:
    """With --log-format json, or its variable, every line is an object with time, level and message."""
    config = write(tmp_path / "m.yaml", static("one", 1))
    with Adapter(tmp_path, config, environ={"SPILLWAY_LOG_FORMAT": "json"}) as adapter:
        pass
    lines = [json.loads(line) for line in adapter.log().splitlines()]
    assert {"time", "level", "message"} <= set(lines[0])
