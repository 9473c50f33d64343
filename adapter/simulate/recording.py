"""Recorded series: CSV, Parquet, and the answers of Prometheus' query_range.

A table has a column `time` and one column that says what its values are:

- `rate`: jobs a second, from its time to the next row's;
- `count`: jobs since the row before;
- `total`: a counter of jobs; a drop is a reset;
- `value`: anything; what it is must be said where the file is named.

`metric` names the series where the table holds several; rows of one metric and one time are summed, as an HPA sums
items. An empty or null value is unknown, and a sum with an unknown part is unknown.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from adapter.simulate.documents import read_text
from adapter.simulate.errors import InputError
from scaler.model import F64
from scaler.simulate_model import Series
from scaler.simulate_shapes import Recorded

Kind: TypeAlias = Literal["rate", "count", "total", "value"]
KINDS: tuple[Kind, ...] = ("rate", "count", "total", "value")

MAX_ROWS = 10_000_000
_MAX_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A recorded series. `time_s` ascends, seconds since the epoch or since some start; NaN is unknown."""

    name: str
    kind: Kind
    time_s: F64
    values: F64


def read_recording(path: Path, metric: str | None = None) -> Table:
    """Read a recorded series from a file.

    Raises:
        InputError: The file is none, or holds several and `metric` names none of them.
    """
    if path.suffix == ".csv":
        kind, rows = _csv(path)
    elif path.suffix == ".parquet":
        kind, rows = _parquet(path)
    elif path.suffix == ".json":
        return prometheus_table(str(path), _json(path))
    else:
        raise InputError(f"{path}: must be .csv, .parquet or .json (of Prometheus), got {path.suffix or 'no suffix'}")
    return _table(str(path), kind, rows, metric)


_Rows: TypeAlias = Iterable[tuple[float, float, str]]


def _csv(path: Path) -> tuple[Kind, _Rows]:
    reader = csv.reader(io.StringIO(read_text(path)))
    header = [name.strip().lower() for name in next(reader, [])]
    kind = _kind(str(path), header)
    places = [header.index("time"), header.index(kind)]
    metric_at = header.index("metric") if "metric" in header else None
    return kind, list(_csv_rows(path, reader, places, metric_at, len(header)))


def _csv_rows(
    path: Path, reader: Any, places: Sequence[int], metric_at: int | None, width: int
) -> Iterable[tuple[float, float, str]]:
    for row in reader:
        if not row:
            continue
        where = f"{path}:{reader.line_num}"
        if len(row) != width:
            raise InputError(f"{where}: must have {width} columns, got {len(row)}")
        time_text, value_text = (row[place].strip() for place in places)
        yield (
            _moment(where, time_text),
            _number(where, value_text),
            row[metric_at].strip() if metric_at is not None else "",
        )


def _moment(where: str, text: str) -> float:
    """Return seconds: of a number as it is, of RFC 3339 since the epoch; without a zone it is UTC."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f'{where}: time: must be seconds or RFC 3339, got "{text[:80]}"') from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _number(where: str, text: str) -> float:
    if not text:
        return math.nan
    try:
        return float(text)
    except ValueError:
        raise InputError(f'{where}: must be a number or empty, got "{text[:80]}"') from None


def _kind(where: str, names: Sequence[str]) -> Kind:
    given = [kind for kind in KINDS if kind in names]
    if "time" not in names or len(given) != 1:
        shown = ", ".join(names) or "none"
        raise InputError(
            f"{where}: must have a column time and exactly one of {', '.join(KINDS)}; its columns: {shown}"
        )
    return given[0]


def _parquet(path: Path) -> tuple[Kind, _Rows]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise InputError(f"{path}: to read Parquet install the extra: pip install 'spillway[simulate]'") from None
    try:
        file = parquet.ParquetFile(path)
        kind = _kind(str(path), file.schema_arrow.names)
        if file.metadata.num_rows > MAX_ROWS:
            raise InputError(f"{path}: must have at most {MAX_ROWS} rows, got {file.metadata.num_rows}")
        named = "metric" in file.schema_arrow.names
        table = file.read(columns=["time", kind, *(["metric"] if named else [])])
    except (OSError, arrow.ArrowInvalid) as exc:
        raise InputError(f"{path}: cannot be read as Parquet: {str(exc).splitlines()[0]}") from None
    times = table.column("time")
    if arrow.types.is_timestamp(times.type):
        moments = times.cast(arrow.timestamp("ms")).cast(arrow.int64()).to_numpy() / 1_000
    elif arrow.types.is_integer(times.type):
        moments = times.to_numpy() / 1_000
    else:
        raise InputError(f"{path}: time: must be a timestamp or integer milliseconds, got {times.type}")
    values = np.asarray(table.column(kind).cast(arrow.float64()).to_numpy(), np.float64)
    names = table.column("metric").to_pylist() if named else [""] * len(values)
    return kind, zip(moments.tolist(), values.tolist(), names, strict=True)


def _table(name: str, kind: Kind, rows: _Rows, metric: str | None) -> Table:
    """Choose the metric, sum what is of one moment, and put it in order."""
    series: dict[str, dict[float, float]] = {}
    for moment, value, of in rows:
        moments = series.setdefault(of, {})
        moments[moment] = moments.get(moment, 0.0) + value  # NaN + anything is NaN: a sum with an unknown part
    names = sorted(series)
    if metric is None and len(series) > 1:
        raise InputError(f"{name}: holds {len(series)} metrics ({_some(names)}): name one with metric")
    if metric is not None and metric not in series:
        raise InputError(
            f"{name}: has no metric {metric}; it has {_some([each for each in names if each]) or 'none named'}"
        )
    found = series[metric if metric is not None else names[0]] if series else {}
    times = np.array(sorted(found), np.float64)
    return _checked(Table(name, kind, times, np.array([found[each] for each in times.tolist()], np.float64)))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")


def _checked(table: Table) -> Table:
    if len(table.time_s) < 2:
        raise InputError(f"{table.name}: must hold at least two moments, got {len(table.time_s)}")
    if not np.isfinite(table.time_s).all():
        raise InputError(f"{table.name}: time: must be finite")
    bad = np.isinf(table.values) | (table.values < 0)
    if bad.any():
        raise InputError(f"{table.name}: must hold finite values of at least 0, got {table.values[bad][0]:g}")
    return table


def _json(path: Path) -> object:
    try:
        return json.loads(read_text(path))
    except ValueError as exc:
        raise InputError(f"{path}: not valid JSON: {exc}") from None


def prometheus_table(name: str, answer: object, kind: Kind = "value") -> Table:
    """Read what Prometheus answered to a range query.

    Raises:
        InputError: It is no such answer, or holds another number of series than one.
    """
    data = answer.get("data") if isinstance(answer, dict) and answer.get("status") == "success" else None
    if not isinstance(data, dict) or data.get("resultType") != "matrix":
        raise InputError(f"{name}: must be the answer of Prometheus' /api/v1/query_range: status success, a matrix")
    result = data.get("result")
    if not isinstance(result, list) or len(result) != 1:
        count = len(result) if isinstance(result, list) else 0
        raise InputError(f"{name}: must hold one series, got {count}: put sum(…) around the query, or check its name")
    try:
        pairs = [(float(moment), float(text)) for moment, text in result[0]["values"]]
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{name}: must hold values as pairs of time and text") from None
    found = dict(sorted(pairs))
    times, values = np.array(list(found)), np.array(list(found.values()))
    # A query gives evenly spaced moments; where one is missing there was no value, and the one before must not hold.
    step = np.diff(times).min() if len(times) > 1 else 0.0
    holes = np.nonzero(np.diff(times) > 1.5 * step)[0]
    times, values = np.insert(times, holes + 1, times[holes] + step), np.insert(values, holes + 1, math.nan)
    return _checked(Table(name, kind, times, values))


def as_load(table: Table, kind: Kind | None = None) -> Recorded:
    """Return a recording as a load that begins with its first row.

    The last row of rates lasts as long as the one before it. A step of counts ends at its row.

    Raises:
        InputError: It is not known what its values are, or one of them is unknown: a load has no holes.
    """
    kind = kind or table.kind
    if kind == "value":
        raise InputError(
            f"{table.name}: has a column value: say what it is in a load file: recorded: {{file: …, is: rate}} "
            "(or count, total)"
        )
    if np.isnan(table.values).any():
        first = table.time_s[np.isnan(table.values)][0]
        raise InputError(f"{table.name}: has no value at {first:g}: a load has no unknown parts; fill or cut them")
    since = table.time_s - table.time_s[0]
    steps = np.diff(since)
    if kind == "rate":
        return Recorded(since, table.values, float(since[-1] + steps[-1]))
    if kind == "count":
        return Recorded(since[:-1], table.values[1:] / steps, float(since[-1]))
    rises = np.diff(table.values)
    rises = np.where(rises < 0, table.values[1:], rises)
    return Recorded(since[:-1], rises / steps, float(since[-1]))


def as_series(table: Table) -> Series:
    """Return a recording as what an HPA reads, from its first row on."""
    return Series(table.time_s - table.time_s[0], table.values)
