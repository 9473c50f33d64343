"""A real Redis Cluster for tests: masters on loopback that have met, and replicas where they are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from adapter.sources.redis_slots import HASH_SLOTS, hash_slot
from tests.redis_server import RedisServer, free_port
from tests.waiting import until_sync


class RedisCluster:
    """Masters that share the hash slots evenly, the first ones to the first; then maybe a replica for each."""

    def __init__(self, directory: Path, *, masters: int = 3, replicas: bool = False, **options: object) -> None:
        self._stack = ExitStack()
        self._options = options
        self._directory = directory
        self.nodes: list[RedisServer] = []
        self._masters, self._replicas = masters, replicas

    @property
    def addresses(self) -> list[str]:
        """The masters, as a configuration names them."""
        return [f"127.0.0.1:{node.port}" for node in self.nodes[: self._masters]]

    def master_of(self, key: str) -> RedisServer:
        """Return the node that has a key, if no slot was moved."""
        return self.nodes[hash_slot(key) * self._masters // HASH_SLOTS]

    def key_at(self, number: int, prefix: str = "k") -> str:
        """Return a key that a node has."""
        return next(key for i in range(10_000) if self.master_of(key := f"{prefix}{i}") is self.nodes[number])

    def run(self, *commands: str) -> list[Any]:
        """Run commands, each at the master of its key."""
        replies = []
        for command in commands:
            words = command.split(" ")
            replies += self.master_of(words[2] if words[0] == "XGROUP" else words[1]).run(command)
        return replies

    def mend(self) -> None:
        """Start the nodes that were killed, and wait until all see a whole cluster."""
        for node in self.nodes:
            if not node.running:
                node.start(ready=False)
        until_sync(lambda: all(ok(node, len(self.nodes)) for node in self.nodes))

    def add_node(self) -> RedisServer:
        """Start a node."""
        number = len(self.nodes)
        directory = self._directory / f"node{number}"
        directory.mkdir()
        settings: dict[str, Any] = {
            "cluster_enabled": "yes",
            "cluster_port": free_port(),
            "cluster_node_timeout": 500,
            "cluster_require_full_coverage": "no",
            "repl_diskless_sync_delay": 0,
            **self._options,
        }
        node = RedisServer(directory, **settings)
        self.nodes.append(self._stack.enter_context(node))
        return node

    def replicate(self, replica: RedisServer, master: RedisServer) -> None:
        """Make a node a replica, and wait until it is one."""
        until_sync(lambda: node_id(master) in nodes(replica))
        replica.run(f"CLUSTER REPLICATE {node_id(master)}")
        until_sync(lambda: replica.run("INFO replication")[0].get("master_link_status") == "up")

    def __enter__(self) -> Self:
        try:
            self._form()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _form(self) -> None:
        for _ in range(self._masters):
            self.add_node()
        for i, node in enumerate(self.nodes):
            # Epochs are given out by hand, since nodes that meet at once would argue about them for a while.
            node.run(f"CLUSTER SET-CONFIG-EPOCH {i + 1}")
            first = -(-HASH_SLOTS * i // self._masters)
            end = -(-HASH_SLOTS * (i + 1) // self._masters)
            node.run(f"CLUSTER ADDSLOTS {' '.join(map(str, range(first, end)))}")
        for node in self.nodes[1:]:
            self.nodes[0].run(f"CLUSTER MEET 127.0.0.1 {node.port} {node_bus(node)}")
        if self._replicas:
            for master in list(self.nodes):
                replica = self.add_node()
                self.nodes[0].run(f"CLUSTER MEET 127.0.0.1 {replica.port} {node_bus(replica)}")
                self.replicate(replica, master)
        until_sync(lambda: all(ok(node, len(self.nodes)) for node in self.nodes))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def node_bus(node: RedisServer) -> int:
    """Return the port on which a node talks to the others."""
    bus: int = node.options["cluster_port"]
    return bus


def node_id(node: RedisServer) -> str:
    """Return a node's id."""
    (reply,) = node.run("CLUSTER MYID")
    return str(reply.decode())


def nodes(node: RedisServer) -> str:
    """Return what a node knows of the others."""
    (reply,) = node.run("CLUSTER NODES")
    return str(reply.decode())


def ok(node: RedisServer, count: int) -> bool:
    """Return whether a node sees a whole cluster of so many nodes."""
    (reply,) = node.run("CLUSTER INFO")
    return b"cluster_state:ok" in reply and b"cluster_known_nodes:%d\r" % count in reply


def begin_move(source: RedisServer, target: RedisServer, slot: int) -> None:
    """Begin to move a hash slot: new keys go to the target, those that are there stay until `move_key`."""
    target.run(f"CLUSTER SETSLOT {slot} IMPORTING {node_id(source)}")
    source.run(f"CLUSTER SETSLOT {slot} MIGRATING {node_id(target)}")


def move_keys(source: RedisServer, target: RedisServer, keys: Sequence[str]) -> None:
    """Move keys of a hash slot that is being moved."""
    for key in keys:
        source.run(f"MIGRATE 127.0.0.1 {target.port} {key} 0 5000")


def end_move(servers: Sequence[RedisServer], target: RedisServer, slot: int) -> None:
    """Let every node know that a hash slot has moved, the one that has it now first."""
    identity = node_id(target)
    for server in [target, *(server for server in servers if server is not target)]:
        server.run(f"CLUSTER SETSLOT {slot} NODE {identity}")


def cancel_move(source: RedisServer, target: RedisServer, slot: int, keys: Sequence[str]) -> None:
    """Undo what `begin_move` and `move_keys` did."""
    source.run(f"CLUSTER SETSLOT {slot} STABLE")
    move_keys(target, source, keys)
    target.run(f"CLUSTER SETSLOT {slot} STABLE")
