"""``connect_routes``: the two endpoints behind an application's connect buttons, as a plain ASGI application.

POST /sessions  {"provider", "kind", "label"?, "connection_id"?}
                -> 201 {"id", "url", "expires_at"}
POST /complete  {"connect_session_id", "completion_code"}
                -> 200 {"connection": {...}} or {"installation": {...}}

Who the user is comes from ``identify``, that is from the application's own session; a body that names a
tenant, a user or a return URL is refused.  No secret passes here: browsers get ids, names, status and scopes.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from types import MappingProxyType
from typing import Any, TypeAlias, final

from authpipe.sdk.adapters.asgi_http import (
    Receive,
    Refused,
    Scope,
    Send,
    headers_of,
    path_within,
    read_json,
    run_lifespan,
    send_json,
)
from authpipe.sdk.adapters.browser_view import connection_view, installation_view
from authpipe.sdk.adapters.same_origin import checked_origins, is_own
from authpipe.sdk.async_client import AsyncAuthpipe
from authpipe.sdk.calls import ReturnMode
from authpipe.sdk.errors import (
    AuthenticationFailed,
    AuthpipeError,
    AuthpipeUnavailable,
    ConfigurationError,
    PermissionDenied,
    ProviderUnavailable,
    RateLimited,
)

logger = logging.getLogger("authpipe.sdk")

_LONGEST_TEXT = 512


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is signed in, in the ids the application uses towards Authpipe."""

    tenant_id: str
    user_id: str | None


@final
@dataclass(frozen=True, slots=True, repr=False)
class ConnectRequest:
    """What ``identify`` may look at.  ``headers`` has lower-case names.

    ``scope`` is the ASGI scope, where a framework's session or authentication middleware left its findings
    (``scope["session"]``, ``scope["user"]``).
    """

    scope: Scope
    headers: Mapping[str, str]
    cookies: Mapping[str, str]


Identify: TypeAlias = Callable[[ConnectRequest], Identity | Awaitable[Identity | None] | None]


def connect_routes(
    *,
    identify: Identify,
    client: AsyncAuthpipe | None = None,
    return_url: str | None = None,
    return_mode: ReturnMode = "popup",
    prefix: str = "",
    allowed_origins: Collection[str] = (),
) -> ConnectRoutes:
    """An ASGI application that serves ``POST {prefix}/sessions`` and ``POST {prefix}/complete``.

    ``identify`` is called with a :class:`ConnectRequest` and returns the signed-in user's :class:`Identity`;
    None or an exception is answered 401.  It may be a coroutine function; a plain function runs in a worker
    thread.

    ``client`` defaults to one made from the environment.  ``return_url`` (default ``AUTHPIPE_RETURN_URL``) is
    where the browser comes back to, and must be on the environment's allow-list; ``return_mode`` is ``popup``
    or ``redirect``.  ``prefix`` is the path in front of both endpoints where the framework does not strip its
    mount path.  ``allowed_origins`` are further origins of the application's own pages, such as
    ``https://app.example.com`` for an API on another host.

    Raises ConfigurationError for a missing or unusable setting.
    """
    return_url = return_url or os.environ.get("AUTHPIPE_RETURN_URL")
    if not return_url:
        raise ConfigurationError(
            "no return URL: pass return_url= or set AUTHPIPE_RETURN_URL (a page of your application)"
        )
    if return_mode not in ("popup", "redirect"):
        raise ConfigurationError("return_mode must be 'popup' or 'redirect'")
    if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
        raise ConfigurationError("prefix must start with a slash and not end with one, such as /authpipe")
    return ConnectRoutes(
        identify=identify,
        client=AsyncAuthpipe() if client is None else client,
        owns_client=client is None,
        return_url=return_url,
        return_mode=return_mode,
        prefix=prefix,
        allowed_origins=checked_origins(allowed_origins),
    )


@final
class ConnectRoutes:
    """The ASGI application that :func:`connect_routes` makes.  Mount it; it keeps no state of its own."""

    def __init__(
        self,
        *,
        identify: Identify,
        client: AsyncAuthpipe,
        owns_client: bool,
        return_url: str,
        return_mode: ReturnMode,
        prefix: str,
        allowed_origins: frozenset[str],
    ) -> None:
        self._identify = identify
        self._client = client
        self._owns_client = owns_client
        self._return_url = return_url
        self._return_mode: ReturnMode = return_mode
        self._prefix = prefix
        self._allowed_origins = allowed_origins
        self._endpoints = {"/sessions": self._create_session, "/complete": self._complete}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await run_lifespan(receive, send, self.aclose)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        try:
            status, answer = await self._answer(scope, receive)
            await send_json(send, status, answer)
        except Refused as refused:
            allow = ((b"allow", b"POST"),) if refused.status == 405 else ()
            await send_json(send, refused.status, _problem(refused), *allow)

    async def aclose(self) -> None:
        """Close the client, if it was made here rather than passed in."""
        if self._owns_client:
            await self._client.aclose()

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, dict[str, Any]]:
        endpoint = self._endpoints.get(path_within(scope, self._prefix) or "")
        if endpoint is None:
            raise Refused(404, "not_found", "there is nothing at this path")
        if scope["method"] != "POST":
            raise Refused(405, "method_not_allowed", "only POST is served here")
        headers = headers_of(scope)
        if not is_own(headers, self._allowed_origins):
            raise Refused(
                403, "foreign_origin", "this request does not come from the application's own pages"
            )
        body = await read_json(receive, headers)
        identity = await self._who(scope, headers)
        try:
            return await endpoint(identity, body)
        except AuthpipeError as error:
            raise _refusal(error) from None

    async def _who(self, scope: Scope, headers: Mapping[str, str]) -> Identity:
        request = ConnectRequest(scope, MappingProxyType(dict(headers)), _cookies(headers))
        identity: object = None
        try:
            if inspect.iscoroutinefunction(self._identify):
                identity = await self._identify(request)
            else:
                identity = await asyncio.to_thread(self._identify, request)
                if inspect.isawaitable(identity):
                    identity = await identity
        except Exception:
            # Whatever went wrong in it, nobody is signed in; the application's developer finds it in the log.
            logger.warning("identify raised; the request is answered 401", exc_info=True)
        if not isinstance(identity, Identity) or not identity.tenant_id:
            raise Refused(401, "not_signed_in", "sign in to the application first")
        return identity

    async def _create_session(self, identity: Identity, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        given = _fields(body, required=("provider", "kind"), optional=("label", "connection_id"))
        kind = given["kind"]
        if kind not in ("connection", "installation"):
            raise Refused(422, "invalid_input", "kind must be 'connection' or 'installation'")
        session = await self._client.connect_sessions.create(
            provider=given["provider"],
            tenant_id=identity.tenant_id,
            user_id=identity.user_id,
            kind="installation" if kind == "installation" else "connection",
            return_url=self._return_url,
            return_mode=self._return_mode,
            label=given.get("label"),
            connection_id=given.get("connection_id"),
        )
        expires_at = None if session.expires_at is None else session.expires_at.isoformat()
        return 201, {"id": session.id, "url": session.url, "expires_at": expires_at}

    async def _complete(self, identity: Identity, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        given = _fields(body, required=("connect_session_id", "completion_code"))
        session = await self._client.connect_sessions.complete(
            given["connect_session_id"],
            completion_code=given["completion_code"],
            tenant_id=identity.tenant_id,
            user_id=identity.user_id,
        )
        if session.installation is not None:
            return 200, {"installation": installation_view(session.installation)}
        if session.connection is not None:
            return 200, {"connection": connection_view(session.connection)}
        raise Refused(502, "invalid_answer", "the connect session completed without a connection")


def _fields(
    body: dict[str, Any], *, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, str]:
    unknown = sorted(set(body) - {*required, *optional})
    if unknown:
        raise Refused(422, "invalid_input", f"unknown field {unknown[0][:64]!r}")
    given: dict[str, str] = {}
    for name in (*required, *optional):
        value = body.get(name)
        if value is None and name in optional:
            continue
        if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT:
            raise Refused(422, "invalid_input", f"{name} must be a text of 1 to {_LONGEST_TEXT} characters")
        given[name] = value
    return given


def _cookies(headers: Mapping[str, str]) -> Mapping[str, str]:
    parsed: SimpleCookie = SimpleCookie()
    try:
        parsed.load(headers.get("cookie", ""))
    except CookieError:
        return MappingProxyType({})
    return MappingProxyType({name: morsel.value for name, morsel in parsed.items()})


def _problem(refused: Refused) -> dict[str, Any]:
    return {
        "type": f"urn:authpipe:error:{refused.code}",
        "title": refused.message,
        "status": refused.status,
        "code": refused.code,
    }


def _refusal(error: AuthpipeError) -> Refused:
    if isinstance(error, AuthenticationFailed | PermissionDenied | ConfigurationError):
        # The application's own key is wrong: its log says so, the browser only that it cannot go on.
        logger.error("connect_routes cannot use its client: %s", error)
        return Refused(502, "misconfigured", "the application cannot reach its connection service")
    if isinstance(error, AuthpipeUnavailable | ProviderUnavailable | RateLimited):
        logger.warning("connect_routes: %s", error)
        return Refused(503, error.code, "the connection service is unavailable; try again in a moment")
    status = error.status if error.status is not None and 400 <= error.status < 500 else 502
    return Refused(status, error.code, error.message)
