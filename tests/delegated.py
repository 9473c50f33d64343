"""A secure port that asks a Kubernetes API who may read, and its clients with certificates of every kind."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapter.api import selfsigned
from adapter.api.headers import Headers
from adapter.api.request import Request, Undecided, attributes, parse_target
from adapter.api.server import ApiServer
from adapter.api.tls import ServingCertificate
from adapter.auth.delegated import DelegatedAuth
from adapter.auth.trust import Trust
from adapter.errors import ApiError
from adapter.kube.access import Access
from adapter.kube.client import Kube
from scaler.selector import EVERYTHING
from tests.api_fixtures import VALUES, Served, result, value
from tests.certificates import NOW, Authority, Pair
from tests.connection import Connection
from tests.kube_api import Attributes, Decision, KubeApi, User
from tests.waiting import until

HPA = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
AS_HPA = (f"X-Remote-User: {HPA}", "X-Remote-Group: system:serviceaccounts")
READ = f"{VALUES}/m"
ACCESS, TOKENS = "subjectaccessreviews", "tokenreviews"


@dataclass
class Clock:
    """Time that passes when a test says so; seconds since 1970."""

    s: float = field(default_factory=NOW.timestamp)

    def __call__(self) -> float:
        return self.s


@dataclass
class Answer:
    """What a client got."""

    code: int
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> str:
        return str(json.loads(self.body)["message"])


class Cluster:
    """A Kubernetes API with the authorities of its clients; everybody may do everything, and who asks is noted."""

    def __init__(self, api: KubeApi, *, published: bool = True) -> None:
        self.api = api
        self.front, self.clients = Authority("front-proxy-ca"), Authority("kubernetes")
        self.front_proxy = self.front.issue("front-proxy-client")
        self.asked: list[tuple[User, Attributes]] = []
        self.allowed = True
        api.decide(self._decide)
        if published:
            self.publish()

    def _decide(self, user: User, asked: Attributes) -> Decision:
        self.asked.append((user, asked))
        return Decision(self.allowed, "" if self.allowed else "no rule says so")

    def publish(self, **data: str | None) -> None:
        """Write the authentication ConfigMap; names have "_" for "-", and None leaves one out."""
        whole: dict[str, str | None] = {
            "client-ca-file": self.clients.pem,
            "requestheader-client-ca-file": self.front.pem,
            "requestheader-allowed-names": '["front-proxy-client"]',
            "requestheader-username-headers": '["X-Remote-User"]',
            "requestheader-uid-headers": '["X-Remote-Uid"]',
            "requestheader-group-headers": '["X-Remote-Group"]',
            "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
        }
        whole |= {name.replace("_", "-"): text for name, text in data.items()}
        self.api.put(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"namespace": "kube-system", "name": "extension-apiserver-authentication"},
                "data": {name: text for name, text in whole.items() if text is not None},
            }
        )

    def reviews(self, resource: str = ACCESS) -> int:
        """Return how many reviews have been asked for."""
        return sum(asked.resource == resource and asked.verb == "create" for asked in self.api.requests)


@dataclass
class Delegated:
    """The running port."""

    cluster: Cluster
    clock: Clock
    auth: DelegatedAuth
    server: ApiServer
    directory: Path
    cert_file: Path

    async def connect(self, client: Pair | None = None) -> Connection:
        """Open a connection with this certificate, or none."""
        context = ssl.create_default_context(cafile=str(self.cert_file))
        if client is not None:
            client.load_into(context, self.directory)
        return Connection(
            *await asyncio.open_connection("127.0.0.1", self.server.port, ssl=context, server_hostname="localhost")
        )

    async def get(self, *headers: str, client: Pair | None = None, target: str = READ) -> Answer:
        """Ask once, on a connection of its own. Raises an OSError if the handshake does not succeed."""
        connection = await self.connect(client)
        try:
            return await self.on(connection, *headers, target=target)
        finally:
            connection.writer.transport.abort()

    async def on(self, connection: Connection, *headers: str, target: str = READ) -> Answer:
        """Ask on an open connection."""
        status, found, body = await connection.get(target, *headers)
        return Answer(int(status.split()[1]), found, body)

    async def as_hpa(self, target: str = READ) -> Answer:
        """Ask as kube-apiserver does for an HPA."""
        return await self.get(*AS_HPA, client=self.cluster.front_proxy, target=target)

    async def renewed(self, reviews: int) -> None:
        """Wait for this many reviews, and for the answer to the last."""
        await until(lambda: self.cluster.reviews() >= reviews and not self.auth.decisions.flights)

    async def code(self, *headers: str, client: Pair | None = None, target: str = READ) -> int:
        """Return the code that a client gets; 0 if it gets no answer."""
        try:
            return (await self.get(*headers, client=client, target=target)).code
        except (OSError, EOFError):
            return 0

    def at_once(self, target: str = READ) -> ApiError | Undecided | None:
        """Return what is decided of an HPA's read without waiting."""
        headers = Headers((name, text) for name, _, text in (header.partition(": ") for header in AS_HPA))
        request = Request("GET", target, headers, peer=(self.cluster.front_proxy.der,))
        return self.auth(request, attributes("GET", parse_target(target)), EVERYTHING)

    async def user(self, *headers: str, client: Pair | None = None) -> User | int | str:
        """Return whom the Kubernetes API was asked about, or the code of an answer without that, or "handshake"."""
        self.cluster.asked.clear()
        self.clock.s += 0.001
        try:
            answer = await self.get(*headers, client=client, target=f"{VALUES}/{self.clock.s}")
        except (OSError, EOFError):
            return "handshake"
        return self.cluster.asked[-1][0] if self.cluster.asked else answer.code

    async def named(self, *headers: str, client: Pair | None = None) -> str:
        """Return the name of the user who is asked about, or what `user` says instead."""
        found = await self.user(*headers, client=client)
        return found.name if isinstance(found, User) else str(found)


async def becomes(ask: Callable[[], Awaitable[object]], wanted: object) -> None:
    """Ask until the answer is the wanted one."""

    async def same() -> bool:
        return await ask() == wanted

    condition: Callable[[], bool | Awaitable[bool]] = same
    await until(condition)


@asynccontextmanager
async def delegated(tmp_path: Path, api: KubeApi, *, published: bool = True, **more: Any) -> AsyncIterator[Delegated]:
    """Serve with delegated authentication while the block runs; once it begins, what was published has been read."""
    cluster, clock, trust = Cluster(api, published=published), Clock(), Trust()
    cert_file, key_file = selfsigned.ensure(tmp_path / "serving")
    certificate = ServingCertificate(cert_file, key_file, trust)
    access = Access(service_account=api.service_account, environ=api.environ)
    async with (
        asyncio.timeout(60),
        Kube(access) as kube,
        DelegatedAuth(
            kube,
            trust,
            certificate.rotate,
            backoff_s=0.01,
            look_every_s=0.01,
            monotonic_s=clock,
            now_s=clock,
            **more,
        ) as auth,
    ):
        served = Served(result("m", value(1500)), authorize=auth)
        async with ApiServer(served.api.respond, ssl_context=certificate.context, drain_s=1) as server:
            await until(lambda: not published or auth.not_ready() is None)
            yield Delegated(cluster, clock, auth, server, tmp_path, cert_file)
