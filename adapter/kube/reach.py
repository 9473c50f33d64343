"""What a tenant's source may connect to. Pure: addresses in, a reason or None out.

An administrator's own files reach everything. An object of a namespace never reaches what is the node's, the cloud's or
the control plane's; in strict mode it reaches only its own namespace's pods and Services, and what the administrator
allows by network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, TypeAlias

from adapter.kube.state import Object

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network

_NEVER: tuple[tuple[IPNetwork, str], ...] = tuple(
    (ip_network(network), reason)
    for network, reason in (
        ("127.0.0.0/8", "it is loopback"),
        ("::1/128", "it is loopback"),
        ("0.0.0.0/8", "it is this host"),
        ("::/128", "it is this host"),
        ("169.254.0.0/16", "it is link-local, where clouds keep their metadata"),
        ("fe80::/10", "it is link-local"),
        ("224.0.0.0/4", "it is multicast"),
        ("ff00::/8", "it is multicast"),
        ("240.0.0.0/4", "it is reserved"),
        # Metadata services outside link-local: Amazon (IPv6), Alibaba, Azure, Oracle, Google (IPv6).
        ("fd00:ec2::/32", "it is a cloud's metadata service"),
        ("100.100.100.200/32", "it is a cloud's metadata service"),
        ("168.63.129.16/32", "it is a cloud's metadata service"),
        ("192.0.0.192/32", "it is a cloud's metadata service"),
        ("fd20:ce::254/128", "it is a cloud's metadata service"),
    )
)

_NAT64 = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))


@dataclass(frozen=True)
class Tenant:
    """The addresses objects of one namespace may reach.

    Args:
        namespace: The namespace.
        control_plane: Addresses of the Kubernetes API; None: not known yet, and nothing is reached.
        strict: Whether only the namespace's own addresses, and `allowed`, may be reached.
        allowed: Networks the administrator allows beside them.
        own: The namespace's own addresses at present; None: not known yet. Not part of the identity.
    """

    namespace: str
    control_plane: frozenset[IPAddress] | None
    strict: bool = False
    allowed: tuple[IPNetwork, ...] = ()
    own: Callable[[str], frozenset[IPAddress] | None] = field(default=lambda _: None, compare=False, repr=False)

    def allows(self, ip: IPAddress) -> str | None:
        """Return None if the address may be connected to, else why not, in words that do not change."""
        if self.control_plane is None:
            return "the addresses of the Kubernetes API are not known yet"
        for form in forms(ip):
            reason = self._never(form)
            if reason is not None:
                return reason
        if not self.strict or any(ip in network for network in self.allowed if network.version == ip.version):
            return None
        own = self.own(self.namespace)
        if own is None:
            return f"the addresses of namespace {self.namespace} are not known yet"
        if ip in own:
            return None
        return f"it is no pod or Service of namespace {self.namespace}, nor allowed by --reach-allow"

    def _never(self, ip: IPAddress) -> str | None:
        if self.control_plane is not None and ip in self.control_plane:
            return "it is the Kubernetes API"
        for network, reason in _NEVER:
            if ip.version == network.version and ip in network:
                return reason
        return None


def forms(ip: IPAddress) -> Iterable[IPAddress]:
    """Return an address and every address it can stand for: an IPv4 one may hide in an IPv6 one."""
    if isinstance(ip, IPv6Address) and ip.scope_id is not None:
        ip = IPv6Address(int(ip))  # a zone names an interface, not another address
    found: list[IPAddress] = [ip]
    if isinstance(ip, IPv6Address):
        teredo = ip.teredo
        found += [hidden for hidden in (ip.ipv4_mapped, ip.sixtofour, *(teredo or ())) if hidden is not None]
        low = IPv4Address(int(ip) & 0xFFFFFFFF)
        if any(ip in network for network in _NAT64) or (int(ip) >> 32 == 0 and int(ip) > 1):
            found.append(low)
    return found


def own_addresses(pods: Iterable[Object], services: Iterable[Object]) -> frozenset[IPAddress]:
    """Return the addresses that are a namespace's own, by what a tenant cannot make up.

    A pod's address is the kubelet's word, and one on the host network has the node's. A Service without a selector
    leads wherever its author says, and an ExternalName is no address.
    """
    texts: list[Any] = []
    for pod in pods:
        ended = _at(pod, "status", "phase") in ("Succeeded", "Failed")  # its address may be another's by now
        if not ended and _at(pod, "spec", "hostNetwork") is not True:
            texts.extend(entry.get("ip") for entry in _at(pod, "status", "podIPs") or ())
            texts.append(_at(pod, "status", "podIP"))
    for service in services:
        if _at(service, "spec", "selector") and _at(service, "spec", "type") != "ExternalName":
            texts.extend(_at(service, "spec", "clusterIPs") or ())
            texts.append(_at(service, "spec", "clusterIP"))
    return frozenset(ip for ip in map(address, texts) if ip is not None)


def address(text: object) -> IPAddress | None:
    """Return an address, or None for what is none."""
    try:
        return ip_address(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _at(value: Any, *path: str) -> Any:
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value
