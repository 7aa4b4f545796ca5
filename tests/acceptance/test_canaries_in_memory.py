"""No plaintext credential stays in the server between requests."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from authpipe.domain.secret import Secret
from support import canaries, memory
from support.application import Application
from support.running import Running


async def _held(application: Application, secrets: list[str]) -> dict[str, Any]:
    """Where the server holds any of the secrets, by its own account."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"{application.url}/_memory", params=[("look", memory.masked(secret)) for secret in secrets]
        ) as response,
    ):
        told: dict[str, Any] = await response.json()
        assert told["texts"] > 50_000, "the walk went everywhere"
        return told


@pytest.mark.timeout(240)
async def test_a_server_between_requests_holds_no_plaintext(tmp_path: Path, record_property: Any) -> None:
    """After connects, reads, refreshes, sign-offs and failures, nothing reachable in it holds a secret.

    What was let go of may stand in freed memory until that is used again: Python cannot wipe it.  How many
    such copies there are is recorded, not judged.
    """
    async with Running(tmp_path / "data", workers=0, serving=memory.serving()) as running:
        application = Application(running)
        secrets = [*canaries.CANARIES, running.api_key]
        await canaries.set_up(application)
        await canaries.good_paths(application)
        await canaries.provider_faults(application)
        await canaries.connect_failures(application)
        await canaries.misplaced(application)
        await canaries.sign_offs(application)
        await canaries.every_page_address(application)

        # While a request is under way it holds what it needs, which also shows that the walk finds secrets.
        fault = {"kind": "latency", "seconds": 2, "provider": "discord", "path_contains": "token", "times": 1}
        await application.control("POST", "/faults", json=fault)
        _, connections = await application.call("GET", "/v1/connections?provider=discord&status=active")
        refresh = f"/v1/connections/{connections['data'][0]['id']}/refresh"
        refreshing = asyncio.create_task(application.call("POST", refresh))
        async with asyncio.timeout(10):
            while not any(
                "authpipe.domain.secret.Secret()" in chain
                for _, chain in (await _held(application, secrets))["found"]
            ):
                assert not refreshing.done()
        assert (await refreshing)[0] == 200

        await canaries.revoked(application)
        await application.close()
        async with asyncio.timeout(20):
            # The last answers may be on their way out for a moment.
            while held := (await _held(application, secrets))["found"]:
                print(*held, sep="\n")  # shown when the time is over
                await asyncio.sleep(0.2)
        server = next(process for process in running.processes if process.name == "server-0")
        left = memory.copies(server.child.pid, secrets)
    record_property("copies in freed memory", left.total())


def test_the_walk_finds_a_secret_wherever_it_is_kept() -> None:
    """In containers, closures, caches, exceptions, suspended coroutines, contexts and objects with slots."""
    text = "".join(("walk", "-", "canary-", "31c5-"))

    def closing(value: str) -> Callable[[], str]:
        return lambda: value

    @lru_cache
    def cached(value: str) -> str:
        return value

    async def suspended(value: str) -> str:
        await asyncio.sleep(0)
        return value

    def failing(value: str) -> None:
        local = value + "!"
        raise ValueError(len(local))

    def failed(value: str) -> BaseException:
        try:
            failing(value)
        except ValueError as error:
            return error
        raise AssertionError

    context = contextvars.Context()
    context.run(contextvars.ContextVar[str]("canary").set, text + "context")
    coroutine = suspended(text + "coroutine")
    coroutine.send(None)
    cached(text + "cache")
    kept = {
        "containers": [{"a": ({text + "containers"},)}, deque()],
        "context": context,
        "coroutine": coroutine,
        "cache": cached,
        "error": failed(text + "error"),
        "closure": closing(text + "closure"),
        "secret": Secret(text + "secret"),
        "buffer": bytearray((text + "buffer").encode()),
        "partial": partial(len, text + "partial"),
    }
    found = memory.holders([(text + name).encode() for name in kept])["found"]
    assert {list(kept)[number] for number, _ in found} == kept.keys()
    coroutine.close()
