"""Templates become requests, and secrets stay out of their URLs."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authpipe.catalog.definition import RequestAuth, RequestTemplate
from authpipe.catalog.loader import load_catalog
from authpipe.catalog.request import needed_values, render
from authpipe.domain.errors import ConfigurationError, InvalidInput
from authpipe.domain.secret import Secret
from authpipe.net.message import Value
from authpipe.oauth.server import Client, ClientAuthentication

CATALOG = load_catalog()
HEADER = ("Authorization", Secret("Bearer canary-access-token"))
CLIENT = Client(client_id="client:1", client_secret=Secret("canary/client secret"))


def template(**changes: object) -> RequestTemplate:
    return RequestTemplate(
        **{"method": "POST", "url": "https://x.test/a", "auth": RequestAuth.NONE, **changes}
    )  # type: ignore[arg-type]


def test_a_value_is_percent_encoded_in_the_path() -> None:
    """A value fills one segment and cannot leave it."""
    request = render(template(url="https://x.test/guilds/{external_id}"), {"external_id": "a/b?c#d%é"})
    assert request.url == "https://x.test/guilds/a%2Fb%3Fc%23d%25%C3%A9"


@pytest.mark.parametrize("value", ["", ".", ".."])
def test_a_value_that_would_address_another_resource_is_refused(value: str) -> None:
    """Dot segments and nothing at all are not ids."""
    with pytest.raises(InvalidInput):
        render(template(url="https://x.test/guilds/{external_id}"), {"external_id": value})


def test_a_value_is_literal_elsewhere() -> None:
    """Encoding of query and body is the client's work, done once."""
    request = render(
        template(query={"q": "{account_id}"}, form={"f": "{account_id}"}), {"account_id": "a/b c"}
    )
    assert request.query == {"q": "a/b c"}
    assert request.form == {"f": "a/b c"}


def test_text_around_a_secret_makes_a_secret() -> None:
    """A mixture is as secret as its most secret part."""
    request = render(
        template(headers={"X-Key": "key {access_token}"}, json={"t": "{access_token}", "n": "plain"}),
        {"access_token": Secret("canary")},
    )
    assert request.headers == {"X-Key": Secret("key canary")}
    assert request.json == {"t": Secret("canary"), "n": "plain"}
    assert "canary" not in repr(request)


def test_a_secret_in_the_url_is_refused() -> None:
    """Whatever the template says, no secret gets into a URL."""
    with pytest.raises(ConfigurationError) as caught:
        render(template(url="https://x.test/{access_token}"), {"access_token": Secret("canary")})
    assert "canary" not in str(caught.value)


@given(st.text(min_size=8), st.text(min_size=8))
def test_no_value_of_a_secret_is_ever_part_of_a_url(secret: str, other: str) -> None:
    """Every request of every definition, filled with arbitrary secrets, keeps them out of its URL."""
    values: dict[str, Value] = {
        "access_token": Secret("s" + secret),
        "refresh_token": Secret("r" + other),
        "external_id": "e1",
        "account_id": "a1",
    }
    client = Client(client_id="c1", client_secret=Secret("k" + other))
    for definition in CATALOG.all():
        for side in (definition.connection, definition.installation):
            for each in (side.probe.request, side.revocation, side.uninstall) if side else ():
                if each is None:
                    continue
                request = render(
                    each,
                    values,
                    header=HEADER,
                    client=client,
                    client_authentication=ClientAuthentication.POST,
                )
                assert isinstance(request.url, str)
                filled = each.url.replace("{external_id}", "e1").replace("{account_id}", "a1")
                assert request.url == filled


def test_a_missing_value_is_named() -> None:
    """The error says which fact was needed."""
    with pytest.raises(ConfigurationError, match=r"\{refresh_token\}"):
        render(template(form={"token": "{refresh_token}"}), {})


def test_a_header_value_cannot_start_another_header() -> None:
    """A line break in a value is refused."""
    with pytest.raises(InvalidInput, match="X-Account"):
        render(template(headers={"X-Account": "{account_id}"}), {"account_id": "1\r\nX-Admin: 1"})


def test_the_credential_is_sent_in_its_header() -> None:
    """``auth = "credential"`` adds the header as it was given."""
    request = render(template(auth=RequestAuth.CREDENTIAL), {}, header=HEADER)
    assert request.headers == {"Authorization": Secret("Bearer canary-access-token")}


def test_without_the_credential_there_is_no_request() -> None:
    """A request is never sent without the proof it needs."""
    with pytest.raises(ConfigurationError):
        render(template(auth=RequestAuth.CREDENTIAL), {})


def test_a_client_proves_itself_by_basic_with_encoded_parts() -> None:
    """RFC 6749 section 2.3.1: id and secret are form-encoded before they are joined."""
    request = render(
        template(auth=RequestAuth.CLIENT, form={}),
        {},
        client=CLIENT,
        client_authentication=ClientAuthentication.BASIC,
    )
    expected = base64.b64encode(b"client%3A1:canary%2Fclient+secret").decode()
    assert request.headers == {"Authorization": Secret(f"Basic {expected}")}
    assert request.form == {}


@pytest.mark.parametrize("body", ["form", "json"])
def test_a_client_proves_itself_in_the_body(body: str) -> None:
    """The body that is there gets id and secret."""
    request = render(
        template(auth=RequestAuth.CLIENT, **{body: {"a": "b"}}),
        {},
        client=CLIENT,
        client_authentication=ClientAuthentication.POST,
    )
    proof = {"a": "b", "client_id": "client:1", "client_secret": Secret("canary/client secret")}
    assert getattr(request, body) == proof
    assert request.headers == {}


def test_a_public_client_sends_its_id_alone() -> None:
    """A body is made when there is none."""
    request = render(
        template(auth=RequestAuth.CLIENT),
        {},
        client=Client(client_id="c1", client_secret=None),
        client_authentication=ClientAuthentication.NONE,
    )
    assert request.form == {"client_id": "c1"}


@pytest.mark.parametrize("client", [None, Client(client_id="c1", client_secret=None)])
def test_a_client_that_cannot_prove_itself_is_an_error(client: Client | None) -> None:
    """The remedy is on the provider config."""
    with pytest.raises(ConfigurationError, match="secret"):
        render(
            template(auth=RequestAuth.CLIENT),
            {},
            client=client,
            client_authentication=ClientAuthentication.BASIC,
        )


def test_the_refresh_token_is_what_discord_is_asked_to_revoke() -> None:
    """RFC 7009 section 2.1: the token that lives on goes first."""
    definition = CATALOG.get("discord")
    assert definition.connection
    assert definition.connection.revocation
    assert needed_values(definition.connection.revocation) == {"refresh_token"}
    request = render(
        definition.connection.revocation,
        {"refresh_token": Secret("r1"), "access_token": Secret("a1")},
        client=CLIENT,
        client_authentication=ClientAuthentication.BASIC,
    )
    assert (request.method, request.url) == ("POST", "https://discord.com/api/oauth2/token/revoke")
    assert request.form == {"token": Secret("r1")}


def test_the_bot_leaves_the_server_of_the_installation() -> None:
    """The uninstall request names the guild and carries the bot's header."""
    definition = CATALOG.get("discord")
    assert definition.installation
    assert definition.installation.uninstall
    request = render(
        definition.installation.uninstall,
        {"external_id": "81384788765712384"},
        header=("Authorization", Secret("Bot b1")),
    )
    assert request.method == "DELETE"
    assert request.url == "https://discord.com/api/v10/users/@me/guilds/81384788765712384"
    assert request.headers == {"Authorization": Secret("Bot b1")}


def test_drift_is_uninstalled_with_the_client_in_the_query() -> None:
    """The secret is a query value, kept apart from the URL and wrapped."""
    definition = CATALOG.get("drift")
    assert definition.installation
    assert definition.installation.uninstall
    request = render(definition.installation.uninstall, {}, header=HEADER, client=CLIENT)
    assert request.url == "https://driftapi.com/app/uninstall"
    assert request.query == {"clientId": "client:1", "clientSecret": Secret("canary/client secret")}
    assert "canary" not in repr(request)
