"""A running simulator, a cookie-keeping browser and the calls an application's backend would make."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from authpipe.sandbox import seeds
from authpipe.sandbox.server import SandboxServer

REDIRECT_URI = "http://127.0.0.1:8000/oauth/callback/one?keep=1"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


class FormReader(HTMLParser):
    """What a browser would send if the page's form were submitted untouched."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: list[tuple[str, str]] = []
        self.options: dict[str, list[str]] = {}
        self._select = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = given["action"]
        elif tag == "select":
            self._select = given["name"]
            self.options[self._select] = []
        elif tag == "option":
            if not self.options[self._select]:
                self.fields.append((self._select, given["value"]))
            elif "selected" in given:
                self.fields = [pair for pair in self.fields if pair[0] != self._select]
                self.fields.append((self._select, given["value"]))
            self.options[self._select].append(given["value"])
        elif tag == "input" and (given.get("type") != "checkbox" or "checked" in given):
            self.fields.append((given["name"], given["value"]))


class Visitor:
    """Drives the simulator over HTTP as browser, backend and tester."""

    redirect_uri = REDIRECT_URI
    verifier = VERIFIER
    challenge = CHALLENGE

    def __init__(self, sandbox: SandboxServer, session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.session = session

    async def call(
        self, method: str, path: str, *, auth: tuple[str, str] | None = None, **options: Any
    ) -> tuple[int, Any, aiohttp.ClientResponse]:
        """Status, body (JSON where it is) and the response itself; redirects are not followed.

        ``auth`` is a username and password for HTTP Basic.
        """
        if auth is not None:
            encoded = base64.b64encode(":".join(auth).encode()).decode()
            options["headers"] = {"Authorization": f"Basic {encoded}", **options.get("headers", {})}
        async with self.session.request(
            method, self.sandbox.url + path, allow_redirects=False, **options
        ) as response:
            is_json = response.headers.get("Content-Type") == "application/json"
            return response.status, await (response.json() if is_json else response.text()), response

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        """A control call that must succeed."""
        status, answer, _ = await self.call(method, f"/_control{path}", json=body)
        assert status < 300, answer
        return answer

    async def register(self, provider: str, **fields: Any) -> None:
        """Register the redirect URI and set other fields of the application."""
        fields = {"redirect_uris": [self.redirect_uri], **fields}
        await self.control("PATCH", f"/{provider}/apps/{seeds.client_id(provider)}", fields)

    def authorize_parameters(self, provider: str, **parameters: str | None) -> dict[str, str]:
        """An authorization request; ``None`` leaves a parameter out."""
        complete = {
            "client_id": seeds.client_id(provider),
            "response_type": "code",
            "redirect_uri": self.redirect_uri,
            "state": "st&te",
            **parameters,
        }
        return {name: value for name, value in complete.items() if value is not None}

    async def open_consent(self, provider: str, path: str, **parameters: str | None) -> FormReader:
        """The consent page of a request that must reach it."""
        query = self.authorize_parameters(provider, **parameters)
        status, page, _ = await self.call("GET", path, params=query)
        assert status == 200, page
        return FormReader(page)

    async def submit(
        self, form: FormReader, decision: str = "authorize", **changed: str
    ) -> tuple[int, str, str]:
        """Send the form; returns status, page and location."""
        fields = [(name, changed.pop(name, value)) for name, value in form.fields]
        fields += [*changed.items(), ("decision", decision)]
        status, page, response = await self.call("POST", form.action, data=aiohttp.FormData(fields))
        return status, page, response.headers.get("Location", "")

    async def code(self, provider: str, path: str, **parameters: str | None) -> str:
        """Consent by clicking through; the code of the callback."""
        status, page, location = await self.submit(await self.open_consent(provider, path, **parameters))
        assert status == 302, page
        return callback(location)["code"]

    async def token(self, provider: str, path: str, **form: str) -> tuple[int, Any]:
        """A form-encoded token request with the client's credentials in the body."""
        credentials = {
            "client_id": seeds.client_id(provider),
            "client_secret": seeds.client_secret(provider),
        }
        status, body, _ = await self.call("POST", path, data={**credentials, **form})
        return status, body

    async def exchange(self, provider: str, path: str, code: str, **form: str) -> tuple[int, Any]:
        """Trade a code in."""
        form = {"redirect_uri": self.redirect_uri, **form}
        return await self.token(provider, path, grant_type="authorization_code", code=code, **form)

    async def discord_tokens(self, scope: str = "identify", **parameters: str | None) -> dict[str, Any]:
        """The token response of a whole Discord flow."""
        code = await self.code("discord", "/discord/oauth2/authorize", scope=scope, **parameters)
        status, tokens = await self.exchange("discord", "/discord/api/oauth2/token", code)
        assert status == 200, tokens
        return dict(tokens)

    async def refresh(self, refresh_token: str) -> tuple[int, Any]:
        """A refresh at Discord."""
        return await self.token(
            "discord", "/discord/api/oauth2/token", grant_type="refresh_token", refresh_token=refresh_token
        )

    async def discord(self, path: str, token: str, scheme: str = "Bearer") -> tuple[int, Any]:
        """A GET of Discord's API."""
        headers = {"Authorization": f"{scheme} {token}"}
        status, body, _ = await self.call("GET", f"/discord/api/v10{path}", headers=headers)
        return status, body

    @staticmethod
    def callback(location: str) -> dict[str, str]:
        """The parameters of a callback URL."""
        return callback(location)

    @staticmethod
    def text_of(page: str) -> str:
        """A page without its markup."""
        return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL))


def callback(location: str) -> dict[str, str]:
    """The parameters of a callback URL; each must occur once."""
    assert location.startswith(REDIRECT_URI), location
    parsed = parse_qs(urlsplit(location).query, strict_parsing=True)
    assert all(len(values) == 1 for values in parsed.values()), location
    return {name: values[0] for name, values in parsed.items()}


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    async with SandboxServer() as server:
        yield server


@pytest.fixture
async def visitor(sandbox: SandboxServer) -> AsyncIterator[Visitor]:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar, timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield Visitor(sandbox, session)
