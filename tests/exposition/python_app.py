"""An application that counts itself with prometheus_client: every kind of metric, exemplars, names in UTF-8."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import make_server

from prometheus_client import Counter, Enum, Gauge, Histogram, Info, Summary, make_wsgi_app

REQUESTS = Counter("shop_requests", "Requests by path and \\ code", ["path", "code"])
SECONDS = Histogram("shop_request_seconds", "How long they took", ["path"], unit="seconds")
SIZES = Summary("shop_answer_bytes", "How large the answers were")
WAITING = Gauge("shop_waiting", "Who waits,\nand where", ["place"])
STATE = Enum("shop_state", "What is being done", states=["open", "closed", 'half"open\\'])
BUILD = Info("shop_build", "What runs")
DOTTED = Counter("shop.orders.größe", "A name in UTF-8", ["order.kind"])


def work(number: int) -> None:
    """Count a request."""
    rng = random.Random(number)
    path = ("/", "/cart", '/say "hi"', "C:\\temp", "/a\nb", "/größe")[number % 6]
    REQUESTS.labels(path, rng.choice(("200", "404", "500"))).inc(exemplar={"trace_id": f"{rng.getrandbits(64):x}"})
    SECONDS.labels(path).observe(rng.expovariate(5), exemplar={"trace_id": f"{number}", "span": "}# {"})
    SIZES.observe(rng.randrange(10**9))
    WAITING.labels(path).set(rng.choice((float("nan"), float("inf"), -rng.random(), 1e22, rng.random() * 1e-9)))
    STATE.state("open" if number % 2 else "closed")
    DOTTED.labels("gift" if number % 3 else "").inc(rng.random())


def serve(port: int) -> None:
    """Serve pages at /metrics, and work everywhere else."""
    BUILD.info({"version": "1.2.3", "revision": "abc"})
    metrics = make_wsgi_app()

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/metrics":
            return list(metrics(environ, start))
        work(int(environ["PATH_INFO"].rpartition("/")[2] or 0))
        start("200 OK", [])
        return [b""]

    with make_server("127.0.0.1", port, app) as server:
        server.serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
