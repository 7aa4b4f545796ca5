"""Requests to the token endpoint."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from authpipe.domain.errors import ConfigurationError
from authpipe.domain.secret import Secret
from authpipe.net.message import Value
from authpipe.oauth.client_proof import basic
from authpipe.oauth.sent import sent_secrets
from authpipe.oauth.server import BodyFormat, Client, ClientAuthentication
from authpipe.oauth.token import code_request, refresh_request


def plain(values: object) -> dict[str, str]:
    assert isinstance(values, dict)
    items: dict[str, Value] = values
    return {name: value.reveal() if isinstance(value, Secret) else value for name, value in items.items()}


def test_a_code_is_traded_as_in_rfc_6749_section_4_1_3(server, client) -> None:
    """The example of the standard, Basic header and all."""
    request = code_request(
        server(),
        client,
        code=Secret("SplxlOBeZQQYbYS6WxSbIA"),
        redirect_uri="https://client.example.com/cb",
        verifier=None,
    )
    assert (request.method, request.url) == ("POST", "https://server.example/token")
    assert plain(request.headers)["Authorization"] == "Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3"
    assert plain(request.form) == {
        "grant_type": "authorization_code",
        "code": "SplxlOBeZQQYbYS6WxSbIA",
        "redirect_uri": "https://client.example.com/cb",
    }


def test_a_refresh_is_that_of_rfc_6749_section_6(server, client) -> None:
    """Scopes only when asked for, joined as the server wants."""
    request = refresh_request(server(), client, refresh_token=Secret("tGzv3JOkF0XG5Qx2TlKWIA"))
    assert plain(request.form) == {"grant_type": "refresh_token", "refresh_token": "tGzv3JOkF0XG5Qx2TlKWIA"}
    narrowed = refresh_request(
        server(scope_separator=","), client, refresh_token=Secret("t"), scopes=["a", "b"]
    )
    assert plain(narrowed.form)["scope"] == "a,b"


def test_the_verifier_goes_with_the_code(server, client) -> None:
    """RFC 7636 section 4.5."""
    request = code_request(
        server(), client, code=Secret("c"), redirect_uri="https://x/", verifier=Secret("v")
    )
    assert plain(request.form)["code_verifier"] == "v"


def test_the_secret_goes_where_the_server_wants_it(server, client) -> None:
    """In the header or in the body, never in both; a public client names itself only."""
    post = refresh_request(
        server(client_authentication=ClientAuthentication.POST), client, refresh_token=Secret("t")
    )
    assert "Authorization" not in post.headers
    assert plain(post.form)["client_secret"] == "7Fjfp0ZBr1KtDRbnfVdmIw"
    assert plain(post.form)["client_id"] == "s6BhdRkqt3"
    none = refresh_request(
        server(client_authentication=ClientAuthentication.NONE), client, refresh_token=Secret("t")
    )
    assert plain(none.form)["client_id"] == "s6BhdRkqt3"
    assert "client_secret" not in plain(none.form)


def test_a_server_that_wants_json_gets_json(server, client) -> None:
    """The same fields."""
    request = refresh_request(server(token_body=BodyFormat.JSON), client, refresh_token=Secret("t"))
    assert request.form is None
    assert plain(request.json) == {"grant_type": "refresh_token", "refresh_token": "t"}


def test_basic_parts_are_form_encoded_before_they_are_joined() -> None:
    """RFC 6749 section 2.3.1: a colon in the id or the secret must not move the border between them."""
    value = basic("a:b", Secret("p:w %+é")).reveal()
    assert base64.b64decode(value.removeprefix("Basic ")) == b"a%3Ab:p%3Aw+%25%2B%C3%A9"


@pytest.mark.parametrize("method", [ClientAuthentication.BASIC, ClientAuthentication.POST])
def test_a_missing_client_secret_is_the_operators_error(
    server, client: Client, method: ClientAuthentication
) -> None:
    """Nothing is sent that the provider would refuse anyway."""
    with pytest.raises(ConfigurationError):
        refresh_request(
            server(client_authentication=method),
            replace(client, client_secret=None),
            refresh_token=Secret("t"),
        )


def test_a_request_prints_no_secret(server, client) -> None:
    """Every secret in it is still wrapped."""
    for method in ClientAuthentication:
        request = code_request(
            server(client_authentication=method),
            client,
            code=Secret("canary-code"),
            redirect_uri="https://x/",
            verifier=Secret("canary-verifier"),
        )
        assert "canary" not in repr(request)
        assert "7Fjfp0ZBr1KtDRbnfVdmIw" not in repr(request)


def test_the_secrets_of_a_request_are_known_for_cleaning_its_answer(server, client) -> None:
    """Also the client secret that stands inside the Basic header."""
    request = refresh_request(server(), client, refresh_token=Secret("refresh-1"))
    known = [secret.reveal() for secret in sent_secrets(request)]
    assert {"refresh-1", "7Fjfp0ZBr1KtDRbnfVdmIw"} <= set(known)
