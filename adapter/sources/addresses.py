"""Which addresses a source may connect to.

Names and redirections are the word of others: a DNS answer, a sentinel, a node of a cluster. What counts is the address
that is connected to, so it is looked at then, each time, and nowhere else.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from adapter.schema.policy import ALLOW_ALL, AddressPolicy, IPAddress

__all__ = ["ALLOW_ALL", "AddressPolicy", "IPAddress", "refusal"]


def refusal(policy: AddressPolicy, literal: str) -> str | None:
    """Return why a literal address, as getaddrinfo gives it, must not be connected to; None if it may."""
    ip = ip_address(literal)
    reason = policy.allows(ip)
    if reason is None and isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        # ::ffff:127.0.0.1 is 127.0.0.1 to the kernel.
        reason = policy.allows(ip.ipv4_mapped)
    return None if reason is None else f"{literal} must not be connected to: {reason}"
