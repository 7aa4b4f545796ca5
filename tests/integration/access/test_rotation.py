"""Replacing an API key: the new one is like the old one, and the old one ends a while later."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from authpipe.access.api_keys import ApiKeys
from authpipe.access.environments import Environments
from authpipe.access.key_text import key_hash
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.clock import ManualClock
from authpipe.domain.environment import ApiKey, Environment, EnvironmentKind
from authpipe.domain.errors import Conflict, InvalidInput, NotFound
from authpipe.domain.event import Origin
from authpipe.store.database import Database


async def stored(database: Database, key: ApiKey) -> ApiKey:
    async with database.environment(key.environment_id) as transaction:
        found = await transaction.api_keys.get(key.environment_id, key.api_key_id)
    assert found is not None
    return found


async def test_the_successor_is_like_the_key(
    api_keys: ApiKeys, environment: Environment, clock: ManualClock, database: Database, origin: Origin
) -> None:
    """Name, role, tenant and the length of its life; the text is another one."""
    key, text = await api_keys.create(
        environment.environment_id,
        name="ci",
        role=ApiKeyRole.VIEWER,
        tenant_id="org_acme",
        expires_in=timedelta(days=90),
        origin=origin,
    )
    clock.advance(timedelta(days=30))
    successor, new_text = await api_keys.rotate(
        environment.environment_id, key.api_key_id, overlap=timedelta(hours=2), origin=origin
    )
    assert (successor.name, successor.role, successor.tenant_id) == ("ci", ApiKeyRole.VIEWER, "org_acme")
    assert successor.expires_at == clock.now() + timedelta(days=90)
    assert new_text.reveal() != text.reveal()
    assert successor.prefix != key.prefix
    async with database.system() as transaction:
        assert await transaction.api_keys.by_hash(key_hash(new_text)) == successor
    replaced = await stored(database, key)
    assert replaced.replaced_by == successor.api_key_id
    assert replaced.expires_at == clock.now() + timedelta(hours=2)


async def test_a_key_without_end_gets_one_and_its_successor_does_not(
    api_keys: ApiKeys, environment: Environment, clock: ManualClock, database: Database, origin: Origin
) -> None:
    """A day later, when nothing else is said."""
    key, _ = await api_keys.create(
        environment.environment_id, name="ci", role=ApiKeyRole.SERVER, origin=origin
    )
    successor, _ = await api_keys.rotate(environment.environment_id, key.api_key_id, origin=origin)
    assert successor.expires_at is None
    assert (await stored(database, key)).expires_at == clock.now() + timedelta(days=1)


async def test_an_overlap_does_not_lengthen_a_life(
    api_keys: ApiKeys, environment: Environment, clock: ManualClock, database: Database, origin: Origin
) -> None:
    """A key that expires before the overlap is over expires then."""
    key, _ = await api_keys.create(
        environment.environment_id,
        name="ci",
        role=ApiKeyRole.SERVER,
        expires_in=timedelta(hours=1),
        origin=origin,
    )
    clock.advance(timedelta(minutes=59))
    await api_keys.rotate(environment.environment_id, key.api_key_id, origin=origin)
    assert (await stored(database, key)).expires_at == key.expires_at


async def test_two_events_tell_of_it(
    api_keys: ApiKeys, environment: Environment, database: Database, origin: Origin
) -> None:
    """One of each key; neither holds a text."""
    key, text = await api_keys.create(
        environment.environment_id, name="ci", role=ApiKeyRole.SERVER, origin=origin
    )
    successor, new_text = await api_keys.rotate(environment.environment_id, key.api_key_id, origin=origin)
    async with database.environment(environment.environment_id) as transaction:
        events = await transaction.events.page(environment.environment_id)
    rotated = next(event for event in events if event.type == "api_key.rotated")
    assert rotated.object_id == str(key.api_key_id)
    assert rotated.data["replaced_by"] == str(successor.api_key_id)
    created = next(event for event in events if event.type == "api_key.created")
    assert created.object_id == str(successor.api_key_id)
    assert created.data["role"] == "server"
    assert not any(secret.reveal() in str(events) for secret in (text, new_text))


async def test_what_has_ended_or_was_replaced_is_not_replaced(
    api_keys: ApiKeys,
    environments: Environments,
    environment: Environment,
    clock: ManualClock,
    origin: Origin,
) -> None:
    """Nor what is another environment's; an overlap has its bounds."""
    here = environment.environment_id
    key, _ = await api_keys.create(here, name="ci", role=ApiKeyRole.SERVER, origin=origin)
    for overlap in (timedelta(seconds=-1), timedelta(days=31)):
        with pytest.raises(InvalidInput):
            await api_keys.rotate(here, key.api_key_id, overlap=overlap, origin=origin)
    other = await environments.create("other", kind=EnvironmentKind.PRODUCTION, origin=origin)
    with pytest.raises(NotFound):
        await api_keys.rotate(other.environment_id, key.api_key_id, origin=origin)
    successor, _ = await api_keys.rotate(here, key.api_key_id, origin=origin)
    with pytest.raises(Conflict) as refused:
        await api_keys.rotate(here, key.api_key_id, origin=origin)
    assert refused.value.code == "api_key_replaced"
    clock.advance(timedelta(days=1))
    with pytest.raises(Conflict) as refused:
        await api_keys.rotate(here, key.api_key_id, origin=origin)
    assert refused.value.code == "api_key_ended"
    await api_keys.revoke(here, successor.api_key_id, origin=origin)
    with pytest.raises(Conflict) as refused:
        await api_keys.rotate(here, successor.api_key_id, origin=origin)
    assert refused.value.code == "api_key_ended"


async def test_of_two_who_replace_a_key_one_does(
    api_keys: ApiKeys, environment: Environment, origin: Origin
) -> None:
    """And there is one successor."""
    key, _ = await api_keys.create(
        environment.environment_id, name="ci", role=ApiKeyRole.SERVER, origin=origin
    )
    outcomes = await asyncio.gather(
        *(api_keys.rotate(environment.environment_id, key.api_key_id, origin=origin) for _ in range(4)),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 3
    assert len(await api_keys.list(environment.environment_id)) == 2
