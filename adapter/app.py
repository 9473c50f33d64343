"""Composition root and lifetime of `spillway serve`: the only file that knows every part."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from adapter.api import selfsigned
from adapter.api.limits import Limits
from adapter.api.readers import Readers
from adapter.api.routes import Api
from adapter.api.server import ApiServer
from adapter.api.tls import CertificateError, ServingCertificate
from adapter.auth.trust import Trust
from adapter.budget import Budget
from adapter.cluster import Cluster, access
from adapter.collect import Collector
from adapter.config.watch import Watch
from adapter.definitions import Definitions, without_cluster
from adapter.health import Health, watch_loop
from adapter.kube.client import Kube, KubeConfigError
from adapter.options import LOOPBACK, ServeOptions
from adapter.pipeline import Pipeline
from adapter.side import explain_app, metrics_app, serving
from adapter.sources import names
from adapter.telemetry import Telemetry
from scaler.jit import cached, compile_all
from scaler.model import MetricRef

log = logging.getLogger(__name__)

_THREADS = 32
_PATIENCE_S = 60.0


class StartError(Exception):
    """The adapter cannot start; each argument is one line that says why."""


def now_ms() -> int:
    """Return wall-clock time."""
    return time.time_ns() // 1_000_000


class _Certificate(NamedTuple):
    serving: ServingCertificate
    directory: Path
    trust: Trust


async def serve(options: ServeOptions, log_lines_dropped: Callable[[], int] = int) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    Args:
        options: The flags.
        log_lines_dropped: How many log lines were left out.

    Raises:
        StartError: Configuration, certificate or a port cannot be used.
    """
    # Certificates and passwords are read in it: a few slow disks must not fill it for everybody.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="spillway"))
    watch = Watch(options.config)
    loaded = await watch.load()
    if loaded.errors:
        raise StartError(*loaded.errors)
    telemetry = Telemetry()
    telemetry.counts.log_lines_dropped = log_lines_dropped
    telemetry.counts.look_ups = names.under_way
    async with AsyncExitStack() as stack:
        stop = stack.enter_context(_signals(watch))
        certificate = stack.enter_context(_certificate(options))
        telemetry.certificate_expiry.set_function(lambda: _expiry_s(certificate.serving))
        pipeline = await stack.enter_async_context(Pipeline(now_ms, telemetry, options.max_namespace_mib << 20))
        cluster = None if options.standalone else await _cluster(options, certificate, pipeline, stack)
        health = Health(pipeline)
        if cluster is not None:
            health.more = cluster.checks
            telemetry.counts.objects, telemetry.counts.watches = cluster.objects_by_reason, cluster.watches
            telemetry.counts.events_left_out = cluster.events_left_out
        async with asyncio.TaskGroup() as tasks:
            collector = Collector(tasks, pipeline.submit, now_ms, telemetry, Budget(options.max_reads))
            complete = without_cluster if cluster is None else cluster.metrics
            definitions = Definitions(pipeline, collector, telemetry, complete, options.share)
            telemetry.watch(pipeline, collector)
            readers = Readers(lambda: pipeline.rules)
            api = Api(
                snapshot=lambda: pipeline.snapshot,
                now_ms=now_ms,
                health=health,
                defined=lambda ref: definitions.defines(ref) or (None if cluster and not cluster.listed else False),
                serves=definitions.serves,
                version=version("spillway"),
                authorize=None if cluster is None else cluster.auth,
                on_response=telemetry.answered,
                on_read=readers.note,
            )
            telemetry.counts.caches = lambda: {
                "answers": len(api.cache),
                "readers": len(readers),
                **({} if cluster is None else cluster.cache_entries()),
            }
            background = [
                tasks.create_task(pipeline.run(), name="pipeline"),
                tasks.create_task(watch_loop(health, telemetry.lagged), name="loop watch"),
            ]
            async with AsyncExitStack() as ports:
                server = await _open_ports(
                    options, api, certificate.serving, pipeline, collector, telemetry, readers, ports
                )
                await _compile(health)
                definitions.take(loaded)
                health.configured = cluster is None
                background.append(tasks.create_task(_reload(watch, definitions), name="reload"))
                if cluster is not None:
                    background.append(tasks.create_task(_follow(cluster, definitions, health), name="cluster"))
                await _until_stopped(options, health, server, stop)
            await collector.stop()
            for task in background:
                task.cancel()
    log.info("stopped")


async def _cluster(
    options: ServeOptions, certificate: _Certificate, pipeline: Pipeline, stack: AsyncExitStack
) -> Cluster:
    """Begin the cluster's part. The Kubernetes API may be away."""
    try:
        kube = await stack.enter_async_context(Kube(access(options)))
    except KubeConfigError as error:
        raise StartError(str(error)) from error
    cluster = Cluster(options, kube, certificate.serving, certificate.directory, certificate.trust, pipeline, now_ms)
    return await stack.enter_async_context(cluster)


async def _compile(health: Health) -> None:
    """Compile the kernels, in a thread: probes are answered meanwhile."""
    started = time.monotonic()
    kernels = await asyncio.to_thread(compile_all)
    # Nothing of what was imported and compiled is ever garbage: looking through it again held the loop for 70 ms.
    gc.freeze()
    health.compiled = True
    seconds = round(time.monotonic() - started, 2)
    log.info("kernels ready", extra={"kernels": kernels, "cached": cached(), "seconds": seconds})


async def _reload(watch: Watch, definitions: Definitions) -> None:
    """Follow the files."""
    async for loaded in watch.changes():
        definitions.take(loaded)


async def _follow(cluster: Cluster, definitions: Definitions, health: Health) -> None:
    """Follow the cluster. Without a list of objects for a minute, as where they are not defined, files alone count."""
    began = time.monotonic()
    while True:
        definitions.refresh()
        health.configured = health.configured or cluster.listed or time.monotonic() - began > _PATIENCE_S
        await cluster.changes()


async def _until_stopped(options: ServeOptions, health: Health, server: ApiServer, stop: asyncio.Semaphore) -> None:
    """Wait for a signal, then serve on for the delay, so that clients learn to go elsewhere."""
    await stop.acquire()
    log.info("stopping", extra={"delay": f"{options.shutdown_delay_s:g}s"})
    health.stopping = server.stopping = True
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(options.shutdown_delay_s):
            await stop.acquire()  # a second signal does not wait


@contextlib.contextmanager
def _certificate(options: ServeOptions) -> Iterator[_Certificate]:
    """Provide the serving certificate: the given one, or a self-signed one, which the cluster's may follow."""
    trust = Trust()
    with contextlib.ExitStack() as stack:
        try:
            directory = options.cert_dir or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            if options.tls_cert_file is not None and options.tls_private_key_file is not None:
                pair = (options.tls_cert_file, options.tls_private_key_file)
            else:
                pair = selfsigned.ensure(directory)
            serving_certificate = ServingCertificate(*pair, None if options.standalone else trust)
        except CertificateError as error:
            raise StartError(str(error)) from error
        except OSError as error:
            raise StartError(f"--cert-dir {options.cert_dir}: {error.strerror}") from error
        yield _Certificate(serving_certificate, directory, trust)


async def _open_ports(
    options: ServeOptions,
    api: Api,
    certificate: ServingCertificate,
    pipeline: Pipeline,
    collector: Collector,
    telemetry: Telemetry,
    readers: Readers,
    stack: AsyncExitStack,
) -> ApiServer:
    """Open the three ports."""

    def metrics_known() -> list[MetricRef]:
        return sorted(pipeline.rules)

    metrics = serving(metrics_app(telemetry.registry), options.metrics_bind_address, options.metrics_port)
    explained = explain_app(
        pipeline.explain, metrics_known, pipeline.values, lambda ref: readers.of(ref, now_ms()), collector.explain
    )
    explain = serving(explained, LOOPBACK, options.explain_port)
    secure = ApiServer(
        api.respond,
        host=options.bind_address,
        port=options.secure_port,
        ssl_context=certificate.context,
        limits=Limits(connections=options.max_connections, in_flight=options.max_requests_inflight),
        on_refused=telemetry.refused,
    )
    telemetry.serving(lambda: secure.connections, lambda: secure.in_flight)
    try:
        metrics_port = await stack.enter_async_context(metrics)
        explain_port = await stack.enter_async_context(explain)
        server = await stack.enter_async_context(secure)
    except OSError as error:
        raise StartError(str(error.strerror or error)) from error
    ports = {"secure_port": server.port, "metrics_port": metrics_port, "explain_port": explain_port}
    log.info("serving", extra={"version": version("spillway"), "address": options.bind_address, **ports})
    return server


@contextlib.contextmanager
def _signals(watch: Watch) -> Iterator[asyncio.Semaphore]:
    """SIGTERM and SIGINT release the semaphore, SIGHUP reads the configuration again."""
    loop, stop = asyncio.get_running_loop(), asyncio.Semaphore(0)
    actions: Sequence[tuple[signal.Signals, Callable[[], None]]] = (
        (signal.SIGTERM, stop.release),
        (signal.SIGINT, stop.release),
        (signal.SIGHUP, watch.reload),
    )
    for number, action in actions:
        loop.add_signal_handler(number, action)
    try:
        yield stop
    finally:
        for number, _ in actions:
            loop.remove_signal_handler(number)


def _expiry_s(certificate: ServingCertificate) -> float:
    """Return when the certificate on disk expires: it may have been renewed since the last handshake."""
    certificate.refresh()
    return certificate.not_after.timestamp()
