"""Decisions out of bytes: each input of a fuzzer is one script of what a server or a client does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Reads decisions from the front of some bytes; when there are none left, each is the first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def below(self, count: int) -> int:
        """Return a number from 0 to `count` - 1."""
        size = max(1, ((count - 1).bit_length() + 7) // 8)
        return int.from_bytes(self.take(size), "big") % count

    def pick(self, options: Sequence[T]) -> T:
        """Return one of them."""
        return options[self.below(len(options))]

    def take(self, count: int) -> bytes:
        """Return up to so many of the next bytes."""
        found = self._data[self._at : self._at + count]
        self._at += len(found)
        return found

    def text(self) -> str:
        """Return a short text: its length, then its UTF-8, other bytes replaced."""
        return self.take(self.below(24)).decode("utf-8", "replace")

    def rest(self) -> bytes:
        """Return all bytes that are left."""
        return self.take(len(self._data))

    @property
    def over(self) -> bool:
        """Whether every byte has been used."""
        return self._at >= len(self._data)
