"""The whole-answer rule."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scaler.answer import UnknownAnswer, answer
from scaler.model import ExternalMetricValue, MetricResult, Reason, Unknown, UnknownItem, labels_of
from scaler.selector import EVERYTHING, parse

NOW_MS = 1_767_323_045_000  # 2026-01-02T03:04:05Z
ERROR = Unknown(Reason.SOURCE_ERROR, "redis.shop:6379/0: timeout", NOW_MS)


def known(milli: int, valid_until_ms: int = NOW_MS + 1, **labels: str) -> ExternalMetricValue:
    return ExternalMetricValue(labels_of(labels), NOW_MS, None, milli, valid_until_ms)


def lost(unknown: Unknown = ERROR, **labels: str) -> UnknownItem:
    return UnknownItem(labels_of(labels), unknown)


def of(*items: ExternalMetricValue | UnknownItem, unknown: Unknown | None = None) -> MetricResult:
    return MetricResult("orders_backlog", items, unknown, NOW_MS, None)


def message(result: MetricResult, selector: str = "", now_ms: int = NOW_MS) -> str:
    found = answer(result, parse(selector), now_ms)
    assert isinstance(found, UnknownAnswer)
    return found.message("shop")


def test_known_items_are_the_answer() -> None:
    """Items that match and are current are the answer, in their order."""
    a, b, c = known(1, queue="a"), known(2, queue="b"), known(3, queue="c")
    assert answer(of(a, b, c), EVERYTHING, NOW_MS) == (a, b, c)
    assert answer(of(a, b, c), parse("queue in (c,a)"), NOW_MS) == (a, c)


def test_no_item_is_an_answer() -> None:
    """A selector that matches nothing, or a metric without items, has the empty answer."""
    assert answer(of(known(1, queue="a")), parse("queue=z"), NOW_MS) == ()
    assert answer(of(), EVERYTHING, NOW_MS) == ()


def test_one_unknown_item_is_an_unknown_answer() -> None:
    """One item that cannot be told hides the others that match, and only from who asks for it."""
    result = of(known(1, queue="a"), lost(queue="b"))
    assert message(result) == (
        "metric shop/orders_backlog is unknown: queue=b: SourceError: redis.shop:6379/0: timeout since 03:04:05Z"
    )
    assert answer(result, parse("queue=a"), NOW_MS) == (known(1, queue="a"),)


def test_unknown_set_is_unknown_to_everyone() -> None:
    """While the set of items is unknown no selector gets an answer, not even one that would match nothing."""
    result = of(unknown=Unknown(Reason.NO_DATA))
    assert message(result, "queue=never") == "metric shop/orders_backlog is unknown: NoData"


def test_stale_from_valid_until_on() -> None:
    """An item is current before its valid_until_ms, and stale at it, whoever was to compute it again."""
    result = of(known(1, valid_until_ms=NOW_MS, queue="a"))
    assert answer(result, EVERYTHING, NOW_MS - 1) == result.items
    assert message(result) == "metric shop/orders_backlog is unknown: queue=a: Stale since 03:04:05Z"
    assert message(result, now_ms=NOW_MS + 3_600_000) == message(result)


def test_three_are_named() -> None:
    """A message names three items and counts the rest."""
    result = of(*(lost(queue=name, state="x") for name in "abcde"))
    text = "SourceError: redis.shop:6379/0: timeout since 03:04:05Z"
    assert message(result) == (
        f"metric shop/orders_backlog is unknown: queue=a,state=x: {text}; queue=b,state=x: {text}; "
        f"queue=c,state=x: {text} and 2 more"
    )


def test_item_without_labels_has_no_name() -> None:
    """The one item of an aggregate needs no name, and a long one is cut."""
    assert message(of(lost(Unknown(Reason.NOT_FINITE)))) == "metric shop/orders_backlog is unknown: NotFinite"
    assert f"queue={'x' * 194}…: NotFinite" in message(of(lost(Unknown(Reason.NOT_FINITE), queue="x" * 1000)))


ITEMS = st.lists(
    st.builds(
        lambda queue, milli, until: known(milli, until, queue=queue) if milli else lost(queue=queue),
        st.sampled_from("abc"),
        st.integers(0, 3),
        st.integers(NOW_MS - 2, NOW_MS + 2),
    ),
    max_size=6,
)


@given(ITEMS, st.sampled_from(["", "queue=a", "queue!=b", "queue in (a,c)", "!queue"]))
def test_all_or_unknown(items: list[ExternalMetricValue | UnknownItem], text: str) -> None:
    """An answer holds every item that matches; if one of them is unknown or stale there is none."""
    selector = parse(text)
    matching = [item for item in items if selector.matches(item.labels)]
    whole = all(isinstance(item, ExternalMetricValue) and item.valid_until_ms > NOW_MS for item in matching)
    found = answer(of(*items), selector, NOW_MS)
    assert found == tuple(matching) if whole else isinstance(found, UnknownAnswer)
