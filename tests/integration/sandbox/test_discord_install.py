"""Adding a Discord bot to a server, its webhook, and losing both."""

from __future__ import annotations

from typing import Any

import pytest

from authpipe.sandbox import seeds

AUTHORIZE = "/discord/oauth2/authorize"
TOKEN = "/discord/api/oauth2/token"
CLUB, CREW, LIBRARY = (guild.id for guild in seeds.DISCORD_GUILDS)
PERMISSIONS = 1 << 11 | 1 << 29


@pytest.fixture(autouse=True)
async def registered(visitor: Any) -> None:
    await visitor.register("discord")


async def bot(visitor: Any, path: str, token: str = seeds.DISCORD_BOT_TOKEN) -> tuple[int, Any]:
    answer: tuple[int, Any] = await visitor.discord(path, token, "Bot")
    return answer


async def test_a_bot_install_tells_the_guild_in_the_token_response(visitor: Any) -> None:
    """The callback hints at guild and permissions; the token response carries the whole guild object."""
    form = await visitor.open_consent(
        "discord", AUTHORIZE, scope="bot applications.commands", permissions=str(PERMISSIONS)
    )
    status, _, location = await visitor.submit(form, guild_id=CREW)
    assert status == 302
    parameters = visitor.callback(location)
    assert (parameters["guild_id"], parameters["permissions"]) == (CREW, str(PERMISSIONS))
    status, tokens = await visitor.exchange("discord", TOKEN, parameters["code"])
    assert status == 200
    guild = tokens["guild"]
    assert (guild["id"], guild["name"], guild["owner_id"]) == (CREW, "Compiler Crew", "210000000000000002")
    assert [role.get("tags") for role in guild["roles"]] == [None, {"bot_id": seeds.DISCORD_CLIENT_ID}]
    assert (await bot(visitor, f"/guilds/{CREW}"))[1]["id"] == CREW


async def test_unticked_permissions_are_not_granted(visitor: Any) -> None:
    """The callback and the bot's role carry what was left ticked."""
    form = await visitor.open_consent("discord", AUTHORIZE, scope="bot", permissions=str(PERMISSIONS))
    form.fields.remove(("permission", str(1 << 29)))
    _, _, location = await visitor.submit(form, guild_id=CLUB)
    assert visitor.callback(location)["permissions"] == str(1 << 11)
    roles = (await bot(visitor, f"/guilds/{CLUB}/roles"))[1]
    assert roles[-1]["permissions"] == str(1 << 11)


async def test_the_picker_shows_the_guilds_the_user_may_manage(visitor: Any) -> None:
    """Ada sees the club and the crew; Grace the crew and the library."""
    ada = await visitor.open_consent("discord", AUTHORIZE, scope="bot", guild_id=CREW)
    assert ada.options["guild_id"] == [CLUB, CREW]
    assert dict(ada.fields)["guild_id"] == CREW
    grace = await visitor.open_consent("discord", AUTHORIZE, scope="bot", sandbox_user="grace")
    assert grace.options["guild_id"] == [CREW, LIBRARY]


async def test_a_guild_of_others_cannot_be_chosen(visitor: Any) -> None:
    """A forged form field adds no bot; the page can be answered properly afterwards."""
    form = await visitor.open_consent("discord", AUTHORIZE, scope="bot")
    assert (await visitor.submit(form, guild_id=LIBRARY))[0] == 400
    assert (await visitor.submit(form, guild_id=CLUB))[0] == 302


async def test_disable_guild_select_fixes_the_guild(visitor: Any) -> None:
    """No list is offered, no other guild accepted, and a stranger's guild is an error page."""
    fixed = {"scope": "bot", "disable_guild_select": "true"}
    form = await visitor.open_consent("discord", AUTHORIZE, guild_id=CLUB, **fixed)
    assert form.options == {}
    assert (await visitor.submit(form, guild_id=CREW))[0] == 400
    query = visitor.authorize_parameters("discord", guild_id=LIBRARY, **fixed)
    assert (await visitor.call("GET", AUTHORIZE, params=query))[0] == 403


async def test_without_response_type_the_bot_joins_and_nothing_calls_back(visitor: Any) -> None:
    """The short install link: also with nothing but the client id."""
    form = await visitor.open_consent(
        "discord", AUTHORIZE, response_type=None, scope="bot", redirect_uri=None
    )
    status, page, location = await visitor.submit(form, guild_id=CLUB)
    assert (status, location) == (200, "")
    assert "Authorized" in page
    assert (await bot(visitor, f"/guilds/{CLUB}"))[0] == 200
    form = await visitor.open_consent("discord", AUTHORIZE, response_type=None, redirect_uri=None)
    assert (await visitor.submit(form, guild_id=CREW))[0] == 200
    assert (await bot(visitor, f"/guilds/{CREW}"))[0] == 200


async def test_require_code_grant_lets_the_bot_in_only_after_the_exchange(visitor: Any) -> None:
    """Consent alone is not enough, and the short link is refused."""
    await visitor.register("discord", bot_require_code_grant=True)
    code = await visitor.code("discord", AUTHORIZE, scope="bot")
    assert (await bot(visitor, f"/guilds/{CLUB}"))[0] == 403
    assert (await visitor.exchange("discord", TOKEN, code))[0] == 200
    assert (await bot(visitor, f"/guilds/{CLUB}"))[0] == 200
    query = visitor.authorize_parameters("discord", response_type=None, scope="bot")
    assert (await visitor.call("GET", AUTHORIZE, params=query))[0] == 400


@pytest.mark.parametrize(("code", "status"), [(50001, 403), (10004, 404)])
async def test_a_kicked_bot_reads_as_the_application_chose(visitor: Any, code: int, status: int) -> None:
    """The vendor does not say which of the two it is."""
    await visitor.register("discord", kicked_guild_code=code)
    await visitor.discord_tokens("bot")
    assert await visitor.control("POST", "/discord/kick", {"guild_id": CLUB}) == {"kicked": True}
    answer, body = await bot(visitor, f"/guilds/{CLUB}")
    assert (answer, body["code"]) == (status, code)
    answer, body = await bot(visitor, "/guilds/999")
    assert (answer, body["code"]) == (404, 10004)


async def test_the_bot_leaves_a_guild_itself(visitor: Any) -> None:
    """Our own uninstall: 204, then 404."""
    await visitor.discord_tokens("bot")
    headers = {"Authorization": f"Bot {seeds.DISCORD_BOT_TOKEN}"}
    path = f"/discord/api/v10/users/@me/guilds/{CLUB}"
    assert (await visitor.call("DELETE", path, headers=headers))[0] == 204
    assert (await visitor.call("DELETE", path, headers=headers))[0] == 404
    assert (await bot(visitor, f"/guilds/{CLUB}"))[0] == 403


async def test_webhook_incoming_makes_a_new_working_webhook_each_time(visitor: Any) -> None:
    """Its URL posts a message, its deletion reads as 10015."""
    channel = "410000000000000012"
    form = await visitor.open_consent("discord", AUTHORIZE, scope="webhook.incoming")
    _, _, location = await visitor.submit(form, guild_id=CLUB, channel_id=channel)
    _, first = await visitor.exchange("discord", TOKEN, visitor.callback(location)["code"])
    second = await visitor.discord_tokens("webhook.incoming")
    webhook = first["webhook"]
    assert set(webhook) == {
        *("application_id", "id", "token", "url", "name", "channel_id", "guild_id", "type", "avatar")
    }
    assert (webhook["channel_id"], webhook["guild_id"], webhook["type"]) == (channel, CLUB, 1)
    assert webhook["id"] != second["webhook"]["id"]

    path = webhook["url"].removeprefix(visitor.sandbox.url)
    assert (await visitor.call("POST", path, json={"content": "hello"}))[0] == 204
    assert (await visitor.call("POST", path, json={"content": ""}))[1]["code"] == 50006
    assert (await visitor.call("POST", path + "x", json={"content": "hello"}))[1]["code"] == 10015
    versioned = path.replace("/api/", "/api/v10/")
    assert (await visitor.call("GET", versioned))[1]["id"] == webhook["id"]
    assert (await visitor.call("DELETE", versioned))[0] == 204
    status, body, _ = await visitor.call("GET", versioned)
    assert (status, body["code"]) == (404, 10015)


async def test_webhook_tokens_stay_out_of_control_answers(visitor: Any) -> None:
    """Neither the journal's paths nor the overview shows one."""
    webhook = (await visitor.discord_tokens("webhook.incoming"))["webhook"]
    await visitor.call("POST", webhook["url"].removeprefix(visitor.sandbox.url), json={"content": "hi"})
    for path in ("/requests", "/discord", "/discord/tokens"):
        assert webhook["token"] not in str(await visitor.control("GET", path))
    assert (await visitor.control("GET", "/discord"))["webhooks"][0]["messages"] == 1


async def test_a_reset_bot_token_kills_the_old_one(visitor: Any) -> None:
    """An application-wide incident: every guild reads 401."""
    await visitor.discord_tokens("bot")
    app = await visitor.control("POST", f"/discord/apps/{seeds.DISCORD_CLIENT_ID}/reset-bot-token")
    status, body = await bot(visitor, f"/guilds/{CLUB}")
    assert (status, body["code"]) == (401, 50014)
    assert (await bot(visitor, f"/guilds/{CLUB}", app["bot_token"]))[0] == 200
