"""A real Prometheus on loopback: samples go in by remote write, so that stale markers do too; queries come out."""

from __future__ import annotations

import http.client
import json
import os
import re
import struct
import subprocess
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import until_sync

PROGRAM = Path(__file__).parents[2] / ".cache/prometheus/usr/bin/prometheus"
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
"""The marker that says that a series has ended. Only its bits tell it from another NaN."""

Series = tuple[Mapping[str, str], Iterable[tuple[int, bytes]]]
"""Labels with `__name__`, and samples: milliseconds and the eight bytes of the value."""


def version() -> str | None:
    """Return the version of the Prometheus that tests/prometheus/get-prometheus has unpacked; None: there is none."""
    try:
        said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.split()[2]


def post(connection: http.client.HTTPConnection, series: Iterable[Series]) -> None:
    """Send samples to a Prometheus by remote write; those of a series by time, ascending."""
    headers = {
        "Content-Encoding": "snappy",
        "Content-Type": "application/x-protobuf",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
    }
    connection.request("POST", "/api/v1/write", _snappy(_write_request(series)), headers)
    with connection.getresponse() as response:
        said = response.read().decode()
        assert response.status == 204, said


class Prometheus:
    """A running one."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def write(self, series: Iterable[Series]) -> None:
        """Take samples in; those of a series by time, ascending."""
        post(self._connection, series)

    def query(self, expression: str, time_ms: int) -> dict[tuple[tuple[str, str], ...], str]:
        """Evaluate at one time; return the value of each series as its shortest decimal text."""
        form = urllib.parse.urlencode({"query": expression, "time": f"{time_ms // 1000}.{time_ms % 1000:03}"})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        self._connection.request("POST", "/api/v1/query", form, headers)
        with self._connection.getresponse() as response:
            said = json.loads(response.read())
        assert said["status"] == "success", said
        return {tuple(sorted(each["metric"].items())): each["value"][1] for each in said["data"]["result"]}


@contextmanager
def running(folder: Path) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes nothing, with its data in this folder, on a free port."""
    (folder / "prometheus.yml").write_text("{}")
    command = [
        str(PROGRAM),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--storage.tsdb.retention.time=100y",
        "--web.listen-address=127.0.0.1:0",
        "--web.enable-remote-write-receiver",
        "--query.max-concurrency=1",
    ]
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, "GOMAXPROCS": "1"})
    try:
        prometheus = Prometheus(_port(process, log))
        try:
            yield prometheus
        finally:
            prometheus.close()
    finally:
        process.terminate()
        process.wait(30)


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    """Wait until it says that it is ready; return the port it took."""
    until_sync(lambda: process.poll() is not None or "Server is ready to receive web requests" in log.read_text())
    said = log.read_text()
    found = re.search(r"Listening on.* address=127\.0\.0\.1:(\d+)", said)
    assert process.poll() is None, said
    assert found is not None, said
    return int(found[1])


def _write_request(series: Iterable[Series]) -> bytes:
    """Encode prometheus.WriteRequest; source: prompb/remote.proto and prompb/types.proto of Prometheus 3."""
    request = b""
    for labels, samples in series:
        body = b""
        for name, value in sorted(labels.items()):
            body += _field(1, _field(1, name.encode()) + _field(2, value.encode()))
        for time_ms, value_bytes in samples:
            body += _field(2, b"\x09" + value_bytes + b"\x10" + _varint(time_ms))
        request += _field(1, body)
    return request


def _field(number: int, body: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _snappy(body: bytes) -> bytes:
    """Frame bytes as a snappy block of literals: valid, and not compressed at all."""
    out = bytearray(_varint(len(body)))
    for start in range(0, len(body), 1 << 16):
        part = body[start : start + (1 << 16)]
        out += b"\xf4" + (len(part) - 1).to_bytes(2, "little") + part
    return bytes(out)
