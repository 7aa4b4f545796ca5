"""OpenID providers that do wrong: everything is checked before it is used, and asked for seldom."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from joserfc.jwk import OctKey, RSAKey

from authpipe.access.oidc_id_token import Identity
from authpipe.access.oidc_provider import OidcProvider, OidcRegistration
from authpipe.access.sign_in_refused import SignInReason, SignInRefused
from authpipe.domain.clock import ManualClock
from authpipe.domain.secret import Secret
from authpipe.net.client import HttpClient
from authpipe.net.egress import EgressPolicy
from authpipe.oauth.server import ClientAuthentication
from support.running import free_port

KEY = RSAKey.generate_key(2048, {"use": "sig", "kid": "first"}).as_dict(private=False)


@dataclass
class Told:
    """What the server answers, by path, and how often it was asked."""

    url: str
    documents: dict[str, Any] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)

    def metadata(self, **changed: Any) -> None:
        document = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
            "authorization_response_iss_parameter_supported": True,
        }
        found = {name: value for name, value in {**document, **changed}.items() if value is not ...}
        self.documents["/.well-known/openid-configuration"] = found


@pytest.fixture
async def told() -> AsyncIterator[Told]:
    port = free_port()
    told = Told(f"http://127.0.0.1:{port}", {"/keys": {"keys": [KEY]}})
    told.metadata()

    async def answer(request: web.Request) -> web.StreamResponse:
        told.asked[request.path] += 1
        document = told.documents.get(request.path)
        if isinstance(document, web.Response):
            return web.Response(
                status=document.status, body=document.body, headers={"Location": f"{told.url}/elsewhere"}
            )
        return web.json_response(document, status=404 if document is None else 200)

    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield told
    await runner.cleanup()


@pytest.fixture
async def provider(told: Told, clock: ManualClock) -> AsyncIterator[OidcProvider]:
    async for made in _provider(told, clock, EgressPolicy(allow_loopback=True)):
        yield made


async def _provider(told: Told, clock: ManualClock, egress: EgressPolicy) -> AsyncIterator[OidcProvider]:
    http = HttpClient(egress)
    registration = OidcRegistration(
        issuer=told.url, client_id="authpipe", client_secret=Secret("client-secret"), name="Test"
    )
    yield OidcProvider(registration, http=http, egress=egress, clock=clock)
    await http.close()


async def _failed(provider: OidcProvider) -> str:
    with pytest.raises(SignInRefused) as caught:
        await provider.metadata()
    assert caught.value.reason is SignInReason.PROVIDER_FAILED
    return str(caught.value.detail)


async def test_metadata_is_read_once_an_hour(told: Told, provider: OidcProvider, clock: ManualClock) -> None:
    """And says how this provider works."""
    metadata = await provider.metadata()
    assert metadata.server.issuer == told.url
    assert metadata.server.issuer_in_callback is True
    assert metadata.server.client_authentication is ClientAuthentication.BASIC
    assert metadata.algorithms == {"RS256"}
    clock.advance(timedelta(minutes=59))
    await provider.metadata()
    assert told.asked["/.well-known/openid-configuration"] == 1
    clock.advance(timedelta(minutes=1))
    told.metadata(token_endpoint_auth_methods_supported=["client_secret_post", "private_key_jwt"])
    assert (await provider.metadata()).server.client_authentication is ClientAuthentication.POST


@pytest.mark.parametrize(
    ("changed", "detail"),
    [
        ({"issuer": "https://evil.example.com"}, "another issuer"),
        ({"issuer": ...}, "another issuer"),
        ({"token_endpoint": ...}, "no token_endpoint"),
        ({"token_endpoint": 7}, "no token_endpoint"),
        ({"jwks_uri": ...}, "no jwks_uri"),
        ({"token_endpoint": "http://id.example.com/token"}, "https"),
        ({"authorization_endpoint": "http://id.example.com/authorize"}, "https"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "authorization_endpoint"),
        ({"jwks_uri": "https://169.254.169.254/keys"}, "jwks_uri"),
        ({"jwks_uri": "https://10.0.0.1/keys"}, "jwks_uri"),
        ({"jwks_uri": "file:///etc/passwd"}, "jwks_uri"),
        ({"userinfo_endpoint": "https://[::ffff:10.0.0.1]/"}, "userinfo_endpoint"),
        ({"id_token_signing_alg_values_supported": ["HS256", "none"]}, "no algorithm"),
        ({"id_token_signing_alg_values_supported": []}, "no algorithm"),
    ],
)
async def test_metadata_that_does_not_hold_is_not_used(
    told: Told, provider: OidcProvider, changed: dict[str, Any], detail: str
) -> None:
    """Another issuer, addresses we may not call, signatures anybody could make."""
    told.metadata(**changed)
    assert detail in await _failed(provider)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "text",
        web.Response(status=302),
        web.Response(status=500),
        web.Response(body=b"x" * 2_000_000),
        web.Response(body=b"\xff{"),
    ],
    ids=["missing", "list", "string", "redirect", "error", "huge", "bytes"],
)
async def test_an_answer_that_is_no_document_is_a_failure(
    told: Told, provider: OidcProvider, answer: Any
) -> None:
    """Redirects are not followed, and nothing is read without end."""
    told.documents["/.well-known/openid-configuration"] = answer
    await _failed(provider)
    assert told.asked["/elsewhere"] == 0
    told.metadata()
    assert await provider.metadata()


async def test_a_provider_on_this_machine_is_for_development(told: Told, clock: ManualClock) -> None:
    """Without the setting, nothing is sent there."""
    async for provider in _provider(told, clock, EgressPolicy()):
        await _failed(provider)
    assert told.asked.total() == 0


async def test_an_unknown_key_is_asked_for_once_a_minute(
    told: Told, provider: OidcProvider, clock: ManualClock
) -> None:
    """However many tokens name keys that nobody has."""
    await provider.keys("first")
    for _ in range(20):
        await provider.keys("second")
    assert told.asked["/keys"] == 1
    clock.advance(timedelta(seconds=60))
    told.documents["/keys"]["keys"].append({**KEY, "kid": "second"})
    assert {key.kid for key in await provider.keys("second")} == {"first", "second"}
    await provider.keys("second")
    assert told.asked["/keys"] == 2
    clock.advance(timedelta(hours=1))
    await provider.keys("first")
    assert told.asked["/keys"] == 3


async def test_only_public_keys_for_signatures_count(told: Told, provider: OidcProvider) -> None:
    """No shared secret, no encryption key, nothing broken; and none at all is a failure."""
    secret = OctKey.generate_key(256).as_dict()
    useless = [
        secret,
        {**KEY, "kid": "enc", "use": "enc"},
        {"kty": "RSA", "n": "x"},
        {"kty": "XYZ"},
        "text",
        7,
    ]
    told.documents["/keys"] = {"keys": [*useless, KEY]}
    assert [key.kid for key in await provider.keys("first")] == ["first"]


@pytest.mark.parametrize(
    "document", [{"keys": []}, {"keys": "x"}, {}, {"keys": [{"kty": "oct", "k": "eHg"}]}]
)
async def test_no_key_is_a_failure(told: Told, provider: OidcProvider, document: Any) -> None:
    """There is nothing to check a signature with."""
    told.documents["/keys"] = document
    with pytest.raises(SignInRefused):
        await provider.keys("first")


async def test_userinfo_must_be_about_the_same_person(told: Told, provider: OidcProvider) -> None:
    """OpenID Connect Core 5.3.2."""
    metadata = await provider.metadata()
    identity = Identity(issuer=told.url, subject="ada", email=None, name=None)
    for subject in ("eve", ..., 7):
        told.documents["/userinfo"] = {"sub": subject, "email": "ada@example.com", "email_verified": True}
        if subject is ...:
            del told.documents["/userinfo"]["sub"]
        with pytest.raises(SignInRefused) as caught:
            await provider.told(metadata, identity, Secret("token"))
        assert caught.value.reason is SignInReason.ID_TOKEN_REFUSED
    told.documents["/userinfo"] = {"sub": "ada", "email": "ada@example.com", "email_verified": True}
    assert (await provider.told(metadata, identity, Secret("token"))).email == "ada@example.com"
