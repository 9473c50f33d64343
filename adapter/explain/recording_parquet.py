"""Recordings as Parquet. Needs pyarrow, and imports it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as arrow
import pyarrow.compute as compute
import pyarrow.parquet as parquet

from adapter.explain.recording import HEADER, Row, Rows

_TEXT: Any = arrow.dictionary(arrow.int32(), arrow.string())
_SCHEMA: Any = arrow.schema(
    [
        ("time", arrow.timestamp("ms", tz="UTC")),
        ("namespace", _TEXT),
        ("metric", _TEXT),
        ("labels", _TEXT),
        ("value", arrow.float64()),
        ("unknown", _TEXT),
    ]
)


class Parquet:
    """One file of a few row groups, compressed."""

    def read(self, content: bytes) -> Rows:
        """Return what is in a file; nothing is in an empty one."""
        if not content:
            return _Table(_SCHEMA.empty_table())
        try:
            table = parquet.read_table(io.BytesIO(content))
        except (OSError, arrow.ArrowInvalid) as error:
            raise ValueError(str(error).splitlines()[0]) from None
        if tuple(table.schema.names) != HEADER:
            raise ValueError(f"its columns must be {', '.join(HEADER)}")
        return _Table(table.cast(_SCHEMA))


@dataclass(frozen=True, slots=True)
class _Table:
    table: Any

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def last_ms(self) -> int | None:
        return self.time_ms(len(self) - 1) if len(self) else None

    def time_ms(self, place: int) -> int:
        return int(self.table.column("time")[place].value)

    def after(self, time_ms: int) -> Rows:
        bound = arrow.scalar(time_ms, arrow.timestamp("ms", tz="UTC"))
        return _Table(self.table.filter(compute.greater(self.table.column("time"), bound)))

    def plus(self, rows: Sequence[Row]) -> Rows:
        columns = list(zip(*rows, strict=True)) or [()] * len(HEADER)
        added = [arrow.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
        return _Table(arrow.concat_tables([self.table, arrow.table(added, schema=_SCHEMA)]).unify_dictionaries())

    def content(self) -> bytes:
        out = io.BytesIO()
        parquet.write_table(self.table.combine_chunks(), out, compression="zstd", use_dictionary=list(HEADER[1:4]))
        return out.getvalue()
