"""What must be served when something is broken: the declared half of the matrix. The other half is measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """The columns: how something can be broken."""

    ABSENT = "absent"
    REFUSES = "refuses"
    HANGS = "accepts and hangs"
    DRIPS = "drips"
    CUTS = "cuts mid-answer"
    GARBAGE = "answers garbage"
    TOO_MUCH = "answers too much"
    CREDENTIALS = "wrong credentials"
    EXPIRED = "certificate expired"
    FLAPS = "flaps every second"

    @property
    def slug(self) -> str:
        """The fault in a metric's name."""
        return self.value.replace(" ", "-")


class Served(StrEnum):
    """What readers get while something is broken."""

    UNKNOWN = "the value until it is `maxAge` old, then 503"
    SOMETIMES = "the value while younger than `maxAge`, else 503"
    CURRENT = "the value, read on as ever; changes are followed afterwards"
    FOLLOWING = "the value, read on as ever; changes are followed in between"
    JUMPS = "the value, or 503 until it was read again"
    STARTED = "it starts, and serves as ever"
    NOT_STARTED = "it does not start, and says why"


@dataclass(frozen=True, slots=True)
class Cell:
    """One thing broken in one way.

    Args:
        how: How it is broken here.
        served: What readers get.
        reason: Of the 503, if there is one.
        detail: What its message says of the cause; for what does not start, what the last line says.
        lasts_ms: How long the fault lasts at least; 0: until all that comes of it has been seen.
    """

    how: str
    served: Served
    reason: str = ""
    detail: str = ""
    lasts_ms: int = 0


@dataclass(frozen=True, slots=True)
class Void:
    """A cell without meaning, and why."""

    why: str


Row = Mapping[Fault, Cell | Void]

_SOURCE = {
    Fault.ABSENT: "no host answers at its address, and what was open is silent",
    Fault.REFUSES: "its port is closed",
    Fault.HANGS: "connections are accepted and never answered",
    Fault.DRIPS: "an answer comes a byte at a time, more slowly than `timeout`",
    Fault.CUTS: "the connection ends after half of an answer",
    Fault.GARBAGE: "random bytes for an answer",
    Fault.TOO_MUCH: "an answer that never ends",
    Fault.CREDENTIALS: "it no longer accepts ours",
    Fault.EXPIRED: "it shows a certificate that expired yesterday",
    Fault.FLAPS: "its port is closed and open in turn, a second each",
}


def source_row(details: Mapping[Fault, str], how: Mapping[Fault, str] | None = None) -> Row:
    """Return the row of a source: each fault makes its metric unknown, and `details` are what is said of it."""
    served = {fault: Served.SOMETIMES if fault is Fault.FLAPS else Served.UNKNOWN for fault in Fault}
    hows = {**_SOURCE, **(how or {})}
    return {fault: Cell(hows[fault], served[fault], "SourceError", details[fault]) for fault in Fault}


REDIS = source_row(
    {
        Fault.ABSENT: "timeout",
        Fault.REFUSES: "connection refused",
        Fault.HANGS: "timeout",
        Fault.DRIPS: "timeout",
        Fault.CUTS: "closed by the server",
        Fault.GARBAGE: "protocol error: not RESP",
        Fault.TOO_MUCH: "protocol error: replies of more than 8388608 bytes",
        Fault.CREDENTIALS: "WRONGPASS: the server refuses this user and password",
        Fault.EXPIRED: "TLS: certificate: certificate has expired",
        Fault.FLAPS: "connection refused",
    },
    {Fault.HANGS: "the process is stopped (SIGSTOP): the kernel accepts connections for it"},
)
SCRAPE = source_row(
    {
        Fault.ABSENT: "timeout",
        Fault.REFUSES: "connection refused",
        Fault.HANGS: "timeout",
        Fault.DRIPS: "timeout",
        Fault.CUTS: "answer cut short",
        Fault.GARBAGE: "line 1",
        Fault.TOO_MUCH: "body larger than 16777216 bytes",
        Fault.CREDENTIALS: "HTTP 401",
        Fault.EXPIRED: "certificate not accepted: certificate has expired",
        Fault.FLAPS: "connection refused",
    },
    {Fault.GARBAGE: "a page of random bytes", Fault.TOO_MUCH: "a page that never ends"},
)

KUBERNETES: Row = {
    fault: Cell(how.replace("ours", "our token"), Served.FOLLOWING if fault is Fault.FLAPS else Served.CURRENT)
    for fault, how in _SOURCE.items()
}

_UNRESOLVED = ("SourceError", "DNS: Temporary failure in name resolution")
DNS: Row = {
    Fault.ABSENT: Cell("nobody listens at the name server's address", Served.UNKNOWN, *_UNRESOLVED),
    Fault.REFUSES: Cell("REFUSED to every question", Served.UNKNOWN, *_UNRESOLVED),
    Fault.HANGS: Cell(
        "no answer, to this name and to forty others that are read beside it, for longer than tokens are kept",
        Served.UNKNOWN,
        "SourceError",
        "timeout",
        lasts_ms=15_000,
    ),
    Fault.DRIPS: Void("an answer is one datagram: it comes or it does not"),
    Fault.CUTS: Cell("answers are truncated, and cut over TCP", Served.UNKNOWN, *_UNRESOLVED),
    Fault.GARBAGE: Cell(
        "random bytes for an answer, which resolvers take for nobody's", Served.UNKNOWN, "SourceError", "timeout"
    ),
    Fault.TOO_MUCH: Cell("two hundred addresses, of nobody", Served.UNKNOWN, "SourceError", "connection refused"),
    Fault.CREDENTIALS: Void("a name server wants none"),
    Fault.EXPIRED: Void("a name server shows none"),
    Fault.FLAPS: Cell(
        "answers and REFUSED in turn, a second each, while connections are cut", Served.SOMETIMES, *_UNRESOLVED
    ),
}

CONFIGURATION: Row = {
    Fault.ABSENT: Cell("the whole directory is gone", Served.CURRENT),
    Fault.REFUSES: Cell("a file cannot be opened", Served.CURRENT),
    Fault.HANGS: Cell("a pipe that nobody writes to is in the place of a file", Served.CURRENT),
    Fault.DRIPS: Cell("a file is written in place, a piece every 50 ms", Served.FOLLOWING),
    Fault.CUTS: Cell("half of a file", Served.CURRENT),
    Fault.GARBAGE: Cell("random bytes", Served.CURRENT),
    Fault.TOO_MUCH: Cell("a file of 11 MiB", Served.CURRENT),
    Fault.CREDENTIALS: Void("a file that must not be read is one that cannot be: refuses"),
    Fault.EXPIRED: Void("files show none"),
    Fault.FLAPS: Cell("the directory is gone and there in turn, a second each", Served.FOLLOWING),
}
_LATE = "it is read once, at the start, which it delays; nothing waits for it later"
WRITTEN: Row = {
    Fault.ABSENT: Cell("`--cert-dir` is not there", Served.STARTED),
    Fault.REFUSES: Cell("`--cert-dir` is read-only", Served.NOT_STARTED, detail="Read-only file system"),
    Fault.HANGS: Void(_LATE),
    Fault.DRIPS: Void(_LATE),
    Fault.CUTS: Cell("half of a certificate is in it", Served.STARTED),
    Fault.GARBAGE: Cell("random bytes are in it", Served.STARTED),
    Fault.TOO_MUCH: Cell("the disk is full", Served.NOT_STARTED, detail="No space left on device"),
    Fault.CREDENTIALS: Cell("another certificate's key is in it", Served.STARTED),
    Fault.EXPIRED: Cell("a certificate that has expired is in it", Served.STARTED),
    Fault.FLAPS: Void("nothing is written after the start"),
}
_MEMORY = "a Secret's volume is memory, and holds at most 1 MiB"
CERTIFICATE: Row = {
    Fault.ABSENT: Cell("certificate and key are gone", Served.CURRENT),
    Fault.REFUSES: Cell("certificate and key cannot be opened", Served.CURRENT),
    Fault.HANGS: Void(_MEMORY),
    Fault.DRIPS: Cell("both are written in place, a piece every 50 ms, and not to the end", Served.CURRENT),
    Fault.CUTS: Cell("a new certificate is there, and its key not yet", Served.CURRENT),
    Fault.GARBAGE: Cell("random bytes for the certificate", Served.CURRENT),
    Fault.TOO_MUCH: Void(_MEMORY),
    Fault.CREDENTIALS: Cell("the key is another certificate's", Served.CURRENT),
    Fault.EXPIRED: Cell("a pair that expired yesterday takes its place", Served.CURRENT),
    Fault.FLAPS: Cell("random bytes and a good certificate in turn, a second each", Served.FOLLOWING),
}

_ALWAYS = "a clock always says something"
CLOCK: Row = {
    Fault.ABSENT: Void(_ALWAYS),
    Fault.REFUSES: Void(_ALWAYS),
    Fault.HANGS: Cell("the process is suspended for twice `maxAge`, as with its machine", Served.JUMPS, "Stale"),
    Fault.DRIPS: Cell("it runs at half its speed", Served.JUMPS, "Stale"),
    Fault.CUTS: Cell("it is set back by an hour", Served.JUMPS, "Stale"),
    Fault.GARBAGE: Cell("it says 1971", Served.JUMPS, "Stale"),
    Fault.TOO_MUCH: Cell("it is set forward by an hour", Served.JUMPS, "Stale"),
    Fault.CREDENTIALS: Void("a clock wants none"),
    Fault.EXPIRED: Cell("it is set two years forward, past the end of our certificate", Served.JUMPS, "Stale"),
    Fault.FLAPS: Cell("it is ten seconds ahead and right in turn, a second each", Served.JUMPS, "Stale"),
}

MATRIX: Mapping[str, Row] = {
    "Redis": REDIS,
    "scrape target": SCRAPE,
    "Kubernetes API": KUBERNETES,
    "DNS": DNS,
    "our clock": CLOCK,
    "our disk: configuration": CONFIGURATION,
    "our disk: what is written": WRITTEN,
    "our certificate": CERTIFICATE,
}
"""Thing → fault → cell. Each thing has each fault, if only to say why it has no meaning there."""


def cells() -> Iterator[tuple[str, Fault, Cell]]:
    """Yield the cells that mean something."""
    for thing, row in MATRIX.items():
        for fault, cell in row.items():
            if isinstance(cell, Cell):
                yield thing, fault, cell
