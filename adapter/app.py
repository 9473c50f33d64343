"""Composition root and lifetime of `spillway serve`: the only file that knows every part."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from adapter.api import selfsigned
from adapter.api.routes import Api
from adapter.api.server import ApiServer
from adapter.api.tls import CertificateError, ServingCertificate
from adapter.collect import Collector
from adapter.config.load import LoadResult
from adapter.config.watch import Watch
from adapter.health import Health, watch_loop
from adapter.options import LOOPBACK, ServeOptions
from adapter.pipeline import Pipeline
from adapter.side import explain_app, metrics_app, serving
from adapter.sources.plan import endpoints
from adapter.telemetry import Telemetry
from scaler.jit import compile_all
from scaler.model import MetricRef

log = logging.getLogger(__name__)


_THREADS = 32


class StartError(Exception):
    """The adapter cannot start; each argument is one line that says why."""


def now_ms() -> int:
    """Return wall-clock time."""
    return time.time_ns() // 1_000_000


async def serve(options: ServeOptions) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    Raises:
        StartError: Configuration, certificate or a port cannot be used.
    """
    # Names, certificates and passwords are looked up in it: a few hanging resolvers must not fill it for everybody.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="spillway"))
    watch = Watch(options.config)
    loaded = await watch.load()
    if loaded.errors:
        raise StartError(*loaded.errors)
    telemetry = Telemetry()
    with _certificate(options) as certificate, _signals(watch) as stop:
        telemetry.certificate_expiry.set_function(lambda: _expiry_s(certificate))
        async with Pipeline(now_ms, telemetry) as pipeline:
            health = Health(pipeline)
            api = Api(
                snapshot=lambda: pipeline.snapshot,
                now_ms=now_ms,
                health=health,
                defined=lambda ref: ref in pipeline.rules,
                version=version("spillway"),
                on_response=telemetry.answered,
            )
            async with _ports(options, api, certificate, pipeline, telemetry) as server:
                await _run(options, watch, loaded, pipeline, telemetry, health, server, stop)
    log.info("stopped")


async def _run(
    options: ServeOptions,
    watch: Watch,
    loaded: LoadResult,
    pipeline: Pipeline,
    telemetry: Telemetry,
    health: Health,
    server: ApiServer,
    stop: asyncio.Semaphore,
) -> None:
    """Everything that happens between the ports opening and the last answer."""
    async with asyncio.TaskGroup() as tasks:
        background = [
            tasks.create_task(pipeline.run(), name="pipeline"),
            tasks.create_task(watch_loop(health, telemetry.lagged), name="loop watch"),
        ]
        collector = Collector(tasks, pipeline.submit, now_ms, telemetry)
        telemetry.watch(pipeline, collector)
        started = time.monotonic()
        kernels = await asyncio.to_thread(compile_all)
        health.compiled = True
        log.info("kernels ready", extra={"kernels": kernels, "seconds": round(time.monotonic() - started, 2)})
        _apply(loaded, pipeline, collector, telemetry)
        health.configured = True
        background.append(tasks.create_task(_reload(watch, pipeline, collector, telemetry), name="reload"))
        await stop.acquire()
        log.info("stopping", extra={"delay": f"{options.shutdown_delay_s:g}s"})
        health.stopping = server.stopping = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(options.shutdown_delay_s):
                await stop.acquire()  # a second signal does not wait
        await collector.stop()
        for task in background:
            task.cancel()


def _apply(loaded: LoadResult, pipeline: Pipeline, collector: Collector, telemetry: Telemetry) -> None:
    """Take a valid configuration into use."""
    for warning in loaded.warnings:
        log.warning("configuration warning", extra={"warning": warning})
    pipeline.configure({metric.rule.ref: metric.rule for metric in loaded.metrics})
    collector.apply(endpoints(loaded.metrics))
    telemetry.reloaded(ok=True)
    log.info("configuration loaded", extra={"metrics": len(loaded.metrics), "endpoints": len(collector.specs)})


async def _reload(watch: Watch, pipeline: Pipeline, collector: Collector, telemetry: Telemetry) -> None:
    """Follow the files; a set with an error changes nothing."""
    async for loaded in watch.changes():
        if not loaded.errors:
            _apply(loaded, pipeline, collector, telemetry)
            continue
        telemetry.reloaded(ok=False)
        for error in loaded.errors:
            log.error("configuration refused, the last good one stays", extra={"error": error})


@contextlib.contextmanager
def _certificate(options: ServeOptions) -> Iterator[ServingCertificate]:
    """Provide the serving certificate: the given one, or a self-signed one."""
    with contextlib.ExitStack() as stack:
        try:
            if options.tls_cert_file is not None and options.tls_private_key_file is not None:
                pair = (options.tls_cert_file, options.tls_private_key_file)
            else:
                directory = options.cert_dir or Path(stack.enter_context(tempfile.TemporaryDirectory()))
                pair = selfsigned.ensure(directory)
            certificate = ServingCertificate(*pair)
        except CertificateError as error:
            raise StartError(str(error)) from error
        except OSError as error:
            raise StartError(f"--cert-dir {options.cert_dir}: {error.strerror}") from error
        yield certificate


@asynccontextmanager
async def _ports(
    options: ServeOptions, api: Api, certificate: ServingCertificate, pipeline: Pipeline, telemetry: Telemetry
) -> AsyncIterator[ApiServer]:
    """Open the three ports."""

    def metrics_known() -> list[MetricRef]:
        return sorted(pipeline.rules)

    async with contextlib.AsyncExitStack() as stack:
        metrics = serving(metrics_app(telemetry.registry), options.metrics_bind_address, options.metrics_port)
        explain = serving(explain_app(pipeline.explain, metrics_known), LOOPBACK, options.explain_port)
        secure = ApiServer(
            api.respond, host=options.bind_address, port=options.secure_port, ssl_context=certificate.context
        )
        try:
            metrics_port = await stack.enter_async_context(metrics)
            explain_port = await stack.enter_async_context(explain)
            server = await stack.enter_async_context(secure)
        except OSError as error:
            raise StartError(str(error.strerror or error)) from error
        ports = {"secure_port": server.port, "metrics_port": metrics_port, "explain_port": explain_port}
        log.info("serving", extra={"version": version("spillway"), "address": options.bind_address, **ports})
        yield server


@contextlib.contextmanager
def _signals(watch: Watch) -> Iterator[asyncio.Semaphore]:
    """SIGTERM and SIGINT release the semaphore, SIGHUP reads the configuration again."""
    loop, stop = asyncio.get_running_loop(), asyncio.Semaphore(0)
    stopping: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT)
    for number in stopping:
        loop.add_signal_handler(number, stop.release)
    loop.add_signal_handler(signal.SIGHUP, watch.reload)
    try:
        yield stop
    finally:
        for number in (*stopping, signal.SIGHUP):
            loop.remove_signal_handler(number)


def _expiry_s(certificate: ServingCertificate) -> float:
    """Return when the certificate on disk expires: it may have been renewed since the last handshake."""
    certificate.refresh()
    return certificate.not_after.timestamp()
