"""A metric whose definition is changed while what brings it is broken; its value is by which one it is served."""

from __future__ import annotations

from typing import Any

from tests.faults.stage import fixed, stamped
from tests.faults.truth import Span
from tests.faults.watcher import Seen


class Definition:
    """Values and versions of a definition: the one in force, and one that cannot be learned yet."""

    def __init__(self, name: str, value: int) -> None:
        self.name = name
        self.value = value
        self._before = value

    def next(self) -> dict[str, Any]:
        """Change it; return the new definition."""
        self._before, self.value = self.value, self.value + 1
        return self.document()

    def document(self) -> dict[str, Any]:
        """Return it as it is now."""
        # A bound, not the value: with another source a metric would begin anew, and wait for its first read.
        found = fixed(self.name, 1e6).metric
        found["spec"]["guard"] = {"max": self.value}
        return found

    def was(self, seen: Seen) -> Span | None:
        """Return when what was seen was true: the definition of before counts until the new one is known."""
        return stamped(seen) if seen.value in (self.value, self._before) else None

    def is_back(self, seen: Seen) -> bool:
        """Tell whether what was seen is by the new definition."""
        return seen.value == self.value
