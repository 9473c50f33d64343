"""A stand-in of the Kubernetes API in a process of its own, which lets a front proxy's certificate read everything.

python -m bench.kube FOLDER [BYTES SECONDS]

It prints its port, once FOLDER holds api/kubeconfig and front-proxy.crt and .key.

From a SIGUSR1 on it is slow: it sends BYTES of an answer, waits for SECONDS, and so on.
"""

from __future__ import annotations

import signal
import ssl
import sys
from pathlib import Path

from tests.cluster_process import prepare
from tests.kube_api import KubeApi

_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGUSR1})


def _serve(folder: Path, slow: tuple[int, float]) -> None:
    with KubeApi(folder / "api") as api:
        cluster = prepare(api)
        shown = folder / "front-proxy"
        shown.mkdir()
        cluster.front_proxy.load_into(ssl.create_default_context(), shown)
        for path in list(shown.iterdir()):
            path.rename(folder / f"front-proxy{path.suffix}")
        print(api.url.rpartition(":")[2], flush=True)
        while signal.sigwait(_SIGNALS) == signal.SIGUSR1:
            api.drip(*slow)


if __name__ == "__main__":
    # Before any thread is there: each inherits what is blocked.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    size, pause_s = (*sys.argv[2:], "0", "0")[:2]
    _serve(Path(sys.argv[1]), (int(size), float(pause_s)))
