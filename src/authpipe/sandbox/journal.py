"""A record of every request the providers received, without the secrets in them."""

from __future__ import annotations

import json
from collections import Counter, deque
from dataclasses import asdict, dataclass
from urllib.parse import parse_qs

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from authpipe.domain.clock import Clock
from authpipe.sandbox.ledger import digest

#: The journal keeps this many requests; older ones are forgotten.
KEPT = 50_000

#: Where the fault middleware leaves what happened to a request: ``answered`` (the default),
#: ``dropped_before``, ``dropped_after`` or ``hung``.
OUTCOME = web.RequestKey("outcome", str)
FAULT_ID = web.RequestKey("fault_id", str)


@dataclass(frozen=True)
class Entry:
    """One request.  ``status`` is ``None`` when the caller got no answer."""

    seq: int
    time: str
    provider: str
    method: str
    path: str
    route: str
    status: int | None
    outcome: str
    grant_type: str | None
    refresh_token_sha256: str | None
    fault_id: str | None
    user_agent: str | None


class Journal:
    """The requests since the start or the last clearing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        """Forget everything; sequence numbers go on."""
        self._entries.clear()

    def record(self, request: web.Request, status: int | None, parameters: dict[str, str]) -> None:
        """Write down a request that has ended."""
        self._sequence += 1
        refresh_token = parameters.get("refresh_token")
        resource = request.match_info.route.resource
        route = request.path if resource is None else resource.canonical
        self._entries.append(
            Entry(
                seq=self._sequence,
                time=self._clock.now().isoformat(),
                provider=provider_of(request),
                method=request.method,
                path=_path_without_secrets(request),
                route=f"{request.method} {route}",
                status=status,
                outcome=request.get(OUTCOME, "answered"),
                grant_type=parameters.get("grant_type"),
                refresh_token_sha256=None if refresh_token is None else digest(refresh_token),
                fault_id=request.get(FAULT_ID),
                user_agent=request.headers.get("User-Agent"),
            )
        )

    def report(
        self,
        *,
        provider: str | None = None,
        path: str | None = None,
        method: str | None = None,
        grant_type: str | None = None,
        status: int | None = None,
        since: int = 0,
    ) -> dict[str, object]:
        """The requests that match, oldest first, with counts by status, route and outcome."""
        chosen = [
            entry
            for entry in self._entries
            if entry.seq > since
            and (provider is None or entry.provider == provider)
            and (path is None or path in entry.path)
            and (method is None or entry.method == method.upper())
            and (grant_type is None or entry.grant_type == grant_type)
            and (status is None or entry.status == status)
        ]
        return {
            "count": len(chosen),
            "by_status": dict(Counter(str(entry.status) for entry in chosen)),
            "by_route": dict(Counter(entry.route for entry in chosen)),
            "by_outcome": dict(Counter(entry.outcome for entry in chosen)),
            "requests": [asdict(entry) for entry in chosen],
        }


def provider_of(request: web.Request) -> str:
    """The first segment of the path."""
    return request.path.split("/", 2)[1]


async def read_parameters(request: web.Request) -> dict[str, str]:
    """The top-level text parameters of a form or JSON body; empty when none parse."""
    if not request.body_exists:
        return {}
    try:
        text = (await request.read()).decode()
        if request.content_type == "application/json":
            document = json.loads(text)
            if not isinstance(document, dict):
                return {}
            return {name: value for name, value in document.items() if isinstance(value, str)}
    except ValueError:
        return {}
    return {name: values[0] for name, values in parse_qs(text).items()}


def journal_middleware(journal: Journal) -> Middleware:
    """Record each request to a provider when it ends, however it ends."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if provider_of(request) in {"", "_control"}:
            return await handler(request)
        parameters = await read_parameters(request)
        status: int | None = None
        try:
            response = await handler(request)
            if request.get(OUTCOME, "answered") == "answered":
                status = response.status
            return response
        except web.HTTPException as answer:
            status = answer.status
            raise
        finally:
            journal.record(request, status, parameters)

    return middleware


def _path_without_secrets(request: web.Request) -> str:
    """Webhook tokens stand in the path; everything else secret stands in the query, which is left out."""
    token = request.match_info.get("webhook_token")
    return request.path if not token else request.path.replace(token, "***")
