"""Every address that is connected to is asked about, wherever it came from: a literal, DNS, a sentinel, a cluster."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass, replace

import pytest

from adapter.schema.metric import Metric
from adapter.sources.addresses import ALLOW_ALL, IPAddress, refusal
from adapter.sources.redis import plan
from scaler.model import Unknown
from tests.redis_reading import reading, redis_metric, source_error
from tests.redis_sentinel import MASTER, say
from tests.redis_server import free_port
from tests.scripted import answering, scripted_server

LIST = {"list": "k"}


@dataclass(frozen=True)
class Without:
    """Allows everything but some networks."""

    networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")

    def allows(self, ip: IPAddress) -> str | None:
        hit = any(ip in ipaddress.ip_network(network) for network in self.networks)
        return "it is not a pod's" if hit else None


OTHER = Without(("127.0.0.2/32",))
"""Allows the scripted servers, which are on 127.0.0.1, and not where they point to."""

REFUSED = "127.0.0.2 must not be connected to: it is not a pod's"


def read_one(metric: Metric, policy: Without) -> object:
    async def main() -> object:
        async with reading(metric, policy=policy) as reader:
            first = await reader.one()
            assert await reader.one() == first
            return first

    return asyncio.run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "[::ffff:127.0.0.1]", "127.1", "2130706433"])
def test_a_refused_address_is_not_connected_to(host: str) -> None:
    """Whether it is written as an address, in whatever form, or comes from DNS: nobody is connected to."""
    connected = False

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected = True

    async def main() -> object:
        async with scripted_server(script) as port:
            metric = redis_metric(f"redis://{host}:{port}", LIST)
            async with reading(metric, policy=Without()) as reader:
                return await reader.one()

    found = asyncio.run(main())
    assert isinstance(found, Unknown)
    assert "must not be connected to: it is not a pod's" in found.detail
    assert not connected


def test_an_address_that_is_left_is_used() -> None:
    """Of the addresses of a name, those that are allowed are tried."""

    async def main() -> object:
        async with scripted_server(answering(b":7\r\n")) as port:
            metric = redis_metric(f"redis://localhost:{port}", LIST)
            async with reading(metric, policy=Without(("::1/128",))) as reader:
                return await reader.one()

    assert asyncio.run(main()) == 7


def test_the_master_of_a_sentinel() -> None:
    """A sentinel's word leads nowhere that is refused; the sentinels themselves are asked about too."""

    async def main(policy: Without) -> object:
        async with scripted_server(answering(say(free_port(), 1, "127.0.0.2"))) as port:
            sentinel = {"addresses": [f"127.0.0.1:{port}"], "master": MASTER}
            async with reading(redis_metric(None, LIST, sentinel=sentinel), policy=policy) as reader:
                return str(await reader.one()).replace(str(port), "PORT")

    assert REFUSED in str(asyncio.run(main(OTHER)))
    expected = "no sentinel knows the master: 127.0.0.1:PORT 127.0.0.1 must not be connected to: it is not a pod's"
    assert expected in str(asyncio.run(main(Without())))


@pytest.mark.parametrize(
    ("slots_at", "redirect"),
    [("127.0.0.2", ""), ("127.0.0.1", "MOVED 7 127.0.0.2:PORT"), ("127.0.0.1", "ASK 7 127.0.0.2:PORT")],
    ids=["CLUSTER SLOTS", "MOVED", "ASK"],
)
def test_the_nodes_of_a_cluster(slots_at: str, redirect: str) -> None:
    """Neither the map of a cluster nor a redirection leads anywhere that is refused."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        while request := await reader.read(65536):
            if b"SLOTS" in request:
                host = f"${len(slots_at)}\r\n{slots_at}\r\n"
                writer.write(f"*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n{host}:{port}\r\n$1\r\nx\r\n".encode())
            else:
                writer.write(f"-{redirect.replace('PORT', str(port))}\r\n".encode())

    async def main() -> None:
        async with scripted_server(script) as port:
            metric = redis_metric(None, LIST, cluster={"addresses": [f"127.0.0.1:{port}"]})
            async with reading(metric, policy=OTHER) as reader:
                for _ in range(2):
                    assert await reader.one() == source_error(f"127.0.0.2:{port}: {REFUSED}")

    asyncio.run(main())


def test_a_redirection_in_circles_ends() -> None:
    """A key that each node says another has is unknown, after a few questions."""
    asked = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        port = writer.get_extra_info("sockname")[1]
        while request := await reader.read(65536):
            if b"SLOTS" in request:
                writer.write(f"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$0\r\n\r\n:{port}\r\n".encode())
            else:
                asked += 1
                writer.write(f"-MOVED 7 127.0.0.1:{port}\r\n".encode())

    async def main() -> None:
        async with (
            scripted_server(script) as port,
            reading(redis_metric(None, LIST, cluster={"addresses": [f"127.0.0.1:{port}"]})) as reader,
        ):
            detail = 'key "k": the nodes of the Redis Cluster do not agree which has it'
            assert await reader.one() == source_error(detail)
        assert asked == 5

    asyncio.run(main())


def test_literals() -> None:
    """An IPv4 address in an IPv6 one is looked at as both; a policy that allows everything refuses nothing."""
    assert refusal(ALLOW_ALL, "127.0.0.1") is None
    assert refusal(Without(), "::ffff:127.0.0.1") == "::ffff:127.0.0.1 must not be connected to: it is not a pod's"
    assert refusal(Without(("::ffff:0:0/96",)), "::ffff:10.0.0.1") is not None
    assert refusal(Without(("fe80::/10",)), "fe80::1%lo") is not None
    assert refusal(Without(), "10.0.0.7") is None


def test_endpoints_with_different_policies_are_different() -> None:
    """What may be reached is part of an endpoint's identity."""
    metric = redis_metric("redis://r", LIST)
    other, same = replace(metric, policy=OTHER), replace(metric, policy=Without(("127.0.0.2/32",)))
    assert plan([other]) == plan([same])
    assert plan([other]) != plan([metric])
