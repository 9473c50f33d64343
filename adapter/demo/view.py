"""The live view: lines of text that fit the terminal, whatever its size."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import NoReturn

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from adapter.demo.autoscaler import HPA, SYNC_S
from adapter.demo.scene import Samples, Scene, fold, hints
from adapter.demo.sparkline import UNKNOWN, sparkline
from adapter.demo.spillway import BACKLOG, RATE
from scaler.hpa_model import Condition, MetricError, Proposal

_REFRESH_S = 0.5
_NAME_WIDTH, _NUMBER_WIDTH = 9, 26
_MAX_ROWS, _ROWS_TOUCHING = 7, 2


def can_show(console: Console) -> bool:
    """Tell whether the live view can be drawn on this console."""
    return console.is_terminal and not console.is_dumb_terminal and console.encoding.lower().startswith("utf")


async def show(scene: Scene, console: Console) -> NoReturn:
    """Draw the scene twice a second, for ever. The screen is given back at the end."""
    with Live(_Frame(scene), console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.refresh()
            await asyncio.sleep(_REFRESH_S)


class _Frame:
    """The scene as something that rich draws."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def __rich_console__(self, console: Console, _: ConsoleOptions) -> RenderResult:
        now_s = asyncio.get_running_loop().time()
        yield Text("\n").join(frame(self._scene, console.width, console.height, now_s))


def frame(scene: Scene, width: int, height: int, now_s: float) -> list[Text]:
    """Return at most `height` lines of at most `width` columns. What does not fit is cut off at the end."""
    above = [_title(scene, width, now_s), Text()]
    below = [_orders(scene), Text(), *_decisions(scene, now_s), Text(), *_hints(scene, width)]
    each = min(max((height - len(above) - len(below)) // 4, 1), _MAX_ROWS)
    lines = [*above, *_pictures(scene, width, each), *below][:height]
    for line in lines:
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis")
    return lines


def _title(scene: Scene, width: int, now_s: float) -> Text:
    left = Text.assemble((" Spillway ", "bold reverse"), "  a shop, its queue in Redis, and an HPA")
    right = Text(f"{clock(now_s - scene.began_s)}  Ctrl-C ends it", style="dim")
    return left.append(" " * max(2, width - left.cell_len - right.cell_len)).append_text(right)


def clock(seconds: float) -> str:
    """Return minutes and seconds: "1:05"."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _pictures(scene: Scene, width: int, rows: int) -> Iterator[Text]:
    """Four pictures of so many lines each."""
    trace, workers = scene.trace, scene.workers
    load = trace.load[-1] if trace.load else None
    starting = workers.count - workers.ready
    now_working = f"{workers.ready} of {HPA.max_replicas}" + (f", {starting} starting" if starting else "")
    yield from _picture("load", trace.load, "blue", _number(load, "orders/s"), width, rows, 20)
    yield from _picture("backlog", trace.backlog, "yellow", _served(scene, BACKLOG, "orders"), width, rows, 20)
    yield from _picture("rate", trace.rate, "green", _served(scene, RATE, "req/s"), width, rows, 20)
    yield from _picture("workers", trace.workers, "magenta", Text(now_working), width, rows, HPA.max_replicas)


def _picture(
    name: str, samples: Samples, style: str, number: Text, width: int, rows: int, least_top: float
) -> Iterator[Text]:
    columns = width - _NAME_WIDTH - _NUMBER_WIDTH - 2
    if rows > _ROWS_TOUCHING:
        yield Text()
        rows -= 1
    for row, drawn in enumerate(sparkline(list(samples), columns, rows, least_top), start=1):
        last = row == rows
        line = Text((name if last else "").ljust(_NAME_WIDTH), style=f"bold {style}")
        blocks = Text(drawn, style=f"not bold {style}")
        blocks.highlight_regex(UNKNOWN, "red")
        line.append_text(blocks).append("  ")
        yield line.append_text(number) if last else line


def _number(value: float | None, unit: str) -> Text:
    if value is None:
        return Text("-", style="not bold")
    shown = f"{value:.0f}" if value == int(value) or value >= 100 else f"{value:.1f}"
    return Text.assemble((shown, "bold"), (f" {unit}", "not bold"))


def _served(scene: Scene, metric: str, unit: str) -> Text:
    """A served value, and how many workers the HPA wants for it."""
    reading, decision = scene.reading(metric), scene.autoscaler.decision
    if reading is not None and scene.value(metric) is None:
        return Text("unknown", style="bold red")
    text = _number(scene.value(metric), unit)
    for spec, proposal in zip(HPA.metrics, decision.proposals if decision else (), strict=False):
        if spec.name == metric and isinstance(proposal, Proposal):
            text.append(f" → {proposal.replicas} workers", style="dim not bold")
    return text


def _orders(scene: Scene) -> Text:
    account = scene.account
    text = f"{account.taken} taken · {account.processed} processed · {account.failed} failed"
    return Text.assemble(("orders".ljust(_NAME_WIDTH), "bold"), text)


def _decisions(scene: Scene, now_s: float) -> list[Text]:
    """Five lines: the HPA's targets, its last change, and its conditions; an error takes the place of the change."""
    backlog, rate = ((each.average_value_milli or 0) // 1000 for each in HPA.metrics)
    targets = f"{backlog} orders or {rate} req/s a worker; syncs every {SYNC_S:g} s (in a cluster 15 s)"
    lines = [Text.assemble(("HPA".ljust(_NAME_WIDTH), "bold"), targets), _news(scene, now_s)]
    conditions = scene.autoscaler.decision.conditions if scene.autoscaler.decision else ()
    lines += [_condition(each) for each in conditions[:3]]
    return lines + [Text()] * (5 - len(lines))


def _news(scene: Scene, now_s: float) -> Text:
    for metric, reading in zip(HPA.metrics, scene.autoscaler.readings, strict=False):
        if isinstance(reading, MetricError):
            return Text(f"{' ' * _NAME_WIDTH}{metric.name}: {reading.message}", style="red")
    changes = scene.autoscaler.tally.changes
    if not changes:
        return Text(f"{' ' * _NAME_WIDTH}nothing to change yet")
    last = changes[-1]
    return Text.assemble(
        " " * _NAME_WIDTH,
        (f"{last.before} → {last.after} workers", "bold"),
        f" {now_s - last.time_s:.0f} s ago: {last.reason}",
    )


def _condition(condition: Condition) -> Text:
    # ScalingLimited is the one that is good news when it is False.
    good = condition.status != (condition.type == "ScalingLimited")
    return Text.assemble(
        " " * _NAME_WIDTH,
        (f"{condition.type}={condition.status} ", "green" if good else "yellow"),
        f"{condition.reason} ",
        (condition.message, "dim"),
    )


def _hints(scene: Scene, width: int) -> Iterator[Text]:
    yield Text("Try in another terminal".ljust(width), style="bold underline")
    for hint in hints(scene.addresses, scene.redis_pid, scene.web_url):
        lines = fold(hint, width)
        for number, line in enumerate(lines, start=1):
            text = Text(line, style="cyan")
            if number == len(lines) and len(line) + 3 + len(hint.why) <= width:
                text.append(hint.why.rjust(width - len(line)), style="not cyan dim italic")
            yield text
