"""Signing in at a real OpenID provider: who gets in by it, and what it cannot do."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from authpipe.access.operator_tokens import new_token
from authpipe.domain.access import Operator, OperatorRole
from authpipe.domain.clock import ManualClock
from authpipe.domain.secret import Secret
from authpipe.sandbox.server import SandboxServer
from support.hosted import Hosted, host
from support.openid import CLIENT_ID, CLIENT_SECRET, OpenId, new_key, openid
from support.operators import COMMAND_LINE, PASSWORD, add, sign_in, workspace_events
from support.person import Page, Person
from support.running import free_port

if TYPE_CHECKING:
    from conftest import Dsns


@pytest.fixture
def clock() -> ManualClock:
    """The provider has the machine's own clock."""
    return ManualClock(datetime.now(UTC))


@dataclass
class Place:
    """A server and the provider its operators sign in at."""

    hosted: Hosted
    provider: OpenId

    @property
    def callback(self) -> str:
        return f"{self.hosted.url}/sign-in/callback"

    async def leave(self, person: Person) -> str:
        """Press the button; returns the provider's address."""
        page = await person.submit(await person.open(self.hosted.url + "/sign-in"))
        assert page.status == 200, page.text
        found = re.search(r'http-equiv="refresh" content="0;url=([^"]+)"', page.text)
        assert found is not None, page.text
        return unescape(found[1])

    async def back(self, person: Person, login: str) -> str:
        """Leave, sign in there, and return the address that leads back, unopened."""
        return await self.provider.consent(await self.leave(person), login, until=self.callback)

    async def sign_in(self, login: str) -> Page:
        """The whole way, in a browser of its own."""
        async with self.hosted.person() as person:
            return await person.open(await self.back(person, login))

    async def add(self, email: str = "ada@example.com", **more: Any) -> Operator:
        return await add(self.hosted.rooms.signing_in, email, password=None, **more)

    async def operators(self) -> list[Operator]:
        return await self.hosted.rooms.signing_in.operators.list()


@asynccontextmanager
async def placed(
    dsns: Dsns,
    directory: Path,
    clock: ManualClock,
    sandbox: SandboxServer,
    *,
    given: dict[str, Any],
    **provider: Any,
) -> AsyncIterator[Place]:
    port = free_port()
    async with openid(directory, f"http://127.0.0.1:{port}/sign-in/callback", **provider) as there:
        there.account("ada", email="ada@example.com", email_verified=True, name="Ada Lovelace")
        there.account("eve", email="eve@example.com", email_verified=False)
        there.account("bob", email="bob@corp.example", email_verified=True)
        there.account("mallory", email="mallory@corp.example.evil.example", email_verified=True)
        there.account("nobody")
        settings = {
            "port": port,
            "oidc_issuer": there.issuer,
            "oidc_client_id": CLIENT_ID,
            "oidc_client_secret": Secret(CLIENT_SECRET),
            "oidc_name": "Acme SSO",
        }
        async with host(dsns.owner, directory, clock, sandbox, **settings | given) as hosted:
            yield Place(hosted, there)


@pytest.fixture
async def place(
    dsns: Dsns, tmp_path: Path, clock: ManualClock, sandbox: SandboxServer
) -> AsyncIterator[Place]:
    async with placed(dsns, tmp_path, clock, sandbox, given={}) as place:
        yield place


async def test_an_operator_who_was_added_gets_in(place: Place) -> None:
    """By the verified email at first, and is bound to the account from then on."""
    ada = await place.add()
    page = await place.sign_in("ada")
    assert (page.url, page.status) == (place.hosted.url + "/account", 200)
    assert "with Acme SSO" in page.text
    (bound,) = await place.operators()
    assert (bound.oidc_issuer, bound.oidc_subject) == (place.provider.issuer, "ada")
    events = await workspace_events(place.hosted.rooms.database)
    assert [(event.type, event.origin.actor_id) for event in events[-2:]] == [
        ("operator.updated", str(ada.operator_id)),
        ("operator.signed_in", str(ada.operator_id)),
    ]
    assert events[-1].data["method"] == "oidc"


async def test_what_the_provider_gets_to_see(place: Place) -> None:
    """Authorization code, S256, state, nonce, our one address; and nothing of ours in it twice."""
    async with place.hosted.person() as person:
        addresses = [await place.leave(person) for _ in range(2)]
    queries = [Page(address, 200, "").query for address in addresses]
    for query in queries:
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        assert query["redirect_uri"] == place.callback
        assert query["scope"] == "openid email profile"
        assert all(len(query[name]) == 43 for name in ("state", "nonce", "code_challenge"))
    assert all(queries[0][name] != queries[1][name] for name in ("state", "nonce", "code_challenge"))
    assert addresses[0].startswith(place.provider.issuer + "/")


async def test_an_email_is_matched_once(place: Place) -> None:
    """The account is the operator, whatever its email is by now; the email alone is nobody any more."""
    await place.add()
    await place.sign_in("ada")
    place.provider.account("ada", email="ada@married.example", email_verified=True)
    assert (await place.sign_in("ada")).status == 200
    place.provider.account("taker", email="ada@example.com", email_verified=True)
    page = await place.sign_in("taker")
    assert page.status == 403
    assert "You are not an operator here" in page.text
    (ada,) = await place.operators()
    assert (ada.email, ada.oidc_subject) == ("ada@example.com", "ada")


async def test_an_email_that_is_not_verified_is_nobody(place: Place) -> None:
    """Nor is an account without any; and it is recorded."""
    await place.add("eve@example.com")
    for login in ("eve", "nobody"):
        page = await place.sign_in(login)
        assert page.status == 403
        assert "Your email is not verified" in page.text
    (eve,) = await place.operators()
    assert eve.oidc_subject is None
    events = await workspace_events(place.hosted.rooms.database, "operator.sign_in_failed")
    assert {(event.data["method"], event.data["reason"]) for event in events} == {
        ("oidc", "email_unverified")
    }


async def test_who_was_not_added_stays_out(place: Place) -> None:
    """As does who was disabled, before and after being bound."""
    assert (await place.sign_in("bob")).status == 403
    bob = await place.add("bob@corp.example", role=OperatorRole.VIEWER)
    operators = place.hosted.rooms.signing_in.operators
    await operators.disable(bob.operator_id, origin=COMMAND_LINE)
    assert (await place.sign_in("bob")).status == 403
    await operators.enable(bob.operator_id, origin=COMMAND_LINE)
    assert (await place.sign_in("bob")).status == 200
    await operators.disable(bob.operator_id, origin=COMMAND_LINE)
    assert (await place.sign_in("bob")).status == 403


async def test_a_lock_does_not_hold_off_the_provider(place: Place) -> None:
    """Guessing passwords keeps nobody from the way that has none."""
    await add(place.hosted.rooms.signing_in)
    for number in range(5):
        with pytest.raises(Exception, match="Email and password"):
            await sign_in(place.hosted.rooms.signing_in, password="wrong", address=f"192.0.2.{number}")
    assert (await place.sign_in("ada")).status == 200


async def test_the_way_back_is_for_the_browser_that_left(place: Place) -> None:
    """Another browser, a second time, a foreign state, too late: nobody is signed in."""
    await place.add()
    async with place.hosted.person() as person, place.hosted.person() as victim:
        back = await place.back(person, "ada")
        await place.leave(victim)
        for address in (back, back.replace("state=", "state=x"), place.callback, place.callback + "?code=x"):
            page = await victim.open(address)
            assert page.status == 400, address
            assert "not good any more" in page.text
        assert (await person.open(back)).status == 200
        assert (await person.open(back)).status == 400
        late = await place.back(victim, "ada")
        place.hosted.clock.advance(timedelta(minutes=10))
        assert (await victim.open(late)).status == 400


async def test_a_prefetch_uses_nothing_up(place: Place) -> None:
    """The visit after it works."""
    import aiohttp

    await place.add()
    async with place.hosted.person() as person:
        back = await place.back(person, "ada")
        async with aiohttp.ClientSession() as session:
            async with session.get(back, headers={"Sec-Purpose": "prefetch"}) as answer:
                assert answer.status == 503
            async with session.head(back) as answer:
                assert answer.status == 200
        assert (await person.open(back)).status == 200


async def test_an_answer_of_another_issuer_is_not_used(place: Place) -> None:
    """RFC 9207: another ``iss``, or none from a provider that always sends it; the attempt is used up."""
    await place.add()
    for change in (
        lambda back: re.sub(r"iss=[^&]+", "iss=https%3A%2F%2Fevil.example.com", back),
        lambda back: re.sub(r"&?iss=[^&]+", "", back),
    ):
        async with place.hosted.person() as person:
            back = await place.back(person, "ada")
            page = await person.open(change(back))
            assert page.status == 400
            assert "came from somebody else" in page.text
            assert (await person.open(back)).status == 400


async def test_a_code_of_another_attempt_does_not_pass(place: Place) -> None:
    """Another attempt's verifier and nonce do not fit it."""
    await place.add()
    async with place.hosted.person() as person, place.hosted.person() as attacker:
        mine, theirs = await place.back(person, "ada"), await place.back(attacker, "bob")
        mixed = re.sub(r"code=[^&]+", f"code={Page(theirs, 200, '').query['code']}", mine)
        assert (await person.open(mixed)).status == 502


async def test_a_token_that_does_not_hold_is_used_for_nothing(place: Place) -> None:
    """Made with another nonce: nobody is bound, no session begins, userinfo is not asked."""
    await place.add()
    asked: list[str] = []
    oidc = place.hosted.rooms.signing_in.oidc
    assert oidc is not None
    send = oidc._provider._http.send

    async def noting(request: Any, **more: Any) -> Any:
        asked.append(request.url)
        return await send(request, **more)

    oidc._provider._http.send = noting  # type: ignore[method-assign]
    async with place.hosted.person() as person:
        address = re.sub(r"nonce=[^&]+", f"nonce={new_token().reveal()}", await place.leave(person))
        page = await person.open(await place.provider.consent(address, "ada", until=place.callback))
        assert page.status == 502
        assert "word does not hold" in page.text
    assert [each.rpartition("/")[2] for each in asked] == ["openid-configuration", "token", "jwks"]
    (ada,) = await place.operators()
    assert ada.oidc_subject is None
    (event,) = await workspace_events(place.hosted.rooms.database, "operator.sign_in_failed")
    assert event.data["reason"] == "id_token_refused"


async def test_a_refusal_there_is_a_page_here(place: Place) -> None:
    """With a way to try again; what the provider wrote is not shown."""
    async with place.hosted.person() as person:
        state = Page(await place.leave(person), 200, "").query["state"]
        iss = place.provider.issuer
        page = await person.open(
            f"{place.callback}?error=access_denied&error_description=%3Cb%3Eboo&state={state}&iss={iss}"
        )
        assert page.status == 403
        assert "boo" not in page.text
        assert 'href="/sign-in"' in page.text
        for query in ("state=a&state=b", "code=%FF", "code=" + "x" * 9000, "&".join(["a=b"] * 100)):
            assert (await person.open(f"{place.callback}?{query}")).status == 400


async def test_nobody_is_made_to_leave(place: Place) -> None:
    """Leaving begins with the button of our own page, in the browser that was shown it."""
    async with place.hosted.person() as person:
        page = await person.open(place.hosted.url + "/sign-in")
        token = page.forms[0].fields["csrf_token"]
        for form, origin in (
            ({}, place.hosted.url),
            ({"csrf_token": new_token().reveal()}, place.hosted.url),
            ({"csrf_token": token}, "https://evil.example.com"),
        ):
            answer = await person.open(place.hosted.url + "/sign-in/oidc", form=form, origin=origin)
            assert answer.status == 403
    async with place.hosted.rooms.database.system() as transaction:
        assert await transaction.connection.fetchval("SELECT count(*) FROM sign_in_attempts") == 0


async def test_attempts_are_hashed_sealed_and_cleared_away(place: Place) -> None:
    """The database alone finishes nobody's sign-in."""
    async with place.hosted.person() as person:
        query = Page(await place.leave(person), 200, "").query
        async with place.hosted.rooms.database.system() as transaction:
            (row,) = await transaction.connection.fetch("SELECT * FROM sign_in_attempts")
        for name in ("state", "nonce", "code_challenge"):
            assert query[name].encode() not in b"".join(
                each for each in row.values() if isinstance(each, bytes)
            )
        assert len(row["verifier_ciphertext"]) > 60
    place.hosted.clock.advance(timedelta(minutes=10))
    assert await place.hosted.rooms.signing_in.cleanup.round() >= 1
    async with place.hosted.rooms.database.system() as transaction:
        assert await transaction.connection.fetchval("SELECT count(*) FROM sign_in_attempts") == 0


async def test_leaving_is_counted(place: Place) -> None:
    """Sixty redirects a quarter of an hour from one place."""
    oidc = place.hosted.rooms.signing_in.oidc
    assert oidc is not None
    from support.operators import browser

    for _ in range(60):
        await oidc.begin(origin=browser())
    with pytest.raises(Exception, match="too often"):
        await oidc.begin(origin=browser())
    await oidc.begin(origin=browser("192.0.2.1"))


async def test_new_people_of_our_domains_are_taken_where_that_is_set(
    dsns: Dsns, tmp_path: Path, clock: ManualClock, sandbox: SandboxServer
) -> None:
    """With the role that is set; a domain that only looks like ours is none of them."""
    given = {"oidc_new_operators": "viewer", "oidc_domains": ["corp.example"]}
    async with placed(dsns, tmp_path, clock, sandbox, given=given) as place:
        assert (await place.sign_in("mallory")).status == 403
        assert (await place.sign_in("ada")).status == 403
        assert (await place.sign_in("bob")).status == 200
        assert (await place.sign_in("bob")).status == 200
        (bob,) = await place.operators()
        assert (bob.email, bob.role, bob.oidc_subject) == ("bob@corp.example", OperatorRole.VIEWER, "bob")
        place.provider.account("taker", email="bob@corp.example", email_verified=True)
        assert (await place.sign_in("taker")).status == 403


@pytest.mark.parametrize(
    ("algorithm", "client_authentication", "email_at_userinfo"),
    [
        ("ES256", "client_secret_post", False),
        ("PS256", "client_secret_basic", False),
        ("EdDSA", "client_secret_post", True),
    ],
)
async def test_providers_differ(
    dsns: Dsns,
    tmp_path: Path,
    clock: ManualClock,
    sandbox: SandboxServer,
    algorithm: str,
    client_authentication: str,
    email_at_userinfo: bool,
) -> None:
    """In how they sign, how they want the secret, and where they tell the email."""
    async with placed(
        dsns,
        tmp_path,
        clock,
        sandbox,
        given={},
        algorithm=algorithm,
        client_authentication=client_authentication,
        email_at_userinfo=email_at_userinfo,
    ) as place:
        await place.add()
        assert (await place.sign_in("ada")).status == 200


async def test_a_new_key_of_the_provider_is_fetched(place: Place) -> None:
    """When a token names one we do not know: at once when the keys are a minute old."""
    await place.add()
    assert (await place.sign_in("ada")).status == 200
    await place.provider.stop()
    place.provider.keys = [new_key()]
    await place.provider.start()
    assert (await place.sign_in("ada")).status == 502
    place.hosted.clock.advance(timedelta(seconds=60))
    assert (await place.sign_in("ada")).status == 200


async def test_a_provider_that_is_away_leaves_the_password(place: Place) -> None:
    """The page says so, and the other way works."""
    await add(place.hosted.rooms.signing_in)
    await place.provider.stop()
    async with place.hosted.person() as person:
        page = await person.submit(await person.open(place.hosted.url + "/sign-in"))
        assert page.status == 502
        assert "use a password" in page.text
        page = await person.submit(
            await person.open(place.hosted.url + "/sign-in"),
            form=1,
            email="ada@example.com",
            password=PASSWORD,
        )
        assert page.url == place.hosted.url + "/account"


async def test_the_clients_secret_is_told_to_the_provider_alone(place: Place) -> None:
    """Neither pages nor events nor the settings' text hold it."""
    await place.add()
    async with place.hosted.person() as person:
        await person.open(await place.back(person, "ada"))
        seen = b"".join(person.seen)
    assert CLIENT_SECRET.encode() not in seen
    assert CLIENT_SECRET not in str(await workspace_events(place.hosted.rooms.database))
    assert CLIENT_SECRET not in repr(place.hosted.rooms.settings)
