"""Sessions of operators: how long they live, and that what ends has ended everywhere at once."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from authpipe.access.operator_sessions import IDLE_LIMIT, LONGEST_LIFE, OperatorSessions
from authpipe.access.operator_tokens import new_token
from authpipe.access.sign_in import NewSession
from authpipe.domain.clock import ManualClock
from authpipe.domain.errors import NotFound
from authpipe.domain.secret import Secret
from authpipe.server.signing_in import SigningIn
from authpipe.store.database import Database
from support.operators import COMMAND_LINE, add, sign_in, told, workspace_events

if TYPE_CHECKING:
    from conftest import Dsns


async def _is_open(signing_in: SigningIn, made: NewSession) -> bool:
    return await signing_in.sessions.current(made.cookie, source_address="192.0.2.9") is not None


async def test_a_session_ends_without_use(signing_in: SigningIn, clock: ManualClock) -> None:
    """After twelve hours; use keeps it, to the minute."""
    await add(signing_in)
    made = await sign_in(signing_in)
    for _ in range(3):
        clock.advance(IDLE_LIMIT - timedelta(minutes=2))
        assert await _is_open(signing_in, made)
    clock.advance(IDLE_LIMIT)
    assert not await _is_open(signing_in, made)


async def test_a_session_ends_in_any_case(signing_in: SigningIn, clock: ManualClock) -> None:
    """After seven days, however much it is used."""
    await add(signing_in)
    made = await sign_in(signing_in)
    for _ in range(LONGEST_LIFE // timedelta(hours=4)):
        assert await _is_open(signing_in, made)
        clock.advance(timedelta(hours=4))
    assert not await _is_open(signing_in, made)


async def test_every_sign_in_makes_a_new_session(signing_in: SigningIn) -> None:
    """And ends the one whose cookie the browser shows; a cookie nobody gave out is never taken over."""
    await add(signing_in)
    planted = new_token()
    first = await sign_in(signing_in, shown=planted)
    assert first.cookie != planted
    second = await sign_in(signing_in, shown=first.cookie)
    assert second.cookie != first.cookie
    assert not await _is_open(signing_in, first)
    assert await _is_open(signing_in, second)
    assert await signing_in.sessions.current(planted, source_address=None) is None
    assert await signing_in.sessions.current(Secret("x"), source_address=None) is None


async def test_an_end_is_an_end_on_every_replica(
    signing_in: SigningIn, dsns: Dsns, clock: ManualClock
) -> None:
    """Another process that has just seen the session refuses it at the next request."""
    ada = await add(signing_in)
    made = await sign_in(signing_in)
    elsewhere = await Database.connect(dsns.owner)
    try:
        replica = OperatorSessions(elsewhere, clock)
        assert await replica.current(made.cookie, source_address=None) is not None
        await signing_in.sessions.end(ada.operator_id, made.signed_in.session.session_id, origin=COMMAND_LINE)
        assert await replica.current(made.cookie, source_address=None) is None
    finally:
        await elsewhere.close()


async def test_the_list_tells_when_and_where(signing_in: SigningIn, clock: ManualClock) -> None:
    """Last seen first; seen is written at most once a minute, with the address of then."""
    ada = await add(signing_in)
    first = await sign_in(signing_in, address="192.0.2.1")
    clock.advance(timedelta(minutes=5))
    second = await sign_in(signing_in, address="192.0.2.2")
    listed = await signing_in.sessions.list(ada.operator_id)
    assert [each.source_address for each in listed] == ["192.0.2.2", "192.0.2.1"]
    assert await _is_open(signing_in, first)
    listed = await signing_in.sessions.list(ada.operator_id)
    assert {each.session_id: each.source_address for each in listed} == {
        first.signed_in.session.session_id: "192.0.2.9",
        second.signed_in.session.session_id: "192.0.2.2",
    }
    seen = max(each.last_seen_at for each in listed)
    clock.advance(timedelta(seconds=59))
    await _is_open(signing_in, first)
    assert max(each.last_seen_at for each in await signing_in.sessions.list(ada.operator_id)) == seen


async def test_sessions_are_ended_one_by_one_all_but_one_and_all(
    signing_in: SigningIn, database: Database
) -> None:
    """Each with an event; another operator's cannot be named."""
    ada, eve = await add(signing_in), await add(signing_in, "eve@example.com")
    made = [await sign_in(signing_in) for _ in range(4)]
    hers = await sign_in(signing_in, "eve@example.com")
    with pytest.raises(NotFound):
        await signing_in.sessions.end(
            eve.operator_id, made[0].signed_in.session.session_id, origin=COMMAND_LINE
        )
    await signing_in.sessions.end(ada.operator_id, made[0].signed_in.session.session_id, origin=COMMAND_LINE)
    keep = made[1].signed_in.session.session_id
    assert await signing_in.sessions.end_all(ada.operator_id, keep=keep, origin=COMMAND_LINE) == 2
    assert [await _is_open(signing_in, each) for each in made] == [False, True, False, False]
    await signing_in.sessions.sign_out(made[1].signed_in, origin=COMMAND_LINE)
    assert await signing_in.sessions.end_all(ada.operator_id, origin=COMMAND_LINE) == 0
    assert await _is_open(signing_in, hers)
    assert [type_ for type_, _ in told(await workspace_events(database))[-3:]] == [
        "operator.session_revoked",
        "operator.session_revoked",
        "operator.signed_out",
    ]


async def test_what_is_over_is_cleared_away(
    signing_in: SigningIn, database: Database, clock: ManualClock
) -> None:
    """Ended sessions and old counts go; what is open stays."""
    await add(signing_in)
    old = await sign_in(signing_in)
    clock.advance(IDLE_LIMIT)
    new = await sign_in(signing_in, address="192.0.2.1")
    assert await signing_in.cleanup.round() == 2
    assert await signing_in.cleanup.round() == 0
    assert not await _is_open(signing_in, old)
    assert await _is_open(signing_in, new)
    async with database.system() as transaction:
        assert await transaction.connection.fetchval("SELECT count(*) FROM operator_sessions") == 1
