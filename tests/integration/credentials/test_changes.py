"""Notifications: hints that make waiting short, and a word whenever some may have been missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from authpipe.credentials import changes as changes_module
from authpipe.credentials.changes import Changes
from authpipe.store.database import Database
from support.postgres import Dsns

CHANNEL = "authpipe_credentials"


class Heard:
    """What a subscriber was told, to wait for."""

    def __init__(self) -> None:
        self.gaps: asyncio.Queue[None] = asyncio.Queue()
        self.words: asyncio.Queue[str] = asyncio.Queue()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def changes(
    database: Database, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Changes]:
    monkeypatch.setattr(changes_module, "_RETRY_S", 0.02)
    changes = Changes(database)
    changes.on_gap(lambda: heard.gaps.put_nowait(None))
    changes.on(CHANNEL, heard.words.put_nowait)
    changes.start()
    await asyncio.wait_for(heard.gaps.get(), 5)
    yield changes
    await changes.close()


@pytest.fixture
async def superuser(dsns: Dsns) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(dsns.superuser)
    yield connection
    await connection.close()


async def test_those_who_wait_for_one_credential_are_woken_by_its_change_alone(
    changes: Changes, heard: Heard, superuser: asyncpg.Connection[asyncpg.Record]
) -> None:
    """Subscribers hear of every one; a waiter that left is not kept."""
    with changes.watching("a") as mine, changes.watching("a") as also, changes.watching("b") as other:
        await superuser.execute(f"SELECT pg_notify('{CHANNEL}', 'a')")
        await asyncio.wait_for(mine.wait(), 5)
        assert also.is_set()
        assert not other.is_set()
    assert await asyncio.wait_for(heard.words.get(), 5) == "a"
    assert not changes._waiters


async def test_a_lost_connection_is_made_anew_and_the_gap_is_told(
    changes: Changes, heard: Heard, superuser: asyncpg.Connection[asyncpg.Record]
) -> None:
    """Whoever must not miss a word forgets what it knows."""
    await superuser.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'authpipe-listen'"
    )
    await asyncio.wait_for(heard.gaps.get(), 5)
    await superuser.execute(f"SELECT pg_notify('{CHANNEL}', 'after')")
    assert await asyncio.wait_for(heard.words.get(), 5) == "after"


async def test_a_subscriber_that_fails_does_not_silence_the_others(
    database: Database, heard: Heard, superuser: asyncpg.Connection[asyncpg.Record]
) -> None:
    """One cache's bug must not let another keep a revoked credential."""
    changes = Changes(database)

    def fail(_payload: str) -> None:
        raise RuntimeError("a subscriber's own fault")

    changes.on(CHANNEL, fail)
    changes.on(CHANNEL, heard.words.put_nowait)
    changes.on_gap(lambda: heard.gaps.put_nowait(None))
    changes.start()
    await asyncio.wait_for(heard.gaps.get(), 5)
    await superuser.execute(f"SELECT pg_notify('{CHANNEL}', 'a')")
    assert await asyncio.wait_for(heard.words.get(), 5) == "a"
    await changes.close()
