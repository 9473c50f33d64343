"""What one client, and all of them together, may take of the secure port."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds with their reasons. Those that end in _s are seconds.

    Attributes:
        connections: Open at once. kube-apiserver keeps up to 25 idle ones, each of its replicas its own. One more, and
            the one that is idle for longest is closed; is none, the newcomer is told so.
        in_flight: Requests that wait for the Kubernetes API to say whether they may, as kube-apiserver's
            --max-requests-inflight. All others are answered at once and never wait.
        head_bytes: Request line and header fields. A user in a thousand groups has some 50 kB of them.
        handshake_s: For TLS. As many may be under way as connections are open; of one more, the oldest ends.
        head_s: From the first byte of a head to its last; kube-apiserver sends it at once.
        idle_s: Between requests: longer than the 90 s for which kube-apiserver keeps an idle connection, so that it is
            not us who close one that it is about to use.
        other_s: For a request that is not plain, with all it may bring; its connection ends with it.
        write_s: For a client to take what it asked for, before it is given more.
    """

    connections: int = 1000
    in_flight: int = 400
    head_bytes: int = 128 * 1024
    handshake_s: float = 10.0
    head_s: float = 10.0
    idle_s: float = 120.0
    other_s: float = 30.0
    write_s: float = 30.0


DEFAULT = Limits()
