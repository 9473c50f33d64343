"""Reading the External Metrics API as an HPA does."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import aiohttp

from adapter.demo.spillway import Addresses, metric_path, trust
from scaler.hpa_model import MetricError

_TIMEOUT_S = 5.0
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)([mkMGTPE]?)")
_EXPONENT = {"m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


@dataclass(frozen=True, slots=True)
class Item:
    """One item of an answer; `time_s` is the whole second of its newest sample, since the Unix epoch."""

    milli: int
    time_s: int


def quantity_milli(text: str) -> int:
    """Return a resource.Quantity as milli-units: "1500m" → 1500, "2k" → 2_000_000. Decimal suffixes only.

    Raises:
        ValueError: It is something else, or finer than a milli-unit.
    """
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError(f'no quantity: "{text}"')
    milli = Decimal(found[1]).scaleb(_EXPONENT[found[2]] + 3)
    if milli != milli.to_integral_value():
        raise ValueError(f'finer than a milli-unit: "{text}"')
    return int(milli)


def items_of(code: int, body: bytes) -> tuple[Item, ...] | MetricError:
    """Return the items of an answer, or what an HPA makes of any other answer: an error, never a number."""
    try:
        document = json.loads(body)
        if code != 200:
            return MetricError(str(document["message"]))
        return tuple(_item(each) for each in document["items"])
    except (ValueError, KeyError, TypeError) as exc:
        return MetricError(f"unreadable answer with code {code}: {type(exc).__name__}: {exc}")


def _item(document: dict[str, Any]) -> Item:
    time_s = datetime.fromisoformat(document["timestamp"]).timestamp()
    return Item(quantity_milli(document["value"]), int(time_s))


class ExternalMetrics:
    """A client. It verifies the server's certificate."""

    def __init__(self, session: aiohttp.ClientSession, addresses: Addresses) -> None:
        self._session = session
        self._server = addresses.server
        self._tls = trust(addresses.ca_file) or True

    async def read(self, metric: str) -> tuple[Item, ...] | MetricError:
        """Read one metric."""
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        try:
            async with self._session.get(
                self._server + metric_path(metric), ssl=self._tls, timeout=timeout
            ) as response:
                return items_of(response.status, await response.read())
        except aiohttp.ClientError as exc:
            return MetricError(str(exc))
        except TimeoutError:
            return MetricError(f"no answer in {_TIMEOUT_S:g} s")
