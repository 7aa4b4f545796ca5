"""Discord's API: what each credential may read, how failures read, rate limits, and a real client."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from authpipe.sandbox import seeds

with warnings.catch_warnings():
    # discord.py imports audioop, which Python 3.13 removes; the library depends on a replacement there.
    warnings.simplefilter("ignore", DeprecationWarning)
    import discord
    from discord.http import Route

ME = "/discord/api/v10/users/@me"
CLUB = seeds.DISCORD_GUILDS[0].id
BOT = {"Authorization": f"Bot {seeds.DISCORD_BOT_TOKEN}"}


@pytest.fixture(autouse=True)
async def registered(visitor: Any) -> None:
    await visitor.register("discord")


async def test_oauth2_me_describes_the_token(visitor: Any) -> None:
    """Application, scopes and end for any scope; the user only with identify."""
    tokens = await visitor.discord_tokens("guilds")
    status, body = await visitor.discord("/oauth2/@me", tokens["access_token"])
    assert status == 200
    assert (body["application"]["id"], body["scopes"]) == (seeds.DISCORD_CLIENT_ID, ["guilds"])
    assert "user" not in body
    tokens = await visitor.discord_tokens("identify")
    _, body = await visitor.discord("/oauth2/@me", tokens["access_token"])
    assert body["user"]["username"] == "ada"


async def test_email_appears_only_under_its_scope(visitor: Any) -> None:
    """identify alone shows no email."""
    plain = await visitor.discord_tokens("identify")
    assert "email" not in (await visitor.discord("/users/@me", plain["access_token"]))[1]
    wider = await visitor.discord_tokens("identify email")
    assert (await visitor.discord("/users/@me", wider["access_token"]))[1]["email"] == "ada@example.com"


async def test_a_missing_scope_is_403_and_not_401(visitor: Any) -> None:
    """The token lives, it may only not do this."""
    tokens = await visitor.discord_tokens("identify")
    for path in ("/users/@me/guilds", f"/users/@me/guilds/{CLUB}/member"):
        status, body = await visitor.discord(path, tokens["access_token"])
        assert (status, body["code"]) == (403, 50026)


async def test_guild_lists_of_user_and_bot(visitor: Any) -> None:
    """A user sees all their servers with ownership and permissions; a bot those it is in."""
    tokens = await visitor.discord_tokens("guilds guilds.members.read bot")
    guilds = (await visitor.discord("/users/@me/guilds", tokens["access_token"]))[1]
    assert [guild["owner"] for guild in guilds] == [True, False, False]
    assert [bool(int(guild["permissions"]) >> 5 & 1) for guild in guilds] == [True, True, False]
    member = (await visitor.discord(f"/users/@me/guilds/{CLUB}/member", tokens["access_token"]))[1]
    assert member["user"]["username"] == "ada"
    guilds = (await visitor.discord("/users/@me/guilds", seeds.DISCORD_BOT_TOKEN, "Bot"))[1]
    assert [guild["id"] for guild in guilds] == [CLUB]


@pytest.mark.parametrize(
    ("header", "code"),
    [(None, 40001), ("Bot nonsense", 50014), ("Bearer nonsense", 50025), ("Basic eDp5", 40001)],
)
async def test_bad_credentials_are_401_with_their_code(visitor: Any, header: str | None, code: int) -> None:
    """Missing, wrong bot token, wrong bearer token."""
    headers = {} if header is None else {"Authorization": header}
    status, body, _ = await visitor.call("GET", ME, headers=headers)
    assert (status, body["code"]) == (401, code)


async def test_a_bearer_token_does_not_read_a_guild(visitor: Any) -> None:
    """The guild endpoint is the bot's."""
    tokens = await visitor.discord_tokens("guilds bot")
    assert (await visitor.discord(f"/guilds/{CLUB}", tokens["access_token"]))[0] == 401


async def test_no_user_agent_is_refused_before_the_api(visitor: Any) -> None:
    """403 with 40333, which is about the network and not about the token."""
    for skip, headers in ((["User-Agent"], BOT), ([], BOT | {"User-Agent": ""})):
        status, body, _ = await visitor.call("GET", ME, headers=headers, skip_auto_headers=skip)
        assert (status, body["code"]) == (403, 40333)


async def test_every_answer_carries_rate_limit_headers(visitor: Any) -> None:
    """Also errors."""
    for headers in (BOT, {}):
        _, _, response = await visitor.call("GET", ME, headers=headers)
        for name in ("Limit", "Remaining", "Reset", "Reset-After", "Bucket"):
            assert f"X-RateLimit-{name}" in response.headers
        assert float(response.headers["X-RateLimit-Reset"]) > 0


async def test_an_exhausted_bucket_is_429_until_its_window_is_over(visitor: Any) -> None:
    """Per route and credential, with the wait in header and body."""
    await visitor.control("POST", "/discord/rate-limit", {"limit": 2, "window_s": 30})
    statuses = [(await visitor.call("GET", ME, headers=BOT))[0] for _ in range(3)]
    assert statuses == [200, 200, 429]
    status, body, response = await visitor.call("GET", ME, headers=BOT)
    assert (status, body["global"]) == (429, False)
    assert 0 < body["retry_after"] <= 30
    assert response.headers["X-RateLimit-Scope"] == "user"
    assert 1 <= int(response.headers["Retry-After"]) <= 30
    assert response.headers["X-RateLimit-Remaining"] == "0"
    assert (await visitor.call("GET", "/discord/api/v10/applications/@me", headers=BOT))[0] == 200
    await visitor.control("POST", "/clock", {"advance_s": 31})
    assert (await visitor.call("GET", ME, headers=BOT))[0] == 200


async def test_other_api_paths_are_404_in_discords_shape(visitor: Any) -> None:
    """Including older versions of the API."""
    for path in ("/discord/api/v9/users/@me", "/discord/api/users/@me", "/discord/api/v10/nothing"):
        status, body, _ = await visitor.call("GET", path, headers=BOT)
        assert (status, body) == (404, {"message": "404: Not Found", "code": 0})


async def test_the_verify_key_verifies_what_the_simulator_signs(visitor: Any) -> None:
    """Webhook events can be forged properly by a test."""
    app = (await visitor.call("GET", "/discord/api/v10/applications/@me", headers=BOT))[1]
    signed = await visitor.control(
        "POST", f"/discord/apps/{app['id']}/sign", {"timestamp": "1700000000", "body": '{"type":0}'}
    )
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(app["verify_key"]))
    key.verify(bytes.fromhex(signed["signature"]), b'1700000000{"type":0}')


@pytest.fixture
async def bot_client(visitor: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[discord.Client]:
    monkeypatch.setattr(Route, "BASE", visitor.sandbox.url + "/discord/api/v10")
    client = discord.Client(intents=discord.Intents.none())
    yield client
    await client.close()


async def test_discord_py_logs_in_and_fetches_guild_channels_and_webhook(
    visitor: Any, bot_client: discord.Client
) -> None:
    """The real client library takes the simulator for Discord."""
    await visitor.discord_tokens("bot", permissions=str(1 << 11))
    await bot_client.login(seeds.DISCORD_BOT_TOKEN)
    assert bot_client.user is not None
    assert str(bot_client.user.id) == seeds.DISCORD_CLIENT_ID
    assert str(bot_client.application_id) == seeds.DISCORD_CLIENT_ID
    guild = await bot_client.fetch_guild(int(CLUB))
    assert (guild.name, guild.owner_id) == ("Analytical Engine Club", 210000000000000001)
    roles = {role.name: role for role in await guild.fetch_roles()}
    assert roles["Sandbox App"].permissions.send_messages
    assert [channel.name for channel in await guild.fetch_channels()] == ["general", "announcements"]
    assert [entry.id async for entry in bot_client.fetch_guilds()] == [int(CLUB)]


async def test_discord_py_waits_out_a_429(visitor: Any, bot_client: discord.Client) -> None:
    """It recognises the rate limit as Discord's own and tries again."""
    await visitor.control("POST", "/faults", {"kind": "rate_limit", "retry_after": 0.05, "times": 1})
    await bot_client.login(seeds.DISCORD_BOT_TOKEN)
    report = await visitor.control("GET", "/requests?path=users/@me")
    assert report["by_status"] == {"429": 1, "200": 1}


async def test_discord_py_sees_a_kicked_bot_and_a_dead_token(
    visitor: Any, bot_client: discord.Client
) -> None:
    """Forbidden for the guild, LoginFailure for the token."""
    await bot_client.login(seeds.DISCORD_BOT_TOKEN)
    with pytest.raises(discord.Forbidden):
        await bot_client.fetch_guild(int(CLUB))
    other = discord.Client(intents=discord.Intents.none())
    with pytest.raises(discord.LoginFailure):
        await other.login("wrong")
    await other.close()
