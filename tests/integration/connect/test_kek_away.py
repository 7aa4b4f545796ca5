"""A key-encryption key that is away for a moment: no grant is given up for it, and none is forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from authpipe.connect.erase import UNHURRIED
from authpipe.domain.errors import Conflict, VaultUnavailable
from authpipe.domain.event import ActorKind, Origin
from authpipe.vault.failure import unavailable
from authpipe.vault.vault import Vault
from support.erasing import left_of
from support.hosted import Hosted

if TYPE_CHECKING:
    from conftest import Back, Connect, Dsns

ORIGIN = Origin(actor_kind=ActorKind.COMMAND_LINE)
Away = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def away() -> Away:
    """Nothing can be decrypted inside the block."""

    async def decrypt(*_: object, **__: object) -> None:
        raise unavailable("away")

    @contextmanager
    def away() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Vault, "decrypt", decrypt)
            yield

    return away


def alive(hosted: Hosted, provider: str) -> list[Any]:
    """The authorizations that still hold at the sandbox."""
    return [each for each in hosted.sandbox.state.ledgers[provider].authorizations if not each.revoked]


async def test_an_erasure_waits_for_it(
    hosted: Hosted, connect: Connect, go_and_come_back: Back, away: Away, dsns: Dsns
) -> None:
    """With the keyset the grants could not be revoked any more: candidates and connections alike."""
    erasure, environment_id = hosted.rooms.connecting.tenant_erasure, hosted.scene.environment_id
    await connect()
    await go_and_come_back("dialpad")
    with away():
        with pytest.raises(VaultUnavailable):
            await erasure.erase(environment_id, "org_acme", origin=ORIGIN, patience=UNHURRIED)
        hosted.clock.advance(timedelta(seconds=61))
        assert await erasure.resume() is None
    assert "data_keys" in await left_of(dsns.superuser, environment_id, "org_acme")
    assert len(alive(hosted, "discord")) == len(alive(hosted, "dialpad")) == 1
    assert await erasure.resume() is None
    hosted.clock.advance(timedelta(seconds=61))
    certificate = await erasure.resume()
    assert certificate is not None
    assert (certificate.counts.revoked_upstream, certificate.counts.not_revoked) == (2, 0)
    assert alive(hosted, "discord") == alive(hosted, "dialpad") == []


async def test_an_erasure_does_not_pass_over_a_candidate_that_somebody_holds(
    hosted: Hosted, go_and_come_back: Back, away: Away, dsns: Dsns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever tried to give it back while the KEK was away left a lease."""
    monkeypatch.setattr("authpipe.connect.erase_upstream._TOGETHER_S", 2.0)
    erasure, environment_id = hosted.rooms.connecting.tenant_erasure, hosted.scene.environment_id
    await go_and_come_back("dialpad")
    hosted.clock.advance(timedelta(minutes=11))
    with away():
        await hosted.rooms.connecting.reaper.round()
    with pytest.raises(Conflict, match="a worker goes on"):
        await erasure.erase(environment_id, "org_acme", origin=ORIGIN, patience=UNHURRIED)
    assert "data_keys" in await left_of(dsns.superuser, environment_id, "org_acme")
    hosted.clock.advance(timedelta(seconds=61))
    certificate = await erasure.resume()
    assert certificate is not None
    assert certificate.counts.revoked_upstream == 1
    assert alive(hosted, "dialpad") == []


async def test_a_candidate_nobody_completed_waits_for_it(
    hosted: Hosted, go_and_come_back: Back, away: Away
) -> None:
    """Its lease runs out, and it is given back then."""
    await go_and_come_back("dialpad")
    await go_and_come_back()
    hosted.clock.advance(timedelta(minutes=11))
    with away():
        await hosted.rooms.connecting.reaper.round()
    assert await hosted.events("candidate.destroyed") == []
    hosted.clock.advance(timedelta(seconds=61))
    await hosted.rooms.connecting.reaper.round()
    destroyed = await hosted.events("candidate.destroyed")
    assert [event.data["upstream"] for event in destroyed] == ["revoked", "revoked"]
    assert alive(hosted, "discord") == alive(hosted, "dialpad") == []


async def test_disconnecting_again_when_it_is_back_revokes_at_once(
    hosted: Hosted, connect: Connect, away: Away
) -> None:
    """Nothing was changed, and nothing is waited for."""
    connection = (await connect("dialpad")).connection
    assert connection is not None
    disconnection, place = hosted.rooms.connecting.disconnection, hosted.scene.environment_id
    with away(), pytest.raises(VaultUnavailable):
        await disconnection.connection(place, connection.connection_id, origin=ORIGIN)
    assert await hosted.credential("dialpad", tenant_id="org_acme", user_id="user_123")
    began = time.monotonic()
    await disconnection.connection(place, connection.connection_id, origin=ORIGIN)
    assert time.monotonic() - began < 5
    assert alive(hosted, "dialpad") == []
