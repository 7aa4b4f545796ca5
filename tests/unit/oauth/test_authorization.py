"""The authorization request, and the answer that comes back through the browser."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authpipe.domain.errors import ConfigurationError, ConnectError
from authpipe.domain.secret import Secret
from authpipe.oauth.authorization import authorization_url, check_issuer, read_callback
from authpipe.oauth.server import ClientAuthentication

OURS = {
    "redirect_uri": "https://client.example.com/cb",
    "scopes": ["identify", "guilds"],
    "state": Secret("xyz"),
    "code_challenge": None,
}


def query_of(url: str) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(url).query, keep_blank_values=True, strict_parsing=True)


def test_the_request_is_that_of_rfc_6749_section_4_1_1(server) -> None:
    """The example of the standard, with its parameters."""
    url = authorization_url(server(), "s6BhdRkqt3", **{**OURS, "scopes": []})
    assert url.startswith("https://server.example/authorize?")
    assert dict(query_of(url)) == {
        "response_type": "code",
        "client_id": "s6BhdRkqt3",
        "state": "xyz",
        "redirect_uri": "https://client.example.com/cb",
    }


def test_a_challenge_goes_with_its_method(server) -> None:
    """S256, never plain."""
    query = dict(query_of(authorization_url(server(), "id", **{**OURS, "code_challenge": "E9Melhoa"})))
    assert (query["code_challenge"], query["code_challenge_method"]) == ("E9Melhoa", "S256")


def test_a_client_without_a_secret_must_send_a_challenge(server) -> None:
    """Nothing else would keep a code it lost from being used (RFC 9700 section 2.1.1)."""
    public = server(client_authentication=ClientAuthentication.NONE)
    with pytest.raises(ConfigurationError, match="PKCE"):
        authorization_url(public, "id", **OURS)
    assert "code_challenge=E9" in authorization_url(public, "id", **{**OURS, "code_challenge": "E9Melhoa"})


def test_scopes_are_joined_as_the_server_wants(server) -> None:
    """A space by the standard, a comma at some."""
    assert dict(query_of(authorization_url(server(), "id", **OURS)))["scope"] == "identify guilds"
    commas = server(scope_separator=",")
    assert dict(query_of(authorization_url(commas, "id", **OURS)))["scope"] == "identify,guilds"


def test_parameters_add_to_the_servers_and_win_over_them(server) -> None:
    """An endpoint's own query stays as well."""
    odd = server(
        authorize_url="https://server.example/authorize?tenant=7",
        authorize_parameters={"prompt": "consent", "access_type": "offline"},
    )
    query = dict(query_of(authorization_url(odd, "id", **OURS, parameters={"prompt": "none"})))
    assert (query["tenant"], query["prompt"], query["access_type"]) == ("7", "none", "offline")


def test_plain_http_is_possible_where_the_egress_policy_allows_it(server) -> None:
    """The sandbox on this machine; the rule on schemes is kept at the door, not here."""
    local = server(authorize_url="http://127.0.0.1:8000/authorize")
    assert authorization_url(local, "id", **OURS).startswith("http://127.0.0.1:8000/authorize?")


@pytest.mark.parametrize(
    "name",
    [
        "response_type",
        "client_id",
        "redirect_uri",
        "scope",
        "state",
        "code_challenge",
        "response_mode",
        "request_uri",
    ],
)
def test_what_decides_the_meaning_cannot_be_configured(server, name: str) -> None:
    """Neither by the caller, nor by the definition, nor inside the endpoint."""
    for changes, parameters in (
        ({}, {name: "token"}),
        ({"authorize_parameters": {name: "token"}}, {}),
        ({"authorize_url": f"https://server.example/authorize?{name}=token"}, {}),
        ({"authorize_url": f"https://server.example/authorize?{name}="}, {}),
    ):
        with pytest.raises(ConfigurationError):
            authorization_url(server(**changes), "id", **OURS, parameters=parameters)


def test_an_endpoint_with_a_fragment_is_refused(server) -> None:
    """RFC 6749 section 3.1."""
    with pytest.raises(ConfigurationError):
        authorization_url(server(authorize_url="https://server.example/authorize#x"), "id", **OURS)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_no_value_escapes_its_parameter(server, text: str) -> None:
    """Every value is read back as it was, and there is one response type."""
    url = authorization_url(
        server(),
        text,
        redirect_uri=text,
        scopes=[text],
        state=Secret(text),
        code_challenge=text,
        parameters={"x": text},
    )
    query = query_of(url)
    assert [value for name, value in query if name == "response_type"] == ["code"]
    assert dict(query)["state"] == dict(query)["x"] == dict(query)["client_id"] == text


def test_a_callback_is_read_into_its_parts() -> None:
    """Code and state are secrets at once; the rest is kept for whoever knows it."""
    read = read_callback(
        [("code", "c-1"), ("state", "s-1"), ("iss", "https://server.example"), ("guild_id", "5")]
    )
    assert (read.code, read.state) == (Secret("c-1"), Secret("s-1"))
    assert (read.issuer, dict(read.rest), read.error) == ("https://server.example", {"guild_id": "5"}, None)
    assert "c-1" not in repr(read)
    assert "s-1" not in repr(read)


def test_an_error_leaves_no_code() -> None:
    """A code beside an error is not to be used."""
    read = read_callback([("error", "access_denied"), ("code", "c"), ("state", "s")])
    assert (read.error, read.code, read.state) == ("access_denied", None, Secret("s"))


def test_a_callback_without_code_and_error_is_read_as_such() -> None:
    """An installation that waits for approval sends neither."""
    read = read_callback([("setup_action", "request"), ("code", "")])
    assert (read.code, read.error, read.rest["setup_action"]) == (None, None, "request")


@pytest.mark.parametrize("name", ["code", "state", "error", "iss", "error_description"])
def test_a_parameter_of_the_protocol_that_stands_twice_is_refused(name: str) -> None:
    """Which one counts would be the attacker's to choose; equal values are no better."""
    with pytest.raises(ConnectError) as refused:
        read_callback([(name, "a"), ("x", "y"), (name, "a")])
    assert refused.value.code == "callback_malformed"


@pytest.mark.parametrize(
    ("name", "longest"), [("code", 8192), ("state", 1024), ("iss", 2048), ("error", 200)]
)
def test_a_parameter_longer_than_any_providers_is_refused(name: str, longest: int) -> None:
    """The bound itself is allowed."""
    read_callback([(name, "x" * longest)])
    with pytest.raises(ConnectError) as refused:
        read_callback([(name, "x" * (longest + 1))])
    assert refused.value.code == "callback_malformed"
    assert "xxxx" not in repr(refused.value) + str(refused.value.detail)


@pytest.mark.parametrize("value", ["a\x00", "a\nb", "\ud800"])
@pytest.mark.parametrize("name", ["code", "state"])
def test_a_code_or_state_that_cannot_be_printed_is_refused(name: str, value: str) -> None:
    """No provider makes such a one (RFC 6749 appendix A)."""
    with pytest.raises(ConnectError) as refused:
        read_callback([(name, value)])
    assert refused.value.code == "callback_malformed"


def test_text_for_people_is_cleaned_and_cut() -> None:
    """It comes through the browser, so anyone may have written it."""
    read = read_callback(
        [
            ("error", "access\x1b[31m_denied"),
            ("error_description", "The\r\nuser\x00 said\u202e no " + "x" * 900),
        ]
    )
    assert read.error == "access [31m_denied"
    assert read.error_description is not None
    assert read.error_description.startswith("The user said no xxx")
    assert len(read.error_description) == 500


names = st.sampled_from(["code", "state", "error", "error_description", "iss"]) | st.text()


@given(st.lists(st.tuples(names, st.text() | st.just("\ud800")), unique_by=lambda pair: pair[0]))
def test_any_query_is_read_or_refused(query: list[tuple[str, str]]) -> None:
    """With the one error the pages can show."""
    try:
        read = read_callback(query)
    except ConnectError:
        return
    assert len(read.rest) <= 32


def test_the_rest_of_a_callback_is_bounded() -> None:
    """In number and in length."""
    read = read_callback([(f"p{n}", "v" * 5000) for n in range(100)])
    assert len(read.rest) == 32
    assert {len(value) for value in read.rest.values()} == {1024}


@pytest.mark.parametrize(
    ("known", "always", "sent", "fits"),
    [
        ("https://a.example", True, "https://a.example", True),
        ("https://a.example", True, "https://a.example/", False),
        ("https://a.example", True, "https://A.example", False),
        ("https://a.example", True, "https://b.example", False),
        ("https://a.example", True, None, False),
        ("https://a.example", False, None, True),
        ("https://a.example", False, "https://b.example", False),
        (None, False, "https://b.example", True),
        (None, False, None, True),
        (None, True, "https://b.example", False),
        (None, True, None, False),
    ],
)
def test_the_issuer_is_compared_exactly(
    server, known: str | None, always: bool, sent: str | None, fits: bool
) -> None:
    """RFC 9207: when both are known, and always when the server promises to send it."""
    asked = server(issuer=known, issuer_in_callback=always)
    read = read_callback([("code", "c")] + ([("iss", sent)] if sent else []))
    if fits:
        check_issuer(asked, read)
    else:
        with pytest.raises(ConnectError) as refused:
            check_issuer(asked, read)
        assert refused.value.code == "issuer_mismatch"
