"""A shop's customers and its HPAs, more and more of them: where it breaks, and that it sheds instead of falling over.

    spillway demo                                     # in another terminal; it prints its addresses
    SHOP_URL=http://127.0.0.1:… API_URL=https://127.0.0.1:6443 API_CA=/tmp/…/tls.crt \\
        locust -f bench/locustfile.py --headless

`python -m bench.breaking` does all of that. LOAD_STAGES ("users:seconds,…") is the ramp; LOAD_RESULT names a file for
what came of it, as JSON. Every reader has a connection of its own, as no kube-apiserver does: that breaks first.
An answer of the API is good if it is 200, 503 because the metric is unknown (the shop, too busy to show its counters),
or 429; the latter with a Status and without Retry-After: clients of Kubernetes would retry ten times at its word. Exit
code 1 after any other one.
"""

from __future__ import annotations

import functools
import json
import os
import random
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from locust import FastHttpUser, LoadTestShape, events, task

STAGES = [
    (int(users), float(seconds))
    for users, _, seconds in (
        stage.partition(":") for stage in os.environ.get("LOAD_STAGES", "50:8,300:10,900:12,1400:15").split(",")
    )
]
_READ = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/"
_METRICS = ("orders_backlog", "web_requests")
_found: list[dict[str, Any]] = [
    {"users": users, "seconds": seconds, "ms": [], "shed": 0, "unknown": 0, "failed": []} for users, seconds in STAGES
]
_stages = [0]


def gaussian(mean_s: float, deviation_s: float) -> Callable[[Any], float]:
    """Return think times as people and clocks have them: around a mean, never below a tenth of it."""
    return lambda _: max(mean_s / 10, random.gauss(mean_s, deviation_s))


class Customer(FastHttpUser):
    """Orders something now and then. A shop that is full says 503, and that is no failure of ours."""

    host = os.environ.get("SHOP_URL", "http://127.0.0.1:8000")
    weight = 1
    wait_time = gaussian(4.0, 1.0)

    @task
    def order(self) -> None:
        """Order one thing."""
        with self.client.get("/", name="order", catch_response=True) as response:
            if response.status_code in (200, 503):
                response.success()


class Reader(FastHttpUser):
    """Reads a metric, as an HPA does, but every second or so."""

    host = os.environ.get("API_URL", "https://127.0.0.1:6443")
    weight = 20
    wait_time = gaussian(1.0, 0.25)
    insecure = False

    @staticmethod
    @functools.cache  # a context of each connection's own would cost more than all it reads
    def ssl_context_factory(cafile: str | None = None) -> ssl.SSLContext:
        """Trust the adapter's certificate, and none of those in `cafile`, which is what the client would trust."""
        return ssl.create_default_context(cafile=os.environ.get("API_CA"))

    @task
    def read(self) -> None:
        """Read one metric."""
        headers = {"Accept": "application/json, */*", "X-Remote-User": "system:kube-controller-manager"}
        path = _READ + random.choice(_METRICS)
        at = _found[_stages[-1]]
        with self.client.get(path, name="read", headers=headers, catch_response=True) as response:
            problem = wrong(response.status_code, response.headers or {}, response.text or "")
            if problem is None:
                response.success()
                at["ms"].append(response.request_meta["response_time"])
                at["shed"] += response.status_code == 429
                at["unknown"] += response.status_code == 503
            else:
                response.failure(problem)
                at["failed"].append(problem)


def wrong(status: int, headers: Any, body: str) -> str | None:
    """Say what is wrong with an answer of the API; None: nothing."""
    if "retry-after" in {name.lower() for name in headers}:
        return f"{status} with Retry-After"
    if status == 200:
        return None
    reason = {429: "TooManyRequests", 503: "ServiceUnavailable"}.get(status)
    if reason is not None and f'"reason":"{reason}"' in body:
        return None
    return f"{status}: {body[:100]}"


class Ramp(LoadTestShape):
    """One stage after the other."""

    def tick(self) -> tuple[int, float] | None:
        """Return how many users there are to be now, and how fast they come; None: the end."""
        at_s = self.get_run_time()
        for number, (users, seconds) in enumerate(STAGES):
            if at_s < seconds:
                _stages[-1] = number
                return users, max(1.0, users / 3)
            at_s -= seconds
        return None


@events.quitting.add_listener
def conclude(environment: Any, **_: Any) -> None:
    """Write what came of it, and fail if an answer was wrong."""
    if "LOAD_RESULT" in os.environ:
        Path(os.environ["LOAD_RESULT"]).write_text(json.dumps(_found))
    environment.process_exit_code = int(any(stage["failed"] for stage in _found))
