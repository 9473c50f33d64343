"""The command `spillway`."""

from __future__ import annotations

import asyncio
import gc
import os
import sys

from adapter import logs
from adapter.doctor_options import DoctorOptions
from adapter.explain_options import ExplainOptions, RecordOptions
from adapter.options import CheckOptions, DemoOptions, ServeOptions, parse
from adapter.simulate_options import SimulateOptions


def main() -> None:
    """Run the command line and exit."""
    options = parse(sys.argv[1:], os.environ)
    match options:
        case ServeOptions():
            sys.exit(_serve(options))
        case CheckOptions():
            from adapter.check import check

            sys.exit(check(options))
        case DemoOptions():
            from adapter.demo import run

            sys.exit(asyncio.run(run(options.duration_s, options.tty)))
        case DoctorOptions():
            from adapter.doctor.look import examine

            sys.exit(asyncio.run(examine(options)))
        case SimulateOptions():
            from adapter.simulate.main import simulate

            sys.exit(simulate(options))
        case ExplainOptions():
            from adapter.explain.main import explain

            sys.exit(explain(options))
        case RecordOptions():
            from adapter.explain.record import record

            sys.exit(record(options))


def _event_loop() -> asyncio.AbstractEventLoop:
    """Return uvloop's loop, which needs two thirds of the time for TLS; where there is none, the standard library's."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _serve(options: ServeOptions) -> int:
    gc.disable()  # what is imported stays: to look for garbage in it meanwhile takes a fifth of the start
    from adapter.app import StartError, serve

    gc.freeze()
    gc.enable()
    # Thousands of targets make and drop objects all the time: every 700 of them is too often to look for rings.
    gc.set_threshold(10_000)
    # A thread that runs Python code, as one that writes /metrics, holds the event loop for so long at a time.
    sys.setswitchinterval(0.001)
    handler = logs.configure(options.log_level, options.log_format, options.log_rate)
    said: list[str] = []
    try:
        with asyncio.Runner(loop_factory=_event_loop) as runner:
            runner.run(serve(options, lambda: handler.dropped))
    except* StartError as group:
        said = [line for error in group.exceptions for line in error.args]
    for line in said:
        print(f"spillway serve: {line}", file=sys.stderr)  # noqa: T201 the last word of a command
    return int(bool(said))


if __name__ == "__main__":
    main()
