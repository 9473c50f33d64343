"""The command `spillway`."""

from __future__ import annotations

import asyncio
import os
import sys

from adapter import logs
from adapter.options import CheckOptions, DemoOptions, ServeOptions, parse


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


def _serve(options: ServeOptions) -> int:
    from adapter.app import StartError, serve

    logs.configure(options.log_level, options.log_format)
    try:
        asyncio.run(serve(options))
    except StartError as error:
        for line in error.args:
            print(f"spillway serve: {line}", file=sys.stderr)  # noqa: T201 the last word of a command
        return 1
    return 0


if __name__ == "__main__":
    main()
