"""What may happen once happens once: attempts, sessions, candidates, idempotency keys."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import pytest

from authpipe.domain.connect_session import (
    AuthorizationAttempt,
    Candidate,
    ConnectSession,
    ReturnMode,
    SessionKind,
    SessionStatus,
)
from authpipe.domain.identifiers import new_id
from authpipe.domain.provider_config import ProviderConfig
from support.scene import Scene

LIFETIME = timedelta(minutes=10)


def hashed(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


STATE, COOKIE, TOKEN = hashed("state"), hashed("cookie"), hashed("token")


@dataclass(frozen=True)
class Begun:
    """A connect session with one attempt."""

    config: ProviderConfig
    session: ConnectSession
    attempt: AuthorizationAttempt


@pytest.fixture
async def begun(scene: Scene) -> Begun:
    config = await scene.config()
    now = scene.clock.now()
    session = ConnectSession(
        session_id=new_id(),
        environment_id=scene.environment_id,
        tenant_id=scene.tenant_id,
        user_id="user_123",
        kind=SessionKind.CONNECTION,
        provider_config_id=config.provider_config_id,
        provider="discord",
        status=SessionStatus.PENDING,
        scopes=("identify",),
        label=None,
        installation_id=None,
        reconnect_id=None,
        return_mode=ReturnMode.REDIRECT,
        return_url="http://localhost/",
        browser_hash=None,
        error_code=None,
        connection_id=None,
        made_installation_id=None,
        expires_at=now + LIFETIME,
        created_at=now,
        updated_at=now,
    )
    attempt = AuthorizationAttempt(
        attempt_id=new_id(),
        environment_id=scene.environment_id,
        tenant_id=scene.tenant_id,
        session_id=session.session_id,
        provider_config_id=config.provider_config_id,
        verifier_ciphertext=b"verifier",
        redirect_uri="http://localhost/oauth/callback",
        scopes=("identify",),
        created_at=now,
        expires_at=now + LIFETIME,
    )
    async with scene.database.tenant(scene.environment_id, scene.tenant_id) as transaction:
        await transaction.sessions.add(session, token_hash=TOKEN)
        await transaction.attempts.add(attempt, state_hash=STATE, browser_hash=COOKIE)
    return Begun(config, session, attempt)


async def take(
    scene: Scene,
    begun: Begun,
    *,
    state: bytes = STATE,
    config_id: UUID | None = None,
    cookies: tuple[bytes, ...] = (COOKIE,),
    later: timedelta = timedelta(0),
) -> AuthorizationAttempt | None:
    async with scene.database.system() as transaction:
        return await transaction.attempts.take(
            state,
            provider_config_id=config_id or begun.config.provider_config_id,
            browser_hashes=cookies,
            now=scene.clock.now() + later,
        )


async def test_an_attempt_is_taken_once(scene: Scene, begun: Begun) -> None:
    """A replayed state finds nothing."""
    assert await take(scene, begun) == begun.attempt
    assert await take(scene, begun) is None


async def test_of_twenty_callbacks_at_once_one_takes_the_attempt(scene: Scene, begun: Begun) -> None:
    """A double-clicked or raced callback exchanges the code once."""
    taken = await asyncio.gather(*(take(scene, begun) for _ in range(20)))
    assert [attempt for attempt in taken if attempt is not None] == [begun.attempt]


async def test_an_attempt_that_does_not_match_stays(scene: Scene, begun: Begun) -> None:
    """Wrong path, wrong or missing cookie, past its time, wrong state: nothing is taken, nothing is lost."""
    assert await take(scene, begun, config_id=new_id()) is None
    assert await take(scene, begun, cookies=(hashed("another browser"),)) is None
    assert await take(scene, begun, cookies=()) is None
    assert await take(scene, begun, state=hashed("guess")) is None
    assert await take(scene, begun, later=LIFETIME) is None
    assert await take(scene, begun, cookies=(hashed("another session"), COOKIE)) == begun.attempt


async def test_why_an_attempt_was_refused_can_be_seen_without_taking_it(scene: Scene, begun: Begun) -> None:
    """Peeking leaves it in place, and tells this browser from others."""
    async with scene.database.system() as transaction:
        assert await transaction.attempts.peek(STATE) == begun.attempt
        assert await transaction.attempts.belongs_to_browser(STATE, [COOKIE])
        assert not await transaction.attempts.belongs_to_browser(STATE, [hashed("other")])
        assert not await transaction.attempts.belongs_to_browser(hashed("unknown"), [COOKIE])
    assert await take(scene, begun) == begun.attempt


async def test_attempts_past_their_time_are_purged(scene: Scene, begun: Begun) -> None:
    """And not a moment before."""
    async with scene.database.system() as transaction:
        assert await transaction.attempts.purge(now=begun.attempt.expires_at - timedelta(seconds=1)) == 0
        assert await transaction.attempts.purge(now=begun.attempt.expires_at) == 1


async def test_of_ten_browsers_that_open_a_link_one_gets_the_session(scene: Scene, begun: Begun) -> None:
    """The first opening consumes the link."""

    async def open_it(number: int) -> ConnectSession | None:
        async with scene.database.system() as transaction:
            return await transaction.sessions.open(
                TOKEN, browser_hash=hashed(f"browser {number}"), at=scene.clock.now()
            )

    opened = await asyncio.gather(*(open_it(number) for number in range(10)))
    assert [session.status for session in opened if session is not None] == [SessionStatus.OPENED]


async def test_a_candidate_is_taken_once_and_not_while_it_is_abandoned(scene: Scene, begun: Begun) -> None:
    """Completion and the reaper exclude each other."""
    now = scene.clock.now()
    place = (scene.environment_id, scene.tenant_id, begun.session.session_id)
    candidate = Candidate(
        candidate_id=new_id(),
        environment_id=scene.environment_id,
        tenant_id=scene.tenant_id,
        session_id=begun.session.session_id,
        provider_config_id=begun.config.provider_config_id,
        grant_ciphertext=b"grant",
        account={"id": "1"},
        created_at=now,
        expires_at=now + LIFETIME,
    )
    async with scene.database.tenant(*place[:2]) as transaction:
        await transaction.candidates.add(candidate)
    ended = now + LIFETIME
    async with scene.database.system() as transaction:
        assert await transaction.candidates.claim_expired(now=now, lease_until=ended, limit=9) == []
        claimed = await transaction.candidates.claim_expired(
            now=ended, lease_until=ended + timedelta(seconds=60), limit=9
        )
        again = await transaction.candidates.claim_expired(
            now=ended, lease_until=ended + timedelta(seconds=60), limit=9
        )
    assert [each.candidate_id for each in claimed] == [candidate.candidate_id]
    assert again == []
    async with scene.database.tenant(*place[:2]) as transaction:
        assert await transaction.candidates.take(*place, now=ended) is None

    async def complete() -> Candidate | None:
        async with scene.database.tenant(*place[:2]) as transaction:
            return await transaction.candidates.take(*place, now=ended + timedelta(seconds=60))

    taken = await asyncio.gather(*(complete() for _ in range(5)))
    assert [each.account for each in taken if each is not None] == [{"id": "1"}]


async def test_an_idempotency_key_is_begun_once(scene: Scene) -> None:
    """Of ten equal requests at once one runs; its answer is what the others will find."""
    now = scene.clock.now()
    api_key_id = new_id()
    place = (scene.environment_id, api_key_id, "key-1")

    async def begin(text: str = "request", later: timedelta = timedelta(0)) -> bool:
        async with scene.database.environment(scene.environment_id) as transaction:
            return await transaction.idempotency_keys.begin(
                *place,
                request_hash=hashed(text),
                row_id=new_id(),
                at=now + later,
                abandoned_before=now + later - timedelta(minutes=5),
            )

    assert sorted(await asyncio.gather(*(begin() for _ in range(10)))) == [False] * 9 + [True]
    async with scene.database.environment(scene.environment_id) as transaction:
        running = await transaction.idempotency_keys.get(*place)
        assert running is not None
        assert (running.request_hash, running.response_status) == (hashed("request"), None)
        await transaction.idempotency_keys.finish(
            *place,
            row_id=new_id(),
            status=500,
            ciphertext=b"from a request that lost the key",
            tenant_id=None,
        )
        await transaction.idempotency_keys.forget(*place, row_id=new_id())
        await transaction.idempotency_keys.finish(
            *place, row_id=running.row_id, status=201, ciphertext=b"answer", tenant_id=None
        )
        await transaction.idempotency_keys.forget(*place, row_id=running.row_id)
        finished = await transaction.idempotency_keys.get(*place)
        assert finished is not None
        assert (finished.response_status, finished.response_ciphertext) == (201, b"answer")
    assert not await begin(later=timedelta(hours=1)), "an answered key is held"
    async with scene.database.system() as transaction:
        assert await transaction.idempotency_keys.purge(before=now) == 1
    assert await begin()


async def test_an_idempotency_key_of_a_request_that_died_is_free_again(scene: Scene) -> None:
    """After a while, and at once when the request failed without changing anything."""
    now = scene.clock.now()
    place = (scene.environment_id, new_id(), "key-1")

    async def begin(later: timedelta) -> bool:
        async with scene.database.environment(scene.environment_id) as transaction:
            return await transaction.idempotency_keys.begin(
                *place,
                request_hash=b"",
                row_id=new_id(),
                at=now + later,
                abandoned_before=now + later - timedelta(minutes=5),
            )

    assert await begin(timedelta(0))
    assert not await begin(timedelta(minutes=4))
    assert await begin(timedelta(minutes=5))
    async with scene.database.environment(scene.environment_id) as transaction:
        held = await transaction.idempotency_keys.get(*place)
        assert held is not None
        await transaction.idempotency_keys.forget(*place, row_id=held.row_id)
    assert await begin(timedelta(minutes=5))
