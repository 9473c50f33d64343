"""Everything of `serve` that needs the Kubernetes API: who asks, what teams define, what it leads to, and who writes.

Nothing here waits for the API or ends because of it: until it answers, what depends on it is not ready or unknown, and
what was known stays in use.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from adapter.api.tls import ServingCertificate
from adapter.auth.delegated import DelegatedAuth, Ttls
from adapter.auth.trust import Trust
from adapter.config.objects import ObjectSet, take
from adapter.health import Check
from adapter.kube.certs import ServingSecret
from adapter.kube.client import Access, Kube, api_path
from adapter.kube.discovery import Discovery
from adapter.kube.lease import Election
from adapter.kube.own import OwnAddresses
from adapter.kube.reach import Tenant
from adapter.kube.secrets import Secrets
from adapter.kube.status import StatusWriter, View
from adapter.kube.tenancy import SecretProblemError, refuse, secret_keys, with_secrets
from adapter.kube.watch import Reflector
from adapter.options import ServeOptions
from adapter.pipeline import Pipeline
from adapter.schema.crd import GROUP, PLURAL, VERSION
from adapter.schema.metric import Metric
from scaler.model import MetricRef

log = logging.getLogger(__name__)

_SETTLE_S = 0.2
"""Changes that come together are taken together: a rollout changes many pods at once."""

_LOOK_S = 60.0

LEFT_OUT = "LeftOut"
"""Stands for the objects that were not even looked at, in place of a reason."""

SECRET = "spillway-serving-cert"  # noqa: S105 - a name


def access(options: ServeOptions) -> Access:
    """Return how to reach the Kubernetes API."""
    return Access(kubeconfig=None if options.kubeconfig is None else str(options.kubeconfig))


class Cluster(AbstractAsyncContextManager["Cluster"]):
    """The cluster's part of an adapter, for as long as the block runs.

    Args:
        options: The flags.
        kube: The API; outlives the block.
        certificate: What is served; in `--cert-mode self` its files are kept here.
        directory: Where those files are.
        trust: That of the certificate.
        pipeline: Where results are.
        now_ms: Wall-clock time.
    """

    def __init__(
        self,
        options: ServeOptions,
        kube: Kube,
        certificate: ServingCertificate,
        directory: Path,
        trust: Trust,
        pipeline: Pipeline,
        now_ms: Callable[[], int],
    ) -> None:
        self._options = options
        self._pipeline = pipeline
        self._in_files: frozenset[MetricRef] = frozenset()
        self._objects = ObjectSet()
        self.listed = False
        """Whether `metrics` had a complete list of objects: before, an undefined metric is unknown, not undefined."""
        self._changed = asyncio.Event()
        self._tasks = asyncio.TaskGroup()
        self._running: list[asyncio.Task[None]] = []
        namespace = options.namespace or kube.namespace or "spillway"
        instance = os.environ.get("POD_NAME") or socket.gethostname()
        ttls = Ttls(
            options.authentication_token_webhook_cache_ttl_s,
            options.authorization_webhook_cache_authorized_ttl_s,
            options.authorization_webhook_cache_unauthorized_ttl_s,
        )
        self.auth = DelegatedAuth(kube, trust, certificate.rotate, ttls=ttls)
        self._election = Election(kube, namespace, options.lease_name, f"{instance}_{uuid.uuid4().hex[:8]}")
        self._reflector = Reflector(
            kube,
            api_path(GROUP, VERSION, PLURAL),
            keep=_keep_metric,
            on_change=lambda _: self._changed.set(),
            max_objects=2 * options.max_metrics,
        )
        self._discovery = Discovery(
            kube,
            self._tasks,
            self._changed.set,
            max_targets=options.max_targets,
            max_watches=options.max_watches_per_namespace,
        )
        self._secrets = Secrets(kube, self._changed.set)
        self._own = OwnAddresses(kube, self._tasks, strict=options.strict_reach, on_change=self._changed.set)
        self._certificate_ready = asyncio.Event()
        self._serving: ServingSecret | None = None
        if options.cert_mode == "self":
            self._serving = ServingSecret(
                kube,
                namespace=namespace,
                name=SECRET,
                names=(
                    f"{options.service_name}.{namespace}.svc",
                    f"{options.service_name}.{namespace}.svc.cluster.local",
                ),
                directory=directory,
                is_holder=lambda: self._election.holder,
                patch_apiservice=options.patch_apiservice,
                now=lambda: datetime.now(UTC),
            )
        self._writer = StatusWriter(kube, self._view, lambda: self._election.holder, now_ms, instance)

    async def __aenter__(self) -> Self:
        """Begin. Waits for nothing."""
        await self.auth.__aenter__()
        tasks = await self._tasks.__aenter__()
        work = [self._election.run(), self._reflector.run(), self._secrets.run(), self._writer.run()]
        if self._serving is not None:
            work.append(self._serving.run())
        self._running = [tasks.create_task(each) for each in work]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End everything; the Lease is given back."""
        for task in self._running:
            task.cancel()
        self._discovery.stop()
        self._own.stop()
        await self._tasks.__aexit__(None, None, None)
        await self.auth.__aexit__(None, None, None)

    def checks(self) -> Iterator[Check]:
        """Yield what readyz looks at beside the rest."""
        waiting = self._serving is not None and not self._serving.loaded.is_set()
        yield "certificate", "the serving certificate has not been read or made yet" if waiting else None
        yield "clients", self.auth.not_ready()

    def objects_by_reason(self) -> Mapping[str, int]:
        """Count the ExternalMetric objects by the reason of their condition Accepted."""
        counts = Counter(finding.reason.value for finding in self._objects.findings.values())
        if self._reflector.left_out:
            counts[LEFT_OUT] = self._reflector.left_out
        return counts

    def watches(self) -> int:
        """Count the watches on pods and Services."""
        return self._discovery.watches

    def cache_entries(self) -> Mapping[str, int]:
        """Count the entries of the caches about who may read."""
        return {"permissions": len(self.auth.decisions), "tokens": len(self.auth.tokens)}

    def events_left_out(self) -> int:
        """Count the Events that were not sent because an object had enough of them."""
        return self._writer.events_left_out

    async def changes(self) -> None:
        """Wait until metrics, or what they lead to, may have changed; for a minute at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                await self._changed.wait()
        await asyncio.sleep(_SETTLE_S)
        self._changed.clear()

    def metrics(self, in_files: Sequence[Metric]) -> Sequence[Metric]:
        """Return every metric there is now, files' and objects', with its targets, credentials and reach."""
        self._in_files = frozenset(metric.rule.ref for metric in in_files)
        self._objects = take(
            self._objects,
            self._reflector.objects,
            self._in_files,
            self._options.max_metrics_per_namespace,
            self._options.max_metrics,
        )
        self.listed = self._reflector.synced
        metrics = [*in_files, *self._objects.metrics]
        self._discovery.apply(metrics)
        self._secrets.apply(key for metric in metrics for key in secret_keys(metric))
        self._own.apply({metric.rule.ref.namespace for metric in metrics if metric.tenant})
        return [self._resolved(metric) for metric in metrics]

    def _resolved(self, metric: Metric) -> Metric:
        metric = self._discovery.resolve(metric)
        if not metric.tenant:
            return metric
        namespace = metric.rule.ref.namespace
        policy = Tenant(
            namespace,
            self._own.control_plane,
            strict=self._options.strict_reach,
            allowed=self._options.reach_allow,
            own=self._own.of,
        )
        metric = replace(metric, policy=policy)
        try:
            return with_secrets(metric, self._secrets.get)
        except SecretProblemError as problem:
            return refuse(metric, str(problem), final=problem.final)

    def _view(self) -> View:
        return View(self._reflector.objects, self._objects.findings, self._pipeline.snapshot.results)


def _keep_metric(found: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what is read of an ExternalMetric. Annotations may be a quarter of a megabyte, and managed fields many."""
    metadata = found["metadata"]
    names = ("namespace", "name", "uid", "resourceVersion", "generation", "creationTimestamp")
    return {**found, "metadata": {name: metadata[name] for name in names if name in metadata}}
