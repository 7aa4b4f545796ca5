"""Whose account it is: read from the provider's own answer, never from what the browser carried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from authpipe.catalog.definition import FactSource, Reading, Side, SideName
from authpipe.catalog.reading import ProbeResult
from authpipe.connect.grant import AccountGrant, ExtraSecret
from authpipe.credentials.provider import Provider
from authpipe.credentials.upstream import Held, Upstream
from authpipe.domain.errors import ConnectError
from authpipe.domain.secret import Secret
from authpipe.oauth.paths import read_path
from authpipe.oauth.token import TokenGrant

#: What a provider may say about itself is bounded, as it ends in our pages and answers.
_LONGEST_TEXT = 300


class Identification:
    """Turns secrets into an :class:`AccountGrant` by asking the provider whose they are."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def of_token(
        self,
        provider: Provider,
        side_name: SideName,
        token: TokenGrant,
        *,
        requested: Sequence[str],
        received_at: datetime,
    ) -> AccountGrant:
        """The grant of a token response.

        Raises ``ConnectError`` (``account_unknown``, ``credential_refused``) and ``ProviderUnavailable``.
        """
        side = provider.side(side_name)
        held = Held(secret=token.access_token, refresh_token=token.refresh_token)
        document: object = token.facts
        if side.account.source is FactSource.PROBE:
            document = _alive(await self._upstream.probe(provider, side, held)).document
        scopes = tuple(requested) if token.scopes is None else token.scopes
        return AccountGrant(
            secret=token.access_token,
            refresh_token=token.refresh_token,
            extras=_extras(side, token.facts, scopes),
            account_id=_account_id(side, document),
            account_name=_text(document, side.account.name),
            metadata=_metadata(side.account.metadata, document),
            scopes=scopes,
            issued_at=received_at,
            expires_at=token.expires_at,
            refresh_expires_at=token.refresh_expires_at,
        )

    async def of_key(
        self,
        provider: Provider,
        side_name: SideName,
        secret: Secret,
        facts: Mapping[str, str],
        *,
        received_at: datetime,
    ) -> AccountGrant:
        """The grant of a key a person entered: probed before it is accepted.

        Raises ``ConnectError`` (``credential_refused``, ``credential_limited``, ``account_unknown``) and
        ``ProviderUnavailable``.
        """
        side = provider.side(side_name)
        result = _alive(await self._upstream.probe(provider, side, Held(secret=secret, facts=facts)))
        return AccountGrant(
            secret=secret,
            refresh_token=None,
            extras=(),
            account_id=_account_id(side, result.document),
            account_name=_text(result.document, side.account.name),
            metadata=_metadata(side.account.metadata, result.document),
            facts=dict(facts),
            scopes=(),
            issued_at=received_at,
            expires_at=None,
            refresh_expires_at=None,
        )


def _alive(result: ProbeResult) -> ProbeResult:
    if result.reading is Reading.ALIVE:
        return result
    if result.reading is Reading.DEAD:
        raise ConnectError(
            "The provider refused the credential.", code="credential_refused", detail=result.reason
        )
    if result.reading is Reading.LIMITED:
        raise ConnectError(
            "The provider knows the credential and does not allow it enough.",
            code="credential_limited",
            detail=result.reason,
        )
    if result.reading is Reading.APP_WIDE:
        raise ConnectError(
            "The provider refuses the application itself. Tell its developers.",
            code="provider_config_refused",
            detail=result.reason,
        )
    raise ConnectError(
        "The provider cannot be reached at the moment. Try again.",
        code="provider_unavailable",
        detail=result.reason,
    )


def _account_id(side: Side, document: object) -> str:
    value = _text(document, side.account.id)
    if not value:
        raise ConnectError("The provider did not tell whose account this is.", code="account_unknown")
    return value


def _text(document: object, path: str | None) -> str | None:
    """A fact as text; numbers are how some providers write their ids."""
    value = None if path is None else read_path(document, path)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value)[:_LONGEST_TEXT]


def _metadata(paths: Mapping[str, str], document: object) -> dict[str, Any]:
    found = {name: read_path(document, path) for name, path in paths.items()}
    return {
        name: value[:_LONGEST_TEXT] if isinstance(value, str) else value
        for name, value in found.items()
        if isinstance(value, str | int | float | bool)
    }


def _extras(side: Side, facts: Mapping[str, Any], scopes: Sequence[str]) -> tuple[ExtraSecret, ...]:
    extras = []
    for extra in side.extra_credentials:
        secret = read_path(facts, extra.secret)
        if extra.scope in scopes and isinstance(secret, Secret):
            extras.append(ExtraSecret(kind=extra.kind, secret=secret, facts=_metadata(extra.metadata, facts)))
    return tuple(extras)
