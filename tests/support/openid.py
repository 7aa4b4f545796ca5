"""A real OpenID provider, oidc-provider on Node, with accounts that tests write."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp
import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey
from yarl import URL

from support.running import free_port

PROJECT = Path(__file__).parents[1] / "oidc_provider"
CLIENT_ID = "authpipe"
CLIENT_SECRET = "openid-client-secret-for-tests"

_MAKE = {
    "RS256": lambda: RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}),
    "PS256": lambda: RSAKey.generate_key(2048, {"use": "sig", "alg": "PS256"}),
    "ES256": lambda: ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}),
    "EdDSA": lambda: OKPKey.generate_key("Ed25519", {"use": "sig", "alg": "EdDSA"}),
}


def node() -> str:
    """The Node that runs it; skips the test where there is none or its packages are missing."""
    program = os.environ.get("AUTHPIPE_TEST_NODE") or shutil.which("node")
    if program is None or not (PROJECT / "node_modules" / "oidc-provider").is_dir():
        pytest.skip("no OpenID provider: run scripts/ensure_oidc_provider (it needs Node 20 and npm)")
    return program


def new_key(algorithm: str = "RS256") -> dict[str, Any]:
    """A private signing key with an id of its own."""
    key = _MAKE[algorithm]()
    key.ensure_kid()
    return dict(key.as_dict(private=True))


@dataclass
class OpenId:
    """One provider.  ``accounts`` are claims by login; change them with :meth:`account`."""

    directory: Path
    redirect_uri: str
    algorithm: str = "RS256"
    client_authentication: str = "client_secret_basic"
    email_at_userinfo: bool = True
    issuer: str = field(default_factory=lambda: f"http://127.0.0.1:{free_port()}")
    keys: list[dict[str, Any]] = field(default_factory=list)
    _child: asyncio.subprocess.Process | None = None

    def account(self, login: str, **claims: Any) -> None:
        """Add an account, or change what the provider says of it."""
        accounts = json.loads(self._accounts.read_text()) if self._accounts.exists() else {}
        self._accounts.write_text(json.dumps(accounts | {login: claims}))

    async def start(self) -> None:
        """Run until :meth:`stop`; raises when it does not come up."""
        self.keys = self.keys or [new_key(self.algorithm)]
        if not self._accounts.exists():
            self._accounts.write_text("{}")
        given = {
            "issuer": self.issuer,
            "accounts": str(self._accounts),
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "redirect_uri": self.redirect_uri,
            "algorithm": self.algorithm,
            "client_authentication": self.client_authentication,
            "email_at_userinfo": self.email_at_userinfo,
            "keys": self.keys,
        }
        with (self.directory / "openid.log").open("ab") as log:
            self._child = await asyncio.create_subprocess_exec(
                node(),
                str(PROJECT / "server.mjs"),
                env={"PATH": os.environ["PATH"], "OIDC_PROVIDER": json.dumps(given)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        assert self._child.stdout is not None
        line = await asyncio.wait_for(self._child.stdout.readline(), 30)
        assert line == b"ready\n", (self.directory / "openid.log").read_text()

    async def stop(self) -> None:
        """End it; the address stays this provider's."""
        if self._child is not None:
            self._child.terminate()
            await self._child.communicate()
            self._child = None

    async def consent(self, address: str, login: str, *, until: str) -> str:
        """Be the person at the provider: sign in and agree; returns the address it leads back to."""
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            method, form = "GET", None
            for _ in range(12):
                async with session.request(
                    method, URL(address, encoded=True), data=form, allow_redirects=False
                ) as answer:
                    text = await answer.text()
                if answer.status in (302, 303):
                    address, method, form = urljoin(address, answer.headers["Location"]), "GET", None
                    if address.startswith(until):
                        return address
                    continue
                assert answer.status == 200, text
                action = re.search(r'action="([^"]+)"', text)
                assert action is not None, text
                form = dict(re.findall(r'name="(prompt)" value="([^"]+)"', text))
                if form.get("prompt") == "login":
                    form |= {"login": login, "password": "any"}
                address, method = urljoin(address, action[1]), "POST"
        raise AssertionError("the provider leads nowhere")

    @property
    def _accounts(self) -> Path:
        return self.directory / "accounts.json"


@asynccontextmanager
async def openid(directory: Path, redirect_uri: str, **given: Any) -> AsyncIterator[OpenId]:
    """A running provider."""
    provider = OpenId(directory, redirect_uri, **given)
    await provider.start()
    try:
        yield provider
    finally:
        await provider.stop()
