"""A client's connection, on which every byte of an answer can be seen."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass


@dataclass
class Connection:
    """One client connection, on which answers are read as they were sent."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, request: bytes, *, head: bool = False) -> tuple[str, dict[str, str], bytes]:
        """Send a request; return the status line, the headers with lower-cased names, and the body."""
        self.writer.write(request)
        await self.writer.drain()
        status, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
        length = 0 if head else int(headers.get("content-length", "0"))
        return status, headers, await self.reader.readexactly(length)

    async def get(self, target: str, *headers: str) -> tuple[str, dict[str, str], bytes]:
        lines = "".join(f"{header}\r\n" for header in ("Host: localhost", *headers))
        return await self.ask(f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode())

    async def is_closed(self) -> bool:
        """Wait for the server to close the connection."""
        return await self.reader.read() == b""

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()
