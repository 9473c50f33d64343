"""What a tenant's source may connect to, and every way around it."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from adapter.kube.reach import IPAddress, Tenant, own_addresses

API = ip_address("10.96.0.1")
OPEN = Tenant("shop", frozenset({API}))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.9.10", "::1", "0.0.0.0", "0.1.2.3", "::"),
        *("169.254.169.254", "169.254.1.1", "fe80::1", "fd00:ec2::254", "100.100.100.200", "168.63.129.16"),
        *("10.96.0.1", "224.0.0.1", "255.255.255.255", "ff02::1"),
        # The same, in other clothes: IPv4-mapped, IPv4-compatible, NAT64, 6to4, Teredo.
        *(
            "::ffff:127.0.0.1",
            "::ffff:a9fe:a9fe",
            "::127.0.0.1",
            "::a9fe:a9fe",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::10.96.0.1",
        ),
        *("2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:5601:5601", "::ffff:10.96.0.1"),
    ],
)
def test_some_addresses_are_never_reached(address: str) -> None:
    """Loopback, link-local, metadata and the Kubernetes API are refused in every form an address has."""
    assert OPEN.allows(ip_address(address)) is not None


@pytest.mark.parametrize("address", ["10.0.0.7", "192.168.1.1", "203.0.113.9", "fd00:10::7", "2001:db8::1"])
def test_everything_else_is_reached_where_reach_is_not_strict(address: str) -> None:
    """A managed Redis outside the cluster is an ordinary source."""
    assert OPEN.allows(ip_address(address)) is None


def strict(own: frozenset[IPAddress] | None, *allowed: str) -> Tenant:
    """Return a strict policy."""
    return Tenant("shop", frozenset({API}), strict=True, allowed=tuple(map(ip_network, allowed)), own=lambda _: own)


def test_strict_reach_is_the_namespace_and_what_is_allowed() -> None:
    """Own pods and Services, networks the administrator names, and nothing else."""
    policy = strict(frozenset({ip_address("10.0.0.7")}), "10.20.0.0/16", "fd00:20::/32")
    assert policy.allows(ip_address("10.0.0.7")) is None
    assert policy.allows(ip_address("10.20.3.4")) is None
    assert policy.allows(ip_address("fd00:20::4")) is None
    assert "no pod or Service of namespace shop" in (policy.allows(ip_address("10.0.0.8")) or "")


def test_an_allowed_network_does_not_open_what_is_never_reached() -> None:
    """Allowing everything still leaves metadata and the API closed."""
    policy = strict(frozenset(), "0.0.0.0/0")
    assert policy.allows(ip_address("203.0.113.9")) is None
    assert policy.allows(ip_address("169.254.169.254")) is not None
    assert policy.allows(API) is not None


def test_until_its_addresses_are_known_a_strict_namespace_reaches_nothing() -> None:
    """Unknown is not allowed."""
    assert "not known yet" in (strict(None).allows(ip_address("10.0.0.7")) or "")


def test_policies_of_one_namespace_are_equal() -> None:
    """Endpoints with the same policy stay the same endpoint when the addresses behind it change."""
    assert strict(frozenset()) == strict(frozenset({API}))
    assert hash(strict(frozenset())) == hash(strict(None))


def test_own_addresses_are_what_a_tenant_cannot_make_up() -> None:
    """Host-network pods, Services without a selector and ExternalNames do not count; dual-stack addresses do."""
    pods: list[dict[str, Any]] = [
        {"spec": {}, "status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}},
        {"spec": {"hostNetwork": True}, "status": {"podIP": "192.168.0.1"}},
        {"spec": {}, "status": {}},
    ]
    services: list[dict[str, Any]] = [
        {"spec": {"selector": {"app": "redis"}, "clusterIP": "10.96.1.1", "clusterIPs": ["10.96.1.1"]}},
        {"spec": {"selector": {"app": "redis"}, "clusterIP": "None"}},
        {"spec": {"clusterIP": "10.96.1.2"}},
        {"spec": {"selector": {"a": "b"}, "type": "ExternalName", "externalName": "evil.example", "clusterIP": ""}},
    ]
    assert own_addresses(pods, services) == frozenset(map(ip_address, ["10.0.0.1", "fd00::1", "10.96.1.1"]))


def test_a_zone_is_no_other_address() -> None:
    """fd00::1%1 is fd00::1 to the kernel."""
    policy = Tenant("shop", frozenset({ip_address("fd00::1")}))
    assert policy.allows(ip_address("fd00::1%1")) == "it is the Kubernetes API"
    assert policy.allows(ip_address("::1%lo")) == "it is loopback"


def test_before_the_api_is_known_a_tenant_reaches_nothing() -> None:
    """Its endpoints could be the very address."""
    assert (
        Tenant("shop", None).allows(ip_address("10.0.0.7")) == "the addresses of the Kubernetes API are not known yet"
    )


def test_a_pod_that_has_ended_owns_no_address() -> None:
    """Its address may be another tenant's by then."""
    done = {"spec": {}, "status": {"phase": "Succeeded", "podIP": "10.0.0.1"}}
    assert own_addresses([done], []) == frozenset()
