"""What ends a command without an answer."""

from __future__ import annotations


class ExplainError(Exception):
    """There is no answer: each argument is a line that says what, where, and what to do."""
