"""The steps of the demonstration, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from authpipe.cli.demo_reading import ReadingLoop, cached_read_s
from authpipe.cli.demo_stage import Stage, set_stage
from authpipe.cli.demo_story import Story, Unmet, expect, taken
from authpipe.cli.supervisor import Say
from authpipe.sdk.client import Authpipe
from authpipe.sdk.credential import Credential, masked
from authpipe.sdk.errors import NotConnected, ReauthorizationRequired
from authpipe.sdk.objects import Connection, Installation

#: Seconds.  Real tokens live hours or days; a demonstration wants to see one end.
_TOKEN_LIFETIME_S = 8
_API = "/api/v10"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Who plays: a tenant and its user, a provider that is installed and one that takes a key."""

    tenant_id: str
    user_id: str
    installed: str
    keyed: str
    key: Mapping[str, str] = field(repr=False)


async def demonstrate(cast: Cast, story: Story, directory: Path, *, say: Say) -> None:
    """Every step, on a stage of its own in ``directory``; nothing is left running.

    Raises ``Unmet`` or ``NoSuchButton`` for what was not as it should be, and the errors of Authpipe.
    """
    async with AsyncExitStack() as stack:
        with story.step("Start", "Start PostgreSQL, server, worker and sandbox") as step:
            stage = await stack.enter_async_context(set_stage(directory, tenant_id=cast.tenant_id, say=say))
            step.saw(f"server  {stage.development.url}")
            step.saw(f"sandbox {stage.development.sandbox_url}")
            step.result = f"ready after {stage.development.ready_s:.1f} s"
        await _Play(cast, story, stage).run()
        with story.step("Stop", "Stop everything") as step:
            await stack.aclose()
            step.result = "nothing left running"


class _Play:
    def __init__(self, cast: Cast, story: Story, stage: Stage) -> None:
        self._cast = cast
        self._story = story
        self._stage = stage
        self._application = stage.application
        self._authpipe = stage.application.authpipe
        self._name = cast.installed.capitalize()

    async def run(self) -> None:
        """The steps between start and stop."""
        await self._shorten_tokens()
        installation = await self._install()
        await self._use_bot()
        connection = await self._connect(installation)
        await self._use_user_credential()
        loop = ReadingLoop(self._read, self._accepted)
        loop.start()
        try:
            await self._read_from_cache()
            await self._refuse_wrong_key()
            await self._connect_with_key()
            await self._refresh(loop)
        finally:
            await loop.abandon()
        await self._revoke(connection)

    async def _install(self) -> Installation:
        with self._story.step(
            "Installation", f"Ada installs the application in her {self._name} server"
        ) as step:
            page = await self._stage.browser.open(self._application.url)
            await self._stage.browser.press(page, "Sign in", user_id=self._cast.user_id)
            step.saw(
                f"She is signed in to the application, as {self._cast.user_id} of {self._cast.tenant_id}."
            )
            await self._go_through("Install")
            installation = self._application.finished[-1].installation
            if installation is None or installation.status != "active":
                raise Unmet("no installation was made")
            step.saw(f"Connect link → Authpipe's page → consent at {self._name} → back, and confirmed.")
            step.result = f"“{installation.external_name}” is {installation.status}"
            step.saw(f"The installation in {step.result}.")
        return installation

    async def _use_bot(self) -> None:
        with self._story.step(
            "Bot credential", "The application gets the bot credential and uses it"
        ) as step:
            bot = await self._authpipe.get_credential(
                provider=self._cast.installed, tenant_id=self._cast.tenant_id, credential_for="installation"
            )
            guild_id = bot.metadata["guild_id"]
            status, guild = await self._call(f"/guilds/{guild_id}", bot)
            expect(status == 200, f"{self._name} answered the bot credential with {status}")
            step.saw(
                f'get_credential(provider="{bot.provider}", tenant_id="{bot.tenant_id}", '
                'credential_for="installation")'
            )
            step.saw(f"→ Authorization: {_header(bot)}")
            step.saw(f"GET /guilds/{guild_id} → {status}, “{guild['name']}”")
            step.result = f"{_header(bot)} → {status}"

    async def _connect(self, installation: Installation) -> Connection:
        with self._story.step("User connection", f"Ada connects her own {self._name} account") as step:
            await self._go_through("Connect")
            connection = self._application.finished[-1].connection
            if connection is None or connection.status != "active":
                raise Unmet("no connection was made")
            expect(
                connection.installation_id == installation.id,
                "the connection does not stand under the tenant's installation",
            )
            step.saw(
                f"Account “{connection.account_name}”, scopes {', '.join(connection.scopes)}; "
                "it stands under the installation."
            )
            step.result = f"“{connection.account_name}” is {connection.status}"
        return connection

    async def _use_user_credential(self) -> None:
        with self._story.step("User credential", "The application gets Ada's credential and uses it") as step:
            user = await self._read()
            status, me = await self._call("/users/@me", user)
            expect(status == 200, f"{self._name} answered the user credential with {status}")
            step.saw(
                f'get_credential(provider="{user.provider}", tenant_id="{user.tenant_id}", '
                f'user_id="{user.user_id}", credential_for="user")'
            )
            step.saw(f"→ Authorization: {_header(user)}")
            step.saw(f"GET /users/@me → {status}, “{me['username']}”")
            step.saw(
                f"This token ends after {_TOKEN_LIFETIME_S} s. From now on a loop reads it and tries it."
            )
            step.result = f"{_header(user)} → {status}"

    async def _read_from_cache(self) -> None:
        with self._story.step("Cached read", "How long a read from the cache takes") as step:
            development = self._stage.development

            def measure() -> tuple[float, int]:
                with Authpipe(development.url, development.api_key.reveal()) as authpipe:
                    return cached_read_s(
                        lambda: authpipe.get_credential(
                            provider=self._cast.installed, tenant_id=self._cast.tenant_id
                        )
                    )

            median_s, count = await asyncio.to_thread(measure)
            step.saw(f"Median of {count:,} reads: {taken(median_s)}, without a network call.")
            step.result = f"{taken(median_s)} a read"

    async def _refuse_wrong_key(self) -> None:
        with self._story.step("Wrong key", "Ada enters a wrong ClickSend key, and it is refused") as step:
            page = await self._stage.browser.open(self._application.page_for(self._cast.keyed))
            page = await self._stage.browser.press(page, "Connect")
            page = await self._stage.browser.press(
                page, "Connect", **dict.fromkeys(self._cast.key, "nobodys-key")
            )
            expect(page.status == 422, f"a wrong key was answered with {page.status}")
            expect(page.host == _host(self._stage.development.url), "a wrong key led away from the form")
            try:
                await self._authpipe.get_credential(provider=self._cast.keyed, tenant_id=self._cast.tenant_id)
            except NotConnected:
                step.saw("The key was tried at ClickSend first; the form says so, and nothing was stored.")
                step.result = "refused, nothing stored"
            else:
                raise Unmet("a wrong key was stored")

    async def _connect_with_key(self) -> None:
        with self._story.step("Right key", "She enters the right one, and it is connected") as step:
            page = await self._stage.browser.open(self._application.page_for(self._cast.keyed))
            page = await self._stage.browser.press(page, "Connect")
            page = await self._stage.browser.press(page, "Connect", **self._cast.key)
            expect(page.says("Connected"), f"the right key was answered with {page.status}")
            key = await self._authpipe.get_credential(
                provider=self._cast.keyed, tenant_id=self._cast.tenant_id
            )
            status, _ = await self._stage.call(f"/{self._cast.keyed}/v3/account", key)
            expect(status == 200, f"ClickSend answered the key with {status}")
            step.saw(f"→ Authorization: {_header(key)}")
            step.saw(f"GET /v3/account → {status}")
            step.result = f"{_header(key)} → {status}"

    async def _refresh(self, loop: ReadingLoop) -> None:
        with self._story.step(
            "Background refresh", "The worker refreshes Ada's token before it ends"
        ) as step:
            try:
                async with asyncio.timeout(_TOKEN_LIFETIME_S):
                    while not await loop.changed(within_s=0.5):
                        step.now(f"{loop.readings.count:,} reads so far")
            except TimeoutError:
                raise Unmet("no refreshed token was read before the first one ended") from None
            while loop.first_one_lives():
                step.now(f"{loop.readings.count:,} reads so far, the second token among them")
                await asyncio.sleep(0.25)
            seen = await loop.stop()
            expect(seen.refused == 0, f"{self._name} refused {seen.refused} of {seen.count} reads")
            expect(seen.expired == 0, f"{seen.expired} of {seen.count} reads were expired")
            expect(seen.went_back == 0, "an older token was read after a newer one")
            spare_s = seen.left_at_change_s or 0.0
            expect(spare_s > 0, "the refreshed token came after the first one had ended")
            versions = " → ".join(map(str, seen.versions))
            step.saw(
                f"{seen.count:,} reads, each tried at {self._name}, until after the first token's end: "
                "all accepted, none expired, none older than the one before."
            )
            step.saw(f"Versions {versions}; the first token had {spare_s:.1f} s left when the second came.")
            step.result = f"{seen.count:,} reads, 0 refused, {spare_s:.1f} s to spare"

    async def _revoke(self, connection: Connection) -> None:
        with self._story.step("Revocation", f"Ada removes the application at {self._name}") as step:
            await self._stage.control.call("POST", f"/{self._cast.installed}/revoke", {"user": "ada"})
            try:
                async with asyncio.timeout(2 * _TOKEN_LIFETIME_S):
                    while True:
                        await self._read()
                        await asyncio.sleep(0.05)
            except TimeoutError:
                raise Unmet("the revocation was not noticed") from None
            except ReauthorizationRequired as error:
                expect(error.connection_id == connection.id, "another connection was reported")
                refused = await self._stage.control.call(
                    "GET", f"/requests?provider={self._cast.installed}&grant_type=refresh_token&status=400"
                )
                expect(refused["count"] > 0, "no refresh was refused, so nothing can have been noticed")
                step.saw(
                    f"{self._name} refused the next background refresh; from then on get_credential raises "
                    f"ReauthorizationRequired(reason={error.reason!r}, connection_id=…)."
                )
                step.result = f"ReauthorizationRequired, {error.reason}"

    async def _read(self) -> Credential:
        return await self._authpipe.get_credential(
            provider=self._cast.installed,
            tenant_id=self._cast.tenant_id,
            user_id=self._cast.user_id,
            credential_for="user",
        )

    async def _accepted(self, credential: Credential) -> bool:
        status, _ = await self._call("/oauth2/@me", credential)
        return status == 200

    async def _call(self, path: str, credential: Credential) -> tuple[int, Mapping[str, object]]:
        return await self._stage.call(f"/{self._cast.installed}{_API}{path}", credential)

    async def _go_through(self, button: str) -> None:
        """What a person does: the application's button, Authpipe's page, the provider's consent."""
        browser, development = self._stage.browser, self._stage.development
        page = await browser.open(self._application.page_for(self._cast.installed))
        page = await browser.press(page, button)
        expect(page.host == _host(development.url), "the connect link does not lead to Authpipe")
        page = await browser.press(page, "Continue")
        expect(page.host == _host(development.sandbox_url), "Authpipe does not lead to the provider")
        page = await browser.press(page, "Authorize")
        expect(page.url.startswith(self._application.return_url), f"the way back ended with {page.status}")
        expect(page.says("Connected"), "the application could not confirm")

    async def _shorten_tokens(self) -> None:
        for application in await self._stage.control.applications():
            if application.provider == self._cast.installed:
                await self._stage.control.call(
                    "PATCH",
                    f"/{application.provider}/apps/{application.client_id}",
                    {"token_lifetime_s": _TOKEN_LIFETIME_S},
                )


def _header(credential: Credential) -> str:
    """The scheme, which shows the kind, and a mask."""
    scheme, _, value = credential.headers["Authorization"].partition(" ")
    return f"{scheme} {masked(value)}"


def _host(url: str) -> str:
    return url.partition("://")[2]
