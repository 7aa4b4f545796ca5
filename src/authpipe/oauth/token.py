"""Token requests and the reading of their answers (RFC 6749 sections 4.1.3, 5 and 6)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from authpipe.domain.errors import ProviderUnavailable
from authpipe.domain.secret import Secret
from authpipe.net.message import Request, Response, Value
from authpipe.oauth.client_proof import client_proof
from authpipe.oauth.document import public_facts, read_document
from authpipe.oauth.paths import read_path
from authpipe.oauth.refusal import read_refusal
from authpipe.oauth.server import AuthorizationServer, BodyFormat, Client
from authpipe.oauth.text import clean_text

_LONGEST_TOKEN = 16_384
_VISIBLE = re.compile(r"[\x21-\x7e]+")
#: Ten years, in seconds.  Longer lifetimes are cut to it: none is meant, and dates must not overflow.
_LONGEST_LIFETIME = 315_360_000
#: One hour, in seconds: assumed when a lifetime was told and cannot be read, and a refresh is possible.
_CAUTIOUS_LIFETIME = 3600
_MOST_SCOPES = 500
_LONGEST_SCOPE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenGrant:
    """What a token response granted.

    ``lifetime_s`` and ``expires_at`` are None for a token that does not expire.  ``scopes`` is None when the
    response named none, which means "as requested" (RFC 6749 section 5.1).  ``token_type`` is lower-cased.
    ``facts`` is the rest of the response, with every secret in it wrapped, and stays out of ``repr``.
    """

    access_token: Secret
    refresh_token: Secret | None
    token_type: str
    expires_at: datetime | None
    lifetime_s: int | None
    refresh_expires_at: datetime | None
    scopes: tuple[str, ...] | None
    facts: Mapping[str, Any] = field(repr=False)


def code_request(
    server: AuthorizationServer,
    client: Client,
    *,
    code: Secret,
    redirect_uri: str,
    verifier: Secret | None,
) -> Request:
    """The request that trades an authorization code for tokens.

    ``redirect_uri`` is the one of the authorization request, exactly.  Raises ``ConfigurationError`` when
    the server wants a client secret and there is none.
    """
    fields: dict[str, Value] = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
    }
    if verifier is not None:
        fields["code_verifier"] = verifier
    return _token_request(server, client, fields)


def refresh_request(
    server: AuthorizationServer, client: Client, *, refresh_token: Secret, scopes: Sequence[str] = ()
) -> Request:
    """The request that trades a refresh token for a new access token.

    Without ``scopes`` the grant keeps its own (RFC 6749 section 6).  Raises ``ConfigurationError`` when the
    server wants a client secret and there is none.
    """
    fields: dict[str, Value] = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    if scopes:
        fields["scope"] = server.scope_separator.join(scopes)
    return _token_request(server, client, fields)


def read_token_response(
    server: AuthorizationServer,
    response: Response,
    *,
    received_at: datetime,
    request: Request | None = None,
) -> TokenGrant:
    """Read the answer to a token request.

    Strict in what is a token: visible ASCII of at most 16 KiB.  Lenient in the rest, because to throw a
    readable token away is to lose a refresh token that was rotated: numbers may be text, a missing or
    unknown token type is taken as it is, scopes may be a list or separated by anything usual.  A lifetime
    that was told and makes no sense (negative, zero, not a number) counts as ``server.default_lifetime_s``,
    or as an hour if there is a refresh token; more than ten years count as ten.

    Raises ``ProviderRejected`` for an error in the answer, also with status 200, and ``ProviderUnavailable``
    for 429 (``sent`` is False), and for 5xx, redirects and a success that cannot be read, whose outcome is
    unknown (``sent`` is True).  Give the ``request`` that was sent: only then is a
    description kept, cleaned of its secrets.
    """
    document = read_document(response)
    refusal = read_refusal(response, document, received_at=received_at, request=request)
    if refusal is not None:
        raise refusal
    if document is None:
        raise _unreadable("the body is neither a JSON object nor a form")
    fields = server.token_fields
    access_token = _access_token(read_path(document, fields.access_token))
    refresh_token = _refresh_token(read_path(document, fields.refresh_token))
    lifetime_s = _lifetime(
        read_path(document, fields.expires_in),
        server.default_lifetime_s,
        refreshable=refresh_token is not None,
    )
    refresh_lifetime_s = _seconds(read_path(document, fields.refresh_expires_in))
    kind = read_path(document, fields.token_type)
    return TokenGrant(
        access_token=access_token,
        refresh_token=refresh_token,
        token_type=clean_text(kind, longest=50).lower() if isinstance(kind, str) and kind else "bearer",
        expires_at=_after(received_at, lifetime_s),
        lifetime_s=lifetime_s,
        refresh_expires_at=_after(received_at, refresh_lifetime_s),
        scopes=_scopes(read_path(document, fields.scope), server.scope_separator),
        facts=public_facts(
            document,
            without=(fields.access_token, fields.refresh_token, "id_token"),
            secret_paths=server.secret_paths,
        ),
    )


def _token_request(server: AuthorizationServer, client: Client, fields: dict[str, Value]) -> Request:
    proof = client_proof(server, client)
    headers = {"Accept": "application/json", **proof.headers}
    body = {**fields, **proof.fields}
    if server.token_body is BodyFormat.JSON:
        return Request(method="POST", url=server.token_url, headers=headers, json=body)
    return Request(method="POST", url=server.token_url, headers=headers, form=body)


def _access_token(value: object) -> Secret:
    if not isinstance(value, str) or not value:
        raise _unreadable("there is no access token in it")
    if len(value) > _LONGEST_TOKEN or _VISIBLE.fullmatch(value) is None:
        raise _unreadable("the access token is too long or not visible ASCII")
    return Secret(value)


def _refresh_token(value: object) -> Secret | None:
    if value is None or value == "":
        return None
    # It travels in a body, never in a header, so any printable text will do (RFC 6749 appendix A.17).
    if not isinstance(value, str) or len(value) > _LONGEST_TOKEN or not value.isprintable():
        raise _unreadable("the refresh token is too long or not printable text")
    return Secret(value)


def _lifetime(told: object, default_s: int | None, *, refreshable: bool) -> int | None:
    if told is None:
        return default_s
    seconds = _seconds(told)
    if seconds is not None:
        return seconds
    if default_s is not None:
        return default_s
    return _CAUTIOUS_LIFETIME if refreshable else None


def _seconds(value: object) -> int | None:
    """A positive number of whole seconds, at most ten years; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(number) or number < 1:
        return None
    return int(min(number, _LONGEST_LIFETIME))


def _after(moment: datetime, seconds: int | None) -> datetime | None:
    return None if seconds is None else moment + timedelta(seconds=seconds)


def _scopes(value: object, separator: str) -> tuple[str, ...] | None:
    if isinstance(value, str):
        names = re.split(rf"(?:[\s,]|{re.escape(separator)})+" if separator else r"[\s,]+", value)
    elif isinstance(value, list):
        names = [item for item in value if isinstance(item, str)]
    else:
        return None
    kept = [name for name in names if name and len(name) <= _LONGEST_SCOPE and name.isprintable()]
    return tuple(dict.fromkeys(kept))[:_MOST_SCOPES]


def _unreadable(why: str) -> ProviderUnavailable:
    return ProviderUnavailable("the provider's token response is unreadable", sent=True, detail=why)
