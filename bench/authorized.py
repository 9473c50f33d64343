"""The secure port as in a cluster: a front proxy's certificate, a user in headers, permissions that are remembered.

The Kubernetes API that is asked is the tests' stand-in, in the same process; it is asked once in six seconds or so.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import uvloop

from adapter.api import selfsigned
from adapter.api.readers import Readers
from adapter.api.routes import Api
from adapter.api.server import ApiServer
from adapter.api.tls import ServingCertificate
from adapter.app import now_ms
from adapter.auth.delegated import DelegatedAuth
from adapter.auth.trust import Trust
from adapter.kube.access import Access
from adapter.kube.client import Kube
from adapter.telemetry import Telemetry
from scaler.model import EXTERNAL_METRICS_GROUP, ExternalMetricValue, MetricRef, MetricResult, Snapshot, labels_of
from tests.delegated import Cluster
from tests.kube_api import KubeApi
from tests.waiting import until

_FOR_EVER_MS = 2**62


class _Healthy:
    def livez(self) -> list[tuple[str, str | None]]:
        return []

    def readyz(self) -> list[tuple[str, str | None]]:
        return []


def _snapshot(names: list[str], items: int) -> Snapshot:
    found = {}
    for name in names:
        values = [
            ExternalMetricValue(labels_of({"queue": f"{name}-{n}"}), now_ms(), None, 1000 * n, _FOR_EVER_MS)
            for n in range(items)
        ]
        ref = MetricRef(EXTERNAL_METRICS_GROUP, "bench", name)
        found[ref] = MetricResult(name, tuple(values), None, now_ms(), None)
    return Snapshot(found, now_ms())


async def serve(folder: Path, metrics: int, items: int) -> None:
    """Serve until killed; print the port. `folder` gets tls.crt, and a front proxy's client.crt and client.key."""
    with KubeApi(folder / "kubernetes") as kubernetes:
        cluster, trust = Cluster(kubernetes), Trust()
        cert_file, key_file = selfsigned.ensure(folder)
        cluster.front_proxy.write(folder / "client.crt", folder / "client.key")
        certificate = ServingCertificate(cert_file, key_file, trust)
        access = Access(service_account=kubernetes.service_account, environ=kubernetes.environ)
        snapshot = _snapshot([f"queue-{n}" for n in range(metrics)], items)
        telemetry, readers = Telemetry(), Readers(lambda: snapshot.results)
        async with Kube(access) as kube, DelegatedAuth(kube, trust, certificate.rotate) as auth:
            await until(lambda: auth.not_ready() is None)
            api = Api(
                snapshot=lambda: snapshot,
                now_ms=now_ms,
                health=_Healthy(),
                defined=lambda _: True,
                authorize=auth,
                on_response=telemetry.answered,
                on_read=readers.note,
            )
            async with ApiServer(api.respond, ssl_context=certificate.context) as server:
                print(server.port, flush=True)
                await asyncio.Event().wait()


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--metrics", type=int, default=10)
    parser.add_argument("--items", type=int, default=1)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="uvloop")
    arguments = parser.parse_args()
    factory = uvloop.new_event_loop if arguments.loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(arguments.folder, arguments.metrics, arguments.items))


if __name__ == "__main__":
    _main()
