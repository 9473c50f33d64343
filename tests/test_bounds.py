"""The table of limits says what the code does: bounds, flags, metrics and messages."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client import generate_latest

from adapter import breaker, budget, logs
from adapter.api.cache import AnswerCache
from adapter.api.readers import _KEPT as READERS
from adapter.auth.decisions import _ALLOWED, _DENIED
from adapter.auth.tokens import _REMEMBERED as TOKENS
from adapter.collect import Collector
from adapter.config import files, objects
from adapter.kube import discovery, events, lines, status
from adapter.options import _DEFAULTS, SERVE_FLAGS
from adapter.pipeline import MAX_WAITING, Pipeline
from adapter.schema.model import ExternalMetricSpec, RedisSource, ScrapeSource
from adapter.schema.targets_model import ScrapeTargets
from adapter.sources import names, redis_globs, redis_slots, resp, scrape_page
from adapter.telemetry import Telemetry
from scaler import rules, store

ROOT = Path(__file__).parent.parent
DOC = ROOT / "docs" / "limits.md"


def most(model: type[RedisSource] | type[ScrapeTargets], name: str) -> int:
    """Return how many items a list of the schema may have."""
    (length,) = (part.max_length for part in model.model_fields[name].metadata if hasattr(part, "max_length"))
    return int(length)


def default(model: type[ExternalMetricSpec] | type[ScrapeSource], name: str) -> int:
    return int(model.model_fields[name].default)


_SHARE = {bound: f"1/{share}" for bound, share in budget.SHARES.items()}
_ANSWERS = {name: it.default for name, it in inspect.signature(AnswerCache).parameters.items()}

DEFAULTS: dict[str, str] = {
    "series of a metric at once": str(default(ExternalMetricSpec, "max_series")),
    "series of a metric within its window, those that have ended included": f"{store._CHURN} × maxSeries",
    "memory of a namespace's samples and labels": f"{_DEFAULTS['max_namespace_mib']} MiB",
    "samples of a series in its window": str(rules.MAX_SAMPLES),
    "ExternalMetric objects of a namespace": str(objects.DEFAULT_MAX_METRICS),
    "ExternalMetric objects in all": str(objects.DEFAULT_MAX_IN_ALL),
    "objects that are looked at at all": "2 × max-metrics",
    "reads that wait for an evaluation": str(MAX_WAITING),
    "a configuration file": f"{files.MAX_BYTES >> 20} MiB",
    "reads under way": str(budget.DEFAULT_MAX_READS),
    "of these for a namespace, for what fails in it or is new, at a host": (
        f"{_SHARE['namespace']}, {_SHARE['failing']}, {_SHARE['host']}"
    ),
    "host names being looked up": f"{names.THREADS}, {names.SHARE} for a namespace",
    "targets that a metric names by URL": str(most(ScrapeTargets, "urls")),
    "targets of a metric with `selector` or `service`": str(discovery.DEFAULT_MAX_TARGETS),
    "a page, inflated": f"{default(ScrapeSource, 'max_bytes')} bytes",
    "series of a page that have the wanted names": f"{scrape_page.MAX_PAGE_SERIES}, or maxSeries",
    "a series of a page, name and labels": f"{scrape_page.MAX_LABEL_BYTES} bytes",
    "queues of a metric": str(most(RedisSource, "queues")),
    "keys that a glob finds": "maxSeries",
    "a key that a glob finds": f"{redis_globs.MAX_KEY_BYTES} bytes",
    f"Redis's replies to up to {resp.MAX_COMMANDS} commands": f"{resp.MAX_REPLY_BYTES} bytes",
    "masters of a Redis Cluster": str(redis_slots.MAX_NODES),
    "time that a source may ask to be left alone": f"{breaker.LONGEST_ASKED_MS // 60_000} min",
    "time between two reads of what fails": f"{breaker.LONGEST_OPEN_MS // 1_000} s, or the interval",
    "selectors and Services watched of a namespace": str(discovery.DEFAULT_MAX_WATCHES),
    "pods or EndpointSlices kept of one of them": f"{discovery._OBJECTS_A_TARGET} × max-targets",
    "an answer": f"{lines.MAX_ANSWER_BYTES} bytes",
    "a line of a watch": f"{lines.MAX_LINE_BYTES} bytes",
    "writes of statuses and Events": f"{status.WRITES_A_SECOND} a second",
    "Events of one object": f"{events.PER_OBJECT} in {events.PER_OBJECT_MS // 60_000} min",
    "answers kept as bytes": f"{_ANSWERS['max_entries']}, {_ANSWERS['max_bytes'] >> 20} MiB",
    "permissions and refusals remembered": f"{_ALLOWED} and {_DENIED}",
    "holders of tokens, and bad tokens, remembered": f"{TOKENS} each",
    "readers of a metric remembered for explain": str(READERS),
    "log lines": (
        f"{logs.DEFAULT_LINES_A_SECOND} a second, {logs.BURST * logs.DEFAULT_LINES_A_SECOND} at once, "
        "a fifth of them for warnings"
    ),
    "a field of a log line; a traceback": f"{logs.MAX_FIELD_CHARS}, {logs.MAX_TRACEBACK_CHARS} characters",
}


class Row(NamedTuple):
    what: str
    default: str
    change: str
    metric: str
    message: str


def rows() -> Iterator[Row]:
    """Yield the rows of the document's tables."""
    for line in DOC.read_text().splitlines():
        if line.startswith("| ") and not line.startswith("| what |"):
            yield Row(*(cell.strip() for cell in line.strip("|").split(" | ")))


@pytest.fixture(scope="module")
def exposed() -> str:
    """What /metrics of an adapter shows that has just begun."""

    async def page() -> str:
        telemetry = Telemetry()
        async with Pipeline(lambda: 0, telemetry) as pipeline, asyncio.TaskGroup() as tasks:
            telemetry.watch(pipeline, Collector(tasks, pipeline.submit, lambda: 0, telemetry))
            return generate_latest(telemetry.registry).decode()

    return asyncio.run(page())


@pytest.fixture(scope="module")
def source() -> str:
    """All text of the program, with what braces stand for replaced by N and literals that follow each other joined."""
    text = "\n".join(path.read_text() for part in ("adapter", "scaler") for path in sorted((ROOT / part).rglob("*.py")))
    return re.sub(r"\{[^{}]*\}", "N", re.sub(r'"\n\s+f?"', "", text))


def test_the_table_and_the_code_have_the_same_rows() -> None:
    """No row without a constant, no constant without a row."""
    assert [row.what for row in rows()] == list(DEFAULTS)


@pytest.mark.parametrize("row", list(rows()), ids=lambda row: row.what)
def test_a_row_says_what_the_code_does(row: Row, exposed: str, source: str) -> None:
    """The default is the constant; flags, fields and metrics exist; the message is one that the program has."""
    assert row.default == DEFAULTS[row.what]
    flags = {flag.option for flag in SERVE_FLAGS}
    for changed in re.findall(r"`([^`]+)`", row.change):
        assert changed in flags or changed.startswith("spec."), changed
        if changed.startswith("spec."):
            assert f"`{changed.rsplit('.', 1)[1]}`" in (ROOT / "docs" / "configuration.md").read_text()
    for metric in re.findall(r"`(spillway_\w+)", row.metric):
        assert f"# HELP {metric} " in exposed, metric
    for message in re.findall(r"`([^`]+)`", row.message):
        if message != "maxAge":
            assert message in source, message


@pytest.mark.parametrize("flag", [flag for flag in SERVE_FLAGS if flag.name.startswith("max-")], ids=lambda f: f.name)
def test_every_bound_that_is_a_flag_is_documented(flag: object) -> None:
    """A flag that sets a bound stands in the table, or with what clients may take."""
    documents = DOC.read_text() + (ROOT / "docs" / "security.md").read_text()
    assert f"`{getattr(flag, 'option', '')}`" in documents
