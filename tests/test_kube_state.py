"""What each event of a watch makes of a copy, and what is understood as an event."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.kube.backoff import Backoff
from adapter.kube.client import KubeError
from adapter.kube.state import (
    Bookmark,
    Event,
    Expired,
    Key,
    Listed,
    Object,
    Removed,
    State,
    Stored,
    apply,
    change,
    parse_line,
    parse_page,
    reduce,
    without_managed_fields,
)

WIRE = Path(__file__).parent / "testdata" / "wire"

keys = st.sampled_from([("", "a"), ("", "b"), ("n", "a"), ("n", "c")])
versions = st.integers(1, 99).map(str)
objects = st.sampled_from([{"spec": n} for n in range(3)])
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(Listed, st.dictionaries(keys, objects), versions),
    st.builds(Stored, keys, objects, versions),
    st.builds(Removed, keys, versions),
    st.builds(Bookmark, versions),
    st.just(Expired()),
)


@given(st.lists(events), st.lists(events))
def test_events_together_are_events_one_by_one(before: list[Event], after: list[Event]) -> None:
    """A batch makes the same state as its events do alone, and the change says exactly what differs."""
    start = apply(State(), before)
    one_by_one = start
    for event in after:
        one_by_one = reduce(one_by_one, event)
    together = apply(start, after)
    assert together == one_by_one
    made = change(start, together, after)
    old, new = start.objects, together.objects
    assert made.added == new.keys() - old.keys()
    assert made.removed == old.keys() - new.keys()
    assert made.modified == {key for key in old.keys() & new.keys() if old[key] != new[key]}


@given(st.lists(events), events)
def test_only_a_list_and_a_deletion_take_objects_away(before: list[Event], event: Event) -> None:
    """Lost history, bookmarks and changes never do; and what is lost is only the version."""
    start = apply(State(), before)
    after = reduce(start, event)
    if not isinstance(event, Listed | Removed):
        assert after.objects.keys() >= start.objects.keys()
    if isinstance(event, Expired):
        assert after == State(start.objects, "", start.synced)
    assert after.synced >= start.synced


@given(st.dictionaries(keys, objects), st.dictionaries(keys, objects))
def test_a_list_keeps_what_has_not_changed_by_reference(old: dict[Key, Object], new: dict[Key, Object]) -> None:
    """Whoever compares with `is` sees only what changed."""
    before = reduce(State(), Listed(old, "1"))
    copied = json.loads(json.dumps(list(new.values())))
    after = reduce(before, Listed(dict(zip(new, copied, strict=True)), "2"))
    assert after.objects == new
    assert all(after.objects[key] is before.objects[key] for key in old if old[key] == new.get(key))


@given(st.integers(-5, 10_000), st.floats(0, 1, exclude_max=True))
def test_waits_grow_to_a_cap(failures: int, draw: float) -> None:
    """Never none, never more than the cap, never less than half of it in the end."""
    backoff = Backoff(base_s=0.5, cap_s=30.0, jitter=lambda: draw)
    assert 0.25 <= backoff.wait_s(failures) <= 30.0
    assert backoff.wait_s(failures) <= backoff.wait_s(failures + 1)
    assert backoff.wait_s(1000) >= 15.0


def test_captured_lists_and_watches_are_understood() -> None:
    """Every list and every line of a watch that a real server sent becomes an event."""
    seen = set()
    for line in (WIRE / "kube-api.jsonl").read_text().splitlines():
        exchange = json.loads(line)
        body = json.loads(exchange["body"]) if exchange.get("body", "").startswith("{") else {}
        if str(body.get("kind")).endswith("List"):
            listed, token = parse_page(body, without_managed_fields)
            assert len(listed.objects) == len(body["items"])
            assert bool(token) == ("remainingItemCount" in body["metadata"])
            for (namespace, name), found in listed.objects.items():
                assert (found["metadata"]["namespace"], found["metadata"]["name"]) == (namespace, name)
                assert "managedFields" not in found["metadata"]
                assert f"{found['kind']}List" == body["kind"]
        seen |= {type(parse_line(event.encode(), lambda found: found)) for event in exchange.get("watchLines", ())}
    seen.add(type(parse_line((WIRE / "bookmark.txt").read_bytes(), without_managed_fields)))
    assert seen == {Stored, Removed, Bookmark, Expired}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"type":"ADDED"}',
        '{"type":"ADDED","object":{}}',
        '{"type":"ADDED","object":{"metadata":{"name":"a"}}}',
        '{"type":"NEW","object":{"metadata":{"name":"a","resourceVersion":"1"}}}',
        '{"type":"ERROR","object":{"code":500,"reason":"InternalError","message":"boom"}}',
        '{"type":"ERROR","object":[]}',
        '{"type":"ADDED","object":{"metadata":{"name":["a"],"resourceVersion":"1"}}}',
        '{"type":"ADDED","object":{"metadata":{"name":"a","namespace":{"b":1},"resourceVersion":"1"}}}',
        '{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":{"a":1}}}}',
        '{"type":"ADDED","object":' + "[" * 100_000,
    ],
)
def test_a_line_that_makes_no_sense_is_an_error(line: str) -> None:
    """It is never taken for a change."""
    with pytest.raises(KubeError):
        parse_line(line.encode(), without_managed_fields)


@pytest.mark.parametrize(
    "answer", [{}, {"metadata": {}, "items": []}, {"kind": "Status", "metadata": {}}, {"items": 1}]
)
def test_a_list_that_makes_no_sense_is_an_error(answer: dict[str, Any]) -> None:
    """It is never taken for an empty one."""
    with pytest.raises(KubeError):
        parse_page(answer, without_managed_fields)


def test_an_object_of_another_shape_is_an_error() -> None:
    """What cannot be kept as it is expected is an error of the server's, in a watch as in a list."""

    def keep(found: Object) -> Object:
        return {"spec": dict(found["spec"])}

    metadata = {"name": "a", "resourceVersion": "1"}
    for spec in (None, 1, ["x"]):
        odd = {"metadata": metadata, "spec": spec}
        with pytest.raises(KubeError, match="makes no sense"):
            parse_line(json.dumps({"type": "MODIFIED", "object": odd}).encode(), keep)
        with pytest.raises(KubeError, match="makes no sense"):
            parse_page({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": [odd]}, keep)
    gone = json.dumps({"type": "DELETED", "object": {"metadata": metadata}}).encode()
    assert parse_line(gone, keep) == Removed(("", "a"), "1")
