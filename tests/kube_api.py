"""A Kubernetes API in this process: sockets, TLS and a thread of its own; storage, watches, authorization, faults."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import yaml
from aiohttp import web

from tests.kube_faults import Failure
from tests.kube_http import Asked, Http
from tests.kube_kinds import Kind, Selection
from tests.kube_patch import merged
from tests.kube_pki import Authority
from tests.kube_rbac import Attributes, Decision, Rule, User, rules_of
from tests.kube_status import Cause, Object, StatusError, forced
from tests.kube_store import Store

__all__ = ["Asked", "Attributes", "Cause", "Decision", "KubeApi", "Object", "StatusError", "User"]

T = TypeVar("T")
Objects = list[Object]

NAMESPACE = "spillway"
ACCOUNT = User(
    "system:serviceaccount:spillway:spillway",
    "d8c83fe1-e5b9-42ab-bb74-a401c4bc3914",
    ("system:serviceaccounts", "system:serviceaccounts:spillway", "system:authenticated"),
    (("authentication.kubernetes.io/credential-id", ("JTI=8f3cd896-b47e-4f44-a31f-7bc1cacaa89f",)),),
)
ADMIN = User("kubernetes-admin", groups=("system:masters", "system:authenticated"))
_NAMES = ("127.0.0.1", "localhost", "kubernetes.default.svc")


class KubeApi:
    """`with KubeApi(tmp_path) as api:` serves until the end of the block. Every method may be called from any thread.

    `resource` arguments are "plural.group": "pods", "leases.coordination.k8s.io", "externalmetrics.spillway.dev". A
    CustomResourceDefinition that is created brings its collection with it.

    Attributes:
        url: https://127.0.0.1:<port>
        token: Of the service account spillway/spillway; `admin`: of a member of system:masters.
        kubeconfig: For the service account, or with context "admin" for the other. Reads the token from a file.
        service_account: A folder with token, ca.crt and namespace, as a pod has it; for Access, with `environ`.
        ca_file: The CA's certificate. Strict X.509 checks refuse it.
    """

    def __init__(self, folder: Path) -> None:
        self.token, self.admin = "spillway-token", "admin-token"
        self.service_account = folder / "serviceaccount"
        self.ca_file = self.service_account / "ca.crt"
        self.kubeconfig = folder / "kubeconfig"
        self.url = ""
        self.environ: dict[str, str] = {}
        self.store = Store()
        self._folder = folder
        self._port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kube-api", daemon=True)
        self._http = Http(self.store)
        self._http.users = {self.token: ACCOUNT, self.admin: ADMIN}
        self._http.faults.answering.set()
        self._server: asyncio.Server | None = None
        self._runner: web.AppRunner | None = None
        self._tls: ssl.SSLContext | None = None

    def __enter__(self) -> Self:
        self.service_account.mkdir(parents=True)
        (self.service_account / "token").write_text(self.token)
        (self.service_account / "namespace").write_text(NAMESPACE)
        self._new_authority()
        self._thread.start()
        self._run(self._start())
        self.url = f"https://127.0.0.1:{self._port}"
        self.environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self._port)}
        self._write_kubeconfig()
        self.store.on_write = lambda: self._soon(self._http.streams.wake)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.store.on_write = lambda: None
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # Storage, as an administrator does it. What is returned is a copy.

    def create(self, obj: Object) -> Object:
        """Store a new object; raises StatusError (409, 422, ...)."""
        return self.store.create(self.store.kind_of(obj), obj)[0]

    def put(self, obj: Object) -> Object:
        """Store an object, new or not, spec and status alike, whatever its resourceVersion."""
        return self.store.put(self.store.kind_of(obj), obj)

    def patch(self, resource: str, namespace: str, name: str, patch: Object) -> Object:
        """Merge a patch into an object, spec and status alike."""
        kind = self._kind(resource)
        with self.store.lock:
            return self.store.put(kind, merged(self.store.get(kind, (namespace, name)), patch))

    def delete(self, resource: str, namespace: str, name: str) -> None:
        """Remove an object; raises StatusError 404."""
        self.store.delete(self._kind(resource), (namespace, name))

    def get(self, resource: str, namespace: str, name: str) -> Object | None:
        """Return an object, or None."""
        try:
            return self.store.get(self._kind(resource), (namespace, name))
        except StatusError:
            return None

    def list(self, resource: str, namespace: str = "") -> Objects:
        """Return all objects of a resource, of one namespace or of all."""
        return self.store.page(Selection(self._kind(resource), namespace)).items

    def validate(self, resource: str, validator: Callable[[Object], Iterable[Cause]]) -> None:
        """Refuse objects with 422 for these causes: a definition's CEL rules, which do not run here."""
        self.store.validators[resource] = lambda obj: [*validator(obj)]

    # Who may do what. Counts for SubjectAccessReviews always, for callers with enforce_rbac.

    @property
    def users(self) -> dict[str, User]:
        """Token → user, for callers and TokenReviews alike."""
        return self._http.users

    @property
    def requests(self) -> tuple[Asked, ...]:
        """Every request for a resource so far, in order."""
        return tuple(self._http.requests)

    def forget_requests(self) -> None:
        """Start `requests` anew."""
        self._http.requests.clear()

    @property
    def enforce_rbac(self) -> bool:
        """Whether a caller gets 403 for what was not allowed. Nobody without a token gets further than /healthz."""
        return self._http.enforce_rbac

    @enforce_rbac.setter
    def enforce_rbac(self, on: bool) -> None:
        self._http.enforce_rbac = on

    def allow(
        self,
        subject: str,
        verbs: str,
        resources: str = "",
        *,
        group: str = "",
        namespace: str = "",
        names: str = "",
        paths: str = "",
    ) -> None:
        """Allow a user or a group, by name. Lists are separated by blanks, "*" is all, no namespace or names: any."""
        parts = (tuple(text.split()) for text in (verbs, resources, names, paths))
        verb, resource, name, path = parts
        self._http.rbac.rules.append(Rule(subject, verb, (group,), resource, name, namespace, path))

    def allow_roles(self, objects: Iterable[Object]) -> None:
        """Allow what these ClusterRoles, Roles and their bindings allow."""
        self._http.rbac.rules += rules_of(objects)

    def decide(self, decide: Callable[[User, Attributes], Decision | None] | None) -> None:
        """Ask a function before the rules; None from it leaves the decision to them."""
        self._http.rbac.decide = decide

    # Faults.

    def down(self) -> None:
        """Cut all connections and refuse new ones."""
        self._run(self._close())

    def up(self) -> None:
        """Listen again, on the same port."""
        self._run(self._listen())

    def hang(self, *, on: bool = True) -> None:
        """Answer no request; when switched off, answer those that have come."""
        event = self._http.faults.answering
        self._soon(event.clear if on else event.set)

    def fail(
        self, code: int, *, times: int = 1, retry_after_s: int | None = None, verb: str = "", resource: str = ""
    ) -> None:
        """Answer the next requests that match with a Status of this code."""
        self._http.faults.add(Failure(forced(code, retry_after_s), times, verb, resource))

    def cut(self, *, times: int = 1, verb: str = "", resource: str = "") -> None:
        """Reset the connection after half of the answer."""
        self._http.faults.add(Failure(None, times, verb, resource))

    def heal(self) -> None:
        """Forget what `fail` and `cut` still have to do."""
        self._http.faults.failures.clear()

    def drip(self, size: int = 0, pause_s: float = 0.0) -> None:
        """Write answers in pieces of so many bytes with pauses between them; 0: whole."""
        self._http.faults.drip_bytes, self._http.faults.drip_pause_s = size, pause_s

    def cut_watches(self, how: str = "reset") -> int:
        """End all watches: "reset", "midway" through a line, "eof", or "gone" with an ERROR line. Returns how many."""

        async def end() -> int:
            return self._http.streams.end(how)

        return self._run(end())

    def forget_history(self) -> None:
        """Make every version so far too old: who comes back with one gets 410."""
        self.store.forget()

    def bookmark(self) -> None:
        """Send a bookmark to all watches that take them."""
        self._soon(self._http.streams.bookmark)

    @property
    def watches(self) -> int:
        """How many watches are open."""
        return len(self._http.streams.watchers)

    def rotate_token(self) -> str:
        """Give the service account another token, in its file; the old one is no longer good. Returns the new one."""
        old, self.token = self.token, f"{self.token}-next"
        self.users[self.token] = self.users.pop(old)
        (self.service_account / "token").write_text(self.token)
        return self.token

    def rotate_ca(self) -> None:
        """Serve with a certificate of another CA, and write that to ca.crt; connections are cut."""
        self.down()
        self._new_authority()
        self.up()

    # The server's own.

    def _kind(self, resource: str) -> Kind:
        return self.store.kinds[resource]

    def _new_authority(self) -> None:
        authority = Authority("kubernetes")
        self.ca_file.write_bytes(authority.pem)
        cert, key = self._folder / "apiserver.crt", self._folder / "apiserver.key"
        for path, content in zip((cert, key), authority.issue("kube-apiserver", *_NAMES), strict=True):
            path.write_bytes(content)
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(cert, key)

    def _write_kubeconfig(self) -> None:
        cluster = {"server": self.url, "certificate-authority": str(self.ca_file)}
        user = {"tokenFile": str(self.service_account / "token")}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "spillway",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "spillway", "user": user}, {"name": "admin", "user": {"token": self.admin}}],
            "contexts": [
                {"name": "spillway", "context": {"cluster": "test", "user": "spillway", "namespace": NAMESPACE}},
                {"name": "admin", "context": {"cluster": "test", "user": "admin"}},
            ],
        }
        self.kubeconfig.write_text(yaml.safe_dump(config))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    def _soon(self, callback: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
            self._loop.call_soon_threadsafe(callback)

    async def _start(self) -> None:
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._http.handle)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await self._runner.setup()
        await self._listen()

    async def _listen(self) -> None:
        assert self._runner is not None
        protocol = self._runner.server
        assert protocol is not None
        self._server = await self._loop.create_server(protocol, "127.0.0.1", self._port, ssl=self._tls)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._runner is not None
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in self._runner.server.connections if self._runner.server else ():
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0)

    async def _stop(self) -> None:
        self._http.faults.answering.set()
        await self._close()
        assert self._runner is not None
        await self._runner.cleanup()
        await self._loop.shutdown_asyncgens()
