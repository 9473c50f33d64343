"""`spillway explain` against a real adapter, and against what is none."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapter.explain.client import no_such_metric
from adapter.explain.main import explain
from adapter.explain_options import ExplainOptions
from adapter.options import parse
from tests.adapter_process import VALUES, Adapter
from tests.kube_api import KubeApi
from tests.redis_server import RedisServer
from tests.scripted import answering, scripted_server
from tests.test_app import metric, static, write
from tests.test_explain_render import external, hpa_object, status
from tests.waiting import until_sync


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adapter]:
    """A running adapter with two queues of a real Redis, a wrong type and two fixed values."""
    directory = tmp_path_factory.mktemp("explain")
    (directory / "redis").mkdir()
    with RedisServer(directory / "redis") as server:
        with server.client() as client:
            client.rpush("orders", *range(30))
            client.rpush("mail", *range(12))
            client.set("text", "x")
        queues = [{"list": "orders"}, {"list": "mail"}]
        backlog = metric("orders-backlog", {"redis": {"url": server.url, "queues": queues}}, aggregate={"with": "sum"})
        wrong = metric("wrong", {"redis": {"url": server.url, "queues": [*queues, {"list": "text"}]}})
        with Adapter(
            directory, write(directory / "m.yaml", backlog, wrong, static("one", 1.5), static("two", 2))
        ) as it:
            until_sync(lambda: it.get(VALUES + "orders-backlog").status == 200)
            yield it


def said(adapter: Adapter | int, *argv: str, environ: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Run the command; return its exit code and what went to stdout and stderr."""
    port = adapter if isinstance(adapter, int) else adapter.port("explain_port")
    options = parse(["explain", *argv, "--port", str(port)], {})
    assert isinstance(options, ExplainOptions)
    out, err = io.StringIO(), io.StringIO()
    code = explain(options, out, err, environ or {})
    return code, out.getvalue(), err.getvalue()


def test_the_answer_comes_first(adapter: Adapter) -> None:
    """A sentence with the value and what it is of, then what led to it and who read it."""
    adapter.get(VALUES + "orders-backlog?labelSelector=queue%3Dx")
    code, out, err = said(adapter, "shop/orders-backlog")
    assert (code, err) == (0, "")
    first, *rest = out.splitlines()
    assert first.startswith("shop/orders-backlog is 42 now, the sum of 2 queues read ")
    text = "\n".join(rest)
    assert "sum of 2 series = 42" in text
    assert "30        queue=orders  127.0.0.1:" in text
    assert "Python-urllib" in text
    assert "no items" in text
    assert "selector queue=x" in text


def test_what_is_unknown_in_part_is_named(adapter: Adapter) -> None:
    """The item that is unknown, why, and who is concerned."""
    code, out, _ = said(adapter, "shop/wrong")
    assert code == 0
    text = " ".join(out.split())
    assert text.startswith("shop/wrong is unknown in part since ")
    assert "of 3 items 1 is unknown, queue=text (WrongType: " in text
    assert "queue=text FAILING since" in text


def test_json_is_what_the_port_says(adapter: Adapter) -> None:
    """Machines get everything, readers included."""
    code, out, _ = said(adapter, "shop/orders-backlog", "--json")
    found = json.loads(out)
    assert (code, found["items"][0]["milli"], found["state"]["known"]) == (0, 42_000, True)
    assert found["readers"][0]["milli"] in (42_000, 0)
    assert found["targets"][0]["series"][0]["samples"]


def test_beside_an_hpa_of_a_file(adapter: Adapter, tmp_path: Path) -> None:
    """The replicas it wants are part of the answer, and the arithmetic of its other metrics is there too."""
    file = tmp_path / "hpa.yaml"
    file.write_text(yaml.safe_dump(hpa_object(external("orders-backlog"), external("one"), external("none"))))
    code, out, _ = said(adapter, "shop/orders-backlog", "--hpa-file", str(file), "--replicas", "3")
    text = " ".join(out.split())
    assert code == 0
    assert "HPA orders-worker (target 10 a replica) wants 5 replicas; it has 3." in text
    assert "reads one: 1.5" in text
    assert "reads none: this adapter has no metric shop/none" in text
    found = json.loads(said(adapter, "shop/orders-backlog", "--hpa-file", str(file), "--replicas", "3", "--json")[1])
    assert found["hpa"]["wants"] == 5


def test_beside_an_hpa_of_the_cluster(adapter: Adapter, tmp_path: Path) -> None:
    """The HPA is read as kubectl would read it, and its own word stands beside the arithmetic."""
    with KubeApi(tmp_path / "kube") as api:
        hpa = hpa_object(external("orders-backlog"))
        hpa["metadata"] = {"name": "orders-worker", "namespace": "shop"}
        api.put(hpa | {"status": status(3, 5)})
        flags = ("--kubeconfig", str(api.kubeconfig), "--context", "admin")
        code, out, err = said(adapter, "shop/orders-backlog", "--hpa", "orders-worker", *flags)
        assert (code, err) == (0, "")
        assert "wants 5 replicas; it has 3" in " ".join(out.split())
        assert "3 current, 5 desired" in out
        code, _, err = said(adapter, "shop/orders-backlog", "--hpa", "shop/none", *flags)
        assert code == 1
        assert "HPA shop/none cannot be read: 404 NotFound" in err


def test_a_metric_that_is_not_there_brings_up_those_that_are(adapter: Adapter) -> None:
    """The likely names come first, and how many more there are."""
    code, out, err = said(adapter, "shop/orders-backlogs")
    assert (code, out) == (1, "")
    assert err.startswith("spillway explain: there is no metric shop/orders-backlogs; there are shop/orders-backlog")
    assert no_such_metric("a/b", []) == "there is no metric a/b: this adapter has none at all"
    names = [f"x/m{n}" for n in range(9)]
    assert no_such_metric("q/zz", names).endswith("there are x/m0, x/m1, x/m2, x/m3, x/m4, … and 4 more")


def test_without_an_adapter_it_says_what_to_do() -> None:
    """A port that nobody listens on leads to port-forwarding."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    code, out, err = said(port, "shop/m")
    assert (code, out) == (1, "")
    assert f"127.0.0.1:{port}: " in err
    assert "no adapter answers there" in err
    assert f"kubectl -n spillway port-forward deploy/spillway {port}:8081" in err


def test_a_port_of_something_else_is_recognised() -> None:
    """A server that is no explain port is named as that, with what it answered."""
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi"

    async def scenario(reply: bytes) -> str:
        async with scripted_server(answering(reply)) as port:
            return (await asyncio.to_thread(said, port, "shop/m"))[2]

    assert "no explain port of Spillway (HTTP 200, text/html)" in asyncio.run(scenario(page))
    assert "no adapter answers there" in asyncio.run(scenario(b"nonsense\r\n\r\n"))


def test_watch_shows_it_again_until_it_is_stopped(adapter: Adapter) -> None:
    """One JSON document a line, each newer than the one before; Ctrl-C is not an error."""
    command = [sys.executable, "-m", "adapter", "explain", "shop/one", "--json", "--watch", "1s"]
    command += ["--port", str(adapter.port("explain_port"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        times = [json.loads(process.stdout.readline())["now"] for _ in range(3)]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert times == sorted(set(times))


def test_values_are_all_of_them(adapter: Adapter) -> None:
    """Beside the explanation the port gives every item of a metric, and nothing else."""
    found = adapter.explain("/shop/WRONG/values").json()
    assert [item["labels"]["queue"] for item in found["items"]] == ["mail", "orders", "text"]
    assert (found["itemsInAll"], found["itemsUnknown"], "targets" in found) == (3, 1, False)
    assert adapter.explain("/shop/none/values").status == 404


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("explain", "orders"), "must be NAMESPACE/METRIC"),
        (("explain", "shop/a/b"), "must be NAMESPACE/METRIC"),
        (("explain", "shop/a", "--port", "0"), "must be a port from 1 to 65535"),
        (("explain", "shop/a", "--watch", "100ms"), "must be a duration of at least 1s"),
        (("explain", "shop/a", "--replicas", "3"), "--replicas is for --hpa-file"),
        (("record", "shop/a", "--out", "x.txt"), "must end with .parquet or .csv"),
        (("record", "shop/a", "web/A", "--out", "x.csv"), "a file holds one metric of a name"),
        (("record", "shop/a", "--out", "x.csv", "--max-bytes", "3"), "must be a size from 64K to 1G"),
    ],
)
def test_mistakes_on_the_command_line_are_named(
    argv: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is refused with code 2 and what it must be."""
    with pytest.raises(SystemExit) as refused:
        parse(argv, {})
    assert refused.value.code == 2
    assert words in capsys.readouterr().err


def test_what_the_command_line_means() -> None:
    """Defaults, an HPA of the metric's namespace or of another one, and units."""

    def parsed(*argv: str) -> Any:
        return parse(argv, {})

    found = parsed("explain", "shop/a", "--hpa", "worker")
    assert (str(found.hpa), found.port, found.watch_s, found.json) == ("shop/worker", 8081, None, False)
    assert str(parsed("explain", "shop/a", "--hpa", "web/worker").hpa) == "web/worker"
    assert parsed("explain", "shop/a", "--watch").watch_s == 2.0
    found = parsed("record", "shop/a", "--out", "x.csv", "--max-age", "2d", "--max-bytes", "1Mi")
    assert (found.interval_ms, found.duration_ms, found.max_age_ms) == (15_000, None, 172_800_000)
    assert found.max_bytes == 1 << 20
