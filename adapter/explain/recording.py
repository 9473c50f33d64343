"""A recording: rows of what was served, in a file that is whole at every moment and never grows past its bounds.

The columns are those `spillway simulate` reads, one row an item and moment; rows of one moment are summed there, as an
HPA sums items:

- `time`: the moment, UTC, milliseconds;
- `namespace`, `metric`, `labels`: what it is of, labels as a=b,c=d;
- `value`: what was served; none where it was unknown, and then `unknown` says why.

New rows go to a journal beside the file (FILE.tail), and from time to time file and journal become a new file, which
takes the old one's place in one step. Whatever ends the process, the file can be read, and the next recorder takes the
journal in. The oldest rows make room for new ones.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from adapter.explain.errors import ExplainError

HEADER = ("time", "namespace", "metric", "labels", "value", "unknown")
_FLUSH_MS = 600_000
"""The journal is taken in at least so often, and whenever it holds an eighth of the file's rows."""


class Row(NamedTuple):
    """What was served of one item at one moment. `value` None: it was unknown, `unknown` says why."""

    time_ms: int
    namespace: str
    metric: str
    labels: str
    value: float | None
    unknown: str = ""


class Format(Protocol):
    """How rows become a file. `read` and `write` raise ValueError for what is no such file."""

    def read(self, content: bytes) -> Rows:
        """Return what is in a file."""
        ...


class Rows(Protocol):
    """The rows of a file, oldest first."""

    def __len__(self) -> int: ...

    @property
    def last_ms(self) -> int | None:
        """The time of the newest row."""
        ...

    def time_ms(self, place: int) -> int:
        """Return the time of a row."""
        ...

    def after(self, time_ms: int) -> Rows:
        """Return those that are later."""
        ...

    def plus(self, rows: Sequence[Row]) -> Rows:
        """Return these and newer ones."""
        ...

    def content(self) -> bytes:
        """Return the file."""
        ...


class Recording:
    """A recording on disk: `with Recording(path, ...) as recording`. Opening goes on with what is there.

    Args:
        path: The file.
        form: Of the file.
        max_bytes: The most it may hold; beside it there is the journal, of at most an eighth.
        max_age_ms: Older rows are forgotten.

    Every method raises ExplainError for what the disk refuses.
    """

    def __init__(self, path: Path, form: Format, max_bytes: int, max_age_ms: int) -> None:
        self._path = path
        self._form = form
        self._max_bytes = max_bytes
        self._max_age_ms = max_age_ms
        self._tail_path = path.with_name(path.name + ".tail")
        self._tail: list[Row] = []
        self._tail_bytes = 0
        self._flushed_ms = 0
        self._file: io.FileIO | None = None
        self.rows = 0
        """Rows in file and journal."""
        self.last_ms: int | None = None
        """The newest row's time."""
        self.dropped = 0
        """Rows forgotten so far to keep within the bounds."""

    def __enter__(self) -> Self:
        with self._refusing():
            self._file = self._tail_path.open("ab+", buffering=0)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._file.close()
                raise ExplainError(f"{self._path}: another recorder is writing it") from None
            try:
                stored = self._stored()
            except ExplainError:
                self._leave()
                raise
            self.rows, self.last_ms = len(stored), stored.last_ms
            self._recover()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def add(self, rows: Sequence[Row]) -> None:
        """Write rows of one moment, later than all before, to the journal."""
        text = "".join(map(_line, rows)).encode()
        with self._refusing():
            self._journal.write(text)
        self._tail += rows
        self._tail_bytes += len(text)
        self.rows += len(rows)
        self.last_ms = rows[-1].time_ms if rows else self.last_ms

    def due(self, now_ms: int) -> bool:
        """Tell whether it is time to take the journal in."""
        many = len(self._tail) >= max(1, (self.rows - len(self._tail)) // 8) or self._tail_bytes > self._max_bytes // 8
        return bool(self._tail) and (many or now_ms - self._flushed_ms >= _FLUSH_MS)

    def flush(self, now_ms: int) -> None:
        """Make a new file of file and journal, within the bounds."""
        with self._refusing():
            rows = self._stored().plus(self._tail)
            before = len(rows)
            rows, content = fitted(rows.after(now_ms - self._max_age_ms - 1), self._max_bytes)
            _replace(self._path, content)
            # A crash before this leaves rows in both; they are known by their time.
            self._journal.truncate(0)
        self._tail, self._tail_bytes = [], 0
        self.rows, self.dropped, self._flushed_ms = len(rows), self.dropped + before - len(rows), now_ms

    @property
    def _journal(self) -> io.FileIO:
        if self._file is None:
            raise RuntimeError("Recording is used outside its lifetime")
        return self._file

    def _stored(self) -> Rows:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            content = b""
        try:
            return self._form.read(content)
        except ValueError as error:
            raise ExplainError(f"{self._path}: is there already and is no recording: {error}") from None

    def _recover(self) -> None:
        """Take over what the journal of a recorder that was killed holds. A line that was cut short is dropped."""
        self._journal.seek(0)
        content = self._journal.readall() or b""
        whole = content[: content.rfind(b"\n") + 1]
        found = rows_of(whole.decode("utf-8", "replace"))
        self._tail = [row for row in found if self.last_ms is None or row.time_ms > self.last_ms]
        self._tail_bytes = len(whole)
        self._journal.truncate(len(whole))
        self.rows += len(self._tail)
        self.last_ms = self._tail[-1].time_ms if self._tail else self.last_ms

    def _leave(self) -> None:
        """Let go of the journal; an empty one goes."""
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            if self._file.seek(0, os.SEEK_END) == 0:
                self._tail_path.unlink()
        self._file.close()
        self._file = None

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ExplainError(f"{error.filename or self._path}: {error.strerror or type(error).__name__}") from None


def fitted(rows: Rows, max_bytes: int) -> tuple[Rows, bytes]:
    """Return the newest rows that fit, whole moments, and the file of them. The newest moment is always kept."""
    content = rows.content()
    while len(content) > max_bytes and len(rows) > 1:
        # A tenth of air, so that not every flush has to drop something.
        cut = max(1, len(rows) - int(len(rows) * 0.9 * max_bytes / len(content)))
        kept = rows.after(rows.time_ms(min(cut, len(rows)) - 1))
        if not len(kept):
            break
        rows, content = kept, kept.content()
    return rows, content


def format_of(path: Path) -> Format:
    """Return the format that a file's suffix names.

    Raises:
        ExplainError: It needs a library that is not installed.
    """
    if path.suffix == ".csv":
        from adapter.explain.recording_csv import Csv

        return Csv()
    try:
        from adapter.explain.recording_parquet import Parquet
    except ImportError:
        what = "to write Parquet install the extra: pip install 'spillway[simulate]'; or name a file .csv"
        raise ExplainError(f"{path}: {what}") from None
    return Parquet()


def _line(row: Row) -> str:
    out = io.StringIO()
    value = "" if row.value is None else repr(row.value)
    texts = (text.replace("\n", " ").replace("\r", " ") for text in (row.labels, row.unknown))
    labels, unknown = texts
    csv.writer(out, lineterminator="\n").writerow(
        (moment(row.time_ms), row.namespace, row.metric, labels, value, unknown)
    )
    return out.getvalue()


def lines_of(rows: Sequence[Row]) -> str:
    """Return rows as lines of CSV, without the header."""
    return "".join(map(_line, rows))


def rows_of(text: str) -> list[Row]:
    """Read lines of CSV, without the header.

    Raises:
        ValueError: They are not rows.
    """
    found = []
    for number, cells in enumerate(csv.reader(io.StringIO(text)), 1):
        if len(cells) != len(HEADER):
            raise ValueError(f"row {number} has {len(cells)} cells, not {len(HEADER)}")
        time_text, namespace, metric, labels, value, unknown = cells
        time_ms = round(datetime.fromisoformat(time_text).timestamp() * 1000)
        found.append(Row(time_ms, namespace, metric, labels, float(value) if value else None, unknown))
    return found


def moment(time_ms: int) -> str:
    """Write a moment, always equally long: 2026-01-02T03:04:05.000Z."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03}Z"


def _replace(path: Path, content: bytes) -> None:
    """Put a new file in the place of the old one, in one step, and wait until it is on the disk."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # noqa: PTH101 - mkstemp's 0600 would hide the recording from its readers
        os.replace(name, path)  # noqa: PTH105 - a name from mkstemp
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)  # noqa: PTH108 - likewise
        raise
