"""Authentication: from memory when it can, never with a key that is no good."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from authpipe.access.api_keys import ApiKeys
from authpipe.access.authentication import Authenticator
from authpipe.access.key_text import new_key
from authpipe.access.refusals import Refusals
from authpipe.credentials.changes import Changes
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.clock import ManualClock
from authpipe.domain.environment import ApiKey, Environment
from authpipe.domain.errors import Unauthenticated
from authpipe.domain.event import Origin
from authpipe.domain.secret import Secret
from authpipe.store.database import Database
from authpipe.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from conftest import CountingDatabase


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
    answers = await asyncio.gather(*(authenticator.authenticate(key[1]) for _ in range(20)))
    answers += [await authenticator.authenticate(key[1]) for _ in range(50)]
    assert counting.lookups == 1
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
    revoked, revoked_text = await api_keys.create(
        environment.environment_id, name="r", role=ApiKeyRole.SERVER, origin=origin
    )
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


async def test_without_a_word_a_key_is_believed_for_a_minute(
    authenticator: Authenticator, database: Database, key: tuple[ApiKey, Secret], clock: ManualClock
) -> None:
    """That bounds what a lost notification can cost."""
    await authenticator.authenticate(key[1])
    async with database.environment(key[0].environment_id) as transaction:
        await transaction.connection.execute(
            "UPDATE api_keys SET revoked_at = $2 WHERE api_key_id = $1", key[0].api_key_id, clock.now()
        )
    clock.advance(timedelta(seconds=59))
    assert not await is_refused(authenticator, key[1])
    clock.advance(timedelta(seconds=1))
    assert await is_refused(authenticator, key[1])


async def test_while_nothing_is_heard_a_key_is_believed_for_half_a_second(
    counting: CountingDatabase, database: Database, key: tuple[ApiKey, Secret], clock: ManualClock
) -> None:
    """So that a revocation is effective within a second then as well."""
    deaf = Authenticator(
        database=counting, changes=Changes(database), clock=clock, refusals=Refusals(Metrics())
    )
    await deaf.authenticate(key[1])
    async with database.environment(key[0].environment_id) as transaction:
        await transaction.connection.execute(
            "UPDATE api_keys SET revoked_at = $2 WHERE api_key_id = $1", key[0].api_key_id, clock.now()
        )
    clock.advance(timedelta(seconds=0.49))
    assert not await is_refused(deaf, key[1])
    assert counting.lookups == 1
    clock.advance(timedelta(seconds=0.01))
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


async def test_who_hangs_up_takes_no_lookup_from_others(
    authenticator: Authenticator, key: tuple[ApiKey, Secret], counting: CountingDatabase
) -> None:
    """The first of several that ask for a key goes; the others get their answer from the same lookup."""
    first = asyncio.create_task(authenticator.authenticate(key[1]))
    second = asyncio.create_task(authenticator.authenticate(key[1]))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).api_key.api_key_id == key[0].api_key_id
    assert first.cancelled()
    assert counting.lookups == 1


async def test_a_known_key_works_while_the_database_is_away(
    authenticator: Authenticator, key: tuple[ApiKey, Secret], counting: CountingDatabase, clock: ManualClock
) -> None:
    """Noting its use fails, and that is nobody's business."""
    await authenticator.authenticate(key[1])
    await authenticator.close()
    await counting.close()
    clock.advance(timedelta(seconds=59))
    assert (await authenticator.authenticate(key[1])).api_key.api_key_id == key[0].api_key_id
