"""What becomes of the answers a page's server may give, good and bad."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import socket
import ssl
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from adapter.kube.reach import Tenant
from adapter.schema.metric import Metric
from adapter.schema.model import ScrapeSource, ScrapeTargets, StaticSeries, StaticSource
from adapter.schema.policy import ALLOW_ALL
from adapter.sources import Endpoint, EndpointSpec, SourceFailureError
from adapter.sources.fetch import failure_detail
from adapter.sources.scrape import ScrapeSpec, instance_of, plan, target_at
from adapter.sources.scrape_page import Wanted, with_labels
from scaler.model import EMPTY_LAYOUT, EXTERNAL_METRICS_GROUP, Batch, MetricRef, Reason, Unknown, labels_of
from scaler.rules import CounterStart, Function, MetricRule, Signal
from tests.pages import Connection, PageServer, chunked, head, http, serving

MIB = 1 << 20
REQUESTS = MetricRef(EXTERNAL_METRICS_GROUP, "shop", "requests")
ERRORS = MetricRef(EXTERNAL_METRICS_GROUP, "shop", "errors")
OPENMETRICS = "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8"
ONLY_COMMENTS = "expected # HELP, # TYPE, # UNIT or # EOF, the only comments of OpenMetrics"
PAGE = b"""# TYPE http_requests_total counter
http_requests_total{code="200"} 10
http_requests_total{code="500"} 2
process_start_time_seconds 1.7e+09
"""


def wanted(metric: MetricRef = REQUESTS, match: str = "", max_series: int = 100, from_zero: bool = False) -> Wanted:
    return Wanted(metric, "http_requests_total", match, max_series, from_zero)


def spec(server: PageServer | str, *wants: Wanted, timeout_ms: int = 10_000, max_bytes: int = MIB) -> ScrapeSpec:
    url = server if isinstance(server, str) else server.url
    return ScrapeSpec("shop", target_at(url), 1_000, timeout_ms, max_bytes, ALLOW_ALL, wants or (wanted(),))


@asynccontextmanager
async def opened(of: EndpointSpec) -> AsyncIterator[Endpoint]:
    endpoint = of.open()
    try:
        yield endpoint
    finally:
        await endpoint.close()


async def read(of: EndpointSpec) -> list[Batch]:
    async with opened(of) as endpoint:
        return await endpoint.collect(5)


async def failure(of: EndpointSpec) -> str:
    """Read twice; the read must fail, and in the same words."""
    async with opened(of) as endpoint:
        details = []
        for now_ms in (5, 6):
            with pytest.raises(SourceFailureError) as caught:
                await endpoint.collect(now_ms)
            details.append(caught.value.unknown.detail)
        assert details[0] == details[1]
        return details[0]


def failure_of(*answer: bytes, timeout_ms: int = 10_000, max_bytes: int = MIB) -> str:
    async def run() -> str:
        async with serving(*answer) as server:
            return await failure(spec(server, timeout_ms=timeout_ms, max_bytes=max_bytes))

    return asyncio.run(run())


def values_of(*answer: bytes) -> list[float]:
    async def run() -> list[float]:
        async with serving(*answer) as server:
            (batch,) = await read(spec(server))
            return [float(value) for value in batch.values]

    return asyncio.run(run())


def test_good_page() -> None:
    """A page becomes a batch a metric: its series with their instance, its values, and when its process started."""

    async def run() -> None:
        async with serving(http(PAGE, "Content-Type: text/plain; version=0.0.4")) as server:
            wants = wanted(from_zero=True), wanted(ERRORS, 'code=~"5..",instance=~"127.*"')
            requests, errors = await read(spec(server, *wants))
        instance = ("instance", f"127.0.0.1:{server.port}")
        assert requests.layout.series == ((("code", "200"), instance), (("code", "500"), instance))
        assert requests.values.tolist() == [10, 2]
        assert (requests.metric, requests.target, requests.time_ms) == (REQUESTS, server.url, 5)
        assert requests.start_ms == 1_700_000_000_000
        assert errors.layout.series == ((("code", "500"), instance),)
        assert errors.values.tolist() == [2]
        assert errors.start_ms is None
        (request,) = server.requests
        assert b"\r\nAccept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.9," in request
        assert b"\r\nAccept-Encoding: identity\r\n" in request
        assert b"\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n" in request

    asyncio.run(run())


@pytest.mark.parametrize(
    "answer",
    [
        http(PAGE),
        http(PAGE.rstrip(b"\n")),
        http(PAGE, "Content-Type: application/octet-stream"),
        head("Transfer-Encoding: chunked") + chunked(PAGE[:3], PAGE[3:]),
        head("Transfer-Encoding: chunked") + chunked(PAGE.rstrip(b"\n")),
        http(gzip.compress(PAGE), "Content-Encoding: gzip"),
        http(gzip.compress(PAGE[:20]) + gzip.compress(PAGE[20:]), "Content-Encoding: GZIP"),
        head("Content-Encoding: gzip", "Transfer-Encoding: chunked") + chunked(*map(bytes, zip(gzip.compress(PAGE)))),
    ],
    ids=["length", "no-line-feed", "untyped", "chunked", "chunked-no-line-feed", "gzip", "gzip-members", "gzip-bytes"],
)
def test_forms_of_a_page(answer: bytes) -> None:
    """A page is read in each form HTTP may give it, also without its last line feed where its end is certain."""
    assert values_of(answer) == [10, 2]


def test_page_that_ends_with_the_connection() -> None:
    """Without a length, only a last line feed shows that the page is whole."""

    def answer(body: bytes) -> str | list[float]:
        async def run() -> str | list[float]:
            async def say(connection: Connection) -> None:
                await connection.send(head("Connection: close") + body)
                connection.writer.close()

            async with serving() as server:
                server.answer = say
                if body == PAGE:
                    (batch,) = await read(spec(server))
                    return [float(value) for value in batch.values]
                return await failure(spec(server))

        return asyncio.run(run())

    assert answer(PAGE) == [10, 2]
    assert answer(PAGE[:-1]) == "line 4, column 34: last line does not end with a line feed: the page may have been cut"


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (http(b"", status="404 Not Found"), "HTTP 404"),
        (http(PAGE, status="503 Service Unavailable"), "HTTP 503"),
        (http(b"", status="204 No Content"), "HTTP 204"),
        (http(b"up 1\n", "Content-Type: text/html"), "content type text/html: not a metrics page"),
        (
            http(b"{}", "Content-Type: application/json; charset=utf-8"),
            "content type application/json: not a metrics page",
        ),
        (
            http(b"\x01", "Content-Type: application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily"),
            (
                "content type application/vnd.google.protobuf: protobuf, and so native histograms, are not read; "
                "let it serve text"
            ),
        ),
        (
            http(b"up 1\n# EOF\n", "Content-Type: application/openmetrics-text; version=2.0.0"),
            "content type application/openmetrics-text: only versions 1.0.0 and 0.0.1 are read",
        ),
        (http(b"up 1\n", OPENMETRICS), "line 1, column 5: page does not end with # EOF: it may have been cut"),
        (http(b"", OPENMETRICS), "line 1, column 1: page does not end with # EOF: it may have been cut"),
        (http(b"# a note\nup 1\n# EOF\n", OPENMETRICS), "line 1, column 1: " + ONLY_COMMENTS),
        (http(b"\n <!doctype html>"), "body is HTML or XML, not a metrics page"),
        (http(b"up 1\nup{code=200} 1\n"), "line 2, column 9: expected '\"' before label value"),
        (http(bytes(range(127, 256)) * 99), "line 1, column 1: expected a metric name"),
        (http(PAGE + PAGE), "line 6, column 1: series given twice, first in line 2"),
        (http(gzip.compress(PAGE)), "line 1, column 1: expected a metric name"),
        (http(PAGE, "Content-Encoding: gzip"), "body is not valid gzip"),
        (http(gzip.compress(PAGE)[:-4], "Content-Encoding: gzip"), "gzip body cut short"),
        (http(gzip.compress(PAGE) + b"more", "Content-Encoding: gzip"), "body is not valid gzip"),
        (http(zlib.compress(PAGE), "Content-Encoding: deflate"), "content encoding is neither identity nor gzip"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "answer is not HTTP"),
    ],
)
def test_refused_answers(answer: bytes, detail: str) -> None:
    """An answer that is not a whole, valid page is refused, in words that stay the same."""
    assert failure_of(answer) == detail


def test_endless_page() -> None:
    """A page that never ends is refused at the bound, after little more than that was sent."""

    async def run() -> None:
        async def endless(connection: Connection) -> None:
            await connection.send(head("Content-Type: text/plain"))
            while True:
                await connection.send(b'http_requests_total{code="200"} 1\n' * 1000)

        async with serving() as server:
            server.answer = endless
            assert await failure(spec(server)) == "body larger than 1048576 bytes"
            # The rest was on its way, in the two sockets' buffers, when the reader hung up.
            assert all(connection.sent < 20 * MIB for connection in server.connections)

    asyncio.run(run())


def test_page_that_says_it_is_too_large() -> None:
    """A page of 2 GB is refused by its Content-Length, before anything of it is read."""
    assert failure_of(head(f"Content-Length: {2 << 30}")) == "body larger than 1048576 bytes"
    assert failure_of(head(f"Content-Length: {2 << 30}", "Content-Encoding: gzip")) == "body larger than 1048576 bytes"


def test_decompression_bomb() -> None:
    """A small gzip body that inflates to 256 MiB is refused at the bound, and never takes more memory than it."""
    compressor = zlib.compressobj(wbits=31)
    bomb = b"".join(compressor.compress(bytes(MIB)) for _ in range(256)) + compressor.flush()
    tracemalloc.start()
    try:
        assert failure_of(http(bomb, "Content-Encoding: gzip"), max_bytes=MIB) == "body larger than 1048576 bytes"
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


def test_page_at_the_bound() -> None:
    """A page of exactly the bound is read; one byte more is not."""
    page = PAGE + b"#" * (2047 - len(PAGE)) + b"\n"

    async def run() -> None:
        async with serving(http(page)) as server:
            assert (await read(spec(server, max_bytes=2048)))[0].values.tolist() == [10, 2]
            assert await failure(spec(server, max_bytes=2047)) == "body larger than 2047 bytes"
            server.say(http(gzip.compress(page), "Content-Encoding: gzip"))
            assert (await read(spec(server, max_bytes=2048)))[0].values.tolist() == [10, 2]
            assert await failure(spec(server, max_bytes=2047)) == "body larger than 2047 bytes"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("sent", "detail"),
    [
        (b"", "connection closed before an answer"),
        (b"HTTP/1.1 200", "connection closed before an answer"),
        (http(PAGE)[:-8], "answer cut short"),
        (head("Transfer-Encoding: chunked") + chunked(PAGE)[:-8], "answer cut short"),
    ],
)
def test_cut_answers(sent: bytes, detail: str) -> None:
    """A server that hangs up in the middle gives nothing, however valid the part was."""

    async def run() -> str:
        async def cut(connection: Connection) -> None:
            await connection.send(sent)
            connection.writer.close()

        async with serving() as server:
            server.answer = cut
            return await failure(spec(server))

    assert asyncio.run(run()) == detail


def test_reset_connection() -> None:
    """A connection that is reset before the answer is named as that."""

    async def run() -> str:
        async def reset(connection: Connection) -> None:
            raw = connection.writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.reset()

        async with serving() as server:
            server.answer = reset
            return await failure(spec(server))

    assert asyncio.run(run()) == "connection reset"


def test_slow_answers() -> None:
    """No answer, half a head, half a page, and a page that drips: each is a timeout, and the next read is unharmed."""

    async def run() -> None:
        async def drip(connection: Connection) -> None:
            await connection.send(head(f"Content-Length: {len(PAGE)}"))
            for byte in PAGE:
                await connection.send(bytes([byte]))
                await asyncio.sleep(0.05)

        async with serving() as server:
            silence = server.answer
            async with opened(spec(server, timeout_ms=100)) as endpoint:
                for answer in (silence, b"HTTP/1.1 200 OK\r\n", http(PAGE)[:-1], drip):
                    if isinstance(answer, bytes):
                        server.say(answer)
                    else:
                        server.answer = answer
                    with pytest.raises(SourceFailureError, match=r"^timeout$"):
                        await endpoint.collect(5)
            server.say(http(PAGE))
            assert (await read(spec(server)))[0].values.tolist() == [10, 2]

    asyncio.run(run())


def test_refused_connection() -> None:
    """A port nobody listens on is named as that."""

    async def run() -> None:
        async with serving(http(PAGE)) as server:
            pass
        assert await failure(spec(server)) == "connection refused"

    asyncio.run(run())


def test_connection_is_kept() -> None:
    """Reads share one connection; one that the server closed meanwhile is replaced without a failed read."""

    async def run() -> None:
        async with serving(http(PAGE)) as server, opened(spec(server)) as endpoint:
            for now_ms in range(5):
                await endpoint.collect(now_ms)
            assert (len(server.connections), len(server.requests)) == (1, 5)
            server.connections[0].writer.close()
            await endpoint.collect(5)
            assert (len(server.connections), len(server.requests)) == (2, 6)

    asyncio.run(run())


def test_cookies_are_not_kept() -> None:
    """A page's cookie is not sent back."""

    async def run() -> None:
        async with serving(http(PAGE, "Set-Cookie: a=b")) as server, opened(spec(server)) as endpoint:
            await endpoint.collect(5)
            await endpoint.collect(6)
            assert not any(b"Cookie" in request for request in server.requests)

    asyncio.run(run())


def test_layouts_stay() -> None:
    """A metric keeps its layout while its own series stay the same, whatever else on the page changes."""

    async def run() -> None:
        wants = wanted(), wanted(ERRORS, 'code="500"')
        async with serving(http(PAGE)) as server, opened(spec(server, *wants)) as endpoint:
            before = await endpoint.collect(1)
            same = await endpoint.collect(2)
            server.say(http(PAGE + b'http_requests_total{code="201"} 1\n'))
            after = await endpoint.collect(3)
        assert [batch.layout for batch in same] == [batch.layout for batch in before]
        assert after[0].layout is not before[0].layout
        assert after[0].values.tolist() == [10, 2, 1]
        assert after[1].layout is before[1].layout

    asyncio.run(run())


def test_no_series() -> None:
    """A good page without a series of the metric is a good read of none."""

    async def run() -> None:
        async with serving(http(b"up 1\n")) as server:
            for page in (b"up 1\n", b"", b'http_requests_total{code="404"} 1\n'):
                server.say(http(page))
                (batch,) = await read(spec(server, wanted(match='code="200"')))
                assert batch.layout is EMPTY_LAYOUT
                assert batch.values.shape == (0,)
                assert batch.failure is None

    asyncio.run(run())


def test_too_many_series() -> None:
    """A metric with too many series is unknown, alone: another on the same page is read."""

    async def run() -> None:
        async with serving(http(PAGE)) as server:
            crowded, errors = await read(spec(server, wanted(max_series=1), wanted(ERRORS, 'code="500"', max_series=1)))
        detail = "more than 1 series match: match fewer, or raise spec.maxSeries"
        assert crowded.failure == Unknown(Reason.TOO_MANY_SERIES, detail)
        assert crowded.layout is EMPTY_LAYOUT
        assert errors.values.tolist() == [2]

    asyncio.run(run())


def test_page_with_far_too_many_series() -> None:
    """A page that would make us keep more series than any page may is refused as a whole."""
    page = b"".join(b'http_requests_total{i="%d"} 1\n' % i for i in range(100_001))

    async def run() -> Unknown:
        async with serving(http(page)) as server:
            with pytest.raises(SourceFailureError) as caught:
                await read(spec(server, max_bytes=16 * MIB))
            return caught.value.unknown

    detail = "more than 100000 series of the metrics that are read"
    assert asyncio.run(run()) == Unknown(Reason.TOO_MANY_SERIES, detail)


def test_large_page() -> None:
    """A page that is parsed in a thread gives what it would have given in the loop."""
    rows = 20_000
    page = b"".join(b'http_requests_total{i="%d"} %d.5\n' % (i, i) for i in range(rows))

    async def run() -> None:
        async with serving(http(page)) as server:
            of = spec(server, wanted(max_series=rows), max_bytes=16 * MIB)
            async with opened(of) as endpoint:
                (first,) = await endpoint.collect(1)
                (second,) = await endpoint.collect(2)
        assert first.values.tolist() == [i + 0.5 for i in range(rows)]
        assert second.layout is first.layout

    asyncio.run(run())


@pytest.mark.parametrize("value", [b"NaN", b"+Inf", b"-1"])
def test_values_pass_as_they_are(value: bytes) -> None:
    """What is not finite or is negative is handed on: it is the store's to name."""
    assert repr(values_of(http(b"http_requests_total " + value + b"\n"))) == repr([float(value)])


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"process_start_time_seconds NaN\n",
        b"process_start_time_seconds 0\n",
        b'process_start_time_seconds{pid="1"} 1\nprocess_start_time_seconds{pid="2"} 2\n',
    ],
)
def test_no_start_time(line: bytes) -> None:
    """A page that does not tell one time at which its process started tells none."""

    async def run() -> None:
        async with serving(http(b"http_requests_total 1\n" + line)) as server:
            (batch,) = await read(spec(server, wanted(from_zero=True)))
            assert batch.start_ms is None
            assert batch.values.tolist() == [1]

    asyncio.run(run())


def test_failed() -> None:
    """A failed read is a failed batch for each metric of the page."""
    unknown = Unknown(Reason.SOURCE_ERROR, "timeout")
    endpoint = spec("http://10.0.0.7:8080/metrics", wanted(), wanted(ERRORS)).open()
    for batch, metric in zip(endpoint.failed(unknown, 7), (REQUESTS, ERRORS), strict=True):
        assert (batch.metric, batch.target, batch.time_ms) == (metric, "http://10.0.0.7:8080/metrics", 7)
        assert batch.failure is unknown
        assert batch.layout is EMPTY_LAYOUT


def _self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pages")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = folder / "pages.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def test_tls(tmp_path: Path) -> None:
    """Certificates are verified, and what is not TLS is named as that."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def run() -> None:
        async with serving(http(PAGE), tls=_self_signed(tmp_path)) as server:
            assert await failure(spec(server)) == "certificate not accepted: self-signed certificate"
        plain = await asyncio.start_server(refuse, "127.0.0.1", 0)
        async with plain:
            url = f"https://127.0.0.1:{plain.sockets[0].getsockname()[1]}/metrics"
            assert await failure(spec(url)) == "TLS handshake failed"

    asyncio.run(run())


def test_details_without_a_server() -> None:
    """Failures that a test cannot cause are named too, without addresses."""
    assert failure_detail(socket.gaierror(-2, "Name or service not known")) == "name not resolved"
    assert failure_detail(OSError(113, "Connect call failed ('10.0.0.7', 8080)")) == "no route to host"
    assert failure_detail(OSError(99, "('10.0.0.7', 8080)")) == "cannot assign requested address"
    assert failure_detail(aiohttp.InvalidURL("http://x:y")) == "URL is not valid"
    assert failure_detail(aiohttp.ClientError("10.0.0.7")) == "request failed"


def metric(name: str, *urls: str, namespace: str = "shop", interval_ms: int = 1_000, timeout_ms: int = 1_000) -> Metric:
    ref = MetricRef(EXTERNAL_METRICS_GROUP, namespace, name)
    source = ScrapeSource(targets=ScrapeTargets(urls=urls), metric="http_requests_total")
    return Metric(MetricRule(ref, name, "id", interval_ms, urls), source, timeout_ms, "metrics.yaml:1")


def test_plan() -> None:
    """Metrics share a page's read when they agree on namespace, interval, timeout and size; else each has its own."""
    a, b, c = metric("a", "http://x/", "http://y/"), metric("b", "http://x/", "http://z/"), metric("c", "http://x/")
    zero = Signal(Function.RATE, 60_000, CounterStart.ZERO)
    b = replace(b, rule=replace(b.rule, signal=zero, max_series=5))
    smaller = ScrapeSource(targets=ScrapeTargets(urls=("http://x/",)), metric="http_requests_total", max_bytes=1024)
    others = [
        metric("c", "http://x/", namespace="bank"),
        metric("d", "http://x/", interval_ms=2_000),
        metric("e", "http://x/", timeout_ms=900),
        replace(c, source=smaller),
        replace(c, source=StaticSource(series=(StaticSeries(value=1.0),))),
    ]
    shared = plan([a, b])
    assert [(one.url, {ref.name for ref in one.metrics}) for one in shared] == [
        ("http://x/", {"a", "b"}),
        ("http://y/", {"a"}),
        ("http://z/", {"b"}),
    ]
    assert shared[2].wanted == (Wanted(b.rule.ref, "http_requests_total", "", max_series=5, from_zero=True),)
    assert [len(one.metrics) for one in plan([a, b, *others])] == [2, 1, 1, 1, 1, 1, 1]
    assert set(plan([*others, b, a])) == set(plan([a, b, *others]))
    assert set(plan([b])) != set(plan([replace(b, rule=replace(b.rule, max_series=6))]))


def test_names_hold_no_secret() -> None:
    """A URL's user info is not part of an endpoint's name."""
    assert spec("http://user:secret@host:80/metrics?x=1").name == "http://host/metrics?x=1"
    assert spec("http://host:8080/metrics").name == "http://host:8080/metrics"


@pytest.mark.parametrize(
    ("url", "instance"),
    [
        ("http://10.0.0.7:8080/metrics", "10.0.0.7:8080"),
        ("http://Web.shop/metrics", "web.shop:80"),
        ("https://web.shop/metrics?a=b", "web.shop:443"),
        ("http://[fd00::7]:9100/", "[fd00::7]:9100"),
    ],
)
def test_instance(url: str, instance: str) -> None:
    """The label instance is a target's host and port."""
    assert instance_of(url) == instance


def test_instance_on_the_page() -> None:
    """A label instance of the page becomes exported_instance, as often as that is taken."""
    assert with_labels((), (("instance", "t:1"),)) == (("instance", "t:1"),)
    assert with_labels(labels_of({"instance": "x"}), (("instance", "t:1"),)) == (
        ("exported_instance", "x"),
        ("instance", "t:1"),
    )
    assert with_labels(labels_of({"instance": "x", "exported_instance": "y"}), (("instance", "t:1"),)) == (
        ("exported_exported_instance", "x"),
        ("exported_instance", "y"),
        ("instance", "t:1"),
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"])
def test_a_tenant_reaches_no_address_it_must_not(host: str) -> None:
    """Literals in every form, and names by their answers, are judged by the address that is connected to."""
    policy = Tenant("shop", frozenset())
    one = ScrapeSpec("shop", target_at(f"http://{host}:9/m"), 1_000, 2_000, 10_000, policy, (wanted(),))

    async def read() -> str:
        endpoint = one.open()
        try:
            await endpoint.collect(1)
        except SourceFailureError as error:
            return error.unknown.detail
        finally:
            await endpoint.close()
        return "read"

    assert asyncio.run(read()).endswith("must not be connected to: it is loopback")


def test_labels_without_end_are_no_labels() -> None:
    """A series with too much in its labels makes its metric unknown, alone."""

    async def run() -> list[Batch]:
        page = b'http_requests_total{code="200",token="%b"} 1\nhttp_requests_total{code="500"} 2\n' % (b"x" * 5_000)
        async with serving(http(page)) as server:
            return await read(spec(server, wanted(), wanted(ERRORS, 'code="500"')))

    crowded, errors = asyncio.run(run())
    detail = "a series of more than 4096 bytes, name and labels"
    assert crowded.failure == Unknown(Reason.TOO_MANY_SERIES, detail)
    assert errors.values.tolist() == [2]


def test_what_long_labels_hold_is_not_remembered() -> None:
    """Pages whose labels are long, and others each time, leave nothing in memory when they are gone."""

    async def run() -> int:
        pages = [b'http_requests_total{a="%d%b",b%d%b="1"} 1\n' % (n, b"x" * MIB, n, b"y" * MIB) for n in range(24)]
        async with serving(http(pages[0])) as server, opened(spec(server, max_bytes=4 * MIB)) as endpoint:
            for n, page in enumerate(pages):
                server.say(http(page))
                (batch,) = await endpoint.collect(n)
                assert batch.failure is not None
                if n == 3:
                    before = tracemalloc.get_traced_memory()[0]
            return tracemalloc.get_traced_memory()[0] - before

    tracemalloc.start()
    try:
        assert asyncio.run(run()) < 12 * MIB
    finally:
        tracemalloc.stop()
