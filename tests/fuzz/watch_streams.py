"""What a Kubernetes API sends of a collection. Each input is a script: what happens to objects, and to the connection.

The server remembers each copy that its complete lines add up to, one line after the other. Every state that the
reflector publishes is one of them, never an older one than before; and once the server behaves, it is the truth.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from adapter.kube.access import Access
from adapter.kube.backoff import Backoff
from adapter.kube.client import Kube, api_path
from adapter.kube.watch import Change, Reflector
from tests.fuzz.choices import Choices
from tests.scripted import scripted_server
from tests.waiting import until

_PATH = api_path("", "v1", "configmaps")
_QUICK = Backoff(base_s=0.001, cap_s=0.002)
_PATIENCE_S = 60.0
_NAMES = ("a", "b", "c", "d")
_NONSENSE = (
    b"{}",
    b"null",
    b"[]",
    b'{"type":"ADDED"}',
    b'{"type":"ADDED","object":{}}',
    b'{"type":"ADDED","object":{"metadata":{}}}',
    b'{"type":"ADDED","object":{"metadata":{"name":"a"}}}',
    b'{"type":"ADDED","object":{"metadata":{"name":["a"],"resourceVersion":"9"}}}',
    b'{"type":"MODIFIED","object":{"metadata":{"name":"a","namespace":{},"resourceVersion":"9"}}}',
    b'{"type":"MODIFIED","object":{"metadata":{"name":"a","resourceVersion":{"a":1}}}}',
    b'{"type":"MODIFIED","object":{"metadata":{"name":"a","resourceVersion":null}}}',
    b'{"type":"DELETED","object":{"metadata":{"name":null,"resourceVersion":"9"}}}',
    b'{"type":"BOOKMARK","object":{"metadata":{}}}',
    b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":7}}}',
    b'{"type":"ERROR","object":{"kind":"Status","code":"410","reason":"Expired"}}',
    b'{"type":"ERROR","object":{"kind":"Status","code":500}}',
    b'{"type":"ERROR","object":{"kind":"Status","code":503}}',
    b'{"type":"ERROR","object":{"kind":"Status"}}',
    b'{"type":"ERROR","object":7}',
    b'{"type":["ADDED"],"object":{"metadata":{"name":"a","resourceVersion":"9"}}}',
    b'{"type":"GONE","object":{"metadata":{"name":"a","resourceVersion":"9"}}}',
    b"[" * 100_000,
    b'{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":' + b"9" * 5000 + b"}}}",
    b"\xff\xfe",
)
_GONE = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}'
_BAD_LISTS = (
    b"[]",
    b'{"kind":"ConfigMapList","apiVersion":"v1"}',
    b'{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[{}]}',
    b'{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[7]}',
    b'{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[{"metadata":[]}]}',
    b'{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":{}},"items":null}',
    b'{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":[1]}}]}',
    b'{"kind":null,"apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[]}',
    b"[" * 100_000,
    b"not json",
)

Copy = dict[str, str]


class _Api:
    """A collection with a history, served as a script says."""

    def __init__(self) -> None:
        self.begin(Choices(b""))

    def begin(self, choices: Choices) -> None:
        """Forget everything, and follow this script."""
        self.choices = choices
        self.truth: Copy = {"a": "0"}
        self.history: list[tuple[str, str, str]] = []
        """(type, name, value) of each change; change i leads to version i + 1."""
        self.sent: list[Copy] = [{}]
        """What a reader that believes every complete line knows, after each of them."""

    @property
    def scripted(self) -> bool:
        return not self.choices.over

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                query = parse_qs(urlsplit(head.split(b" ")[1].decode()).query)
                if self.scripted and not self.choices.below(16):
                    return  # cut before the answer
                if "watch" in query:
                    await self._watch(writer, int(query["resourceVersion"][0]))
                    return
                writer.write(_http(*self._list()))
                await writer.drain()

    def _list(self) -> tuple[bytes, bytes]:
        if self.scripted and not self.choices.below(6):
            return b"200 OK", self.choices.pick(_BAD_LISTS)
        if self.scripted and not self.choices.below(8):
            code = self.choices.pick((b"410 Gone", b"500 Oops", b"503 Busy", b"404 No", b"401 Who"))
            return code, self.choices.pick((b"", b"<html>", _GONE[26:-1]))
        items = [_object(name, text, 0) for name, text in self.truth.items()]
        metadata = {"resourceVersion": str(len(self.history))}
        found = {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": metadata, "items": items or None}
        self.sent.append(dict(self.truth))
        return b"200 OK", json.dumps(found).encode()

    async def _watch(self, writer: asyncio.StreamWriter, version: int) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")
        if version > len(self.history):
            writer.write(_GONE + b"\n")  # a version of the future: we have been restored from a backup
            return
        position = version
        while self.scripted:
            self._change()
            line, position = self._line(position)
            at = self.choices.below(len(line)) if not self.choices.below(8) else len(line)
            if at < len(line):
                writer.write(line[:at])
                return
            self._believe(line)
            await self._write(writer, line, slowly=not self.choices.below(4))
            if not self.choices.below(12):
                return
        for change, name, text in self.history[position:]:
            position += 1
            line = _line(change, name, text, position)
            self._believe(line)
            writer.write(line)
        await writer.drain()
        await asyncio.sleep(_PATIENCE_S)

    async def _write(self, writer: asyncio.StreamWriter, line: bytes, *, slowly: bool) -> None:
        """Write a line, at once or in two parts that arrive one after the other."""
        half = len(line) // 2 if slowly else len(line)
        writer.write(line[:half])
        if slowly:
            await writer.drain()
            for _ in range(4):
                await asyncio.sleep(0)
            writer.write(line[half:])

    def _change(self) -> None:
        """Change an object."""
        if self.choices.below(2):
            return
        name, text = self.choices.pick(_NAMES), str(self.choices.below(100))
        if name in self.truth and not self.choices.below(3):
            self.history.append(("DELETED", name, self.truth.pop(name)))
        else:
            self.history.append(("MODIFIED" if name in self.truth else "ADDED", name, text))
            self.truth[name] = text

    def _line(self, position: int) -> tuple[bytes, int]:
        """Return the next line of a watch, and what has been sent with it."""
        match self.choices.below(8):
            case 0:
                return self.choices.pick(_NONSENSE) + b"\n", position
            case 1:
                return _GONE + b"\n", position
            case 2:
                bookmark = {"kind": "ConfigMap", "metadata": {"resourceVersion": str(position)}}
                return json.dumps({"type": "BOOKMARK", "object": bookmark}).encode() + b"\n", position
            case 3 if position:  # once more
                return _line(*self.history[position - 1], position), position
        if position < len(self.history):
            return _line(*self.history[position], position + 1), position + 1
        return b"\n", position

    def _believe(self, line: bytes) -> None:
        """Note what a reader knows after a line."""
        try:
            event = json.loads(line)
            kind, found = event["type"], event["object"]
            name, text = found["metadata"]["name"], found["data"]["value"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        known = dict(self.sent[-1])
        if kind == "DELETED":
            known.pop(name, None)
        else:
            known[name] = text
        self.sent.append(known)


def _object(name: str, text: str, version: int) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "resourceVersion": str(version)}
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"value": text}}


def _line(change: str, name: str, text: str, version: int) -> bytes:
    return json.dumps({"type": change, "object": _object(name, text, version)}).encode() + b"\n"


def _http(status: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def _copy(reflector: Reflector) -> Copy:
    return {name: found.get("data", {}).get("value", "") for (_, name), found in reflector.objects.items()}


async def _check(api: _Api, kube: Kube, data: bytes) -> None:
    api.begin(Choices(data))
    published: list[Copy] = []

    def told(_: Change) -> None:
        published.append(_copy(reflector))

    reflector = Reflector(kube, _PATH, backoff=_QUICK, watch_s=3600, on_change=told)
    async with asyncio.timeout(_PATIENCE_S), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(reflector.run())
        await until(lambda: not api.scripted and reflector.synced and _copy(reflector) == api.truth, _PATIENCE_S)
        task.cancel()
    at = 0
    for copy in published:
        assert copy in api.sent[at:], (copy, api.sent[at:])
        at += api.sent[at:].index(copy)


@asynccontextmanager
async def _client() -> AsyncIterator[Callable[[bytes], Any]]:
    api = _Api()
    with tempfile.TemporaryDirectory() as folder:
        async with scripted_server(api) as port:
            kubeconfig = Path(folder) / "config"
            kubeconfig.write_text(
                f"apiVersion: v1\nkind: Config\ncurrent-context: c\nusers: [{{name: u, user: {{}}}}]\n"
                f"clusters: [{{name: k, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n"
                "contexts: [{name: c, context: {cluster: k, user: u}}]\n"
            )
            async with Kube(Access(kubeconfig=str(kubeconfig))) as kube:
                yield lambda data: _check(api, kube, data)


@contextmanager
def opened() -> Iterator[Callable[[bytes], None]]:
    """Keep a server and a client for as long as inputs come."""
    with asyncio.Runner() as runner:
        client = _client()
        check = runner.run(client.__aenter__())
        try:
            yield lambda data: runner.run(check(data))
        finally:
            runner.run(client.__aexit__(None, None, None))


def seeds() -> list[bytes]:
    """Return inputs to start from, written as the decisions they are read for."""
    begin = bytes([1, 1, 1, 1])  # the list: not cut, not bad, no error; the watch: not cut
    send = bytes([5, 1, 1, 1])  # the next line, whole, without a pause, and the connection goes on
    add_b, change_a = bytes([0, 1, 7]) + send, bytes([0, 0, 9, 1]) + send
    delete_a, delete_b = bytes([0, 0, 0, 0]) + send, bytes([0, 1, 0, 0]) + send
    slowly = bytes([0, 2, 8, 5, 1, 0, 1])  # an object is added, and its line comes in two parts
    gone, bookmark, again = bytes([1, 1, 1, 1, 1]), bytes([1, 2, 1, 1, 1]), bytes([1, 3, 1, 1, 1])
    cut, ended = bytes([1, 5, 0, 40]), bytes([1, 5, 1, 1, 0])
    nonsense = [begin + add_b + bytes([1, 0, i, 1, 1, 1]) + delete_a for i in range(len(_NONSENSE))]
    lists = [bytes([1, 0, i]) for i in range(len(_BAD_LISTS))]
    refusals = [bytes([1, 1, 0, i, i % 3]) for i in range(5)]
    courses = [
        (add_b, change_a, delete_a, delete_b),
        (slowly, slowly, delete_a, slowly),
        (add_b, gone, delete_b, change_a, bookmark, delete_a),
        (change_a, again, bookmark, again, add_b, again, delete_a, again),
        (add_b, bytes([0, 0, 3, 1]) + cut, delete_b),
        (add_b, ended, bytes([1]), delete_a, ended, bytes([1]), change_a),
        (bytes([0, 0, 4, 1, 2, 1, 1, 1]), delete_a, gone),  # a bookmark while a change is still to come
    ]
    return [*nonsense, *lists, *refusals, *(begin + b"".join(course) for course in courses), b""]
