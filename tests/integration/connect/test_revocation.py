"""What disconnecting leaves behind at a provider, and what is said of it (RFC 7009)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from authpipe.domain.connection import ConnectionStatus
from authpipe.domain.errors import NotConnected
from authpipe.domain.event import ActorKind, Origin
from authpipe.sandbox.faults import FaultOrder
from support.hosted import Hosted

if TYPE_CHECKING:
    from conftest import Back, Connect

BACKEND = Origin(actor_kind=ActorKind.API_KEY, actor_id="test")


async def _disconnected(hosted: Hosted, connect: Connect, *faults: FaultOrder) -> dict[str, Any]:
    """What the event of a disconnection tells, with these faults in force."""
    connection = (await connect()).connection
    assert connection is not None
    for fault in faults:
        hosted.sandbox.state.faults.add(fault)
    ended = await hosted.rooms.connecting.disconnection.connection(
        hosted.scene.environment_id, connection.connection_id, origin=BACKEND
    )
    assert ended.status is ConnectionStatus.REVOKED
    with pytest.raises(NotConnected):
        await hosted.credential(tenant_id="org_acme", user_id="user_123")
    return dict((await hosted.events("connection.disconnected"))[-1].data)


@pytest.mark.parametrize(
    "fault",
    [
        FaultOrder("status", provider="discord", path_contains="revoke", status=503, times=1),
        FaultOrder("status", provider="discord", path_contains="revoke", status=302, times=1),
        FaultOrder("drop_before", provider="discord", path_contains="revoke", times=1),
    ],
    ids=["503", "redirect", "hung up"],
)
async def test_a_revocation_nobody_confirmed_is_told_as_such(
    hosted: Hosted, connect: Connect, fault: FaultOrder
) -> None:
    """The token must be taken to live on (section 2.2.1); here it is gone all the same."""
    told = await _disconnected(hosted, connect, fault)
    assert told["upstream"] == "failed"
    assert [token for token in hosted.tokens() if not token.authorization.revoked], "it lives on upstream"


async def test_a_token_the_provider_does_not_know_any_more_counts_as_revoked(
    hosted: Hosted, connect: Connect
) -> None:
    """The answer to it is 200 (section 2.2), and there is nothing left to end."""
    connection = (await connect()).connection
    assert connection is not None
    for authorization in hosted.sandbox.state.ledgers["discord"].authorizations:
        authorization.revoked = True
    await hosted.rooms.connecting.disconnection.connection(
        hosted.scene.environment_id, connection.connection_id, origin=BACKEND
    )
    assert (await hosted.events("connection.disconnected"))[-1].data["upstream"] == "revoked"


@pytest.mark.parametrize("confirmed", [True, False])
async def test_of_a_candidate_nobody_completed_nothing_is_kept(
    hosted: Hosted, go_and_come_back: Back, confirmed: bool
) -> None:
    """Its tokens leave the database whether or not the provider ended them; the event says which."""
    session, _ = await go_and_come_back()
    if not confirmed:
        hosted.sandbox.state.faults.add(
            FaultOrder("status", provider="discord", path_contains="revoke", status=503)
        )
    hosted.clock.advance(session.expires_at - session.created_at)
    await hosted.rooms.connecting.reaper.round()
    async with hosted.rooms.database.tenant(session.environment_id, session.tenant_id) as transaction:
        assert (
            await transaction.candidates.of_session(
                session.environment_id, session.tenant_id, session.session_id
            )
            is None
        )
    (destroyed,) = await hosted.events("candidate.destroyed")
    assert destroyed.data == {
        "reason": "not_completed",
        "upstream": "revoked" if confirmed else "failed",
    }
