"""A reader of server-sent events over a real connection, line by line."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp


@dataclass(frozen=True)
class Told:
    """One block of a stream.  A comment has no name."""

    name: str | None
    id: str | None
    data: Any
    at: float
    text: str


@dataclass
class Reader:
    """What came over one stream."""

    answer: aiohttp.ClientResponse
    told: list[Told] = field(default_factory=list)

    async def next(self, seconds: float = 5) -> Told:
        """The next block.  Raises ``EOFError`` at the end of the stream."""
        async with asyncio.timeout(seconds):
            lines: list[str] = []
            while True:
                line = await self.answer.content.readline()
                if not line:
                    raise EOFError
                if line == b"\n":
                    break
                lines.append(line.decode().removesuffix("\n"))
        fields = dict(line.split(": ", 1) for line in lines if not line.startswith(":"))
        found = Told(
            fields.get("event"),
            fields.get("id"),
            json.loads(fields["data"]) if "data" in fields else None,
            time.monotonic(),
            "\n".join(lines),
        )
        self.told.append(found)
        return found

    async def event(self, name: str, seconds: float = 5) -> Told:
        """The next event of that name; others before it are kept in ``told``."""
        async with asyncio.timeout(seconds):
            while True:
                found = await self.next(seconds)
                if found.name == name:
                    return found

    async def end(self, seconds: float = 5) -> None:
        """Wait until the server ends the stream."""
        async with asyncio.timeout(seconds):
            while True:
                try:
                    await self.next(seconds)
                except EOFError:
                    return

    async def until(self, object_id: str, seconds: float = 5) -> Told:
        """The next change that names an id, in whichever field."""
        async with asyncio.timeout(seconds):
            while True:
                found = await self.event("change", seconds)
                if object_id in found.text:
                    return found


@asynccontextmanager
async def reading(
    url: str,
    key: str,
    *,
    last_event_id: str | None = None,
    session: aiohttp.ClientSession | None = None,
) -> AsyncIterator[Reader]:
    """Open the change stream of a server; closes it at the end of the block."""
    headers = {"Authorization": f"Bearer {key}"}
    if last_event_id is not None:
        headers["Last-Event-ID"] = last_event_id
    own = session or aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=None), connector=aiohttp.TCPConnector(limit=0)
    )
    try:
        async with own.get(f"{url}/v1/stream", headers=headers) as answer:
            yield Reader(answer)
    finally:
        if session is None:
            await own.close()
