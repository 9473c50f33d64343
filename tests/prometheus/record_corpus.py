"""`python -m tests.prometheus.record_corpus`: feed a real Prometheus and keep what it says for the tests.

Needs what tests/prometheus/get-prometheus unpacks.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.prometheus import corpus
from tests.prometheus.pages import pages
from tests.prometheus.server import running, version

SEED = 3


def main() -> None:
    """Record and save the corpus."""
    found = version()
    if found is None:
        sys.exit("there is no Prometheus: run tests/prometheus/get-prometheus")
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as prometheus:
        recorded = corpus.record(prometheus, found, pages(SEED))
    corpus.save(recorded)
    asked = [answers for _, each in recorded.pages for _, answers in each]
    print(f"{corpus.FILE}: Prometheus {found}, {len(asked)} queries, {sum(map(len, asked))} values")  # noqa: T201 - a program


if __name__ == "__main__":
    main()
