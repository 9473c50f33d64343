"""A stand-in of the Kubernetes API in a process of its own, which lets a front proxy's certificate read everything.

python -m bench.kube FOLDER     # prints its port, once FOLDER holds api/kubeconfig and front-proxy.crt and .key
"""

from __future__ import annotations

import signal
import ssl
import sys
from pathlib import Path

from tests.cluster_process import prepare
from tests.kube_api import KubeApi


def _serve(folder: Path) -> None:
    with KubeApi(folder / "api") as api:
        cluster = prepare(api)
        shown = folder / "front-proxy"
        shown.mkdir()
        cluster.front_proxy.load_into(ssl.create_default_context(), shown)
        for path in list(shown.iterdir()):
            path.rename(folder / f"front-proxy{path.suffix}")
        print(api.url.rpartition(":")[2], flush=True)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    # Before any thread is there: each inherits what is blocked.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    _serve(Path(sys.argv[1]))
