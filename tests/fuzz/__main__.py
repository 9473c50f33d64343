"""Look for inputs that break something, guided by what code they reach: `python -m tests.fuzz [TARGET ...]`.

Each target runs in a process of its own, from its seeds and the corpus; what reaches code that nothing in the corpus
did is added to it. An input that breaks something is kept beside the corpus, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parent
CORPUS = FOLDER / "corpus"
FOUND = FOLDER / "found"
KEPT = 50
"""Files a target's corpus has at most."""

_MAX_BYTES = 1024
_CHILD = "--as-child"


def main() -> int:
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default 60)")
    parser.add_argument("--no-save", action="store_true", help="leave the corpus as it is")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}: there are {', '.join(TARGETS)}")
    if importlib.util.find_spec("atheris") is None:
        print(
            "atheris is not installed: it has wheels for CPython 3.11 to 3.13 on Linux x86-64, and none for this "
            "machine. The same targets run in `make test`, and longer with HYPOTHESIS_PROFILE=explore.",
            file=sys.stderr,
        )
        return 1
    names = options.targets or list(TARGETS)
    return max([_fuzz(name, TARGETS[name].seeds(), options.seconds, save=not options.no_save) for name in names])


def _fuzz(name: str, seeds: Sequence[bytes], seconds: int, *, save: bool) -> int:
    """Run one target; return 0, or 1 if it found something."""
    FOUND.mkdir(exist_ok=True)
    (CORPUS / name).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        work, start, merged = (Path(scratch, folder) for folder in ("work", "start", "merged"))
        for folder in (work, start, merged):
            folder.mkdir()
        for number, data in enumerate(seeds):
            (start / str(number)).write_bytes(data[:_MAX_BYTES])
        flags = [f"-max_total_time={seconds}", "-print_final_stats=1", f"-artifact_prefix={FOUND}/{name}-"]
        print(f"{name}: {seconds} s", flush=True)
        code, said = _child(name, [*flags, str(work), str(CORPUS / name), str(start)])
        runs = [line for line in said.splitlines() if line.startswith("stat::number_of_executed_units")]
        print(f"{name}: {runs[-1].split()[-1] if runs else 'no'} inputs, {'ok' if code == 0 else 'BROKEN'}", flush=True)
        if code:
            print(said[-8000:], file=sys.stderr)
            return 1
        if save:
            code, said = _child(name, ["-merge=1", str(merged), str(CORPUS / name), str(work)])
            if code:
                print(said[-8000:], file=sys.stderr)
                return 1
            _save(name, merged)
    return 0


def _save(name: str, merged: Path) -> None:
    """Make the merged inputs the corpus, thinned out evenly from small to large."""
    found = sorted(merged.iterdir(), key=lambda path: (path.stat().st_size, path.name))
    wanted = {path.name[:12]: path.read_bytes() for path in found[:: -(-len(found) // KEPT) or 1]}
    for path in (CORPUS / name).iterdir():
        if path.name not in wanted and not path.name.startswith("bug-"):
            path.unlink()
    for key, data in wanted.items():
        (CORPUS / name / key).write_bytes(data)


def _child(name: str, flags: list[str]) -> tuple[int, str]:
    """Run libFuzzer in a process of its own; return its exit code and what it said."""
    environ = os.environ | ({"NUMBA_DISABLE_JIT": "1"} if name == "exposition" else {})
    # A timeout beyond what one input may cost: it is for what waits, and for what no signal interrupts.
    limits = [f"-max_len={_MAX_BYTES}", "-timeout=150", "-rss_limit_mb=2048"]
    with tempfile.TemporaryDirectory() as folder:
        itself = Path(folder, name)  # libFuzzer runs itself again to merge
        itself.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.fuzz {_CHILD} {name} "$0" "$@"\n')
        itself.chmod(0o755)
        run = subprocess.run([itself, *limits, *flags], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return run.returncode, run.stdout.decode(errors="replace")


def _as_child(name: str, argv: list[str]) -> None:
    """Become libFuzzer. Never returns."""
    import atheris

    # Compiled functions cannot be instrumented; the scanner of pages runs interpreted here, and compiled in the tests.
    plain = ["answer", "gotext", "labels", "quantity", "selector"]
    scanner = ["textbytes", "textindex", "textlex", "textline", "textmeta", "textparse", "textscan"]
    core = [f"scaler.{module}" for module in (scanner if name == "exposition" else plain)]
    with atheris.instrument_imports(include=["adapter", *core]):
        from tests.fuzz.targets import TARGETS
    from tests.fuzz.bounds import bounded

    with TARGETS[name].opened() as check:

        def one(data: bytes) -> None:
            with bounded():
                check(data)

        atheris.Setup(argv, one)
        atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == [_CHILD]:
        _as_child(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(main())
