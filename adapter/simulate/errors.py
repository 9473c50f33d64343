"""What ends a command before it has run."""

from __future__ import annotations

from collections.abc import Sequence


class InputError(Exception):
    """What was given cannot be simulated. `args`: every reason, each where it is, what it is and what to do."""

    def __init__(self, reasons: Sequence[str] | str) -> None:
        super().__init__(*([reasons] if isinstance(reasons, str) else reasons))
