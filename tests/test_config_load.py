"""Files become metrics, or every error at once."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.config.files import MAX_BYTES, File
from adapter.config.load import load, parse
from adapter.schema.model import RedisSource
from scaler.model import MetricRef
from scaler.rules import Aggregate, AggregateOp, CounterStart, Function, Guard, Signal

DATA = Path(__file__).parent / "testdata" / "config"


def document(name: str, spec: str = "", namespace: str = "shop") -> str:
    return (
        "apiVersion: spillway.dev/v1alpha1\nkind: ExternalMetric\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec:\n  source: {{static: {{series: [{{value: 1}}]}}}}\n{spec}"
    )


def expected(path: Path, kind: str) -> tuple[str, ...]:
    """Return the messages that the first lines of a file promise."""
    prefix = f"# {kind}: "
    return tuple(line.removeprefix(prefix) for line in path.read_text().splitlines() if line.startswith(prefix))


@pytest.mark.parametrize("name", sorted(path.name for path in DATA.glob("*.yaml")))
def test_good_and_bad_files(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file has exactly the errors and warnings its first lines name; a bad one gives no metric, a good one some."""
    monkeypatch.chdir(DATA)
    result = load([Path(name)])
    assert result.errors == expected(DATA / name, "error")
    assert result.warnings == expected(DATA / name, "warning")
    assert bool(result.errors) is name.endswith(".bad.yaml")
    assert bool(result.metrics) is name.endswith(".good.yaml")


def test_no_secret_in_any_message() -> None:
    """Nothing that may be a password is repeated."""
    result = load([DATA / "secrets.bad.yaml"])
    assert len(result.errors) > 10
    assert not [error for error in result.errors if "hunter2" in error]


def test_a_metric_as_the_pipeline_gets_it() -> None:
    """A file's object becomes a rule with the reference an HPA asks by, and its source."""
    orders, jobs = load([DATA / "queues.good.yaml"]).metrics
    assert orders.rule.ref == MetricRef("external.metrics.k8s.io", "shop", "orders_backlog")
    assert orders.rule.metric_name == "Orders_Backlog"
    assert orders.rule.interval_ms == orders.timeout_ms == 5_000
    assert orders.rule.signal == Signal(Function.VALUE)
    assert orders.rule.aggregate == Aggregate(("queue",), AggregateOp.SUM)
    assert orders.rule.guard == Guard(0.0, 100_000.0)
    assert isinstance(orders.source, RedisSource)
    assert orders.origin.endswith("queues.good.yaml:2")
    assert (jobs.rule.metric_name, jobs.rule.aggregate, jobs.timeout_ms) == ("jobs", None, 10_000)


def test_a_scraped_metric_as_the_pipeline_gets_it() -> None:
    """Each page is a target of the rule; coverage, bounds and window are those of the file."""
    requests, errors = load([DATA / "scrape.good.yaml"]).metrics
    assert requests.rule.targets == (
        "http://10.0.0.7:8080/metrics",
        "https://web.shop/metrics?name[]=http_requests_total",
    )
    assert requests.rule.signal == Signal(Function.RATE, 60_000, CounterStart.ZERO)
    assert requests.rule.guard == Guard(None, 100_000.0)
    assert (requests.rule.min_coverage, requests.rule.max_series, requests.timeout_ms) == (1.0, 100, 500)
    assert errors.rule.signal.window_ms == 86_400_000


def test_a_directory(tmp_path: Path) -> None:
    """A directory stands for its *.yaml and *.yml by name; dotfiles, other files and folders are left out."""
    (tmp_path / "b.yaml").write_text(document("b"))
    (tmp_path / "a.yml").write_text(document("a"))
    (tmp_path / "notes.txt").write_text("not: [yaml")
    (tmp_path / ".hidden.yaml").write_text("not: [yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "folder.yaml" / "c.yaml").write_text(document("c"))
    result = load([tmp_path])
    assert [metric.rule.metric_name for metric in result.metrics] == ["a", "b"]
    assert result.errors == result.warnings == ()


def test_a_mounted_config_map(tmp_path: Path) -> None:
    """The links of a mounted ConfigMap are followed, and its hidden folders do not count twice."""
    version = tmp_path / "..2025_01_01"
    version.mkdir()
    (version / "a.yaml").write_text(document("a"))
    (tmp_path / "..data").symlink_to(version.name)
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    result = load([tmp_path])
    assert result.errors == ()
    assert [metric.origin for metric in result.metrics] == [f"{tmp_path}/a.yaml:1"]


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    """A file that is also in a named directory gives its metrics once."""
    (tmp_path / "a.yaml").write_text(document("a"))
    assert len(load([tmp_path, tmp_path / "a.yaml"]).metrics) == 1


def test_paths_that_hold_nothing(tmp_path: Path) -> None:
    """A missing path, a link to nowhere, a pipe and a huge file are errors; an empty directory is a warning."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "a.yaml").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "huge.yaml").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    result = load([tmp_path / name for name in ("missing.yaml", "empty", "links", "pipe", "huge.yaml")])
    assert result.errors == (
        f"{tmp_path}/missing.yaml: cannot be read: No such file or directory",
        f"{tmp_path}/links/a.yaml: cannot be read: No such file or directory",
        f"{tmp_path}/pipe: is not a regular file",
        f"{tmp_path}/huge.yaml: must be at most 10485760 bytes (10 MiB)",
    )
    assert result.warnings == (f"{tmp_path}/empty: holds no *.yaml or *.yml file",)


def test_metrics_defined_twice(tmp_path: Path) -> None:
    """Two objects for one metric are an error that names both, whatever the case and the file."""
    (tmp_path / "a.yaml").write_text(document("backlog"))
    (tmp_path / "b.yaml").write_text(
        document("other", "  metricName: Backlog\n") + "---\n" + document("backlog", namespace="else")
    )
    place = f"{tmp_path}/b.yaml:6: shop/other: spec.metricName"
    first = f"shop/backlog at {tmp_path}/a.yaml:1"
    assert load([tmp_path]).errors == (f'{place}: metric "Backlog" is already defined by {first}',)


def test_one_error_refuses_the_whole_set(tmp_path: Path) -> None:
    """A bad file leaves no metric of a good one."""
    (tmp_path / "a.yaml").write_text(document("good"))
    (tmp_path / "b.yaml").write_text(document("bad", "  maxSeries: none\n"))
    result = load([tmp_path])
    assert result.metrics == ()
    assert result.errors == (f'{tmp_path}/b.yaml:6: shop/bad: spec.maxSeries: must be a whole number, got "none"',)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: \xff", "1: not valid UTF-8"),
        (b"a: 1\nb: \x07", "2: not valid YAML: control characters are not allowed"),
        (b"[" * 1_000_000, "1: nested deeper than 64 levels"),
        (b"a: &a [*a]", "1: alias *a has no anchor that ends before it"),
        (b"a: &a 1\n---\nb: *a", "3: alias *a has no anchor that ends before it"),
        (b"? [a]\n: 1", "1: a key must be text, not a list, a mapping or an alias"),
        (b"\t", "1: not valid YAML: found character that cannot start any token"),
    ],
)
def test_hostile_yaml(tmp_path: Path, content: bytes, message: str) -> None:
    """Bytes that are no YAML, and YAML built to exhaust its reader, are one error."""
    (tmp_path / "a.yaml").write_bytes(content)
    errors = load([tmp_path / "a.yaml"]).errors
    assert errors[-1] == f"{tmp_path}/a.yaml:{message}"


def test_yaml_details_that_are_fine(tmp_path: Path) -> None:
    """A byte order mark, Windows line ends, anchors, flow style and explicit text are all accepted."""
    text = document("a").replace("{value: 1}", "{value: &v 1, labels: {a: !!str 5}}, {value: *v}").replace("\n", "\r\n")
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load([tmp_path]).errors == ()


def test_the_documented_examples_are_valid(tmp_path: Path) -> None:
    """Every example of the reference loads without an error or a warning."""
    text = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text()
    examples = re.findall("^```yaml\n(apiVersion.*?)^```", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "a.yaml").write_text("---\n".join(examples))
    result = load([tmp_path])
    assert (result.errors, result.warnings) == ((), ())
    assert result.metrics


NAMES = """interval timeout source redis scrape static url auth tls queues list stream group count labels targets urls
metric match minCoverage series value signal function window aggregate by with guard min max whenUnknown maxAge"""
FIELDS = st.sampled_from(NAMES.split())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["1s", "rate", "redis://a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS | st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=150)
@given(st.dictionaries(FIELDS, VALUES, max_size=6))
def test_whatever_a_spec_holds_is_judged_in_our_words(spec: dict[str, object]) -> None:
    """No value makes loading fail, and every finding is one line with its place, not in the words of a library."""
    content = json.dumps({"metadata": {"name": "a"}, "spec": spec}).replace("NaN", ".nan").replace("Infinity", ".inf")
    errors = parse([File("a.yaml", content.encode())]).errors
    assert errors
    for error in errors:
        assert re.fullmatch(r"a\.yaml:1: .+", error)
        assert "Input should" not in error
        assert "is not valid (" not in error


@given(st.binary(max_size=200) | st.text(alphabet="ab:-[]{},&*!|>?%@`'\"# \n\t<", max_size=60).map(str.encode))
def test_whatever_a_file_holds_is_read_or_refused(content: bytes) -> None:
    """No bytes make loading fail with anything but errors, each of which names the file."""
    loaded = parse([File("a.yaml", content)])
    assert all(error.startswith("a.yaml") for error in loaded.errors)
    assert not (loaded.errors and loaded.metrics)


def test_messages_hold_no_line_breaks(tmp_path: Path) -> None:
    """What a file holds cannot make a message look like two."""
    (tmp_path / "a.yaml").write_text('kind: "a\\nb"\nmetadata: {name: "c\\nd"}\n"e\\nf": 1\n')
    errors = load([tmp_path]).errors
    assert len(errors) == 5
    assert not [error for error in errors if "\n" in error]
