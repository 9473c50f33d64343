"""What is read from a page of Prometheus text, and what is refused."""

from __future__ import annotations

import json
import math
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from scaler.textparse import Page, ParseError, TextParser, TooManySeriesError
from tests import naive_text

EXPOSITION = Path(__file__).parent / "testdata" / "exposition"
GOOD = sorted(path for path in EXPOSITION.glob("good/*") if path.suffix != ".json")
BAD = sorted(EXPOSITION.glob("bad/*"))
NAMES = ("a", "up", "http_requests_total", "job:errors:rate5m", "a.b")


def parser(*names: str, max_series: int = 1000) -> TextParser:
    return TextParser(names or NAMES, max_series)


def as_dict(page: Page) -> dict[naive_text.Series, float]:
    names, series = page.layout.names, page.layout.series
    assert len(names) == len(series) == len(page.values)
    return dict(zip(zip(names, series, strict=True), page.values.tolist(), strict=True))


def bits(values: dict[naive_text.Series, float]) -> list[tuple[naive_text.Series, bytes]]:
    """Series and the bits of their values; every NaN counts as the same."""
    return [(key, b"NaN" if math.isnan(value) else struct.pack("<d", value)) for key, value in values.items()]


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_page(path: Path) -> None:
    """A valid page gives exactly the series that its .json beside it names, in order, and the same layout again."""
    expected = json.loads(path.with_suffix(".json").read_text())
    body, openmetrics = path.read_bytes(), path.suffix == ".om"
    text = parser(*expected["names"])
    page = text.parse(body, openmetrics=openmetrics)
    got = [(name, dict(labels), repr(value)) for (name, labels), value in as_dict(page).items()]
    assert got == [tuple(row) for row in expected["series"]]
    again = text.parse(body, openmetrics=openmetrics)
    assert again.layout is page.layout
    assert bits(as_dict(again)) == bits(as_dict(page))
    assert bits(naive_text.parse(body, expected["names"], openmetrics=openmetrics)) == bits(as_dict(page))


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_page(path: Path) -> None:
    """A page with one wrong byte is refused as a whole, with the error that its first line names."""
    page, openmetrics = path.read_bytes(), path.suffix == ".om"
    expected = page.split(b"\n")[0].decode().removeprefix("# ").removeprefix("HELP error ")
    text = parser()
    good = text.parse(b"up 1\n# EOF", openmetrics=openmetrics) if openmetrics else text.parse(b"up 1\n")
    with pytest.raises(ParseError) as caught:
        text.parse(page, openmetrics=openmetrics)
    assert str(caught.value) == expected
    assert text.parse(b"up 2\n").layout is good.layout
    with pytest.raises(naive_text.BadLineError) as by_twin:
        naive_text.parse(page, NAMES, openmetrics=openmetrics)
    assert by_twin.value.line == caught.value.line


@pytest.mark.parametrize("switch", ["NUMBA_DISABLE_JIT", "NUMBA_BOUNDSCHECK"])
def test_other_ways_to_run(switch: str, tmp_path: Path) -> None:
    """The scanner reads the corpus the same when interpreted, and never outside its arrays when those are checked."""
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore::RuntimeWarning"),
            *(__file__, "-k", "page or layout or prefix or late"),
        ],
        env=os.environ | {switch: "1", "NUMBA_CACHE_DIR": str(tmp_path)},
        cwd=Path(__file__).parent.parent,
        check=True,
        stdout=subprocess.PIPE,
    )


def test_layout_stays() -> None:
    """The layout is the same object while the set of wanted series is, whatever their order and their values."""
    text = parser("a")
    first = text.parse(b'a{x="1"} 1\nb 5\na{x="2"} 2\n')
    same = text.parse(b'a{x="1"} 3\na{x="2"} 4\nc 5\n')
    swapped = text.parse(b'a{x="2"} 6\na{x="1"} 5\n')
    swapped_again = text.parse(b'a{x="2"} 8\na{x="1"} 7\n')
    spaced = text.parse(b'a { x="1", } 9\na{x="2"}10 123\n')
    assert [page.values.tolist() for page in (first, same, swapped, swapped_again, spaced)] == [
        [1, 2],
        [3, 4],
        [5, 6],
        [7, 8],
        [9, 10],
    ]
    assert all(page.layout is first.layout for page in (same, swapped, swapped_again, spaced))


def test_layout_changes() -> None:
    """A series that appears or ends makes a new layout, and the next page with the same series keeps that one."""
    text = parser("a")
    pages = [b"a 1\n", b'a 1\na{x="1"} 2\n', b'a{x="1"} 2\n', b"", b"b 1\n", b'a{x="1"} 2\n']
    layouts = []
    for body in pages:
        page = text.parse(body)
        assert as_dict(page) == naive_text.parse(body, {"a"})
        assert text.parse(body).layout is page.layout
        layouts.append(page.layout)
    assert [len(layout) for layout in layouts] == [1, 2, 1, 0, 0, 1]
    assert layouts[3] is layouts[4]


def test_layout_survives_a_bad_page() -> None:
    """A refused page leaves no trace: the page after it is compared with the last good one."""
    text = parser("a")
    first = text.parse(b'a{x="1"} 1\n')
    for bad in (b'a{x="2"} 1\na{x="2"} 1\n', b'a{x="3"} 1\nb\n', b'a{x="1"} 1e999\n'):
        with pytest.raises(ParseError):
            text.parse(bad)
    assert text.parse(b'a{x="1"} 2\n').layout is first.layout


@pytest.mark.parametrize("names", [("a", "b"), ("b",), ("none",)])
def test_layout_of_moving_lines(names: tuple[str, ...]) -> None:
    """Lines that come, go, move and are respelled from page to page are read for what they are."""
    rng = random.Random(5)
    text = parser(*names)
    known = [f'{rng.choice("abc")}{{i="{i}",text="{"x" * rng.randrange(60)}"}} ' for i in range(120)]
    known[::9] = [f"# HELP a{i} {'y' * rng.randrange(99)}" for i in range(len(known[::9]))]
    known[5], known[6] = "# any", ""
    for turn in range(40):
        for _ in range(rng.choice([0, 0, 1, 3, 60])):
            change, at = rng.randrange(4), rng.randrange(len(known))
            if change == 0:
                known.insert(at, f'{rng.choice("abc")}{{n="{turn}.{rng.random()}"}} ')
            elif change == 1:
                del known[at]
            elif change == 2:
                known.insert(rng.randrange(len(known)), known.pop(at))
            elif known[at].endswith("} "):
                known[at] = known[at].replace("{", "{ ").replace("} ", ",}")
        if turn % 13 == 12:
            rng.shuffle(known)
        page = "".join(f"{line}{rng.randrange(10**6) if '{' in line else ''}\n" for line in known).encode()
        got = text.parse(page)
        assert sorted(as_dict(got).items()) == sorted(naive_text.parse(page, names).items())
        assert text.parse(page).layout is got.layout


def test_layout_of_short_lines() -> None:
    """Pages of very many very short lines find room, the first time and later."""
    text = parser("a", max_series=10)
    for count in (5_000, 60_000):
        page = b"b 1\n" * count + b"a 2\n#\n\n"
        assert text.parse(page).values.tolist() == [2]
        assert text.parse(page).values.tolist() == [2]


def test_prefix_of_another_line() -> None:
    """A line that begins like the one expected is still read for what it is."""
    text = parser("a", "a_b")
    text.parse(b"a 1\n")
    for body in (b'a {x="1"} 2\n', b"a  3\n", b"a_b 4\n", b"a\t5\n", b" a 6\n", b"a 7 8\n"):
        assert as_dict(text.parse(body)) == naive_text.parse(body, {"a", "a_b"})
        assert text.parse(b"a 1\n").values.tolist() == [1]


def test_too_many_series() -> None:
    """A page with more wanted series than allowed is refused; unwanted ones do not count."""
    body = b"".join(b'a{x="%d"} 1\nb{x="%d"} 2\n' % (i, i) for i in range(300))
    assert len(parser("a", max_series=300).parse(body).layout) == 300
    with pytest.raises(TooManySeriesError, match="more than 299 series"):
        parser("a", max_series=299).parse(body)


def test_many_names() -> None:
    """Names are told apart by their bytes, however many are wanted and alike."""
    names = [f"m_{i % 10}{i // 10}_total" for i in range(500)]
    body = "".join(f"{name} {i}\n{name}x 0\nx{name} 0\n" for i, name in enumerate(names)).encode()
    assert parser(*names[::2]).parse(body).values.tolist() == list(range(0, 500, 2))


def test_views() -> None:
    """Pages may be bytes, a bytearray or a part of one."""
    for page in (b"a 1\n", bytearray(b"a 1\n"), memoryview(bytearray(b"a 1\n\xff\xff"))[:4]):
        assert parser("a").parse(page).values.tolist() == [1]


def _number_texts() -> list[str]:
    rng = random.Random(20)
    texts = "0 -0 +0 00 0.0 5. .5 -.5e-1 1e5 1E+05 NaN nan inf +Inf -INF Infinity 0e999999999999999999999".split()  # noqa: SIM905 - a list of words
    texts += ["4.9e-324", "2.4703282292062327e-324", "2.2250738585072011e-308", "1.7976931348623157e308", "1e-999"]
    texts += [
        "9007199254740993",
        "9007199254740992",
        "123456789012345678",
        "1234567890123456789",
        "1e22",
        "1e23",
        "8.5e22",
    ]
    texts += ["0." + "0" * 400 + "1e401", "1" + "0" * 308, "0" * 50 + "1.5", "179769313486231580.7e291"]
    for _ in range(20_000):
        value = struct.unpack("<d", rng.randbytes(8))[0]
        if math.isfinite(value):
            texts += [repr(value), f"{value:.17e}"]
        texts.append(f"{rng.randrange(10 ** rng.randrange(1, 22))}.{rng.randrange(10 ** rng.randrange(1, 9))}")
        texts.append(f"{rng.randrange(10 ** rng.randrange(1, 19))}e{rng.randrange(-330, 280)}")
        texts.append(repr(rng.randrange(10**6) / 10 ** rng.randrange(6)))
    return texts


def test_numbers_are_exact() -> None:
    """Each value has the very bits that float() gives: short and long, subnormal, at both ends of the range."""
    texts = _number_texts()
    page = "".join(f'a{{i="{i}"}} {text}\n' for i, text in enumerate(texts)).encode()
    values = parser("a", max_series=len(texts)).parse(page).values.tolist()
    for text, value in zip(texts, values, strict=True):
        expected = float(text)
        same = math.isnan(value) if math.isnan(expected) else struct.pack("d", value) == struct.pack("d", expected)
        assert same, text


@pytest.mark.parametrize(
    "text",
    "1_000 0x10 0x1p3 1e 1e+ . +. e5 +nan -NaN infi infinit nano 1..2 --1 +-1 1,5 1f ∞ ١ '1' 1e5.0".split(),  # noqa: SIM905 - a list of words
)
def test_not_numbers(text: str) -> None:
    """What Go's ParseFloat or Prometheus refuses is refused, also where Python's float() would take it."""
    for line in (f"a {text}\n", f"b {text}\n"):
        with pytest.raises(ParseError, match="line 1, column 3: expected a number"):
            parser("a").parse(line.encode())


@pytest.mark.parametrize(
    "text", ["1e309", "-1e309", "1.7976931348623159e308", "1" + "0" * 309, "1e99999999999999999999"]
)
def test_beyond_float64(text: str) -> None:
    """A number that would become infinite is refused, as in Prometheus."""
    for line in (f"a {text}\n", f"b {text}\n"):
        with pytest.raises(ParseError, match="line 1, column 3: number out of the range"):
            parser("a").parse(line.encode())


blank = st.sampled_from(["", "", "", " ", "\t", "  "])
gap = st.sampled_from([" ", " ", "\t", "  "])
metric_names = st.sampled_from([*NAMES[:-1], "other", "a_b", "go_gc:x", "A9"])
label_values = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=8),
    st.sampled_from(["", "x" * 15, "y" * 40]),
)
numbers = st.one_of(
    st.floats().map(repr),
    st.integers(-(10**20), 10**20).map(str),
    st.sampled_from(["+Inf", "-Inf", "NaN", "1e5", ".5", "5.", "0", "1E-07", "1e400"]),
)
metas = st.sampled_from(
    [
        "",
        "  ",
        "#",
        "# any \\x",
        "#HELP 9",
        "# HELP a",
        "# HELP a text \\n é",
        "# TYPE a counter",
        "#\tTYPE up  untyped",
    ]
)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


label_names = st.sampled_from(["x", "y", "le", "code_1", "_", "a.b", 'q"', "é"])


@st.composite
def heads(draw: st.DrawFn, space: st.SearchStrategy[str]) -> str:
    """Return a sample up to its value, written plainly or with names in quotes."""
    name = draw(metric_names)
    labels = draw(st.dictionaries(label_names, label_values, max_size=3))
    items = [
        f"{key if key.isascii() and key.isidentifier() and draw(st.booleans()) else quoted(key)}"
        f"{draw(space)}={draw(space)}{quoted(value)}"
        for key, value in labels.items()
    ]
    inside = draw(st.sampled_from([False, False, True]))
    if inside:
        name = draw(st.sampled_from(["a.b", name]))
        items.insert(draw(st.integers(0, len(items))), quoted(name))
    if not items and not draw(st.booleans()):
        return name
    comma = f"{draw(space)},{draw(space)}"
    return ("" if inside else name) + draw(space) + "{" + draw(space) + comma.join(items) + draw(space) + "}"


@st.composite
def sample_lines(draw: st.DrawFn) -> str:
    line = draw(blank) + draw(heads(blank))
    if line.endswith("}"):
        line = (line[:-1] + draw(st.sampled_from(["", ","])) if '"' in line else line[:-1]) + "}" + draw(blank)
    else:
        line += draw(gap)
    line += draw(numbers)
    if draw(st.booleans()):
        line += draw(gap) + str(draw(st.integers(-(2**63), 2**63)))
    return line + draw(blank)


pages = st.lists(st.one_of(sample_lines(), sample_lines(), metas), max_size=6).map(
    lambda lines: "".join(f"{line}\n" for line in lines).encode()
)

times = st.one_of(st.just(""), st.floats(0, 2e9).map(lambda value: f" {value!r}"), st.just(" 1"))
open_metas = st.sampled_from(
    ["# HELP a text \\n é", "# TYPE a stateset", '# UNIT "a.b_s" s', "# UNIT a ", '# TYPE "a.b" info']
)


@st.composite
def open_lines(draw: st.DrawFn) -> str:
    line = f"{draw(heads(st.just('')))} {draw(numbers)}{draw(times)}"
    if draw(st.booleans()):
        labels = draw(st.dictionaries(label_names, label_values, max_size=2))
        inside = ",".join(f"{quoted(key)}={quoted(value)}" for key, value in labels.items())
        line += f" # {{{inside}}} {draw(numbers)}{draw(times)}"
    return line


open_pages = st.tuples(
    st.lists(st.one_of(open_lines(), open_lines(), open_metas), max_size=5),
    st.sampled_from(["# EOF\n", "# EOF\n", "# EOF", ""]),
).map(lambda page: ("".join(f"{line}\n" for line in page[0]) + page[1]).encode())


def check_like_twin(text: TextParser, page: bytes, *, openmetrics: bool = False) -> None:
    """Assert that a page gives the twin's series and bits, or is refused at the twin's line."""
    got: dict[naive_text.Series, float] | int
    expected: dict[naive_text.Series, float] | int
    try:
        got = as_dict(text.parse(page, openmetrics=openmetrics))
    except ParseError as error:
        got = error.line
    try:
        expected = naive_text.parse(page, NAMES, openmetrics=openmetrics)
    except naive_text.BadLineError as error:
        expected = error.line
    if isinstance(expected, dict) and isinstance(got, dict):
        assert sorted(bits(got)) == sorted(bits(expected))
    else:
        assert got == expected


@settings(max_examples=300, deadline=None)
@given(st.lists(pages, min_size=1, max_size=3))
def test_like_its_twin(bodies: list[bytes]) -> None:
    """One parser reads page after page as the twin reads each: the same series and bits, or the same line refused."""
    text = parser()
    for body in [*bodies, bodies[0], bodies[0]]:
        check_like_twin(text, body)


@settings(max_examples=300, deadline=None)
@given(st.lists(open_pages, min_size=1, max_size=3), pages)
def test_openmetrics_like_its_twin(bodies: list[bytes], text_page: bytes) -> None:
    """So it does with OpenMetrics, also where a target changes from one format to the other."""
    text = parser()
    for body in [*bodies, bodies[0]]:
        check_like_twin(text, body, openmetrics=True)
    check_like_twin(text, text_page)
    check_like_twin(text, bodies[0], openmetrics=True)


edits = st.lists(
    st.tuples(st.integers(0, 10**6), st.sampled_from(b' \t\n{}",=#\\ae+-.01\r\x00\x80\xc3\xff_:')), max_size=3
)


def edited(body: bytes, changes: list[tuple[int, int]]) -> bytes:
    """Return a page with bytes replaced, added or taken out."""
    broken = bytearray(body)
    for seed, byte in changes:
        at = seed // 3 % (len(broken) + 1)
        broken[at : at + seed % 2] = [byte] if seed % 3 else []
    return bytes(broken)


@settings(max_examples=500, deadline=None)
@given(pages, edits)
def test_broken_like_its_twin(body: bytes, changes: list[tuple[int, int]]) -> None:
    """A page with a few bytes changed is accepted or refused, at the same line, as by the twin."""
    text = parser()
    text.parse(b'up 1\na{x="1"} 1\n')
    check_like_twin(text, edited(body, changes))


@settings(max_examples=500, deadline=None)
@given(open_pages, edits)
def test_broken_openmetrics_like_its_twin(body: bytes, changes: list[tuple[int, int]]) -> None:
    """So is one of OpenMetrics, also where the page before was the same without the changes."""
    text = parser()
    check_like_twin(text, body, openmetrics=True)
    check_like_twin(text, edited(body, changes), openmetrics=True)


def _exported(labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in labels.items() if value))


plain_lines = st.tuples(
    st.sampled_from(NAMES[:-1]),
    st.dictionaries(st.sampled_from(["x", "y", "code"]), st.text('ab é\\"\n,{}=', max_size=6), max_size=3),
    st.floats().map(repr),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(plain_lines, max_size=6, unique_by=lambda line: (line[0], _exported(line[1]))))
def test_like_prometheus_client(lines: list[tuple[str, dict[str, str], str]]) -> None:
    """Pages as exporters write them are read as by the reference client for Python."""
    page = "".join(
        f"{name}{{{','.join(f'{key}={quoted(text)}' for key, text in labels.items())}}} {value}\n"
        for name, labels, value in lines
    )
    expected = {
        (sample.name, _exported(sample.labels)): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    assert sorted(bits(as_dict(parser().parse(page.encode())))) == sorted(bits(expected))
