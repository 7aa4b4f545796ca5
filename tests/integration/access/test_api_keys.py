"""API keys: made, shown once, listed, revoked."""

from __future__ import annotations

from datetime import timedelta

import pytest

from authpipe.access.api_keys import ApiKeys
from authpipe.access.environments import Environments
from authpipe.access.key_text import key_hash
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.clock import ManualClock
from authpipe.domain.environment import Environment, EnvironmentKind
from authpipe.domain.errors import InvalidInput, NotFound
from authpipe.domain.event import Origin
from authpipe.domain.identifiers import new_id
from authpipe.store.database import Database


async def test_a_key_is_stored_as_its_hash_alone(
    api_keys: ApiKeys, environment: Environment, database: Database, origin: Origin
) -> None:
    """The text is in no column and in no event."""
    key, text = await api_keys.create(
        environment.environment_id, name="ci", role=ApiKeyRole.SERVER, origin=origin
    )
    assert text.reveal().startswith(key.prefix)
    async with database.system() as transaction:
        assert await transaction.api_keys.by_hash(key_hash(text)) == key
        rows = await transaction.connection.fetch("SELECT k::text FROM api_keys k")
        events = await transaction.connection.fetch("SELECT e::text FROM events e")
    dump = " ".join(row[0] for row in [*rows, *events])
    assert key.prefix in dump
    assert text.reveal().rpartition("_")[2] not in dump


async def test_keys_are_listed_in_their_environment(
    api_keys: ApiKeys, environments: Environments, environment: Environment, origin: Origin
) -> None:
    """And nowhere else."""
    other = await environments.create("other", kind=EnvironmentKind.PRODUCTION, origin=origin)
    first, _ = await api_keys.create(
        environment.environment_id, name="1", role=ApiKeyRole.SERVER, origin=origin
    )
    second, _ = await api_keys.create(
        environment.environment_id, name="2", role=ApiKeyRole.SERVER, origin=origin
    )
    assert await api_keys.list(environment.environment_id) == [first, second]
    assert await api_keys.list(other.environment_id) == []
    with pytest.raises(NotFound):
        await api_keys.revoke(other.environment_id, first.api_key_id, origin=origin)
    assert [key.revoked_at for key in await api_keys.list(environment.environment_id)] == [None, None]


async def test_a_key_is_revoked_once(
    api_keys: ApiKeys, environment: Environment, clock: ManualClock, database: Database, origin: Origin
) -> None:
    """The first time stays, and there is one event."""
    key, _ = await api_keys.create(
        environment.environment_id, name="ci", role=ApiKeyRole.SERVER, origin=origin
    )
    first = await api_keys.revoke(environment.environment_id, key.api_key_id, origin=origin)
    assert first.revoked_at == clock.now()
    assert await api_keys.revoke(environment.environment_id, key.api_key_id, origin=origin) == first
    clock.advance(timedelta(hours=1))
    assert await api_keys.revoke(environment.environment_id, key.api_key_id, origin=origin) == first
    async with database.environment(environment.environment_id) as transaction:
        events = await transaction.events.page(environment.environment_id, object_id=str(key.api_key_id))
    assert [event.type for event in events] == ["api_key.revoked", "api_key.created"]


@pytest.mark.parametrize("name", ["", " ", " a", "a" * 101, "a\nb"])
async def test_a_name_is_printable(
    name: str, api_keys: ApiKeys, environment: Environment, origin: Origin
) -> None:
    """One to a hundred characters."""
    with pytest.raises(InvalidInput) as refused:
        await api_keys.create(environment.environment_id, name=name, role=ApiKeyRole.SERVER, origin=origin)
    assert refused.value.field == "name"


@pytest.mark.parametrize("expires_in", [timedelta(0), timedelta(seconds=-1), timedelta(days=3651)])
async def test_a_lifetime_is_positive_and_within_reason(
    expires_in: timedelta, api_keys: ApiKeys, environment: Environment, origin: Origin
) -> None:
    """At most ten years."""
    with pytest.raises(InvalidInput) as refused:
        await api_keys.create(
            environment.environment_id, name="a", role=ApiKeyRole.SERVER, expires_in=expires_in, origin=origin
        )
    assert refused.value.field == "expires_in"


async def test_a_key_needs_an_environment(api_keys: ApiKeys, origin: Origin) -> None:
    """One that exists."""
    with pytest.raises(NotFound):
        await api_keys.create(new_id(), name="a", role=ApiKeyRole.SERVER, origin=origin)
