"""Read ExternalMetric objects from YAML files: all of them, or every error at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from adapter.config.build import clashes, hints, metric_of
from adapter.config.document import Node, line_of, plain, read_documents
from adapter.config.files import File, read_files
from adapter.schema.metric import Metric
from adapter.schema.model import ExternalMetric
from adapter.schema.strict import Path as Place
from adapter.schema.words import SHOWN_CHARS, show
from scaler.model import MetricRef


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What a set of files holds.

    `metrics` is empty when there is any error: a set is taken whole or not at all. Errors and warnings are in the
    order of files and lines, each "file:line: namespace/name: path: message", and hold no secret.
    """

    metrics: tuple[Metric, ...]
    errors: tuple[str, ...]
    warnings: tuple[str, ...] = ()


class _Object(NamedTuple):
    """One document: where it is, what it is called, and the object if it is valid."""

    file: str
    root: Node
    name: str
    external: ExternalMetric | None

    @property
    def origin(self) -> str:
        return f"{self.file}:{self.root.line}"

    def say(self, place: Place, message: str) -> tuple[int, str]:
        """Return the line and the full text of a finding."""
        line = line_of(self.root, place)
        return line, f"{self.file}:{line}: {': '.join(part for part in (self.name, path_text(place), message) if part)}"


def load(paths: Sequence[Path]) -> LoadResult:
    """Read files and directories. Never raises for what they hold, or for not being there."""
    return parse(read_files(paths))


def parse(files: Iterable[File]) -> LoadResult:
    """Return what the files hold."""
    objects: list[_Object] = []
    errors: list[str] = []
    warnings: list[str] = []
    for file in files:
        if file.problem:
            errors.append(f"{file.name}: {file.problem}")
        elif file.hint:
            warnings.append(f"{file.name}: {file.hint}")
        else:
            found, findings = _read(file)
            objects.extend(found)
            errors.extend(findings)
    errors.extend(_twice(objects))
    for one in objects:
        if one.external:
            warnings.extend(text for _, text in sorted(one.say(*hint) for hint in hints(one.external)))
    metrics = () if errors else tuple(metric_of(one.external, one.origin) for one in objects if one.external)
    return LoadResult(metrics, tuple(errors), tuple(warnings))


def path_text(place: Place) -> str:
    """Write a place as users write it: ("spec", "queues", 2) → "spec.queues[2]"."""
    text = ""
    for step in place:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.replace("_", "a").isalnum() and len(step) <= SHOWN_CHARS:
            text += f".{step}" if text else step
        elif step != "[key]":  # pydantic's mark for a finding about a key; the key itself stands before it
            text += f"[{show(step)}]"
    return text


def _read(file: File) -> tuple[list[_Object], list[str]]:
    """Return the objects of a file, and its errors in the order of lines."""
    try:
        text = file.content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = file.content[: exc.start].count(b"\n") + 1
        return [], [f"{file.name}:{line}: not valid UTF-8"]
    roots, problems = read_documents(text)
    objects = []
    findings = [(line, f"{file.name}:{line}: {message}") for line, message in problems]
    for root in roots:
        one, wrong = _validated(file.name, root)
        objects.append(one)
        findings.extend(wrong)
    return objects, [text for _, text in sorted(findings, key=lambda finding: finding[0])]


def _validated(file: str, root: Node) -> tuple[_Object, list[tuple[int, str]]]:
    data = plain(root)
    try:
        external = ExternalMetric.model_validate(data, by_alias=True, by_name=False)
    except ValidationError as exc:
        one = _Object(file, root, _name(data), None)
        return one, [one.say(error["loc"], error["msg"]) for error in exc.errors(include_url=False)]
    one = _Object(file, root, _name(data), external)
    return one, [one.say(*clash) for clash in clashes(external)]


def _name(data: object) -> str:
    """Return namespace/name as far as they can be read."""
    metadata = data.get("metadata") if isinstance(data, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    namespace = metadata.get("namespace", "default") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not isinstance(namespace, str):
        return ""
    full = f"{namespace}/{name}"
    return full if full.isprintable() and len(full) <= SHOWN_CHARS else show(full)


def _twice(objects: Iterable[_Object]) -> Iterator[str]:
    """Yield an error for each metric that another object has defined before."""
    first: dict[MetricRef, _Object] = {}
    for one in objects:
        if one.external is None:
            continue
        other = first.setdefault(one.external.ref, one)
        if other is not one:
            place: Place = ("spec", "metricName") if one.external.spec.metric_name else ("metadata", "name")
            name = show(one.external.metric_name)
            yield one.say(place, f"metric {name} is already defined by {other.name} at {other.origin}")[1]
