"""Authentication: from memory when it can, never with a key that is no good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import pytest

from authpipe.access.api_keys import ApiKeys
from authpipe.access.authentication import Authenticator
from authpipe.access.key_text import new_key
from authpipe.credentials.changes import Changes
from authpipe.domain.clock import ManualClock
from authpipe.domain.environment import ApiKey, Environment
from authpipe.domain.errors import Unauthenticated
from authpipe.domain.event import Origin
from authpipe.domain.secret import Secret
from authpipe.store.database import Database
from authpipe.store.transaction import Transaction

if TYPE_CHECKING:
    from conftest import Dsns


class CountingDatabase(Database):
    """The real database, counting the transactions that authentication opens."""

    lookups = notes = open_lookups = most_lookups = 0

    @asynccontextmanager
    async def system(self) -> AsyncIterator[Transaction]:
        """Count, and open."""
        self.lookups += 1
        self.open_lookups += 1
        self.most_lookups = max(self.most_lookups, self.open_lookups)
        try:
            async with super().system() as transaction:
                yield transaction
        finally:
            self.open_lookups -= 1

    @asynccontextmanager
    async def environment(self, environment_id: UUID) -> AsyncIterator[Transaction]:
        """Count, and open."""
        self.notes += 1
        async with super().environment(environment_id) as transaction:
            yield transaction


@pytest.fixture
async def counting(dsns: Dsns) -> AsyncIterator[CountingDatabase]:
    opened = await CountingDatabase.connect(dsns.owner, max_size=8)
    assert isinstance(opened, CountingDatabase)
    yield opened
    await opened.close()


@pytest.fixture
async def listening(database: Database) -> AsyncIterator[Changes]:
    """Notifications that are heard once :func:`heard` says so."""
    changes = Changes(database)
    yield changes
    await changes.close()


@pytest.fixture
async def authenticator(
    counting: CountingDatabase, listening: Changes, clock: ManualClock
) -> AsyncIterator[Authenticator]:
    made = Authenticator(database=counting, changes=listening, clock=clock)
    began = asyncio.Event()
    listening.on_gap(began.set)
    listening.start()
    await asyncio.wait_for(began.wait(), 10)
    yield made
    await made.close()


@pytest.fixture
async def key(api_keys: ApiKeys, environment: Environment, origin: Origin) -> tuple[ApiKey, Secret]:
    return await api_keys.create(
        environment.environment_id, name="ci", expires_in=timedelta(hours=1), origin=origin
    )


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.01)


async def is_refused(authenticator: Authenticator, text: Secret) -> bool:
    try:
        await authenticator.authenticate(text)
    except Unauthenticated:
        return True
    return False


async def test_a_key_opens_its_environment_and_is_looked_up_once(
    authenticator: Authenticator,
    key: tuple[ApiKey, Secret],
    environment: Environment,
    counting: CountingDatabase,
) -> None:
    """Also when many ask for it at the same moment."""
    answers = await asyncio.gather(*(authenticator.authenticate(key[1]) for _ in range(3)))
    before = counting.lookups
    answers += [await authenticator.authenticate(key[1]) for _ in range(50)]
    assert counting.lookups == before
    assert {answer.api_key.api_key_id for answer in answers} == {key[0].api_key_id}
    assert {answer.environment for answer in answers} == {environment}


async def test_every_refusal_reads_the_same(
    authenticator: Authenticator,
    api_keys: ApiKeys,
    environment: Environment,
    key: tuple[ApiKey, Secret],
    clock: ManualClock,
    origin: Origin,
) -> None:
    """Malformed, unknown, revoked and expired keys cannot be told apart."""
    revoked, revoked_text = await api_keys.create(environment.environment_id, name="r", origin=origin)
    await api_keys.revoke(environment.environment_id, revoked.api_key_id, origin=origin)
    await authenticator.authenticate(key[1])
    clock.advance(timedelta(hours=1))
    messages = set()
    for text in (Secret("nonsense"), new_key(), revoked_text, key[1]):
        with pytest.raises(Unauthenticated) as refused:
            await authenticator.authenticate(text)
        messages.add((refused.value.code, refused.value.message, refused.value.detail))
    assert len(messages) == 1


async def test_malformed_text_costs_no_lookup_and_an_unknown_key_few(
    authenticator: Authenticator, counting: CountingDatabase, clock: ManualClock
) -> None:
    """What was not found is not looked for again at once."""
    assert await is_refused(authenticator, Secret("apk_nonsense"))
    assert counting.lookups == 0
    unknown = new_key()
    for _ in range(5):
        assert await is_refused(authenticator, unknown)
    assert counting.lookups == 1
    clock.advance(timedelta(seconds=10))
    assert await is_refused(authenticator, unknown)
    assert counting.lookups == 2


async def test_a_key_in_memory_expires_at_its_moment(
    authenticator: Authenticator, key: tuple[ApiKey, Secret], clock: ManualClock
) -> None:
    """Even when the memory is younger than a minute."""
    clock.advance(timedelta(hours=1) - timedelta(seconds=1))
    await authenticator.authenticate(key[1])
    clock.advance(timedelta(seconds=1))
    assert await is_refused(authenticator, key[1])


async def test_a_revocation_elsewhere_is_heard_at_once(
    authenticator: Authenticator, key: tuple[ApiKey, Secret], api_keys: ApiKeys, origin: Origin
) -> None:
    """Without the clock having moved."""
    await authenticator.authenticate(key[1])
    await api_keys.revoke(key[0].environment_id, key[0].api_key_id, origin=origin)
    await until(lambda: is_refused(authenticator, key[1]))


async def test_a_revocation_that_was_not_heard_counts_once_listening_again(
    authenticator: Authenticator,
    key: tuple[ApiKey, Secret],
    database: Database,
    dsns: Dsns,
    clock: ManualClock,
) -> None:
    """The listening connection was cut; what was missed meanwhile is found out by asking again."""
    await authenticator.authenticate(key[1])
    async with database.environment(key[0].environment_id) as transaction:
        await transaction.connection.execute(
            "UPDATE api_keys SET revoked_at = $2 WHERE api_key_id = $1", key[0].api_key_id, clock.now()
        )
    assert not await is_refused(authenticator, key[1])
    owner = await asyncpg.connect(dsns.owner)
    await owner.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'authpipe-listen'"
    )
    await owner.close()
    await until(lambda: is_refused(authenticator, key[1]))


async def test_without_any_word_a_key_is_believed_for_a_minute(
    counting: CountingDatabase, database: Database, key: tuple[ApiKey, Secret], clock: ManualClock
) -> None:
    """That bounds what lost notifications can cost."""
    deaf = Authenticator(database=counting, changes=Changes(database), clock=clock)
    await deaf.authenticate(key[1])
    async with database.environment(key[0].environment_id) as transaction:
        await transaction.connection.execute(
            "UPDATE api_keys SET revoked_at = $2 WHERE api_key_id = $1", key[0].api_key_id, clock.now()
        )
    clock.advance(timedelta(seconds=59))
    assert not await is_refused(deaf, key[1])
    clock.advance(timedelta(seconds=1))
    assert await is_refused(deaf, key[1])
    await deaf.close()


async def test_the_last_use_is_noted_once_a_minute(
    authenticator: Authenticator,
    key: tuple[ApiKey, Secret],
    api_keys: ApiKeys,
    counting: CountingDatabase,
    clock: ManualClock,
) -> None:
    """In the background, and not more often, however often the key is used."""

    async def noted() -> Any:
        [stored] = await api_keys.list(key[0].environment_id)
        return stored.last_used_at

    first = clock.now()
    await authenticator.authenticate(key[1])
    await authenticator.close()
    assert await noted() == first
    clock.advance(timedelta(seconds=30))
    await authenticator.authenticate(key[1])
    await authenticator.close()
    assert await noted() == first
    assert counting.notes == 1
    clock.advance(timedelta(seconds=31))
    await authenticator.authenticate(key[1])
    await authenticator.close()
    assert await noted() == clock.now()


async def test_a_known_key_works_while_the_database_is_away(
    authenticator: Authenticator, key: tuple[ApiKey, Secret], counting: CountingDatabase, clock: ManualClock
) -> None:
    """Noting its use fails, and that is nobody's business."""
    await authenticator.authenticate(key[1])
    await authenticator.close()
    await counting.close()
    clock.advance(timedelta(seconds=59))
    assert (await authenticator.authenticate(key[1])).api_key.api_key_id == key[0].api_key_id


async def test_a_flood_of_invented_keys_leaves_connections_to_others(
    authenticator: Authenticator, counting: CountingDatabase
) -> None:
    """Lookups take at most half of this pool, so a credential read finds a connection at once."""
    assert all(await asyncio.gather(*(is_refused(authenticator, new_key()) for _ in range(100))))
    assert counting.most_lookups == 4
    assert counting.lookups == 100
