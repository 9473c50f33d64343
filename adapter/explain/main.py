"""`spillway explain`: ask, compute what an HPA makes of it, and show it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from adapter.explain.arithmetic import arithmetic
from adapter.explain.client import Adapter, NoSuchMetricError
from adapter.explain.cluster import access_of, from_cluster, from_file
from adapter.explain.errors import ExplainError
from adapter.explain.hpa_object import hpa_of
from adapter.explain.render import render
from adapter.explain_options import ExplainOptions

_PLAIN_WIDTH = 100


def explain(
    options: ExplainOptions,
    out: TextIO = sys.stdout,
    err: TextIO = sys.stderr,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """Explain a metric. Returns the exit code: 0 if there was an answer, whatever it says, else 1."""
    try:
        asyncio.run(_run(options, out, environ))
    except ExplainError as error:
        for line in error.args:
            err.write(f"spillway explain: {line}\n")
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        pass  # Ctrl-C ends --watch; `| head` has seen enough
    return 0


async def document_of(options: ExplainOptions, adapter: Adapter, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return a metric's explanation, with what its HPA makes of it under "hpa" if one was named.

    Raises:
        ExplainError: Adapter, cluster or file do not give it.
    """
    asked = options.metric
    found = await adapter.explain(asked.namespace, asked.name)
    if options.hpa_file is not None:
        where = str(options.hpa_file)
        wanted = None if options.hpa is None else options.hpa.name
        document, replicas = from_file(options.hpa_file, wanted, options.replicas)
    elif options.hpa is not None:
        where = f"HPA {options.hpa}"
        access = access_of(options.kubeconfig, options.context, environ)
        document, replicas = await from_cluster(access, options.hpa.namespace, options.hpa.name)
    else:
        return found
    hpa = hpa_of(document, where)
    served: dict[str, dict[str, Any] | str] = {}
    for metric in hpa.spec.metrics if hpa.spec else ():
        if metric.name.lower() == asked.name.lower():
            # Its own namespace's, or one that is shared with it under the same name.
            served[metric.name.lower()] = await adapter.values(asked.namespace, metric.name)
            continue
        try:
            served[metric.name.lower()] = await adapter.values(hpa.namespace, metric.name)
        except NoSuchMetricError:
            served[metric.name.lower()] = f"this adapter has no metric {hpa.namespace}/{metric.name}"
    return found | {"hpa": arithmetic(hpa, replicas, served, asked.name, int(found["now"]))}


async def _run(options: ExplainOptions, out: TextIO, environ: Mapping[str, str]) -> None:
    async with Adapter(options.port) as adapter:
        if options.watch_s is None:
            _show(options, await document_of(options, adapter, environ), out)
        else:
            await _watch(options, adapter, out, environ)


def _show(options: ExplainOptions, document: Mapping[str, Any], out: TextIO) -> None:
    if options.json:
        out.write(json.dumps(document, indent=None if options.watch_s else 2) + "\n")
        out.flush()
    else:
        _console(out).print(render(document), crop=False)


def _console(out: TextIO) -> Console:
    return Console(file=out, width=None if out.isatty() else _PLAIN_WIDTH, highlight=False, markup=False)


async def _watch(options: ExplainOptions, adapter: Adapter, out: TextIO, environ: Mapping[str, str]) -> None:
    """Show it again and again. An adapter that restarts is waited for; the first answer is not."""
    shown = await document_of(options, adapter, environ)
    live: Live | None = None
    with contextlib.ExitStack() as stack:
        if out.isatty() and not options.json:
            live = stack.enter_context(Live(console=_console(out), screen=True, auto_refresh=False))
        while True:
            if live is not None:
                live.update(render(shown), refresh=True)
            else:
                _show(options, shown, out)
            while True:
                await asyncio.sleep(options.watch_s or 0)
                try:
                    shown = await document_of(options, adapter, environ)
                    break
                except ExplainError as error:
                    if live is not None:
                        live.update(Text("\n".join(error.args), style="red"), refresh=True)
                    elif not options.json:
                        out.write("\n".join(error.args) + "\n")
