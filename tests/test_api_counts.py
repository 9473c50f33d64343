"""What one plain read costs, in numbers that do not depend on the clock: writes, calls, memory."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from adapter.api.connection import Connection
from adapter.api.readers import Readers
from adapter.api.routes import Api
from adapter.api.server import ApiServer
from adapter.telemetry import Telemetry
from bench.load import request
from scaler.model import Snapshot
from tests.api_fixtures import NOW_MS, VALUES, Probes, ref, result, value
from tests.certificates import Pair
from tests.delegated import delegated
from tests.kube_api import KubeApi
from tests.waiting import until

CALLS = 64
"""Python functions entered by one read: 56 on Python 3.11. Eight more cost about a microsecond."""


class Peer:
    """The client's half of a TLS connection: its certificate."""

    def __init__(self, pair: Pair) -> None:
        self._der = pair.der

    def getpeercert(self, *, binary_form: bool) -> bytes | None:
        return self._der if binary_form else None

    def get_unverified_chain(self) -> list[bytes]:
        return [self._der]


class Wire(asyncio.Transport):
    """A transport that keeps what is written last and counts."""

    def __init__(self, peer: Peer) -> None:
        super().__init__({"ssl_object": peer})
        self.writes = 0
        self.last = b""

    def write(self, data: Any) -> None:
        self.writes += 1
        self.last = bytes(data)


@dataclass
class Read:
    """A connection of kube-apiserver whose user may read, on which one request has been answered."""

    connection: Connection
    wire: Wire
    raw: bytes

    def again(self, times: int = 1) -> None:
        for _ in range(times):
            self.connection.data_received(self.raw)


@asynccontextmanager
async def reading(tmp_path: Path) -> AsyncIterator[Read]:
    """Put all parts of a read together, as in a cluster."""
    snapshot = Snapshot({ref("foo"): result("foo", value(3000))}, NOW_MS)
    telemetry, readers = Telemetry(), Readers(lambda: snapshot.results)
    with KubeApi(tmp_path / "kubernetes") as kubernetes:
        async with delegated(tmp_path, kubernetes) as running:
            api = Api(
                snapshot=lambda: snapshot,
                now_ms=lambda: NOW_MS,
                health=Probes(),
                defined=lambda _: True,
                authorize=running.auth,
                on_response=telemetry.answered,
                on_read=readers.note,
            )
            async with ApiServer(api.respond) as server:
                wire = Wire(Peer(running.cluster.front_proxy))
                read = Read(Connection(server, asyncio.get_running_loop()), wire, request(f"{VALUES}/foo"))
                read.connection.connection_made(wire)
                read.again()
                await until(lambda: wire.writes == 1)
                assert wire.last.startswith(b"HTTP/1.1 200 OK\r\n")
                try:
                    yield read
                finally:
                    read.connection.connection_lost(None)


def test_one_write_a_read(tmp_path: Path) -> None:
    """A read that is not the first is answered before the loop goes on, in one write."""

    async def run() -> None:
        async with reading(tmp_path) as read:
            read.again(1000)
            assert read.wire.writes == 1001
            assert read.wire.last.startswith(b"HTTP/1.1 200 OK\r\n")

    asyncio.run(run())


def test_functions_a_read(tmp_path: Path) -> None:
    """A read with authentication, authorization and all that is counted enters few functions."""
    entered: list[str] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            entered.append(frame.f_code.co_qualname)

    async def run() -> None:
        async with reading(tmp_path) as read:
            read.again()
            sys.setprofile(note)
            try:
                read.again()
            finally:
                sys.setprofile(None)

    asyncio.run(run())
    assert "Api.respond" in entered
    assert len(entered) <= CALLS, entered


def test_memory_a_read(tmp_path: Path) -> None:
    """A thousand reads more leave nothing behind."""

    async def run() -> None:
        async with reading(tmp_path) as read:
            read.again(1000)
            gc.collect()
            before = sys.getallocatedblocks()
            read.again(1000)
            gc.collect()
            assert sys.getallocatedblocks() - before < 50

    asyncio.run(run())
