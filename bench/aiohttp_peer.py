"""The API as one would write it with aiohttp: an application with a router that answers fixed bytes over TLS."""

from __future__ import annotations

import argparse
import asyncio
import ssl
from pathlib import Path

from aiohttp import web

from bench.processes import LOOPBACK

_PATH = "/apis/{group}/{version}/namespaces/{namespace}/{metric}"


async def serve(certificate: Path, key: Path, body: bytes, content_type: str) -> None:
    """Serve until killed; print the port."""

    async def values(request: web.Request) -> web.Response:
        if not request.match_info["metric"]:
            raise web.HTTPNotFound
        return web.Response(body=body, content_type=content_type, headers={"Cache-Control": "no-cache, private"})

    application = web.Application()
    application.router.add_get(_PATH, values)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0, ssl_context=tls).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("certificate", type=Path)
    parser.add_argument("key", type=Path)
    parser.add_argument("body", type=Path)
    parser.add_argument("content_type")
    arguments = parser.parse_args()
    body = arguments.body.read_bytes()
    asyncio.run(serve(arguments.certificate, arguments.key, body, arguments.content_type))


if __name__ == "__main__":
    _main()
