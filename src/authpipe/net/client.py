"""The HTTP client: the only way a request leaves the process."""

from __future__ import annotations

import asyncio
import socket
from contextvars import ContextVar
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from authpipe._version import __version__
from authpipe.domain.errors import ProviderError, ProviderUnavailable
from authpipe.net.egress import EgressPolicy, EgressRefused
from authpipe.net.message import Request, Response
from authpipe.net.resolver import CheckingResolver
from authpipe.net.wire import WireRequest, write

#: Open sockets of one process.  Concurrency per provider is bounded by the engines, far below this.
_MOST_CONNECTIONS = 1024

_AddrInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]


@dataclass(slots=True)
class _Progress:
    """Whether a connection was had, from when on bytes may have reached the provider."""

    connected: bool = False


#: Of the exchange that the current task is about.
_progress: ContextVar[_Progress] = ContextVar("progress")


class _TellingConnector(aiohttp.TCPConnector):
    """Notes when an exchange has its connection.  The library's own tracing costs more than connecting."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # the library's own
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        _progress.get().connected = True
        return connection


class _BodyTooLarge(Exception):
    pass


class HttpClient:
    """Sends requests under an egress policy, over pooled connections with verified TLS.

    Follows no redirect, keeps no cookie, heeds no proxy setting of the environment.  A request that is not
    idempotent is written at most once; a GET, PUT or DELETE whose pooled connection turns out to be closed
    is written once more on another (RFC 9110 section 9.2.2).  Belongs to the event loop it is first used on.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        user_agent: str = f"Authpipe/{__version__}",
        max_body_bytes: int = 1_048_576,
        connect_timeout_s: float = 5.0,
        resolver: AbstractResolver | None = None,
    ) -> None:
        """``resolver`` replaces the system's name resolution; its answers are checked all the same."""
        self._policy = policy
        self._user_agent = user_agent
        self._max_body_bytes = max_body_bytes
        self._connect_timeout_s = connect_timeout_s
        self._inner_resolver = resolver
        self._resolver: CheckingResolver | None = None
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def send(self, request: Request, *, deadline_s: float = 20.0) -> Response:
        """Send once and return the answer, whatever its status, within ``deadline_s`` seconds in total.

        Raises ``EgressRefused`` when the policy forbids the destination, ``InvalidInput`` when a header
        cannot be written safely, ``ProviderUnavailable`` for everything the network does: with ``sent``
        False when the request certainly did not go out (name, connection, TLS), True when it may have.
        No error carries the query, a header or the body, nor an exception that does.
        """
        if self._closed:
            raise RuntimeError("the HTTP client is closed")
        self._policy.check_url(request.url)
        wire = write(request)
        progress = _Progress()
        failure: ProviderError
        try:
            async with asyncio.timeout(deadline_s):
                return await self._exchange(wire, progress)
        except EgressRefused as refused:
            failure = EgressRefused(refused.message, detail=refused.detail)
        except TimeoutError:
            failure = ProviderUnavailable(
                f"{wire.url.host} did not answer in time", sent=progress.connected, detail="timeout"
            )
        except _BodyTooLarge:
            failure = ProviderUnavailable(
                f"{wire.url.host} answered with more than {self._max_body_bytes} bytes",
                sent=True,
                detail="body_too_large",
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            what = "broke off the exchange" if progress.connected else "could not be reached"
            failure = ProviderUnavailable(
                f"{wire.url.host} {what}", sent=progress.connected, detail=_reason(error)
            )
        # Raised outside the handlers: as context, the library's exception would carry URL and headers along.
        raise failure

    async def close(self) -> None:
        """Close every connection.  The client cannot be used afterwards; closing twice is harmless."""
        self._closed = True
        session, resolver = self._session, self._resolver
        self._session = self._resolver = None
        if session is not None:
            await session.close()
        if resolver is not None:
            await resolver.close()

    async def _exchange(self, wire: WireRequest, progress: _Progress) -> Response:
        _progress.set(progress)
        async with self._open_session().request(
            wire.method, wire.url, headers=wire.headers, data=wire.body, allow_redirects=False
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > self._max_body_bytes:
                    response.close()  # reading on to keep the connection is what an attacker would like
                    raise _BodyTooLarge
            headers = {name.lower(): ", ".join(response.headers.getall(name)) for name in response.headers}
            return Response(status=response.status, headers=headers, body=bytes(body))

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._resolver = CheckingResolver(self._policy, self._inner_resolver or aiohttp.DefaultResolver())
            self._session = aiohttp.ClientSession(
                connector=_TellingConnector(
                    limit=_MOST_CONNECTIONS, resolver=self._resolver, socket_factory=self._open_socket
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": self._user_agent},
                # The total is ours: the library rounds timeouts above five seconds up to a full second.
                timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_timeout_s),
                trust_env=False,
            )
        return self._session

    def _open_socket(self, info: _AddrInfo) -> socket.socket:
        """The last look before connecting; it also sees literal addresses, which no resolver does."""
        family, kind, protocol, _, address = info
        self._policy.check_address(address[0])
        return socket.socket(family=family, type=kind, proto=protocol)


def _reason(error: Exception) -> str:
    """The kind of failure and the system's words for it, which name a host at most."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"{type(error).__name__}: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"{type(error).__name__}: {error.os_error.strerror or type(error.os_error).__name__}"
    return type(error).__name__
