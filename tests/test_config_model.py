"""The schema: what it takes, what it refuses, and in which words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from adapter.schema.durations import DAY_MS, Duration, parse_duration
from adapter.schema.model import (
    AggregateSpec,
    ExternalMetric,
    ExternalMetricSpec,
    GuardSpec,
    RedisQueue,
    RedisSource,
    ScrapeSource,
    SignalSpec,
    StaticSource,
)
from adapter.schema.strict import Strict
from adapter.schema.text import selectable_name, selectable_value
from adapter.schema.urls import http_url_problem, redis_url_problem
from adapter.schema.words import show
from adapter.sources.redis_address import parse_url
from scaler.model import MetricRef
from scaler.rules import AggregateOp, Function, duration_text

STATIC: dict[str, Any] = {"static": {"series": [{"value": 1}]}}


def messages(model: type[BaseModel], data: object) -> list[tuple[tuple[str | int, ...], str]]:
    """Return (place, message) of every error; none if the data is valid."""
    try:
        model.model_validate(data, by_alias=True, by_name=False)
    except ValidationError as exc:
        return [(error["loc"], error["msg"]) for error in exc.errors()]
    return []


@given(st.integers(min_value=0, max_value=10**12))
def test_duration_text_is_read_back(duration_ms: int) -> None:
    """Every duration is read back from how it is written."""
    assert parse_duration(duration_text(duration_ms)) == duration_ms


@given(st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from(["ms", "s", "m", "h"])), min_size=1, max_size=5))
def test_duration_parts_add_up(parts: list[tuple[int, str]]) -> None:
    """The parts of a duration add up, in any order and any number of times."""
    unit_ms = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
    text = "".join(f"{count}{unit}" for count, unit in parts)
    assert parse_duration(text) == sum(count * unit_ms[unit] for count, unit in parts)


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "-5s", "1.5s", "5S", "5s\n", "1d", "٥s", "5s" * 20])
def test_what_is_no_duration(text: str) -> None:
    """A duration has whole numbers, each with a unit of ms, s, m or h, and nothing else."""
    assert parse_duration(text) is None


def test_duration_bounds_are_inclusive() -> None:
    """The least and the greatest allowed duration are allowed."""
    duration = Duration(1_000, DAY_MS)
    assert (duration.read("1s"), duration.read("24h")) == (1_000, DAY_MS)


def test_defaults_follow_the_interval() -> None:
    """The timeout is the smaller of interval and 10s, maxAge the larger of 60s and three intervals."""
    spec = ExternalMetricSpec.model_validate({"source": STATIC, "interval": "1m"})
    ref = MetricRef("external.metrics.k8s.io", "shop", "a")
    assert spec.timeout_ms == 10_000
    assert spec.rule(ref, "a", "", ()).max_age_ms == 180_000
    assert ExternalMetricSpec.model_validate({"source": STATIC, "interval": "2s"}).timeout_ms == 2_000


def test_whole_numbers_are_numbers_and_text_is_not() -> None:
    """A bound may be written 100000; nothing is made of "100000", true or NaN."""
    assert GuardSpec.model_validate({"min": 0, "max": 100000}).max == 100_000.0
    assert messages(GuardSpec, {"max": "100000"}) == [
        (("max",), 'must be a number, got "100000": write it without quotes')
    ]
    assert messages(GuardSpec, {"max": True}) == [(("max",), "must be a number, got true")]
    assert messages(GuardSpec, {"min": float("nan"), "max": -1}) == [
        (("min",), "must be finite, got nan"),
        (("max",), "must be at least 0, got -1"),
    ]


def test_models_are_built_in_python_too() -> None:
    """Python code uses field names, tuples and enums."""
    assert RedisQueue(sorted_set="a") == RedisQueue.model_validate({"sortedSet": "a"})
    assert RedisSource(url="redis://r", queues=(RedisQueue(list="a"),)).queues[0].list == "a"
    keywords: dict[str, Any] = {"with": AggregateOp.MAX}  # "with" is no name in Python
    assert AggregateSpec(by=("a",), **keywords) == AggregateSpec.model_validate({"by": ["a"], "with": "max"})
    assert SignalSpec(function=Function.RATE, window="1m").window == 60_000  # type: ignore[arg-type]  # as users write it


def test_yaml_knows_no_python_names() -> None:
    """The field names of Python are unknown fields in a file."""
    assert messages(RedisQueue, {"sorted_set": "a"}) == [(("sorted_set",), 'unknown field; did you mean "sortedSet"?')]


@pytest.mark.parametrize(
    "name", ["orders_backlog", "Mixed.Case-1", "a:b", "{x}", "?#&=", "a b", "ü", "a" * 253, "statuses", "..."]
)
def test_metric_names(name: str) -> None:
    """A metric may have any name that can be a segment of a path."""
    assert messages(ExternalMetricSpec, {"source": STATIC, "metricName": name}) == []


@pytest.mark.parametrize("name", ["", "a/b", "50%", ".", "..", "status", "Finalize", "a\n", "a\x7f", "a" * 254])
def test_metric_names_that_cannot_be_asked_for(name: str) -> None:
    """A name the Kubernetes API cannot carry, or takes for something else, is refused."""
    assert [place for place, _ in messages(ExternalMetricSpec, {"source": STATIC, "metricName": name})] == [
        ("metricName",)
    ]


@pytest.mark.parametrize("name", ["queue", "app.kubernetes.io/name", "a-b", "A", "x" * 63])
def test_label_names_for_selectors(name: str) -> None:
    """A Kubernetes label key can be selected by, and be given to a series."""
    assert selectable_name(name)
    assert messages(RedisQueue, {"list": "a", "labels": {name: "b"}}) == []


@pytest.mark.parametrize("name", ["_internal", "le_", "x" * 64])
def test_label_names_beyond_selectors(name: str) -> None:
    """A Prometheus label name is accepted even if no selector can name it."""
    assert not selectable_name(name)
    assert messages(AggregateSpec, {"by": [name]}) == []


@pytest.mark.parametrize("name", ["", "-a", "9-", "a/b/c", "/a", "a/", "a b", "A.b/c", "é"])
def test_what_is_no_label_name(name: str) -> None:
    """What neither Prometheus nor Kubernetes calls a label name is refused."""
    assert len(messages(AggregateSpec, {"by": [name]})) == 1


def test_label_values_for_selectors() -> None:
    """A selector holds at most 63 letters, digits, "-", "_" and ".", and begins and ends with a letter or digit."""
    assert [selectable_value(value) for value in ("", "a", "a-b_c.d", "x" * 63)] == [True] * 4
    assert [selectable_value(value) for value in ("bull:a", "{a}", "-a", "a.", "x" * 64, "ü")] == [False] * 6


@pytest.mark.parametrize(
    "url", ["redis://r", "redis://r/", "redis://r/0", "rediss://r.shop:6380/15", "redis://[::1]:6379/2"]
)
def test_redis_urls(url: str) -> None:
    """A Redis URL is a scheme, a host, and maybe a port and a database; the redis source reads it."""
    assert redis_url_problem(url) is None
    assert parse_url(url).tls is url.startswith("rediss")


@pytest.mark.parametrize(
    "url",
    [
        "redis.shop:6379",
        "http://r",
        "redis://",
        "redis:///0",
        "redis://u:hunter2@r",
        "redis://:hunter2@r/0",
        "redis://u:hun/ter2@r/0",
        "redis://r:hunter2/0",
        "redis://r:0/0",
        "redis://r:65536/0",
        "redis://r/hunter2",
        "redis://r/-1",
        "redis://r/0/1",
        "redis://r/0?password=hunter2",
        "redis://r/0?",
        "redis://r/0#hunter2",
        "redis://r /0",
        "redis://r/0\n",
        "redis://[::1/0",
        "redis://é/0",
    ],
)
def test_redis_urls_refused(url: str) -> None:
    """Anything else in a Redis URL is refused, and no message repeats what may be a password."""
    errors = messages(RedisSource, {"url": url, "queues": [{"list": "a"}]})
    assert [place for place, _ in errors] == [("url",)]
    assert "hun" not in errors[0][1]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://10.0.0.7:8080/metrics", None),
        ("https://[::1]/metrics?name[]=a", None),
        ("HTTP://web", None),
        ("/metrics", "must be an absolute URL: scheme://host[:port]"),
        ("http://user@web/", "must not hold a user or a password"),
        ("http://web/#a", "must not have a fragment (#…): it is never sent"),
        ("ftp://web/", "must start with http:// or https://"),
        ("http://web:99999/", "must be a URL with a valid host and a port from 1 to 65535"),
    ],
)
def test_page_urls(url: str, problem: str | None) -> None:
    """A page is at an absolute http:// or https:// URL without user info and fragment."""
    assert http_url_problem(url) == problem


def test_matchers_are_parsed() -> None:
    """Matchers that cannot be used are refused while loading."""
    source = {"targets": {"urls": ["http://a"]}, "metric": "up"}
    assert messages(ScrapeSource, {**source, "match": 'code!~"5.."'}) == []
    ((place, message),) = messages(ScrapeSource, {**source, "match": "code=~("})
    assert place == ("match",)
    assert message.startswith("must be Prometheus label matchers: ")


def test_an_error_keeps_no_other_error_away() -> None:
    """Relations between good fields are checked although other fields are bad."""
    data = {"source": {"redis": {"url": 1, "queues": []}}, "interval": "1m", "timeout": "2m", "maxSeries": -1}
    assert [place for place, _ in messages(ExternalMetricSpec, data)] == [
        ("source", "redis", "url"),
        ("source", "redis", "queues"),
        ("maxSeries",),
        ("timeout",),
    ]


def test_relations_with_a_bad_field_are_not_judged() -> None:
    """Nothing is said about how a field relates to one that is wrong by itself."""
    data = {"source": STATIC, "interval": "1", "timeout": "2m", "signal": {"function": "rate", "window": "5s"}}
    assert [place for place, _ in messages(ExternalMetricSpec, data)] == [("interval",)]


def test_the_number_of_entries_is_the_number_written() -> None:
    """A list of bad entries is not called empty."""
    assert [place for place, _ in messages(StaticSource, {"series": [{"value": "x"}]})] == [("series", 0, "value")]
    assert messages(StaticSource, {"series": []}) == [(("series",), "must have at least 1, got 0")]


def test_long_and_odd_values_are_shown_short_and_plain() -> None:
    """A value in a message is at most 80 characters and cannot steer a terminal."""
    shown = show("x" * 1_000)
    assert shown.startswith('"xxxx')
    assert shown.endswith('…" (1000 characters)')
    assert len(shown.removesuffix(" (1000 characters)")) < 80
    assert show("\x9b31m") == '"\\u009b31m"'
    assert show({"password": "hunter2"}) == "a mapping"


def models(model: type[BaseModel] = Strict) -> Iterator[type[BaseModel]]:
    """Yield the models of an ExternalMetric; other commands have strict models of their own."""
    for child in model.__subclasses__():
        if child.__module__.startswith("adapter.schema."):
            yield child
        yield from models(child)


@pytest.mark.parametrize("model", list(models()), ids=lambda model: model.__name__)
def test_every_field_is_described(model: type[BaseModel]) -> None:
    """Each field says what it is, and each that may be left out what happens then."""
    for name, field in model.model_fields.items():
        assert field.description, name
        if not field.is_required():
            assert "efault" in field.description or "exactly one" in (model.__doc__ or "").lower(), name


def test_the_documentation_names_every_field() -> None:
    """The reference has a row for each field a user may write."""
    text = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text()
    for model in models():
        for name, field in model.model_fields.items():
            assert f"`{field.alias or name}`" in text, f"{model.__name__}.{name}"


def test_the_json_schema_speaks_as_users_do() -> None:
    """The JSON schema has the YAML's names, durations as text, and closed objects."""
    schema = ExternalMetric.model_json_schema(by_alias=True)
    spec = schema["$defs"]["ExternalMetricSpec"]["properties"]
    assert spec["interval"]["default"] == "15s"
    assert spec["interval"]["pattern"] == "^([0-9]+(ms|s|m|h))+$"
    assert "whenUnknown" in spec
    assert all(part["additionalProperties"] is False for part in schema["$defs"].values() if "properties" in part)
    assert "x-spillway-file-only" in json.dumps(schema["$defs"]["RedisAuth"])
