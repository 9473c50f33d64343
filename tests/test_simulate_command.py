"""`spillway simulate` as a whole: golden runs, reports, and what it must not touch."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adapter.options import parse
from adapter.simulate.findings import duration
from adapter.simulate.main import simulate, simulated
from adapter.simulate.sweep import run_all
from adapter.simulate.terminal import blocks
from adapter.simulate_options import SimulateOptions
from scaler.simulate import Mode, run

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
GOLDEN = Path(__file__).parent / "testdata" / "simulate"

LOAD = """\
duration: 2h
rate:
- constant: 2
- ramp: {begin: 10m, end: 30m, from: 0, to: 20}
- spike: {at: 1h, for: 5m, rate: 60, rise: 1m}
- steps: [{at: 0s, rate: 0}, {at: 90m, rate: 5}]
"""
WORKLOAD = """\
pods: {serviceTime: 700ms, concurrency: 2, startup: 35s, readinessDelay: 5s, distribution: fixed}
nodes: {podsPerNode: 4, min: 1, max: 10, provision: 2m}
timeout: 3m
arrivals: even
start: {backlog: 40}
metrics:
  orders-backlog: {measures: waiting, interval: 5s}
  orders-rate: {measures: arrivals, function: rate, window: 1m}
"""


def _options(folder: Path, *flags: str) -> SimulateOptions:
    (folder / "load.yaml").write_text(LOAD)
    (folder / "workload.yaml").write_text(WORKLOAD)
    common = ["--load", str(folder / "load.yaml"), "--workload", str(folder / "workload.yaml")]
    options = parse(["simulate", "--hpa", str(EXAMPLES / "orders-hpa.yaml"), *common, *flags], {})
    assert isinstance(options, SimulateOptions)
    return options


def _simulate(options: SimulateOptions) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    return simulate(options, out, err), out.getvalue(), err.getvalue()


@pytest.mark.parametrize("hpa", ["orders-hpa", "orders-hpa-both"])
@pytest.mark.parametrize("mode", ["fluid", "events"])
def test_golden_runs(tmp_path: Path, hpa: str, mode: str) -> None:
    """A whole run without chance in it is the same today as when it was first looked at."""
    options = replace(_options(tmp_path, "--mode", mode, "--json", "-"), hpa=(EXAMPLES / f"{hpa}.yaml",))
    code, out, _ = _simulate(options)
    assert code == 0
    (found,) = json.loads(out)["runs"]
    trace = found["trace"]
    got = {
        "figures": {name: round(value, 6) for name, value in found["figures"].items()},
        "replicas": trace["replicas"],
        "backlog": [round(each, 3) for each in trace["backlog"]],
        "nodes": trace["nodes"],
    }
    path = GOLDEN / f"{hpa}.{mode}.json"
    if "SPILLWAY_WRITE_GOLDEN" in os.environ:
        path.write_text(json.dumps(got) + "\n")
    golden = json.loads(path.read_text())
    assert got["figures"] == pytest.approx(golden["figures"], rel=1e-6, abs=1e-6)
    assert got["replicas"] == golden["replicas"]
    assert got["nodes"] == golden["nodes"]
    assert got["backlog"] == pytest.approx(golden["backlog"], rel=1e-6, abs=2e-3)


def test_the_summary_says_whether_it_is_good(tmp_path: Path) -> None:
    """The terminal shows the verdict first, then the figures, and ends with 1 if the objective is not met."""
    code, out, _ = _simulate(_options(tmp_path, "--objective", "p95_wait<10ms"))
    assert code == 1
    lines = out.splitlines()
    assert any(line.startswith("workers   NOT GOOD ENOUGH   p95_wait is") for line in lines[:4])
    for word in ("wait p95", "time over 10 ms", "backlog max", "flaps", "pod-hours", "node-hours", "replicas"):
        assert word in out
    code, out, _ = _simulate(_options(tmp_path, "--objective", "p95_wait<10m"))
    assert code == 0
    assert "GOOD" in out
    assert "NOT GOOD" not in out


def test_without_an_objective_nothing_is_judged(tmp_path: Path) -> None:
    """Good is what meets an objective: without one the summary asks for it, or says what is plainly wrong."""
    code, out, _ = _simulate(_options(tmp_path))
    assert code == 0
    assert "GOOD" not in out


def test_compare(tmp_path: Path) -> None:
    """HPAs are shown side by side, on the same jobs; so are values of a knob."""
    both = str(EXAMPLES / "orders-hpa-both.yaml")
    report = simulated(_options(tmp_path, "--hpa", both), io.StringIO())
    assert [each.name for each in report.outcomes] == ["workers", "workers-both"]
    assert len({float(each.run.result.arrived) for each in report.outcomes}) == 1
    report = simulated(_options(tmp_path, "--compare", "target=20,200"), io.StringIO())
    assert [each.name for each in report.outcomes] == ["target=20", "target=200"]
    waits = [float(each.run.result.wait_p95) for each in report.outcomes]
    assert waits[0] < waits[1]


def test_sweep(tmp_path: Path) -> None:
    """A sweep recommends the cheapest combination that meets the objective, and shows it beside the HPA as it is."""
    flags = ("--sweep", "target=10..200:10", "--sweep", "scaleDown.stabilizationWindowSeconds=0,300")
    report = simulated(_options(tmp_path, *flags, "--objective", "p95_wait<60s", "--mode", "fluid"), io.StringIO())
    sweep, best = report.sweep, report.recommended
    assert sweep is not None
    assert best is not None
    assert len(sweep.results) == 40
    met = [index for index in range(40) if sweep.results["wait_p95"][index] < 60]
    assert best.index in met
    assert sweep.results["pod_s"][best.index] == min(sweep.results["pod_s"][index] for index in met)
    assert [each.name for each in report.outcomes] == ["as it is", "recommended"]
    code, out, _ = _simulate(_options(tmp_path, *flags, "--objective", "p95_wait<60s"))
    assert "recommended: target=" in out
    assert code == 0
    code, out, _ = _simulate(_options(tmp_path, *flags, "--objective", "max_wait<1ms"))
    assert (code, "none of them meets the objective" in out) == (1, True)


def test_many_cores_change_nothing(tmp_path: Path) -> None:
    """Runs spread over threads are, each, the run alone."""
    report = simulated(_options(tmp_path, "--sweep", "target=10..110"), io.StringIO())
    assert report.sweep is not None
    scenarios = report.sweep.scenarios[::25]
    together = run_all(scenarios)
    for index, scenario in enumerate(scenarios):
        assert together[index].tolist() == run(scenario, Mode.FLUID).result.tolist()


def test_the_page_is_whole(tmp_path: Path) -> None:
    """The page holds all it needs: it names no other file, asks no network, and cannot be broken out of."""
    pytest.importorskip("plotly")
    hpa = (EXAMPLES / "orders-hpa.yaml").read_text().replace("name: workers, n", 'name: "</script><b>x", n')
    (tmp_path / "evil.yaml").write_text(hpa)
    path = tmp_path / "report.html"
    options = _options(
        tmp_path, "--hpa", str(tmp_path / "evil.yaml"), "--html", str(path), "--objective", "p95_wait<30s"
    )
    code, out, _ = _simulate(options)
    assert code in (0, 1)
    assert f"written: {path}" in out.replace("\n", "")
    page = path.read_text()
    before, _, rest = page.partition('<script type="application/json" id="data">')
    data, _, after = rest.partition("</script>")
    assert json.loads(data)["runs"][1]["name"] == "</script><b>x"
    assert not re.search(r'(src|href)="(?!data:)', before.partition("<script>")[0] + after)
    assert "default-src 'none'" in before
    assert 'Plotly.newPlot("course"' in after


def test_the_picture_is_xml(tmp_path: Path) -> None:
    """Both pictures are well-formed SVG with a line for each run, and the same each time."""
    flags = ("--hpa", str(EXAMPLES / "orders-hpa-both.yaml"), "--objective", "p95_wait<30s")
    for name in ("a.svg", "b.svg"):
        _simulate(_options(tmp_path, *flags, "--svg", str(tmp_path / name)))
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert len((tmp_path / "a.svg").read_bytes()) < 200_000
    _simulate(
        _options(tmp_path, "--sweep", "target=10,50,90", "--objective", "p95_wait<5m", "--svg", str(tmp_path / "c.svg"))
    )
    assert "objective" in "".join(ElementTree.parse(tmp_path / "c.svg").getroot().itertext())


def test_json_for_machines(tmp_path: Path) -> None:
    """The JSON holds every figure, finding and sync, and has no NaN."""
    path = tmp_path / "out.json"
    _simulate(_options(tmp_path, "--objective", "flaps<99", "--json", str(path)))
    found = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found["schema"] == "spillway.dev/simulate/v1"
    (one,) = found["runs"]
    assert one["met"] is True
    assert len(one["trace"]["replicas"]) == 2 * 3600 // 15
    assert {"p95_wait", "pod_hours", "node_hours", "flaps"} <= set(one["figures"])


def test_bad_input_ends_with_2(tmp_path: Path) -> None:
    """Wrong input is said on stderr, each reason on a line, and ends with 2."""
    options = _options(tmp_path, "--objective", "speed<3")
    code, out, err = _simulate(options)
    assert (code, out) == (2, "")
    assert err.startswith('spillway simulate: --objective: "speed" is no figure of a run')
    code, _, err = _simulate(_options(tmp_path, "--json", "/nowhere/out.json"))
    assert code == 2
    assert "/nowhere/out.json: cannot be written: No such file or directory" in err


@pytest.mark.parametrize(
    "argv",
    [["simulate"], ["simulate", "--hpa", "x", "--sweep", "target"], ["simulate", "--hpa", "x", "--seed", "-1"]],
)
def test_bad_flags(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A flag that is missing or none is named, and the command ends with 2."""
    with pytest.raises(SystemExit) as caught:
        parse(argv, {})
    assert caught.value.code == 2
    assert "spillway simulate: error:" in capsys.readouterr().err


def test_serve_imports_no_extra() -> None:
    """Serving imports neither the simulator nor what its extras bring."""
    code = (
        "import sys, adapter.__main__, adapter.app, adapter.options\n"
        "found = {name.split('.')[0] for name in sys.modules} & {'plotly', 'pyarrow', 'matplotlib', 'pandas'}\n"
        "found |= {name for name in sys.modules if name.startswith(('adapter.simulate.', 'scaler.simulate'))}\n"
        "print(sorted(found))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_extras_are_optional(tmp_path: Path) -> None:
    """Without the extras the summary, SVG, JSON and CSV work; HTML and Parquet say what to install."""
    options = _options(tmp_path, "--html", str(tmp_path / "x.html"))
    (tmp_path / "l.parquet").write_text("")
    code = (
        "import sys\n"
        "sys.modules['plotly'] = sys.modules['pyarrow'] = None\n"
        "from adapter.__main__ import main\n"
        "sys.argv[0] = 'spillway'\n"
        "main()"
    )
    base = ["simulate", "--hpa", str(options.hpa[0]), "--workload", str(options.workload), "--mode", "fluid"]
    for flags, message in (
        (["--load", str(options.load), "--html", str(tmp_path / "x.html")], "--html: to draw it install the extra"),
        (["--load", str(tmp_path / "l.parquet")], "to read Parquet install the extra"),
        (["--load", str(options.load), "--svg", str(tmp_path / "x.svg"), "--json", str(tmp_path / "x.json")], ""),
    ):
        done = subprocess.run([sys.executable, "-c", code, *base, *flags], capture_output=True, text=True)
        assert done.returncode == (2 if message else 0), done.stderr
        assert message in done.stderr


def test_blocks() -> None:
    """A line of blocks shows the greatest value of each part, and 0 as a blank."""
    assert blocks(np.array([0.0, 0, 4, 8, 0, 1]), 3) == " █▁"
    assert blocks(np.zeros(0), 4) == "    "


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0001, "0 s"), (0.85, "850 ms"), (4.25, "4.25 s"), (119.4, "119 s"), (120, "2 m"), (125, "2 m 5 s"),
     (900, "15 m"), (12_000, "3 h 20 m"), (400_000, "111 h"), (float("nan"), "–"), (float("inf"), "∞")],
)  # fmt: skip
def test_durations_for_people(seconds: float, text: str) -> None:
    """A duration is shown in the two units that matter, and one that is not known is a dash."""
    assert duration(seconds) == text
