"""`python -m tests.soak`: prints progress, writes the result and the page in docs, exits with 1 on any violation."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.soak.report import page
from tests.soak.run import Plan, run

ROOT = Path(__file__).parent.parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="(default 30)")
    parser.add_argument("--metrics", type=int, default=2_000, help="(default 2000)")
    parser.add_argument("--no-write", action="store_true", help="leave docs/soak.md and the result as they are")
    parser.add_argument("--keep", type=Path, help="an empty folder for configuration and logs, kept")
    options = parser.parse_args()
    if options.minutes < 1 or options.metrics < 100:
        parser.error("a soak takes at least 1 minute and 100 metrics; tests/soak/test_soak.py has a smaller one")
    # Below 20 minutes the first tenth still warms up, and memory says little.
    limit = 0.02 if options.minutes >= 20 else 0.10
    plan = Plan(metrics=options.metrics, seconds=options.minutes * 60, growth_limit=limit)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(exist_ok=True)
        found = run(plan, folder, lambda line: print(line, flush=True))
    if not options.no_write:
        (ROOT / "tests" / "soak" / "result.json").write_text(json.dumps(found, indent=1) + "\n")
        (ROOT / "docs" / "soak.md").write_text(page(found))
    for violation in found["violations"]:
        print(f"VIOLATION: {violation}", file=sys.stderr)
    print(f"{sum(found['checked'].values())} answers checked, {len(found['violations'])} violations", flush=True)
    return 1 if found["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
