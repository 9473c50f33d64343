"""Spillway in the demo: a child process that is configured, started and spoken to as in a cluster."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import yaml

from adapter.demo.orders import QUEUE
from adapter.demo.processes import LOOPBACK, Child, DemoError, child, free_port, last_line

NAMESPACE = "shop"
BACKLOG = "orders_backlog"
RATE = "web_requests"
_READY_S = 180.0
_NOTICE_S = 3.0
COMPILING = "compiling kernels, the first start takes ~10 s"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running Spillway is reached."""

    secure_port: int
    metrics_port: int
    explain_port: int
    folder: Path

    @property
    def server(self) -> str:
        """The base URL of the API."""
        return f"https://{LOOPBACK}:{self.secure_port}"

    @property
    def ca_file(self) -> Path:
        """What its certificate is verified with: the certificate itself, as it is self-signed."""
        return self.folder / "tls.crt"

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig with the server, its certificate, and a user that is nobody."""
        return self.folder / "kubeconfig"

    @property
    def metrics_url(self) -> str:
        """Its own metrics."""
        return f"http://{LOOPBACK}:{self.metrics_port}/metrics"

    def explain_url(self, metric: str) -> str:
        """Why a metric has the value it has."""
        return f"http://{LOOPBACK}:{self.explain_port}/explain/{NAMESPACE}/{metric}"


def metric_path(metric: str) -> str:
    """Return the path of a metric in the API."""
    return f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/{metric}"


def configuration(redis_port: int, web_urls: Sequence[str]) -> str:
    """Return the two ExternalMetric objects as YAML."""
    backlog: dict[str, object] = {
        "interval": "1s",
        "source": {"redis": {"url": f"redis://{LOOPBACK}:{redis_port}/0", "queues": [{"list": QUEUE}]}},
        "whenUnknown": {"maxAge": "10s"},
    }
    rate: dict[str, object] = {
        "interval": "1s",
        "source": {
            "scrape": {
                "targets": {"urls": [f"{url}/metrics" for url in web_urls]},
                "metric": "http_requests_total",
                "match": 'code!~"5.."',
            }
        },
        "signal": {"function": "rate", "window": "5s"},
        "aggregate": {"with": "sum"},
        "whenUnknown": {"maxAge": "10s"},
    }
    return yaml.safe_dump_all([_object(BACKLOG, backlog), _object(RATE, rate)], sort_keys=False)


def _object(metric: str, spec: dict[str, object]) -> dict[str, object]:
    return {
        "apiVersion": "spillway.dev/v1alpha1",
        "kind": "ExternalMetric",
        "metadata": {"name": metric.replace("_", "-"), "namespace": NAMESPACE},
        "spec": {"metricName": metric, **spec},
    }


def kubeconfig(addresses: Addresses) -> str:
    """Return a kubeconfig. With flags alone, kubectl would send this server the credentials of your current context."""
    # Nobody is authenticated, but without any credentials kubectl asks for a user name.
    user = {"token": "none-needed"}
    cluster = {"server": addresses.server, "certificate-authority": str(addresses.ca_file)}
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "demo", "cluster": cluster}],
            "users": [{"name": "demo", "user": user}],
            "contexts": [{"name": "demo", "context": {"cluster": "demo", "user": "demo", "namespace": NAMESPACE}}],
            "current-context": "demo",
        },
        sort_keys=False,
    )


@dataclass(frozen=True, slots=True)
class Spillway:
    """A running Spillway."""

    child: Child
    addresses: Addresses

    async def ready(self, notice: Callable[[str], None]) -> None:
        """Wait until it says that it is ready. `notice` is called once if that takes more than a moment.

        Raises:
            DemoError: It ended, or has not been ready in 3 minutes.
        """
        loop = asyncio.get_running_loop()
        began_s, told = loop.time(), False
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            while loop.time() < began_s + _READY_S:
                if self.child.process.returncode is not None:
                    await self.child.ended()
                if await self._is_ready(session):
                    return
                if not told and loop.time() > began_s + _NOTICE_S:
                    notice(COMPILING)
                    told = True
                await asyncio.sleep(0.1)
        raise DemoError(f"Spillway has not been ready in {_READY_S:.0f} s: {last_line(self.child.log)}")

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        if (tls := trust(self.addresses.ca_file)) is None:
            return False
        try:
            async with session.get(f"{self.addresses.server}/readyz", ssl=tls) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False


def trust(ca_file: Path) -> ssl.SSLContext | None:
    """Return a context that trusts this certificate and no other. None: it is not there yet."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except FileNotFoundError:
        return None


@asynccontextmanager
async def spillway(folder: Path, redis_port: int, web_urls: Sequence[str]) -> AsyncIterator[Spillway]:
    """Run Spillway while the context lasts, with its certificate, configuration and log in `folder`.

    Raises:
        DemoError: It cannot be started.
    """
    addresses = Addresses(free_port(6443), free_port(8080), free_port(8081), folder)
    config = _write(addresses, configuration(redis_port, web_urls))
    flags: dict[str, object] = {
        "--config": config,
        "--secure-port": addresses.secure_port,
        "--metrics-port": addresses.metrics_port,
        "--explain-port": addresses.explain_port,
        "--cert-dir": folder,
    }
    argv = [sys.executable, "-m", "adapter", "serve", "--standalone"]
    argv += [str(word) for flag in flags.items() for word in flag]
    # What the user has set for a Spillway of their own is not for this one.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SPILLWAY_")}
    async with child("Spillway", argv, folder / "spillway.log", environ) as process:
        yield Spillway(process, addresses)


def _write(addresses: Addresses, metrics: str) -> Path:
    config = addresses.folder / "metrics.yaml"
    config.write_text(metrics)
    addresses.kubeconfig.write_text(kubeconfig(addresses))
    return config
