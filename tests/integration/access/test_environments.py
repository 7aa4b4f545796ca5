"""Environments and their allow-lists."""

from __future__ import annotations

import pytest

from authpipe.access.environments import Environments
from authpipe.domain.clock import ManualClock
from authpipe.domain.connect_session import ReturnMode
from authpipe.domain.environment import Environment, EnvironmentKind
from authpipe.domain.errors import Conflict, InvalidInput, NotFound
from authpipe.domain.event import Origin
from authpipe.domain.identifiers import new_id
from authpipe.events.chain import AuditChain
from authpipe.events.verification import ChainVerification
from authpipe.store.database import Database
from authpipe.telemetry.metrics import Metrics
from authpipe.vault.vault import Vault

PRODUCTION = EnvironmentKind.PRODUCTION


async def events_of(database: Database, environment: Environment) -> list[str]:
    async with database.environment(environment.environment_id) as transaction:
        return [event.type for event in await transaction.events.page(environment.environment_id)]


async def test_an_environment_is_made_found_and_listed(
    environments: Environments, database: Database, origin: Origin
) -> None:
    """By id and by name; its creation is an event."""
    name = "prod"
    made = await environments.create(
        name,
        kind=PRODUCTION,
        return_urls=["https://app.example/*", "https://app.example/*"],
        origins=["HTTPS://App.example:443"],
        origin=origin,
    )
    assert made.return_urls == ("https://app.example/*",)
    assert made.origins == ("https://app.example",)
    assert await environments.get(made.environment_id) == made
    assert await environments.by_name(name) == made
    assert made in await environments.list()
    assert await events_of(database, made) == ["environment.created"]


async def test_a_name_is_taken_once(environments: Environments, origin: Origin) -> None:
    """The second is told so, and causes no event."""
    name = "once"
    await environments.create(name, kind=PRODUCTION, origin=origin)
    with pytest.raises(Conflict) as refused:
        await environments.create(name, kind=PRODUCTION, origin=origin)
    assert refused.value.code == "environment_exists"


async def test_an_environment_is_made_with_the_beginning_of_its_chain(
    environments: Environments, database: Database, vault: Vault, clock: ManualClock, origin: Origin
) -> None:
    """So that a missing one was removed; its own creation is the first link."""
    made = await environments.create("chained", kind=PRODUCTION, origin=origin)
    verification = ChainVerification(database, vault)
    before = await verification.verify(made.environment_id)
    assert (before.is_intact, before.sealed, before.checked, before.waiting) == (True, True, 0, 1)
    assert await AuditChain(database=database, vault=vault, clock=clock, metrics=Metrics()).extend() == 1
    after = await verification.verify(made.environment_id)
    assert (after.is_intact, after.checked, after.waiting) == (True, 1, 0)


@pytest.mark.parametrize("name", ["", "A", "a b", "-a", "a-", "a" * 64, "é"])
async def test_a_name_is_plain(name: str, environments: Environments, origin: Origin) -> None:
    """Lower-case letters, digits and inner hyphens."""
    with pytest.raises(InvalidInput) as refused:
        await environments.create(name, kind=PRODUCTION, origin=origin)
    assert refused.value.field == "name"


async def test_a_bad_entry_of_a_list_is_named(environments: Environments, origin: Origin) -> None:
    """By list and position."""
    with pytest.raises(InvalidInput) as refused:
        await environments.create(
            "x", kind=PRODUCTION, return_urls=["https://a.example/", "http://a.example/"], origin=origin
        )
    assert refused.value.field == "return_urls[1]"
    with pytest.raises(InvalidInput) as refused:
        await environments.create("x", kind=PRODUCTION, origins=["https://a.example/x"], origin=origin)
    assert refused.value.field == "origins[0]"
    with pytest.raises(InvalidInput, match="at most 100"):
        await environments.create("x", kind=PRODUCTION, origins=["https://a.example"] * 101, origin=origin)


async def test_a_list_is_replaced_and_the_other_stays(
    environments: Environments, environment: Environment, database: Database, origin: Origin
) -> None:
    """A change is an event; no change is none."""
    place = environment.environment_id
    await environments.update(place, return_urls=["http://localhost:3000/*"], origin=origin)
    updated = await environments.update(place, origins=["http://localhost:3000"], origin=origin)
    assert updated.return_urls == ("http://localhost:3000/*",)
    assert updated.origins == ("http://localhost:3000",)
    assert await environments.update(place, origin=origin) == updated
    assert await events_of(database, environment) == [
        "environment.updated",
        "environment.updated",
        "environment.created",
    ]


async def test_what_does_not_exist_is_not_found(environments: Environments, origin: Origin) -> None:
    """By id, by name, and to change."""
    with pytest.raises(NotFound):
        await environments.get(new_id())
    with pytest.raises(NotFound):
        await environments.by_name("nowhere")
    with pytest.raises(NotFound):
        await environments.update(new_id(), origins=[], origin=origin)


async def test_a_return_url_counts_by_the_lists_as_they_are_now(
    environments: Environments, environment: Environment, origin: Origin
) -> None:
    """A removed one is refused at once; a popup's origin must be listed as well."""
    place, url = environment.environment_id, "http://localhost:3000/done"
    with pytest.raises(InvalidInput) as refused:
        await environments.check_return(place, url, ReturnMode.REDIRECT)
    assert refused.value.field == "return_url"
    await environments.update(place, return_urls=["http://localhost:3000/*"], origin=origin)
    await environments.check_return(place, url, ReturnMode.REDIRECT)
    with pytest.raises(InvalidInput, match="http://localhost:3000, is not among the origins"):
        await environments.check_return(place, url, ReturnMode.POPUP)
    await environments.update(place, origins=["http://localhost:3000"], origin=origin)
    await environments.check_return(place, url, ReturnMode.POPUP)
    await environments.update(place, return_urls=[], origin=origin)
    with pytest.raises(InvalidInput):
        await environments.check_return(place, url, ReturnMode.POPUP)
