"""What the demonstration plays on: a set-up of its own, an application, a browser, an HTTP client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from authpipe.cli.demo_application import DemoApplication
from authpipe.cli.demo_browser import Browser
from authpipe.cli.dev_tree import Development, running_development
from authpipe.cli.ports import any_port
from authpipe.cli.sandbox_control import SandboxControl
from authpipe.cli.supervisor import Say
from authpipe.sdk.async_client import AsyncAuthpipe
from authpipe.sdk.credential import Credential
from authpipe.server.settings import Profile, Settings, load_settings

_HOST = "127.0.0.1"
#: Seconds after which the application asks whether a cached credential still stands.
_STALENESS_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """All of it, running."""

    development: Development
    application: DemoApplication
    browser: Browser
    control: SandboxControl
    http: aiohttp.ClientSession

    async def call(self, path: str, credential: Credential) -> tuple[int, dict[str, object]]:
        """An API call at a simulated provider with the credential's own headers: status and JSON."""
        url = self.development.sandbox_url + path
        async with self.http.get(url, headers=dict(credential.headers)) as answer:
            document = await answer.json(content_type=None)
            return answer.status, document if isinstance(document, dict) else {}


@asynccontextmanager
async def set_stage(directory: Path, *, tenant_id: str, say: Say) -> AsyncIterator[Stage]:
    """The stage, on free ports, with its data in ``directory``; no process is left afterwards."""
    port = any_port(_HOST)
    async with AsyncExitStack() as stack:
        development = await stack.enter_async_context(
            running_development(
                _settings(directory),
                sandbox_port=any_port(_HOST),
                say=say,
                progress=lambda what, seconds: None,
                return_urls=(f"http://{_HOST}:{port}/connected",),
            )
        )
        control = await stack.enter_async_context(SandboxControl(development.sandbox_url))
        authpipe = await stack.enter_async_context(
            AsyncAuthpipe(development.url, development.api_key.reveal(), max_staleness_s=_STALENESS_S)
        )
        application = await stack.enter_async_context(DemoApplication(port, authpipe, tenant_id=tenant_id))
        yield Stage(
            development=development,
            application=application,
            browser=await stack.enter_async_context(
                Browser([development.url, development.sandbox_url, application.url])
            ),
            control=control,
            http=await stack.enter_async_context(
                aiohttp.ClientSession(
                    timeout=aiohttp.ClientTimeout(total=10), headers={"User-Agent": "authpipe-demo"}
                )
            ),
        )


def _settings(directory: Path) -> Settings:
    """Whatever this machine's environment says, the demonstration has its own of everything."""
    port = any_port(_HOST)
    return load_settings(
        profile=Profile.DEVELOPMENT,
        data_dir=directory,
        database_url=None,
        host=_HOST,
        port=port,
        public_url=f"http://{_HOST}:{port}",
        keks=(f"local:{directory / 'kek.key'}",),
        allow_loopback_egress=True,
        processes=1,
        trusted_proxies=(),
        log_level="INFO",
        log_json=False,
    )
