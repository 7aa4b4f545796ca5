"""Key-type providers: a person enters the key on the hosted page, and it is probed before it is accepted."""

from __future__ import annotations

import re
from collections.abc import Mapping

from authpipe.catalog.definition import Side, SideName
from authpipe.connect.candidates import CandidateMaking
from authpipe.connect.ending import FailedSession, SessionEnding
from authpipe.connect.identify import Identification
from authpipe.credentials.provider import Providers
from authpipe.domain.clock import Clock
from authpipe.domain.connect_session import ConnectSession
from authpipe.domain.errors import ConnectError, InvalidInput, ProviderUnavailable
from authpipe.domain.event import Origin
from authpipe.domain.secret import Secret
from authpipe.store.database import Database

#: No provider's key is longer; more is a mistake or an attack.
_LONGEST_KEY = 8192
#: How many keys may be entered in one session.
_MOST_KEYS = 10


def read_key_fields(side: Side, fields: Mapping[str, Secret]) -> tuple[Secret, dict[str, str]]:
    """The secret and the other parts of a key-type credential, validated by the definition.

    Everything arrives as ``Secret`` because a person may paste the key into the wrong box.  Raises
    ``InvalidInput`` naming the field, never repeating what was entered.
    """
    unknown = sorted(fields.keys() - {key_field.name for key_field in side.key_fields})
    if unknown:
        raise InvalidInput(f"{unknown[0]} is no part of this credential", field=unknown[0])
    secret: Secret | None = None
    facts: dict[str, str] = {}
    for key_field in side.key_fields:
        entered = fields.get(key_field.name)
        text = "" if entered is None else entered.reveal().strip()
        if not text:
            raise InvalidInput(f"{key_field.label} is missing", field=key_field.name)
        if len(text) > _LONGEST_KEY or not text.isprintable():
            raise InvalidInput(f"{key_field.label} is too long or holds odd characters", field=key_field.name)
        if key_field.pattern is not None and re.fullmatch(key_field.pattern, text) is None:
            raise InvalidInput(
                f"{key_field.label} does not look right: {key_field.help}", field=key_field.name
            )
        if key_field.secret:
            secret = Secret(text)
        else:
            facts[key_field.name] = text
    if secret is None:
        raise InvalidInput("this provider is not connected with a key")
    return secret, facts


class KeyForm:
    """Accepts a key entered in a session's own browser."""

    def __init__(
        self,
        *,
        database: Database,
        providers: Providers,
        identification: Identification,
        candidates: CandidateMaking,
        ending: SessionEnding,
        clock: Clock,
    ) -> None:
        self._database = database
        self._providers = providers
        self._identification = identification
        self._candidates = candidates
        self._ending = ending
        self._clock = clock

    async def submit(
        self, session: ConnectSession, fields: Mapping[str, Secret], *, origin: Origin
    ) -> tuple[ConnectSession, Secret]:
        """The session with its candidate, and the completion code for the way back.

        Raises ``InvalidInput`` for a field, and ``ConnectError`` when the provider refused the key or could
        not be asked: the session goes on, so that a typing mistake costs no new link.  After ten keys it is
        over (``too_many_attempts``): a session is no place to try other people's keys at a provider.
        """
        provider = await self._providers.by_id(session.environment_id, session.provider_config_id)
        provider.check_enabled()
        side_name = SideName(session.kind.value)
        secret, facts = read_key_fields(provider.side(side_name), fields)
        async with self._database.tenant(session.environment_id, session.tenant_id) as transaction:
            attempts = await transaction.sessions.count_key_attempt(session, at=self._clock.now())
        if attempts > _MOST_KEYS:
            await self._ending.fail(session, "too_many_attempts", origin=origin)
            raise FailedSession(
                "Too many keys were refused. Go back to the application and start again.",
                code="too_many_attempts",
                session=session,
            )
        try:
            grant = await self._identification.of_key(
                provider, side_name, secret, facts, received_at=self._clock.now()
            )
        except ConnectError as error:
            await self._ending.refused(session, error.code, origin=origin)
            raise
        except ProviderUnavailable:
            await self._ending.refused(session, "provider_unavailable", origin=origin)
            raise ConnectError(
                "The provider cannot be reached at the moment. Try again.", code="provider_unavailable"
            ) from None
        return await self._candidates.make(session, provider, grant, origin=origin)
