"""What every script of the bench has in common: its flags, its printed table, its JSON."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from bench.machine import Neighbours, machine
from bench.report import Result, as_json, rounds_of, rounds_text, text_table

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Options:
    """How much to measure.

    Args:
        quick: Tiny sizes, one round; shows that it works and nothing about speed.
        rounds: Interleaved rounds.
        full: The largest sizes, which take minutes.
    """

    quick: bool = False
    rounds: int = 5
    full: bool = False

    @property
    def budget_s(self) -> float:
        """How long one figure is measured."""
        return 0.005 if self.quick else 0.25 if self.full else 0.15


class BenchError(Exception):
    """The bench cannot go on: something it needs is missing, or a check did not hold."""


QUICK = Options(quick=True, rounds=1)


def main(name: str, run: Callable[[Options], Result]) -> None:
    """Run one script as a program: print its table, and write its JSON where asked."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round: shows that it works")
    parser.add_argument("--full", action="store_true", help="the largest sizes, where a script has some: minutes")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (5)")
    parser.add_argument("--results", type=Path, help=f"also write {name}.json into this folder")
    arguments = parser.parse_args()
    options = QUICK if arguments.quick else Options(rounds=arguments.rounds, full=arguments.full)
    end_with_children()
    started, neighbours = time.monotonic(), Neighbours()
    try:
        result = run(options)
    except BenchError as error:
        sys.exit(f"bench.{name}: {error}")
    found = report(name, result, options, time.monotonic() - started, neighbours.share())
    if arguments.results is not None:
        arguments.results.mkdir(parents=True, exist_ok=True)
        text = json.dumps(found, indent=1, ensure_ascii=False)
        (arguments.results / f"{name}.json").write_text(text + "\n")


def report(name: str, result: Result, options: Options, seconds: float, neighbours: str) -> dict[str, object]:
    """Print a result; return its JSON."""
    ran_on = machine(result.packages, result.programs)
    print(f"\n{result.title}\n{result.about}\n")
    print(text_table(result.rows))
    for line in result.checked:
        print(f"checked: {line}")
    for line in result.missing:
        print(f"missing: {line}")
    print("; ".join(f"{what} {which}" for what, which in ran_on.items()))
    print(f"{rounds_text(result.rows)}, {seconds:.0f} s; the machine meanwhile: {neighbours}", flush=True)
    return as_json(
        result,
        script=name,
        quick=options.quick,
        rounds=rounds_of(result.rows)[1],
        seconds=round(seconds, 1),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        machine=ran_on,
        neighbours=neighbours,
    )


def require(ok: object, what: str) -> str:
    """Return `what` if it holds.

    Raises:
        BenchError: It does not: figures of a wrong result are worth nothing.
    """
    if not ok:
        raise BenchError(f"does not hold: {what}")
    return what


def end_with_children() -> None:
    """Leave by way of every `with` block when asked to terminate, so that no child is left behind."""
    signal.signal(signal.SIGTERM, _stop)


def _stop(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
