"""How long to wait after a failure."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double, with jitter, up to a cap.

    Attributes:
        base_s: The longest first wait.
        cap_s: The longest of all: this is also how late an API that is back is noticed.
        jitter: Draws from [0, 1). Replicas that failed together must not come back together.
    """

    base_s: float = 0.5
    cap_s: float = 30.0
    jitter: Callable[[], float] = random.random

    def wait_s(self, failures: int) -> float:
        """Return the wait after so many failures in a row (from 1): at least half of the full one."""
        full_s = min(self.cap_s, self.base_s * 2.0 ** min(max(failures, 1) - 1, 62))
        return full_s * (0.5 + 0.5 * self.jitter())
