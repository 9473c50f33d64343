"""The fault matrix: real servers are broken, and what is served then is what docs/faults.md says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.faults.clock import BrokenClock
from tests.faults.conftest import Record
from tests.faults.course import course, started
from tests.faults.files import BrokenCertificate, BrokenFile, Certificates, Starting
from tests.faults.kubernetes import Api, BrokenApi
from tests.faults.matrix import MATRIX, Cell, Fault, Served, Void, cells
from tests.faults.names import BrokenNames, NameServer, OwnNames, needs_mounts
from tests.faults.proxy import Proxies
from tests.faults.sources import SOURCES, BrokenSource
from tests.faults.stage import Stage, fixed
from tests.faults.table import DOCUMENT, document, key, load


def broken_sources(directory: Path, *pairs: tuple[str, Fault]) -> Stage:
    """Return a stage with a metric for each kind of source and fault."""
    return Stage(
        directory,
        lambda proxies: [
            BrokenSource(kind, fault, directory, 1000 * n, proxies) for n, (kind, fault) in enumerate(pairs, 1)
        ],
    )


def cell_of(thing: str, fault: Fault) -> Cell:
    """Return a cell that means something."""
    cell = MATRIX[thing][fault]
    assert isinstance(cell, Cell)
    return cell


def test_one_of_each_column_at_once(tmp_path: Path) -> None:
    """Ten kinds of faults at once, each of a source of its own: each is as declared, and nobody else loses anything."""
    kinds = [*SOURCES]
    pairs = [(kinds[n % len(kinds)], fault) for n, fault in enumerate(Fault)]
    with broken_sources(tmp_path, *pairs) as stage:
        wanted = [(broken, cell_of(*pair)) for broken, pair in zip(stage.broken, pairs, strict=True)]
        found = course(stage, wanted)
    assert not {name: measured.wrong for name, measured in found.items() if measured.wrong}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, Fault], tuple[Stage, int]]]:
    """Return all sources and faults on one stage, healthy, and where each of them is."""
    pairs = [(kind, fault) for kind in SOURCES for fault in Fault]
    with broken_sources(tmp_path_factory.mktemp("sources"), *pairs) as stage:
        yield {pair: (stage, at) for at, pair in enumerate(pairs)}


@pytest.mark.faults
@pytest.mark.parametrize(("kind", "fault"), [(kind, fault) for kind in SOURCES for fault in Fault])
def test_a_source(kind: str, fault: Fault, sources: dict[tuple[str, Fault], tuple[Stage, int]], record: Record) -> None:
    """One source broken in one way, everything else healthy: what is served, with which reason, after how long."""
    stage, at = sources[kind, fault]
    broken = stage.broken[at]
    measured = course(stage, [(broken, cell_of(kind, fault))])[broken.name]
    assert not measured.wrong
    record(kind, fault, measured)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Return an adapter in a cluster, with an object for each fault."""
    directory = tmp_path_factory.mktemp("cluster")
    with Api(directory / "api") as api:

        def make(proxies: Proxies) -> list[BrokenApi]:
            proxy = api.proxy(proxies)
            return [BrokenApi(api, proxy, fault) for fault in Fault]

        with Stage(directory, make, api.start, api.neighbours()) as stage:
            yield stage


@pytest.mark.faults
@pytest.mark.parametrize("fault", Fault)
def test_the_kubernetes_api(fault: Fault, cluster: Stage, record: Record) -> None:
    """The API broken in one way: what was known is served and read on, and what has changed is known afterwards."""
    broken = cluster.broken[[*Fault].index(fault)]
    measured = course(cluster, [(broken, cell_of("Kubernetes API", fault))])[broken.name]
    assert not measured.wrong
    record("Kubernetes API", fault, measured)


NAMES = [fault for fault, cell in MATRIX["DNS"].items() if isinstance(cell, Cell)]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Return an adapter with a name server of its own, and a name for each fault."""
    needs_mounts()
    directory = tmp_path_factory.mktemp("names")

    with (
        NameServer() as server,
        Stage(
            directory, lambda proxies: [BrokenNames(fault, directory, server, proxies) for fault in NAMES], OwnNames
        ) as stage,
    ):
        yield stage


@pytest.mark.faults
@pytest.mark.parametrize("fault", NAMES)
def test_dns(fault: Fault, names: Stage, record: Record) -> None:
    """The name server broken in one way: who needs it is unknown, and who does not loses nothing."""
    broken = names.broken[NAMES.index(fault)]
    measured = course(names, [(broken, cell_of("DNS", fault))])[broken.name]
    assert not measured.wrong
    record("DNS", fault, measured)


FILES = [fault for fault, cell in MATRIX["our disk: configuration"].items() if isinstance(cell, Cell)]
WRITTEN = [fault for fault, cell in MATRIX["our disk: what is written"].items() if isinstance(cell, Cell)]
CERTIFICATE = [fault for fault, cell in MATRIX["our certificate"].items() if isinstance(cell, Cell)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Return an adapter with a file for each fault."""
    directory = tmp_path_factory.mktemp("files")
    with Stage(directory, lambda _: [BrokenFile(fault, directory / "metrics") for fault in FILES]) as stage:
        yield stage


@pytest.mark.faults
@pytest.mark.parametrize("fault", FILES)
def test_our_configuration(fault: Fault, files: Stage, record: Record) -> None:
    """A file of the configuration broken in one way: the last good one counts, and the next good one."""
    broken = files.broken[FILES.index(fault)]
    measured = course(files, [(broken, cell_of("our disk: configuration", fault))])[broken.name]
    assert not measured.wrong
    record("our disk: configuration", fault, measured)


@pytest.mark.faults
@pytest.mark.parametrize("fault", WRITTEN)
def test_what_we_write(fault: Fault, tmp_path: Path, record: Record) -> None:
    """A disk broken at the start: what can be made anew is, and what cannot ends the start with one line."""
    cell = cell_of("our disk: what is written", fault)
    if cell.served is Served.NOT_STARTED:
        needs_mounts()
    config = tmp_path / "metrics.yaml"
    config.write_text(yaml.safe_dump(fixed("near-static", 1).metric))
    measured = started(Starting(fault, tmp_path, config), cell)
    assert not measured.wrong
    record("our disk: what is written", fault, measured)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Return an adapter with a certificate from files."""
    directory = tmp_path_factory.mktemp("certificate")
    pairs = Certificates(directory / "serving")
    with Stage(
        directory, lambda _: [BrokenCertificate(fault, pairs) for fault in CERTIFICATE], pairs.start, handshakes=True
    ) as stage:
        yield stage


@pytest.mark.faults
@pytest.mark.parametrize("fault", CERTIFICATE)
def test_our_certificate(fault: Fault, certificate: Stage, record: Record) -> None:
    """The serving certificate broken in one way while it is replaced: the last good one is shown, then the new one."""
    broken = certificate.broken[CERTIFICATE.index(fault)]
    measured = course(certificate, [(broken, cell_of("our certificate", fault))])[broken.name]
    assert not measured.wrong
    record("our certificate", fault, measured)


CLOCK = [fault for fault, cell in MATRIX["our clock"].items() if isinstance(cell, Cell)]


@pytest.mark.faults
@pytest.mark.parametrize("fault", CLOCK)
def test_our_clock(fault: Fault, tmp_path: Path, record: Record) -> None:
    """A replica whose clock is set wrong serves no wrong value and is itself again soon; the one beside it is right."""
    with Stage(tmp_path, lambda _: [BrokenClock(fault, tmp_path)]) as stage:
        [broken] = stage.broken
        measured = course(stage, [(broken, cell_of("our clock", fault))])[broken.name]
    assert not measured.wrong
    record("our clock", fault, measured)


def test_the_matrix_is_whole() -> None:
    """Each thing has each fault, or says why not."""
    assert all(set(row) == set(Fault) for row in MATRIX.values())
    assert all(cell.why for row in MATRIX.values() for cell in row.values() if isinstance(cell, Void))
    assert set(SOURCES) <= set(MATRIX)


def test_the_document_is_what_is_declared_and_was_measured() -> None:
    """docs/faults.md has been written from the declared table and the last whole run, and each cell was run."""
    results = load()
    assert set(results) == {key(thing, fault) for thing, fault, _ in cells()}
    assert document(results) == DOCUMENT.read_text(), "write it anew: make test-faults"
    for thing, fault, cell in cells():
        said = results[key(thing, fault)]
        assert not said["reason"] or (said["reason"] == cell.reason and cell.detail in said["detail"])
