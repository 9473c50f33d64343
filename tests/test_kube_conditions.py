"""What a status says: constant while nothing changes, and never more than is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from adapter.kube.conditions import Wanted, wanted
from adapter.schema.finding import Acceptance, Finding
from scaler.model import (
    ExternalMetricValue,
    MetricRef,
    MetricResult,
    Reason,
    Then,
    Unknown,
    UnknownItem,
    WhenUnknown,
    labels_of,
)

REF = MetricRef("external.metrics.k8s.io", "shop", "orders")
T0_MS = 1_767_323_045_000  # 2026-01-02T03:04:05Z
FINE = Finding(1, Acceptance.ACCEPTED, "in use", REF, 1, 5_000)
REFUSED = Finding(1, Acceptance.INVALID_SPEC, "nothing is served: spec: is required")
TIMEOUT = Unknown(Reason.SOURCE_ERROR, "redis: timeout", T0_MS)


def item(milli: int, queue: str = "a", at_ms: int = T0_MS) -> ExternalMetricValue:
    return ExternalMetricValue(labels_of({"queue": queue}), at_ms, None, milli, at_ms + 60_000)


def known(*items: ExternalMetricValue | UnknownItem) -> MetricResult:
    return MetricResult("orders", items, None, T0_MS, None)


def unknown(why: Unknown, *, all_read: bool = True) -> MetricResult:
    return MetricResult("orders", (), why, T0_MS, None, all_read)


def status_of(what: Wanted | None, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the status that a patch makes."""
    assert what is not None
    return {**(before or {}), **what.patch}


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in status["conditions"]}


def test_a_known_metric() -> None:
    """The value is the sum that an HPA without a selector gets, with the time of its newest sample."""
    status = status_of(wanted({}, FINE, known(item(1_500), item(3_000, "b", T0_MS + 1_000)), T0_MS + 2_000))
    assert (status["lastValue"], status["lastValueTime"], status["items"]) == ("4500m", "2026-01-02T03:04:06Z", 2)
    assert status["observedGeneration"] == 1
    assert conditions(status) == {
        "Accepted": ("True", "Accepted", "in use"),
        "Available": ("True", "Current", "every item is known and current"),
        "Degraded": ("False", "AsExpected", "nothing is known to be wrong"),
    }
    assert {c["lastTransitionTime"] for c in status["conditions"]} == {"2026-01-02T03:04:07Z"}


def test_an_unknown_metric() -> None:
    """Its last value stays with its true time, and the condition says why there is none now."""
    before = status_of(wanted({}, FINE, known(item(1_500)), T0_MS))
    what = wanted(before, FINE, unknown(TIMEOUT), T0_MS + 30_000)
    assert what is not None
    assert what.urgent
    assert [condition.type for condition in what.transitions] == ["Available"]
    assert set(what.patch) == {"conditions"}
    after = status_of(what, before)
    assert after["lastValue"] == "1500m"
    assert conditions(after)["Available"] == ("False", "SourceError", "SourceError: redis: timeout since 03:04:05Z")
    times = {c["type"]: c["lastTransitionTime"] for c in after["conditions"]}
    assert times["Available"] == "2026-01-02T03:04:35Z"
    assert times["Accepted"] == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize(
    ("finding", "result"),
    [
        (FINE, known(item(1_500))),
        (FINE, known(item(1_500), UnknownItem(labels_of({"queue": "b"}), TIMEOUT))),
        (FINE, unknown(TIMEOUT)),
        (FINE, None),
        (REFUSED, None),
    ],
    ids=["known", "partly", "unknown", "unread", "refused"],
)
def test_nothing_is_written_twice(finding: Finding, result: MetricResult | None) -> None:
    """While a state lasts its status is what it is, messages included."""
    status = status_of(wanted({}, finding, result, T0_MS))
    assert wanted(status, finding, result, T0_MS + 10_000) is None


def test_a_value_is_not_urgent() -> None:
    """A newer value, time or message can wait; a first value cannot."""
    status = status_of(wanted({}, FINE, known(item(1_500)), T0_MS))
    newer = wanted(status, FINE, known(item(2_000, at_ms=T0_MS + 5_000)), T0_MS + 5_000)
    assert newer is not None
    assert not newer.urgent
    assert newer.patch == {"lastValue": "2", "lastValueTime": "2026-01-02T03:04:10Z"}
    failing = status_of(wanted(status, FINE, unknown(TIMEOUT), T0_MS), status)
    refused = wanted(failing, FINE, unknown(Unknown(Reason.SOURCE_ERROR, "redis: connection refused")), T0_MS)
    assert refused is not None
    assert (refused.urgent, refused.transitions) == (False, ())
    unread = status_of(wanted({}, FINE, None, T0_MS))
    first = wanted(unread, FINE, known(item(1_500)), T0_MS)
    assert first is not None
    assert first.urgent


def test_part_of_a_metric_is_no_value() -> None:
    """With one item unknown nothing is served without a selector: no sum is written, and Degraded says what works."""
    result = known(item(1_500), UnknownItem(labels_of({"queue": "b"}), Unknown(Reason.WRONG_TYPE, "b is a hash")))
    status = status_of(wanted({}, FINE, result, T0_MS))
    assert "lastValue" not in status
    assert conditions(status)["Available"] == ("False", "WrongType", "queue=b: WrongType: b is a hash")
    assert conditions(status)["Degraded"][:2] == ("True", "WrongType")


def test_a_metric_that_is_no_longer_current() -> None:
    """From an item's end on it is Stale, although no new result says so."""
    status = conditions(status_of(wanted({}, FINE, known(item(1_500)), T0_MS + 60_000)))
    assert status["Available"] == ("False", "Stale", "queue=a: Stale since 03:05:05Z")
    assert status["Degraded"][0] == "False"


HOLD = WhenUnknown(Then.HOLD, hold_for_ms=600_000)
FLOOR = WhenUnknown(Then.FLOOR, floor_milli=2_500, floor_after_ms=60_000)


def test_a_metric_that_is_held() -> None:
    """It is available and degraded, with why and until when, for as long as it is held; its value has its true time."""
    result = replace(unknown(TIMEOUT), when_unknown=HOLD, last=(item(1_500),))
    status = status_of(wanted({}, FINE, result, T0_MS + 60_000))
    message = (
        "the last good value is held until 03:15:05Z (whenUnknown.then: hold); "
        "queue=a: SourceError: redis: timeout since 03:04:05Z"
    )
    assert conditions(status)["Available"] == conditions(status)["Degraded"] == ("True", "Held", message)
    assert (status["lastValue"], status["lastValueTime"]) == ("1500m", "2026-01-02T03:04:05Z")
    assert wanted(status, FINE, result, T0_MS + 659_999) is None
    over = conditions(status_of(wanted(status, FINE, result, T0_MS + 660_000), status))
    assert (over["Available"][:2], over["Degraded"][0]) == (("False", "SourceError"), "False")


def test_a_metric_at_a_floor() -> None:
    """It is available and degraded, whether its value was ever known or not."""
    message = "at least 2.5 is served until something is known (whenUnknown.then: floor); "
    result = replace(unknown(TIMEOUT), when_unknown=FLOOR)
    assert conditions(status_of(wanted({}, FINE, result, T0_MS + 60_000)))["Available"][:2] == ("False", "SourceError")
    alone = conditions(status_of(wanted({}, FINE, result, T0_MS + 60_001)))
    assert alone["Degraded"] == ("True", "Floored", message + "SourceError: redis: timeout since 03:04:05Z")
    stale = conditions(status_of(wanted({}, FINE, replace(known(item(1)), when_unknown=FLOOR), T0_MS + 60_000)))
    assert stale["Available"] == ("True", "Floored", message + "queue=a: Stale since 03:05:05Z")


def test_a_delayed_metric() -> None:
    """A value that is served although reads have failed for three intervals is told of, while it is still current."""
    assert conditions(status_of(wanted({}, FINE, known(item(1)), T0_MS + 15_000)))["Degraded"][0] == "False"
    status = conditions(status_of(wanted({}, FINE, known(item(1)), T0_MS + 15_001)))
    assert status["Available"][0] == "True"
    assert status["Degraded"][:2] == ("True", "Delayed")


def test_an_object_that_is_not_used() -> None:
    """Nothing is available, for the reason that the object was not accepted."""
    status = conditions(status_of(wanted({}, REFUSED, None, T0_MS)))
    assert status["Accepted"] == ("False", "InvalidSpec", "nothing is served: spec: is required")
    assert status["Available"] == ("False", "InvalidSpec", "nothing is served: see Accepted")


def test_an_older_spec_in_use() -> None:
    """The metric is available and degraded, and the generation that was looked at is the newest."""
    finding = Finding(3, Acceptance.INVALID_SPEC, "an older spec stays in use: spec: is required", REF, 2, 5_000)
    status = status_of(wanted({}, finding, known(item(1)), T0_MS))
    assert status["observedGeneration"] == 3
    assert conditions(status)["Accepted"][0] == "False"
    assert conditions(status)["Available"][0] == "True"
    assert conditions(status)["Degraded"] == (
        "True",
        "OlderSpec",
        "generation 2 is served, a newer one is not valid: see Accepted",
    )


@pytest.mark.parametrize(
    "result",
    [
        None,
        unknown(Unknown(Reason.NO_DATA, "not read yet", T0_MS), all_read=False),
        unknown(Unknown(Reason.TOO_FEW_SAMPLES, "1 sample", T0_MS)),
    ],
    ids=["no result", "not read", "one sample"],
)
def test_an_adapter_that_has_just_started(result: MetricResult | None) -> None:
    """What was true before is left alone while there can be no value yet; a new object waits."""
    available = status_of(wanted({}, FINE, known(item(1)), T0_MS))
    assert wanted(available, FINE, result, T0_MS + 5_000) is None
    fresh = conditions(status_of(wanted({}, FINE, result, T0_MS + 5_000)))
    assert fresh["Available"] == ("Unknown", "Pending", "waiting for the first samples")
    refused = status_of(wanted({}, REFUSED, None, T0_MS))
    mended = conditions(status_of(wanted(refused, FINE, result, T0_MS + 5_000), refused))
    assert mended["Available"][:2] == ("Unknown", "Pending")


def test_patience_ends() -> None:
    """What has too few samples for a minute is not starting any more."""
    result = unknown(Unknown(Reason.TOO_FEW_SAMPLES, "1 sample", T0_MS))
    assert conditions(status_of(wanted({}, FINE, result, T0_MS + 59_999)))["Available"][1] == "Pending"
    assert conditions(status_of(wanted({}, FINE, result, T0_MS + 60_000)))["Available"][1] == "TooFewSamples"


def test_conditions_of_others_stay() -> None:
    """A condition that somebody else has set is neither changed nor lost."""
    other = {"type": "Paused", "status": "True", "reason": "ByHand", "message": "", "lastTransitionTime": "x"}
    status = status_of(wanted({"conditions": [other]}, FINE, known(item(1)), T0_MS))
    assert status["conditions"][-1] == other
    assert len(status["conditions"]) == 4
