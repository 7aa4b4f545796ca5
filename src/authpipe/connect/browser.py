"""The browser's side of a session: the link is consumed once, and the session belongs to that browser."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from authpipe.catalog.definition import Scope, SideName
from authpipe.connect.ending import SessionEnding
from authpipe.connect.one_time import digest, new_value
from authpipe.credentials.provider import Provider, Providers
from authpipe.domain.clock import Clock
from authpipe.domain.connect_session import ConnectSession, SessionStatus
from authpipe.domain.environment import Environment, Tenant
from authpipe.domain.errors import ConnectError
from authpipe.domain.event import Origin
from authpipe.domain.secret import Secret
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.database import Database
from authpipe.telemetry import traces

#: The prefix makes browsers insist on Secure, Path=/ and no Domain: no other host can plant the cookie.
COOKIE_PREFIX = "__Host-authpipe_connect_"
#: How many sessions one browser may have open; further cookies are not looked at.
_MOST_COOKIES = 20
_OPEN = {SessionStatus.OPENED, SessionStatus.AUTHORIZING}


def cookie_name(session_id: UUID) -> str:
    """One cookie per session, so that two tabs do not take each other's place."""
    return COOKIE_PREFIX + session_id.hex


def browser_digests(cookies: Mapping[str, str]) -> list[bytes]:
    """The digests of every session cookie the browser shows."""
    values = [value for name, value in cookies.items() if name.startswith(COOKIE_PREFIX)]
    return [digest(Secret(value)) for value in values[:_MOST_COOKIES] if value.isascii()]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """What the hosted page shows."""

    session: ConnectSession
    provider: Provider
    tenant: Tenant
    environment: Environment
    scopes: tuple[Scope, ...]


class BrowserSessions:
    """Opens links and checks that a browser is the one a session was bound to."""

    def __init__(
        self, *, database: Database, providers: Providers, ending: SessionEnding, clock: Clock
    ) -> None:
        self._database = database
        self._providers = providers
        self._ending = ending
        self._clock = clock

    async def open(
        self, token: Secret, cookies: Mapping[str, str], *, origin: Origin
    ) -> tuple[ConnectSession, Secret]:
        """Consume the link; the session now belongs to the browser that gets the returned cookie value.

        Raises ``ConnectError``: ``link_unknown``, ``link_used``, ``link_used_here`` (by this very browser,
        which may go on) or ``session_expired``.  All but the first record an event.
        """
        with traces.span("connect.open") as span:
            session, cookie = await self._open(token, cookies, origin)
            span.set(provider=session.provider, connect_session_id=session.session_id)
            return session, cookie

    async def _open(
        self, token: Secret, cookies: Mapping[str, str], origin: Origin
    ) -> tuple[ConnectSession, Secret]:
        now = self._clock.now()
        cookie = new_value()
        token_hash = digest(token)
        async with self._database.system() as transaction:
            session = await transaction.sessions.open(token_hash, browser_hash=digest(cookie), at=now)
            if session is not None:
                await record(
                    transaction,
                    EventType.CONNECT_SESSION_OPENED,
                    environment_id=session.environment_id,
                    tenant_id=session.tenant_id,
                    object_kind="connect_session",
                    object_id=session.session_id,
                    origin=origin,
                    at=now,
                    data={"provider": session.provider},
                )
                return session, cookie
            known = await transaction.sessions.by_token(token_hash)
        if known is None:
            raise ConnectError("This link is not valid. Go back and start again.", code="link_unknown")
        expired = known.status in (SessionStatus.PENDING, SessionStatus.EXPIRED)
        await self._ending.refused(known, "session_expired" if expired else "link_used", origin=origin)
        if expired:
            raise ConnectError("This link has expired. Go back and start again.", code="session_expired")
        if known.status in _OPEN and known.browser_hash in browser_digests(cookies):
            raise LinkUsedHere(known.session_id)
        raise ConnectError(
            "This link was already used. A link works once, in one browser: go back and start again.",
            code="link_used",
        )

    async def bound(self, session_id: UUID, cookies: Mapping[str, str], *, origin: Origin) -> ConnectSession:
        """The open session of this browser.

        Raises ``ConnectError``: ``session_unknown``, ``browser_mismatch`` (an event is recorded),
        ``session_expired`` or ``session_ended``.
        """
        async with self._database.system() as transaction:
            session = await transaction.sessions.by_id(session_id)
        if session is None:
            raise ConnectError("This page is not valid. Go back and start again.", code="session_unknown")
        # What is over can be told to any browser that knows the id; the cookie went when the session ended.
        if session.status is SessionStatus.EXPIRED or session.expires_at <= self._clock.now():
            raise ConnectError("This took too long. Go back and start again.", code="session_expired")
        if session.status not in _OPEN and session.status is not SessionStatus.PENDING:
            raise ConnectError("This is already finished. Go back to the application.", code="session_ended")
        shown = cookies.get(cookie_name(session_id), "")
        bound_to = session.browser_hash or b""
        if not shown.isascii() or not hmac.compare_digest(digest(Secret(shown)), bound_to):
            await self._ending.refused(session, "browser_mismatch", origin=origin)
            raise ConnectError(
                "This page belongs to another browser. Open the link you were given there.",
                code="browser_mismatch",
            )
        return session

    async def view(self, session: ConnectSession) -> SessionView:
        """What to show for a session that :meth:`bound` returned."""
        provider = await self._providers.by_id(session.environment_id, session.provider_config_id)
        async with self._database.environment(session.environment_id) as transaction:
            tenant = await transaction.tenants.get(session.environment_id, session.tenant_id)
            environment = await transaction.environments.get(session.environment_id)
        if tenant is None or environment is None:
            raise ConnectError(
                "This page is not valid any more. Go back and start again.", code="session_unknown"
            )
        known = {scope.name: scope for scope in provider.definition.scopes}
        side = frozenset({SideName(session.kind.value)})
        return SessionView(
            session=session,
            provider=provider,
            tenant=tenant,
            environment=environment,
            scopes=tuple(
                known.get(name) or Scope(name=name, meaning=name, sides=side) for name in session.scopes
            ),
        )


class LinkUsedHere(ConnectError):
    """The browser opened its own link again; it may go on with the session."""

    def __init__(self, session_id: UUID) -> None:
        super().__init__("You have already opened this link.", code="link_used_here")
        self.session_id = session_id
