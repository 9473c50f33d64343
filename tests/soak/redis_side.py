"""Real Redis servers whose lists and streams change all the time, and whose history is kept."""

from __future__ import annotations

import random
import time
from pathlib import Path
from threading import Event, Lock
from typing import Any

import redis

from tests.faults.proxy import FaultProxy, Proxies, Words
from tests.redis_server import RedisServer
from tests.soak.truth import History, Source

_MOST = 60
_NOISE = random.Random(7).randbytes(512)
WORDS = Words(_NOISE, b"$1000000000\r\n", b"x" * 1024)
_GROUP = "workers"


class Queues:
    """The lists and streams of one server. Whoever touches the server holds `turn`."""

    def __init__(self, number: int, directory: Path, proxies: Proxies, lists: int, streams: int) -> None:
        directory.mkdir()
        self.server = RedisServer(directory).start()
        self.proxy: FaultProxy = proxies.add(self.server.port, WORDS)
        self.source = Source(f"redis{number}")
        self.turn = Lock()
        self.up = True
        now_s = time.time()
        self.lists = {f"list{i}": History(0.0, now_s) for i in range(lists)}
        self.waiting = {f"stream{i}": History(0.0, now_s) for i in range(streams)}
        self.in_flight = {f"stream{i}": History(0.0, now_s) for i in range(streams)}
        self._random = random.Random(number)
        self._client = self.server.client()
        self._make_groups()

    @property
    def url(self) -> str:
        """Where the adapter reads."""
        return f"redis://127.0.0.1:{self.proxy.port}/0"

    def step(self) -> None:
        """Change one list or stream."""
        with self.turn:
            if not self.up:
                return
            if self.lists and (not self.waiting or self._random.random() < 0.75):
                self._change_list(self._random.choice(list(self.lists)))
            elif self.waiting:
                self._change_stream(self._random.choice(list(self.waiting)))

    def connections(self) -> int:
        """Return how many connections others than we have."""
        with self.turn:
            return len(self._client.client_list()) - 1 if self.up else -1

    def stop(self) -> None:
        """SIGSTOP."""
        with self.turn:
            self.up = False
            self.server.pause()

    def resume(self) -> None:
        """SIGCONT."""
        with self.turn:
            self.server.resume()
            self.up = True

    def kill(self) -> None:
        """Kill -9. Everything is lost: nothing is on disk."""
        with self.turn:
            self.up = False
            self._client.close()
            self.server.kill()

    def restart(self) -> None:
        """Start again, empty."""
        with self.turn:
            everything = [*self.lists.values(), *self.waiting.values(), *self.in_flight.values()]
            now_s = time.time()
            for history in everything:
                history.begin(0.0, now_s)
            self.server.start()
            self._client = self.server.client()
            self._make_groups()
            for history in everything:
                history.settle(time.time())
            self.up = True

    def close(self) -> None:
        """End the server."""
        with self.turn:
            self.up = False
            self._client.close()
            self.server.kill()

    def _make_groups(self) -> None:
        pipeline = self._client.pipeline()
        for stream in self.waiting:
            pipeline.xgroup_create(stream, _GROUP, id="0", mkstream=True)
        pipeline.execute()

    def _change_list(self, name: str) -> None:
        history = self.lists[name]
        present = int(history.current or 0)
        wanted = self._random.randrange(_MOST)
        history.begin(float(wanted), time.time())
        if wanted > present:
            self._client.rpush(name, *range(wanted - present))
        elif wanted:
            self._client.ltrim(name, 0, wanted - 1)
        else:
            self._client.delete(name)
        history.settle(time.time())

    def _change_stream(self, name: str) -> None:
        waiting, in_flight = self.waiting[name], self.in_flight[name]
        lag, pending = int(waiting.current or 0), int(in_flight.current or 0)
        now_s = time.time()
        if pending > _MOST // 2:
            in_flight.begin(0.0, now_s)
            client: Any = self._client
            ids = [entry["message_id"] for entry in client.xpending_range(name, _GROUP, "-", "+", pending)]
            client.xack(name, _GROUP, *ids)
            in_flight.settle(time.time())
            client.xtrim(name, minid=ids[-1], approximate=False)
        elif lag > _MOST // 2:
            taken = self._random.randrange(1, lag + 1)
            waiting.begin(float(lag - taken), now_s)
            in_flight.begin(float(pending + taken), now_s)
            self._client.xreadgroup(_GROUP, "one", {name: ">"}, count=taken)
            waiting.settle(time.time())
            in_flight.settle(time.time())
        else:
            added = self._random.randrange(1, 9)
            waiting.begin(float(lag + added), now_s)
            pipeline = self._client.pipeline(transaction=True)
            for _ in range(added):
                pipeline.xadd(name, {"job": "1"})
            pipeline.execute()
            waiting.settle(time.time())


def write(servers: list[Queues], rate: float, stop: Event) -> None:
    """Change something `rate` times a second, until `stop`."""
    due = time.monotonic()
    while not stop.is_set():
        for queues in servers:
            due += 1 / rate
            if stop.wait(max(0.0, due - time.monotonic())):
                return
            try:
                queues.step()
            except redis.exceptions.ConnectionError:
                if queues.up:
                    raise
