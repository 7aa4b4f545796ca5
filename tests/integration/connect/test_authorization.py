"""The authorization request as it leaves, and answers that another server or another person made."""

from __future__ import annotations

import re
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from authpipe.catalog.definition import SideName
from authpipe.catalog.loader import load_catalog
from authpipe.domain.clock import ManualClock
from authpipe.domain.connect_session import ConnectSession, SessionStatus
from authpipe.domain.errors import NotConnected
from authpipe.sandbox.server import SandboxServer
from authpipe.server import wiring
from support.hosted import Hosted, host
from support.person import Person

if TYPE_CHECKING:
    from conftest import Connect, Dsns

#: Each provider that speaks OAuth, with the side that is made there.
OAUTH = [
    ("discord", "connection"),
    ("discord", "installation"),
    ("dialpad", "connection"),
    ("aircall", "installation"),
    ("drift", "installation"),
]


def _query(url: str) -> dict[str, str]:
    """The query of an address in which nothing stands twice."""
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs), url
    return dict(pairs)


def _changed(url: str, **parameters: str) -> str:
    return urlsplit(url)._replace(query=urlencode(_query(url) | parameters)).geturl()


def _without_code(url: str, **parameters: str) -> str:
    query = {name: value for name, value in _query(url).items() if name != "code"}
    return urlsplit(url)._replace(query=urlencode(query | parameters)).geturl()


async def _leaves(hosted: Hosted, person: Person, link: str) -> str:
    """Where the browser is sent when the person clicks, not yet visited."""
    page = await person.open(link)
    person._stop_at = f"http://localhost:{hosted.sandbox.url.rpartition(':')[2]}/"
    try:
        return (await person.submit(page)).url
    finally:
        person._stop_at = hosted.return_url


async def _comes_back(
    hosted: Hosted, person: Person, *, who: str = "ada", **wish: str
) -> tuple[ConnectSession, str]:
    """A session whose person consented, and the callback their browser is sent to, not yet visited."""
    session, link = await hosted.mint(**wish)  # type: ignore[arg-type]
    consent = await person.open(f"{await _leaves(hosted, person, link)}&sandbox_user={who}")
    person._stop_at = f"{hosted.url}/oauth/callback/"
    try:
        return session, (await person.submit(consent, decision="authorize")).url
    finally:
        person._stop_at = hosted.return_url


async def _nothing_was_made(hosted: Hosted, session: ConnectSession, error: str) -> None:
    ended = await hosted.session(session.session_id)
    assert (ended.status, ended.error_code) == (SessionStatus.FAILED, error)
    with pytest.raises(NotConnected):
        await hosted.credential(tenant_id="org_acme", user_id=session.user_id)
    assert [token for token in hosted.tokens() if not token.authorization.revoked] == []


@pytest.mark.parametrize(("provider", "kind"), OAUTH)
async def test_a_request_asks_for_a_code_and_is_of_one_transaction(
    hosted: Hosted, provider: str, kind: str
) -> None:
    """Never a token; state and challenge of 256 bits that no other request has; the verifier stays here."""
    seen = []
    for _ in range(2):
        session, link = await hosted.mint(provider, kind=kind)
        async with hosted.person() as person:
            query = _query(await _leaves(hosted, person, link))
        assert query["response_type"] == "code"
        assert "response_mode" not in query
        assert re.fullmatch(r"[\w-]{43}", query["state"])
        assert query["code_challenge_method"] == "S256"
        assert re.fullmatch(r"[\w-]{43}", query["code_challenge"])
        assert "code_verifier" not in query
        assert "client_secret" not in query
        callback = f"{hosted.url}/oauth/callback/{session.provider_config_id}"
        assert query["redirect_uri"] == callback
        seen.append((query["state"], query["code_challenge"]))
    assert len({value for pair in seen for value in pair}) == 4


async def test_every_provider_config_has_a_callback_of_its_own(hosted: Hosted) -> None:
    """Also two of one provider in two environments: a code that comes to one is of no other."""
    addresses = []
    for provider, kind in OAUTH:
        async with hosted.person() as person:
            _, link = await hosted.mint(provider, kind=kind)
            addresses.append(_query(await _leaves(hosted, person, link))["redirect_uri"])
    other = await type(hosted.scene).set(
        hosted.rooms.database,
        hosted.rooms.vault,
        hosted.rooms.catalog,
        hosted.clock,
        hosted.sandbox,
        name="another application",
    )
    hosted.scene = other
    await hosted.configure("discord")
    async with hosted.person() as person:
        addresses.append(_query(await _leaves(hosted, person, (await hosted.mint())[1]))["redirect_uri"])
    # Discord's two sides share one provider config.
    assert addresses[0] == addresses[1]
    assert len(set(addresses)) == len(addresses) - 1


async def test_no_more_is_asked_for_than_was_wished(hosted: Hosted) -> None:
    """The session's scopes, else the provider config's, else the defaults; and what tells the account."""
    discord = hosted.rooms.catalog.get("discord")
    known = discord.scopes_for(SideName.CONNECTION)
    required = {scope.name for scope in known if scope.required}
    defaults = {scope.name for scope in known if scope.default}
    session_s, config_s, *_ = (scope.name for scope in known if not scope.default)
    config = (await hosted.rooms.providers.by_name(hosted.scene.environment_id, "discord")).config

    async def asked(*scopes: str) -> set[str]:
        async with hosted.person() as person:
            _, link = await hosted.mint(scopes=scopes)
            return set(_query(await _leaves(hosted, person, link))["scope"].split())

    assert await asked() == defaults
    await hosted.scene.change_config(config, scopes=(config_s,))
    assert await asked() == required | {config_s}
    assert await asked(session_s) == required | {session_s}


async def test_only_the_code_and_the_refresh_token_are_ever_traded_in(
    hosted: Hosted, connect: Connect
) -> None:
    """No provider is asked for a token with a password, and none for one by the client alone."""
    for provider, kind in OAUTH:
        await connect(provider, kind=kind)
    # Discord's tokens live for seven days, so this read waits for a refresh.
    hosted.clock.advance(timedelta(days=8))
    assert await hosted.credential(tenant_id="org_acme", user_id="user_123")
    grants = {entry.grant_type for entry in hosted.sandbox.state.journal._entries if entry.grant_type}
    assert grants == {"authorization_code", "refresh_token"}


async def test_a_code_of_another_transaction_is_refused(hosted: Hosted) -> None:
    """Code injection: mallory puts ada's fresh code into a session of her own, in her own browser."""
    async with hosted.person() as ada, hosted.person() as mallory:
        _, victims = await _comes_back(hosted, ada, who="ada", user_id="ada")
        session, own = await _comes_back(hosted, mallory, who="grace", user_id="mallory")
        page = await mallory.open(_changed(own, code=_query(victims)["code"]))
    assert page.status == 502
    assert "The provider refused the connection" in page.text
    await _nothing_was_made(hosted, session, "code_refused")


@pytest.mark.parametrize("name", ["access_token", "id_token", "refresh_token"])
async def test_a_token_in_the_answer_is_not_taken(hosted: Hosted, name: str) -> None:
    """Tokens come from the token endpoint alone: one that the browser carries is nothing, though it works."""
    issued = hosted.scene.issue("discord").access_token
    assert hosted.scene.works(issued)
    async with hosted.person() as person:
        session, callback = await _comes_back(hosted, person)
        page = await person.open(_without_code(callback, **{name: issued, "token_type": "Bearer"}))
    assert page.status == 400
    assert issued not in page.text
    ended = await hosted.session(session.session_id)
    assert (ended.status, ended.error_code) == (SessionStatus.FAILED, "callback_malformed")
    with pytest.raises(NotConnected):
        await hosted.credential(tenant_id="org_acme", user_id="user_123")


@pytest.mark.parametrize(
    ("iss", "made"),
    [("its own", True), ("https://attacker.example", False), ("its own and a slash", False), (None, False)],
)
@pytest.mark.parametrize("error", [False, True], ids=["code", "error"])
async def test_an_answer_of_another_server_is_not_followed(
    dsns: Dsns,
    tmp_path: Path,
    clock: ManualClock,
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    iss: str | None,
    made: bool,
    error: bool,
) -> None:
    """Mix-up: where the issuer is known, a code of another one is sent nowhere, and no error is believed."""
    text = (files("authpipe.catalog") / "providers" / "discord.toml").read_text(encoding="utf-8")
    told = 'pkce = "s256"\nissuer = "https://discord.com"\nissuer_in_callback = true'
    assert 'pkce = "s256"' in text
    (tmp_path / "discord.toml").write_text(text.replace('pkce = "s256"', told), encoding="utf-8")
    monkeypatch.setattr(wiring, "load_catalog", lambda: load_catalog(tmp_path))
    async with host(dsns.owner, tmp_path, clock, sandbox) as hosted, hosted.person() as person:
        config = await hosted.configure()
        issuer = hosted.rooms.providers.join(config).oauth.issuer
        assert issuer is not None
        session, callback = await _comes_back(hosted, person)
        if error:
            callback = _without_code(callback, error="access_denied")
        sent = {"its own": issuer, "its own and a slash": f"{issuer}/"}.get(iss or "", iss)
        before = len(hosted.sandbox.state.journal)
        page = await person.open(callback if sent is None else _changed(callback, iss=sent))
        if made and not error:
            assert "completion_code" in page.query
            return
        assert len(hosted.sandbox.state.journal) == before, "the code went somewhere"
        await _nothing_was_made(hosted, session, "access_denied" if made else "issuer_mismatch")
