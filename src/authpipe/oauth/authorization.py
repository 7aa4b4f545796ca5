"""The authorization request and the answer that comes back through the browser (RFC 6749 section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import parse_qsl, urlsplit

from oauthlib.common import add_params_to_uri

from authpipe.domain.errors import ConfigurationError, ConnectError
from authpipe.domain.secret import Secret
from authpipe.oauth.server import AuthorizationServer, ClientAuthentication
from authpipe.oauth.text import clean_text

#: Parameters that decide what the request means; only this module sets them.
_OURS = frozenset(
    {"client_id", "client_secret", "code_challenge", "code_challenge_method", "redirect_uri", "request"}
    | {"request_uri", "response_mode", "response_type", "scope", "state"}
)
_NONE: Mapping[str, str] = MappingProxyType({})

_LONGEST = {"code": 8192, "state": 1024, "iss": 2048, "error": 200}
_ONCE = (*_LONGEST, "error_description")
_LONGEST_DESCRIPTION = 500
_MOST_REST = 32
_LONGEST_REST = 1024


def authorization_url(
    server: AuthorizationServer,
    client_id: str,
    *,
    redirect_uri: str,
    scopes: Sequence[str],
    state: Secret,
    code_challenge: str | None,
    parameters: Mapping[str, str] = _NONE,
) -> str:
    """Where to send the browser: always the code grant, S256 when there is a challenge.

    ``parameters`` add to the server's own and win over them.  Neither may name a parameter that decides
    what the request means, nor may the endpoint's own query: ``ConfigurationError``.  So is a client without
    a secret that sends no challenge: whoever sees its code could use it (RFC 9700 section 2.1.1).  The result
    carries the state and belongs in a Location header, not in a log.
    """
    if code_challenge is None and server.client_authentication is ClientAuthentication.NONE:
        raise ConfigurationError("a client without a secret must use PKCE; its provider is defined without")
    endpoint = urlsplit(server.authorize_url)
    if endpoint.fragment:
        raise ConfigurationError("an authorization endpoint must not have a fragment (RFC 6749 section 3.1)")
    extra = {**server.authorize_parameters, **parameters}
    present = {name for name, _ in parse_qsl(endpoint.query, keep_blank_values=True)}
    taken = sorted(_OURS & (extra.keys() | present))
    if taken:
        raise ConfigurationError(f"the authorization parameter {taken[0]} cannot be set by configuration")
    ours = {"response_type": "code", "client_id": client_id, "redirect_uri": redirect_uri}
    if scopes and server.scope_in_request:
        ours["scope"] = server.scope_separator.join(scopes)
    ours["state"] = state.reveal()
    if code_challenge is not None:
        ours |= {"code_challenge": code_challenge, "code_challenge_method": "S256"}
    return str(add_params_to_uri(server.authorize_url, [*ours.items(), *extra.items()]))


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackAnswer:
    """What the provider said through the browser.  None of it is to be believed before the state is checked.

    With an ``error`` there is no ``code``.  Both are None when the provider sent neither (an installation
    that waits for approval, say).  ``rest`` holds every other parameter.
    """

    code: Secret | None
    state: Secret | None
    error: str | None
    error_description: str | None
    issuer: str | None
    rest: Mapping[str, str] = field(repr=False)


def read_callback(query: Sequence[tuple[str, str]]) -> CallbackAnswer:
    """Read the decoded query of a callback, in order and with its duplicates.

    Raises ``ConnectError`` (``callback_malformed``) when a parameter of the protocol stands twice
    (RFC 6749 section 3.1), is longer than any provider's, or cannot be printed.
    Text for people comes cleaned and cut.
    """
    found: dict[str, str] = {}
    rest: dict[str, str] = {}
    for name, value in query:
        if not value:
            continue  # as if it were not sent (RFC 6749 section 3.1)
        if name not in _ONCE:
            if len(rest) < _MOST_REST:
                rest.setdefault(clean_text(name, longest=100), clean_text(value, longest=_LONGEST_REST))
        elif name in found:
            raise _malformed(f"{name} stands more than once")
        elif len(value) > _LONGEST.get(name, len(value)):
            raise _malformed(f"{name} is too long")
        elif name in ("code", "state") and not value.isprintable():
            raise _malformed(f"{name} holds characters that are not printable")
        else:
            found[name] = value
    error = found.get("error")
    description = found.get("error_description")
    code, state = found.get("code"), found.get("state")
    return CallbackAnswer(
        code=Secret(code) if code is not None and error is None else None,
        state=Secret(state) if state is not None else None,
        error=clean_text(error, longest=_LONGEST["error"]) if error is not None else None,
        error_description=clean_text(description, longest=_LONGEST_DESCRIPTION) if description else None,
        issuer=found.get("iss"),
        rest=MappingProxyType(rest),
    )


def check_issuer(server: AuthorizationServer, answer: CallbackAnswer) -> None:
    """Refuse an answer from another authorization server (RFC 9207 section 2.4), before any token request.

    Raises ``ConnectError`` (``issuer_mismatch``) when the issuer sent is not exactly the known one, or is
    missing from a server that always sends it.
    """
    if answer.issuer is None:
        wrong = server.issuer_in_callback
    else:
        wrong = answer.issuer != server.issuer and (server.issuer is not None or server.issuer_in_callback)
    if wrong:
        raise ConnectError(
            "the answer does not come from the provider this attempt was sent to", code="issuer_mismatch"
        )


def _malformed(detail: str) -> ConnectError:
    return ConnectError(
        "the provider's answer is malformed; please start again", code="callback_malformed", detail=detail
    )
