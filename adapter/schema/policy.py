"""Which addresses a source may connect to: the question, and the answer of who may do everything."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol, TypeAlias

IPAddress: TypeAlias = IPv4Address | IPv6Address


class AddressPolicy(Protocol):
    """Says where connections may lead. Hashable: endpoints with the same policy can be the same."""

    def allows(self, ip: IPAddress) -> str | None:
        """Return None if this address may be connected to, else why not, in words that do not change."""
        ...

    def __hash__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class _AllowAll:
    """What an administrator's own configuration may reach: everything."""

    def allows(self, ip: IPAddress) -> str | None:
        """Return None."""
        del ip
        return None


ALLOW_ALL: AddressPolicy = _AllowAll()
