"""nginx answering fixed bytes over TLS from its configuration: the least an HTTP server can do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bench.machine import program
from bench.processes import LOOPBACK, Child, accepts, child, free_port, server_cores

MISSING = "nginx: apt install nginx (it need not run as a service)"
_CONFIG = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 300s; tcp_nodelay on;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen {host}:{port} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};
    default_type {content_type};
    location / {{ add_header Cache-Control 'no-cache, private'; return 200 '{body}'; }}
  }}
}}
"""


@contextlib.contextmanager
def nginx(
    folder: Path, certificate: Path, key: Path, body: str, content_type: str
) -> Iterator[tuple[Child, int] | None]:
    """Run nginx while the context lasts. Yields: the child and the port; None if there is no nginx.

    Args:
        body: What it answers, without ' \\ and $, which its configuration gives a meaning.
    """
    executable = program("nginx")
    if executable is None:
        yield None
        return
    home, port = folder / "nginx", free_port()
    home.mkdir()
    config = home / "nginx.conf"
    config.write_text(
        _CONFIG.format(
            folder=home,
            host=LOOPBACK,
            port=port,
            certificate=certificate,
            key=key,
            content_type=content_type,
            body=body,
        )
    )
    with child("nginx", [executable, "-c", config, "-e", home / "error.log"], home, server_cores()) as started:
        started.wait_until(lambda: accepts(port), "listening")
        yield started, port
