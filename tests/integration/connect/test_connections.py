"""Connections: made, repaired, ended; what others stand on is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from authpipe.domain.connection import ConnectionStatus
from authpipe.domain.credential import CredentialFor
from authpipe.domain.errors import (
    AmbiguousConnection,
    Conflict,
    ConnectError,
    InvalidInput,
    NotConnected,
    NotFound,
)
from authpipe.domain.event import ActorKind, Origin
from authpipe.domain.secret import Secret
from authpipe.sandbox import seeds
from authpipe.sandbox.faults import FaultOrder
from support.hosted import Hosted

if TYPE_CHECKING:
    from conftest import Back, Connect

BACKEND = Origin(actor_kind=ActorKind.API_KEY, actor_id="test")


def alive(hosted: Hosted, provider: str = "discord") -> list[Any]:
    """The authorizations that still hold at the sandbox."""
    return [each for each in hosted.sandbox.state.ledgers[provider].authorizations if not each.revoked]


async def last(hosted: Hosted, type_: str) -> dict[str, Any]:
    """What the newest event of a type tells."""
    return dict((await hosted.events(type_))[-1].data)


async def test_reconnecting_keeps_the_id_and_replaces_the_credential(
    hosted: Hosted, connect: Connect
) -> None:
    """The application's own references stay good."""
    first = (await connect()).connection
    assert first is not None
    old = await hosted.credential(tenant_id="org_acme", user_id="user_123")
    again = (await connect(reconnect_id=first.connection_id)).connection
    assert again is not None
    assert again.connection_id == first.connection_id
    assert await hosted.credential(tenant_id="org_acme", user_id="user_123") != old
    assert (await hosted.events("connection.reconnected"))[-1].object_id == str(first.connection_id)


async def test_connecting_the_same_account_anew_repairs_the_connection(connect: Connect) -> None:
    """A user who clicks connect again has one connection, not two."""
    first, second = (await connect()).connection, (await connect()).connection
    assert first is not None
    assert second is not None
    assert first.connection_id == second.connection_id


async def test_another_account_cannot_be_put_behind_a_known_id(hosted: Hosted, connect: Connect) -> None:
    """The repair is refused, the grant given back, and the connection stands as it did."""
    first = (await connect(who="ada")).connection
    assert first is not None
    before = await hosted.credential(tenant_id="org_acme", user_id="user_123")
    with pytest.raises(ConnectError) as refused:
        await connect(who="grace", reconnect_id=first.connection_id)
    assert refused.value.code == "account_mismatch"
    assert await hosted.credential(tenant_id="org_acme", user_id="user_123") == before
    assert [each.user for each in alive(hosted)] == ["ada"]
    assert await last(hosted, "candidate.destroyed") == {"reason": "account_mismatch", "upstream": "revoked"}


async def test_a_second_account_needs_a_label(hosted: Hosted, connect: Connect) -> None:
    """Without one it is refused with the remedy; with one the user has two."""
    await connect(who="ada")
    with pytest.raises(Conflict, match="label") as refused:
        await connect(who="grace")
    assert refused.value.code == "connection_exists"
    await connect(who="grace", label="second")
    assert await hosted.credential(tenant_id="org_acme", user_id="user_123", label="second")
    with pytest.raises(AmbiguousConnection) as several:
        await hosted.credential(tenant_id="org_acme", user_id="user_123")
    assert {candidate["account_name"] for candidate in several.value.candidates} == {"ada", "grace"}


async def test_disconnecting_revokes_upstream_and_destroys_the_credential(
    hosted: Hosted, connect: Connect
) -> None:
    """The provider ends the grant, the row is gone, the event says both."""
    connection = (await connect()).connection
    assert connection is not None
    ended = await hosted.rooms.connecting.disconnection.connection(
        hosted.scene.environment_id, connection.connection_id, origin=BACKEND
    )
    assert ended.status is ConnectionStatus.REVOKED
    assert alive(hosted) == []
    assert (await last(hosted, "connection.disconnected"))["upstream"] == "revoked"
    with pytest.raises(NotConnected):
        await hosted.credential(tenant_id="org_acme", user_id="user_123")
    again = await hosted.rooms.connecting.disconnection.connection(
        hosted.scene.environment_id, connection.connection_id, origin=BACKEND
    )
    assert again.status is ConnectionStatus.REVOKED
    assert len(await hosted.events("connection.disconnected")) == 1


async def test_disconnecting_does_not_cut_another_tenant_with_the_same_account(
    hosted: Hosted, connect: Connect
) -> None:
    """One revocation ends every token of account and app: the upstream call is skipped, and said so."""
    first = (await connect(tenant_id="org_acme")).connection
    await connect(tenant_id="org_other")
    assert first is not None
    disconnection = hosted.rooms.connecting.disconnection
    await disconnection.connection(hosted.scene.environment_id, first.connection_id, origin=BACKEND)
    assert (await last(hosted, "connection.disconnected"))["upstream"] == "skipped_shared"
    assert len(alive(hosted)) == 1
    assert await hosted.credential(tenant_id="org_other", user_id="user_123")


async def test_a_candidate_nobody_completes_is_revoked_and_destroyed(
    hosted: Hosted, go_and_come_back: Back
) -> None:
    """After ten minutes; until then it is readable by no credential call."""
    session, _ = await go_and_come_back()
    with pytest.raises(NotConnected):
        await hosted.credential(tenant_id="org_acme", user_id="user_123")
    reaper = hosted.rooms.connecting.reaper
    assert await reaper.round() == 0
    hosted.clock.advance(session.expires_at - session.created_at)
    assert await reaper.round() == 2
    assert alive(hosted) == []
    assert (await hosted.session(session.session_id)).status.value == "expired"
    assert await last(hosted, "candidate.destroyed") == {"reason": "not_completed", "upstream": "revoked"}


async def test_a_connection_stands_under_the_tenants_installation(hosted: Hosted, connect: Connect) -> None:
    """Also one that was made before it."""
    before = (await connect(user_id="early")).connection
    installed = (await connect(kind="installation")).installation
    after = (await connect(user_id="late", who="grace")).connection
    assert before is not None
    assert installed is not None
    assert after is not None
    assert before.installation_id is None
    assert after.installation_id == installed.installation_id
    [told] = await hosted.events("connection.updated")
    assert told.object_id == str(before.connection_id)
    assert told.data["installation_id"] == str(installed.installation_id)
    repaired = (await connect(user_id="early")).connection
    assert repaired is not None
    assert repaired.installation_id == installed.installation_id


async def test_a_key_can_be_stored_without_a_browser(hosted: Hosted) -> None:
    """It is probed as one entered by hand is; a wrong one is refused and nothing is stored."""
    username = seeds.CLICKSEND_PEOPLE[0].username
    place = {"provider": "clicksend", "tenant_id": "org_acme", "user_id": "user_123", "label": None}
    storage = hosted.rooms.connecting.direct_storage
    for fields, field in (
        ({"username": username, "api_key": "not-the-key-000000000000"}, "fields"),
        ({"username": username}, "api_key"),
        ({"username": username, "api_key": "x", "other": "y"}, "other"),
    ):
        with pytest.raises(InvalidInput) as refused:
            await storage.key(
                hosted.scene.environment_id,
                **place,
                fields={name: Secret(value) for name, value in fields.items()},
                origin=BACKEND,
            )
        assert refused.value.field == field
    key = seeds.CLICKSEND_API_KEYS[username]
    connection = await storage.key(
        hosted.scene.environment_id,
        **place,
        fields={"username": Secret(username), "api_key": Secret(key)},
        origin=BACKEND,
    )
    assert connection.account_id
    assert await hosted.credential("clicksend", tenant_id="org_acme", user_id="user_123") == key


@pytest.mark.parametrize(
    ("provider", "kind", "upstream"),
    [
        ("dialpad", "connection", "revoked"),
        ("drift", "installation", "revoked"),
        ("aircall", "installation", "unsupported"),
        ("clicksend", "connection", "unsupported"),
    ],
)
async def test_every_provider_is_connected_read_and_ended(
    hosted: Hosted, connect: Connect, provider: str, kind: str, upstream: str
) -> None:
    """As its definition says, with the means it has for ending a grant."""
    username, key = next(iter(seeds.CLICKSEND_API_KEYS.items()))
    made = await connect(
        provider, kind=kind, key={"username": username, "api_key": key} if provider == "clicksend" else None
    )
    assert await hosted.credential(
        provider, tenant_id="org_acme", user_id="user_123", credential_for=CredentialFor.ANY
    )
    disconnection = hosted.rooms.connecting.disconnection
    environment = hosted.scene.environment_id
    if made.connection is not None:
        await disconnection.connection(environment, made.connection.connection_id, origin=BACKEND)
        assert (await last(hosted, "connection.disconnected"))["upstream"] == upstream
    if made.installation is not None:
        await disconnection.installation(environment, made.installation.installation_id, origin=BACKEND)
        assert (await last(hosted, "installation.deleted"))["upstream"] == upstream
    with pytest.raises(NotConnected):
        await hosted.credential(provider, tenant_id="org_acme", user_id="user_123")


async def test_giving_one_grant_back_leaves_another_of_the_same_account(
    hosted: Hosted, go_and_come_back: Back
) -> None:
    """Revoking would end both: the first keeps working."""
    first, page_of_first = await go_and_come_back()
    second, page_of_second = await go_and_come_back()
    with pytest.raises(ConnectError):
        await hosted.complete(second.session_id, page_of_second.query["completion_code"], user_id="mallory")
    assert (await last(hosted, "candidate.destroyed"))["upstream"] == "skipped_shared"
    await hosted.complete(first.session_id, page_of_first.query["completion_code"])
    assert await hosted.credential(tenant_id="org_acme", user_id="user_123")


@pytest.mark.parametrize("name", ["Bo\x00b", "Bo\ud800b"])
async def test_odd_characters_in_an_account_do_no_harm(hosted: Hosted, connect: Connect, name: str) -> None:
    """What a person calls themselves at the provider cannot make a callback fail."""
    hosted.sandbox.state.faults.add(
        FaultOrder(
            "status",
            provider="discord",
            path_contains="/oauth2/@me",
            status=200,
            body={"user": {"id": "1", "username": name}},
            times=1,
        )
    )
    connection = (await connect()).connection
    assert connection is not None
    assert (connection.account_name or "").startswith("Bo")


async def test_a_provider_that_was_switched_off_connects_nothing_any_more(
    hosted: Hosted, go_and_come_back: Back
) -> None:
    """Also what was under way: the grant is given back."""
    session, page = await go_and_come_back()
    configs = hosted.rooms.connecting.provider_configs
    await configs.update(
        hosted.scene.environment_id, session.provider_config_id, {"enabled": False}, origin=BACKEND
    )
    with pytest.raises(Conflict) as refused:
        await hosted.complete(session.session_id, page.query["completion_code"])
    assert refused.value.code == "provider_disabled"
    assert alive(hosted) == []
    with pytest.raises(Conflict):
        await hosted.mint()


async def test_codes_and_tokens_of_one_address_are_not_sent_to_another(
    hosted: Hosted, go_and_come_back: Back
) -> None:
    """While a session is open its provider config stays where it is."""
    session, _ = await go_and_come_back("dialpad")
    configs = hosted.rooms.connecting.provider_configs
    with pytest.raises(Conflict) as refused:
        await configs.update(
            hosted.scene.environment_id,
            session.provider_config_id,
            {"base_url": "http://127.0.0.1:9/elsewhere", "client_secret": Secret("entered-again-0000")},
            origin=BACKEND,
        )
    assert refused.value.code == "in_use"


async def test_what_does_not_exist_cannot_be_ended(hosted: Hosted) -> None:
    """Nor what is another environment's."""
    with pytest.raises(NotFound):
        await hosted.rooms.connecting.disconnection.connection(
            hosted.scene.environment_id, hosted.scene.environment_id, origin=BACKEND
        )
