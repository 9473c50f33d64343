"""YAML text → values that know their lines. Strict, and bounded whatever the text holds.

Built on the parser's events, because PyYAML's own loaders keep the last of two equal keys, follow YAML 1.1 into
surprises (`no` is false, 1:30 is 90) and expand aliases and nesting without bound.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import yaml

from adapter.schema.words import Unclear, show

MAX_DEPTH = 64
MAX_ALIASED_NODES = 100_000
"""How many nodes the aliases of one text may stand for, so that a few lines cannot become gigabytes."""

_STR_TAG = "tag:yaml.org,2002:str"
_CONTAINER_TAGS = frozenset({None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})
_MERGE = "<<"

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile("[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]{0,30})(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][-+]?[0-9]{1,4})?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_UNCLEAR = re.compile(
    r"y|Y|yes|Yes|YES|n|N|no|No|NO|on|On|ON|off|Off|OFF"
    r"|[-+]?[0-9][0-9_,:]*(\.[0-9_]*)?|[-+]?0[xob][0-9a-fA-F_]+"
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?"
)

Scalar: TypeAlias = str | int | float | bool | Unclear | None


class Node(NamedTuple):
    """A value and the line it starts on, 1-based; for a field of a mapping, the line of its key."""

    line: int
    value: Scalar | list[Node] | dict[str, Node]
    size: int = 1


class Problem(NamedTuple):
    """What is wrong with the text, and the line."""

    line: int
    message: str


class _FatalError(Exception):
    def __init__(self, line: int, message: str) -> None:
        self.problem = Problem(line, message)


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not been read."""

    line: int
    anchor: str | None
    value: list[Node] | dict[str, Node]
    size: int = 1
    key: tuple[int, str] | None = None


def read_documents(text: str) -> tuple[list[Node], list[Problem]]:
    """Return the documents that could be read, empty ones left out, and every problem found."""
    composer = _Composer()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            composer.take(event)
    except _FatalError as exc:
        composer.problems.append(exc.problem)
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else 1
        composer.problems.append(Problem(line, f"not valid YAML: {exc.problem}"))
    except yaml.reader.ReaderError as exc:
        line = text.encode()[: exc.position].count(b"\n") + 1
        composer.problems.append(Problem(line, "not valid YAML: control characters are not allowed"))
    return [node for node in composer.documents if node.value is not None], composer.problems


def plain(node: Node) -> object:
    """Return the value without lines: dict, list, str, int, float, bool, None and Unclear."""
    match node.value:
        case dict():
            return {name: plain(child) for name, child in node.value.items()}
        case list():
            return [plain(child) for child in node.value]
        case _:
            return node.value


def line_of(node: Node, path: tuple[str | int, ...]) -> int:
    """Return the line of what the path leads to, or of the last thing on the way that is there."""
    for step in path:
        match node.value, step:
            case dict() as fields, str() if step in fields:
                node = fields[step]
            case list() as items, int() if step < len(items):
                node = items[step]
            case _:
                break
    return node.line


class _Composer:
    """Builds nodes from events."""

    def __init__(self) -> None:
        self.documents: list[Node] = []
        self.problems: list[Problem] = []
        self._open: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._aliased_nodes = 0

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 1
        match event:
            case yaml.DocumentStartEvent():
                self._anchors.clear()
            case yaml.ScalarEvent():
                node = Node(line, self._scalar(event, line))
                if event.anchor:
                    self._anchors[event.anchor] = node
                self._add(node, event)
            case yaml.AliasEvent():
                self._add(self._alias(event.anchor or "", line), event)
            case yaml.SequenceStartEvent():
                self._start(event, line, [])
            case yaml.MappingStartEvent():
                self._start(event, line, {})
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                top = self._open.pop()
                node = Node(top.line, top.value, top.size)
                if top.anchor:
                    self._anchors[top.anchor] = node
                self._add(node, event)

    def _start(self, event: yaml.CollectionStartEvent, line: int, value: list[Node] | dict[str, Node]) -> None:
        if len(self._open) == MAX_DEPTH:
            raise _FatalError(line, f"nested deeper than {MAX_DEPTH} levels")
        if event.tag not in _CONTAINER_TAGS:
            self.problems.append(Problem(line, f"YAML tag {show(event.tag)} is not supported"))
        self._open.append(_Open(line, event.anchor, value))

    def _add(self, node: Node, event: yaml.Event) -> None:
        if not self._open:
            self.documents.append(node)
            return
        top = self._open[-1]
        top.size += node.size
        if isinstance(top.value, list):
            top.value.append(node)
        elif top.key is None:
            top.key = (node.line, self._key(node, event))
        else:
            line, key = top.key
            top.key = None
            if key == _MERGE:
                self.problems.append(Problem(line, "YAML merge keys (<<) are not supported: write the fields out"))
            elif key in top.value:
                message = f"{show(key)} is there twice, first on line {top.value[key].line}"
                self.problems.append(Problem(line, message))
            else:
                top.value[key] = Node(line, node.value, node.size)

    def _key(self, node: Node, event: yaml.Event) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            raise _FatalError(node.line, "a key must be text, not a list, a mapping or an alias")
        return event.value

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> Scalar:
        if event.tag not in (None, "!", _STR_TAG):
            self.problems.append(Problem(line, f"YAML tag {show(event.tag)} is not supported"))
            return _resolve(event.value)
        return _resolve(event.value) if event.implicit[0] else event.value

    def _alias(self, anchor: str, line: int) -> Node:
        node = self._anchors.get(anchor)
        if node is None:
            raise _FatalError(line, f"alias *{anchor} has no anchor that ends before it")
        self._aliased_nodes += node.size
        if self._aliased_nodes > MAX_ALIASED_NODES:
            raise _FatalError(line, f"aliases stand for more than {MAX_ALIASED_NODES} nodes")
        return Node(line, node.value, node.size)


def _resolve(text: str) -> Scalar:
    """Return what an unquoted scalar is; Unclear where readers of YAML differ."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", "", 1))
    return Unclear(text) if _UNCLEAR.fullmatch(text) else text
