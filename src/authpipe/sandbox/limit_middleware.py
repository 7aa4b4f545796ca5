"""Rate-limit headers on every API answer, and 429 when a bucket is empty."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from authpipe.sandbox.journal import provider_of
from authpipe.sandbox.ledger import digest
from authpipe.sandbox.provider_errors import limited_answer
from authpipe.sandbox.rate_limits import Reading
from authpipe.sandbox.state import SandboxState

#: The part of each provider that is its API; pages for people are not counted.
_API_PREFIXES = {
    "discord": "/discord/api/",
    "aircall": "/aircall/v1/",
    "clicksend": "/clicksend/v3/",
    "dialpad": "/dialpad/api/",
    "drift": "/drift/users/",
}


def limit_middleware(state: SandboxState) -> Middleware:
    """Count each API request against the bucket of its route and credential."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        provider = provider_of(request)
        prefix = _API_PREFIXES.get(provider)
        if prefix is None or not request.path.startswith(prefix):
            return await handler(request)
        resource = request.match_info.route.resource
        route = f"{request.method} {request.path if resource is None else resource.canonical}"
        credential = digest(request.headers.get("Authorization", ""))
        reading = state.limits[provider].take(route, credential)
        if reading.admitted:
            answer = await handler(request)
        else:
            answer = limited_answer(provider, reading.reset_after, global_limit=False, scope="user")
        if not answer.prepared:
            for name, value in _headers(provider, reading).items():
                answer.headers.setdefault(name, value)
        return answer

    return middleware


def _headers(provider: str, reading: Reading) -> dict[str, str]:
    """Only Discord and Aircall document such headers."""
    if provider == "discord":
        return {
            "X-RateLimit-Limit": str(reading.limit),
            "X-RateLimit-Remaining": str(reading.remaining),
            "X-RateLimit-Reset": f"{reading.reset_at:.3f}",
            "X-RateLimit-Reset-After": f"{reading.reset_after:.3f}",
            "X-RateLimit-Bucket": reading.bucket,
            # discord.py takes a 429 without Via for a ban by Cloudflare and does not wait it out.
            "Via": "1.1 google",
        }
    if provider == "aircall":
        return {
            "X-AircallApi-Limit": str(reading.limit),
            "X-AircallApi-Remaining": str(reading.remaining),
            "X-AircallApi-Reset": str(int(reading.reset_at)),
        }
    return {}
