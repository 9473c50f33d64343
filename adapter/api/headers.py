"""The header fields of a request, immutable and quick to ask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class Headers:
    """Fields in the order in which they came. Names are compared in lower case: ask for "user-agent".

    Two are equal only if they are the same object: what was concluded from one can be remembered by it, weakly.
    """

    __slots__ = ("__weakref__", "_values", "fields", "impersonates")

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self.fields = tuple((name.lower(), value) for name, value in fields)
        """Names in lower case, and values."""
        self._values: dict[str, list[str]] = {}
        for name, value in self.fields:
            self._values.setdefault(name, []).append(value)
        self.impersonates = any(name.startswith("impersonate-") for name in self._values)
        """Whether it wants to act as somebody else."""

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str, default: str = "") -> str:
        """Return the first value of a name."""
        values = self._values.get(name)
        return default if values is None else values[0]

    def getall(self, name: str) -> list[str]:
        """Return all values of a name."""
        return self._values.get(name, [])
