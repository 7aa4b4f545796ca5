"""Token responses: what is a grant, what is a refusal, and what is neither."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authpipe.domain.errors import ProviderRejected, ProviderUnavailable
from authpipe.domain.secret import Secret
from authpipe.net.message import Response
from authpipe.oauth.server import AuthorizationServer, ClientAuthentication, TokenFields
from authpipe.oauth.token import TokenGrant, read_token_response, refresh_request

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def granted(server: AuthorizationServer, response: Response) -> TokenGrant:
    return read_token_response(server, response, received_at=NOW)


def unavailable(server: AuthorizationServer, response: Response) -> ProviderUnavailable:
    with pytest.raises(ProviderUnavailable) as failed:
        granted(server, response)
    return failed.value


def unreadable(server: AuthorizationServer, response: Response) -> ProviderUnavailable:
    failed = unavailable(server, response)
    assert failed.sent is True
    return failed


def test_the_answer_of_rfc_6749_section_5_1_is_read(server, answer) -> None:
    """The example of the standard."""
    grant = granted(
        server(),
        answer(
            {
                "access_token": "2YotnFZFEjr1zCsicMWpAA",
                "token_type": "example",
                "expires_in": 3600,
                "refresh_token": "tGzv3JOkF0XG5Qx2TlKWIA",
                "example_parameter": "example_value",
            }
        ),
    )
    assert grant.access_token == Secret("2YotnFZFEjr1zCsicMWpAA")
    assert grant.refresh_token == Secret("tGzv3JOkF0XG5Qx2TlKWIA")
    assert (grant.token_type, grant.lifetime_s) == ("example", 3600)
    assert grant.expires_at == NOW + timedelta(hours=1)
    assert grant.scopes is None
    assert grant.facts["example_parameter"] == "example_value"
    assert not {"access_token", "refresh_token"} & grant.facts.keys()


def test_a_grant_prints_no_secret(server, answer) -> None:
    """Not even one in a field nobody declared."""
    grant = granted(
        server(), answer({"access_token": "canary-1", "refresh_token": "canary-2", "odd": "canary-3"})
    )
    assert "canary" not in repr(grant)


def test_a_form_is_read_when_the_content_type_says_so(server, answer) -> None:
    """Some endpoints answer so unless asked for JSON; some even then."""
    form = (
        "access_token=gho_16C7e42F292c6912E7710c838347&scope=repo%2Cgist&token_type=bearer&expires_in=28800"
    )
    grant = granted(server(), answer(form, content_type="application/x-www-form-urlencoded; charset=utf-8"))
    assert grant.access_token == Secret("gho_16C7e42F292c6912E7710c838347")
    assert (grant.scopes, grant.lifetime_s) == (("repo", "gist"), 28800)
    unreadable(server(), answer(form, content_type="text/html"))


def test_a_form_that_names_a_field_twice_is_unreadable(server, answer) -> None:
    """Which one counts is anyone's guess."""
    unreadable(
        server(), answer("access_token=a&access_token=b", content_type="application/x-www-form-urlencoded")
    )


@pytest.mark.parametrize(
    ("told", "read"),
    [
        (3600, 3600),
        ("3600", 3600),
        (" 3600 ", 3600),
        (3599.9, 3599),
        ("3600.5", 3600),
        (1, 1),
        (10**9, 315_360_000),
        (10**39, 315_360_000),
    ],
)
def test_a_lifetime_is_read_as_a_number_or_as_text(server, answer, told: object, read: int) -> None:
    """Whole seconds, at most ten years."""
    grant = granted(server(), answer({"access_token": "a", "expires_in": told}))
    assert grant.lifetime_s == read
    assert grant.expires_at == NOW + timedelta(seconds=read)


@pytest.mark.parametrize(
    "told", ["0", "-1", '"soon"', "NaN", '"NaN"', "Infinity", '"inf"', "1e999", "true", "[]", "{}", '""']
)
def test_a_lifetime_that_makes_no_sense_does_not_cost_the_token(server, answer, told: str) -> None:
    """It counts as the default, as an hour where a refresh is possible, else as none."""
    alone = f'{{"access_token": "a", "expires_in": {told}}}'
    refreshable = f'{{"access_token": "a", "refresh_token": "r", "expires_in": {told}}}'
    assert granted(server(), answer(alone)).lifetime_s is None
    assert granted(server(default_lifetime_s=7200), answer(alone)).lifetime_s == 7200
    assert granted(server(), answer(refreshable)).lifetime_s == 3600


@pytest.mark.parametrize("body", [{"access_token": "a"}, {"access_token": "a", "expires_in": None}])
def test_a_lifetime_that_is_not_told_is_the_servers_default(server, answer, body: dict[str, Any]) -> None:
    """None: such a token does not expire."""
    assert granted(server(), answer(body)).expires_at is None
    assert granted(server(default_lifetime_s=60), answer(body)).expires_at == NOW + timedelta(minutes=1)


def test_the_end_of_the_refresh_token_is_read(server, answer) -> None:
    """Numbers as text here as well."""
    grant = granted(server(), answer({"access_token": "a", "refresh_token_expires_in": "15811200"}))
    assert grant.refresh_expires_at == NOW + timedelta(seconds=15811200)


@pytest.mark.parametrize(
    ("told", "read"),
    [
        ("identify guilds", ("identify", "guilds")),
        ("chat:write,commands", ("chat:write", "commands")),
        ("a, b  a\tc", ("a", "b", "c")),
        (["a", "b", 1, ""], ("a", "b")),
        ("", ()),
        ([], ()),
        (7, None),
        (None, None),
        ({"a": 1}, None),
    ],
)
def test_scopes_come_in_every_separator_or_as_a_list(server, answer, told: object, read: object) -> None:
    """Empty text names no scope; no field means as requested."""
    assert granted(server(), answer({"access_token": "a", "scope": told})).scopes == read


def test_scopes_are_split_at_the_servers_own_separator_too(server, answer) -> None:
    """Whatever it is."""
    assert granted(server(scope_separator="|"), answer({"access_token": "a", "scope": "x|y"})).scopes == (
        "x",
        "y",
    )


@pytest.mark.parametrize(
    ("told", "read"), [("Bearer", "bearer"), ("bot", "bot"), (None, "bearer"), (5, "bearer")]
)
def test_the_token_type_is_case_insensitive_and_may_be_missing(
    server, answer, told: object, read: str
) -> None:
    """RFC 6749 section 5.1."""
    assert granted(server(), answer({"access_token": "a", "token_type": told})).token_type == read


def test_fields_are_found_at_their_dotted_paths(server, answer) -> None:
    """The other side's token in the same answer stays, wrapped."""
    fields = TokenFields(
        access_token="authed_user.access_token",
        refresh_token="authed_user.refresh_token",
        scope="authed_user.scope",
        expires_in="authed_user.expires_in",
    )
    body = {
        "ok": True,
        "access_token": "xoxb-canary",
        "scope": "commands",
        "authed_user": {"id": "U2", "access_token": "xoxp-canary", "scope": "a,b", "expires_in": 43200},
        "team": {"id": "T1"},
    }
    grant = granted(server(token_fields=fields), answer(body))
    assert (grant.access_token, grant.scopes, grant.lifetime_s) == (Secret("xoxp-canary"), ("a", "b"), 43200)
    assert grant.facts["access_token"] == Secret("xoxb-canary")
    assert grant.facts["authed_user"] == {"id": "U2", "scope": "a,b", "expires_in": 43200}
    assert "canary" not in repr(grant.facts)


def test_declared_and_undeclared_secrets_in_the_facts_are_wrapped(server, answer) -> None:
    """Declared ones by path, whatever type they have; tokens by their name at any depth."""
    body = {
        "access_token": "a",
        "id_token": "canary-0",
        "webhook": {"id": "1", "token": "canary-1", "url": "https://x/canary-1"},
        "keys": [{"k": "canary-2"}],
        "pin": 1234,
        "nested": [{"refresh_token": "canary-3", "client_secret": None}],
    }
    paths = ("webhook.token", "webhook.url", "keys.0.k", "pin", "missing.path", "webhook.id.deeper")
    facts = granted(server(secret_paths=paths), answer(body)).facts
    assert "canary" not in repr(facts)
    assert "id_token" not in facts
    assert facts["webhook"]["id"] == "1"
    assert facts["webhook"]["token"] == Secret("canary-1")
    assert facts["pin"] == Secret("1234")
    assert facts["nested"] == [{"refresh_token": Secret("canary-3"), "client_secret": None}]


def test_a_secret_that_holds_secrets_is_wrapped_whole(server, answer) -> None:
    """A provider may put an object where a text was declared, with a token in it: the grant is not lost."""
    body = {"access_token": "a", "webhook": {"token": {"access_token": "canary", "kind": [1]}}}
    facts = granted(server(secret_paths=("webhook.token", "webhook")), answer(body)).facts
    assert "canary" not in repr(facts)
    assert isinstance(facts["webhook"], Secret)
    assert "canary" in facts["webhook"].reveal()


def test_facts_can_be_stored(server, answer) -> None:
    """No NUL, no unpaired surrogate, no NaN: a database would refuse the whole grant for them."""
    facts = granted(
        server(), answer('{"access_token": "a", "n\\u0000": "x\\u0000y\\ud800z", "f": NaN}')
    ).facts
    assert facts == {"n": "xy?z", "f": "NaN"}


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not json",
        "<html>",
        '{"access_token": "a"',
        "[]",
        '"a"',
        "null",
        "{}",
        '{"access_token": null}',
        '{"access_token": ""}',
        '{"access_token": 5}',
        '{"access_token": ["a"]}',
        '{"access_token": "a b"}',
        '{"access_token": "a\\r\\nX: y"}',
        '{"access_token": "a\\u0000"}',
        '{"access_token": "\\u00e9"}',
        '{"access_token": "a", "refresh_token": 5}',
        '{"access_token": "a", "refresh_token": "r\\n"}',
        '{"access_token": "a", "refresh_token": "\\ud800"}',
        b"\xff\xfe\x00",
        "[" * 100_000,
        '{"access_token": "a", "x": ' + "[" * 40 + "]" * 40 + "}",
        '{"access_token": "a", "x": ' + "1" * 5000 + "x}",
    ],
)
def test_a_success_that_cannot_be_read_has_an_unknown_outcome(server, answer, body: str | bytes) -> None:
    """The provider may have spent the code or rotated the refresh token."""
    unreadable(server(), answer(body))


def test_a_token_has_a_bounded_length(server, answer) -> None:
    """16 KiB is room for every JWT seen so far."""
    assert granted(server(), answer({"access_token": "a" * 16384}))
    unreadable(server(), answer({"access_token": "a" * 16385}))
    unreadable(server(), answer({"access_token": "a", "refresh_token": "a" * 16385}))


def test_an_unreadable_answer_is_not_quoted(server, answer) -> None:
    """It may hold half a token."""
    failed = unreadable(server(), answer('{"access_token": "canary'))
    assert "canary" not in repr(failed) + str(failed.detail)
    assert failed.__context__ is None


@pytest.mark.parametrize(
    ("body", "status", "error", "description"),
    [
        ({"error": "invalid_grant", "error_description": 'No "it"'}, 400, "invalid_grant", 'No "it"'),
        ({"error": "invalid_client"}, 401, "invalid_client", None),
        ({"error": "bad_verification_code", "error_description": "x"}, 200, "bad_verification_code", "x"),
        ({"ok": False, "error": "invalid_auth"}, 200, "invalid_auth", None),
        ({"ok": False}, 200, "http_200", None),
        ({"error": {"code": "invalid_grant", "message": "gone"}}, 400, "invalid_grant", "gone"),
        ({"error": {"code": 190, "type": "OAuthException"}}, 400, "190", None),
        ({"error": True}, 400, "http_400", None),
        ({"message": "Forbidden"}, 403, "http_403", "Forbidden"),
        ({"access_token": "a", "error": "oops"}, 200, "oops", None),
        ("<html>", 404, "http_404", None),
        ("", 401, "http_401", None),
        ("[]", 400, "http_400", None),
    ],
)  # fmt: skip
def test_a_refusal_keeps_the_providers_own_words(
    server, client, answer, body: object, status: int, error: str, description: str | None
) -> None:
    """Code, description and status stay apart, also in an answer with status 200."""
    request = refresh_request(server(), client, refresh_token=Secret("r-token"))
    with pytest.raises(ProviderRejected) as rejected:
        read_token_response(server(), answer(body, status), received_at=NOW, request=request)
    assert (rejected.value.error, rejected.value.description, rejected.value.status) == (
        error,
        description,
        status,
    )


def test_an_error_in_a_form_is_a_refusal(server, answer) -> None:
    """The same endpoint, the same format."""
    form = "error=bad_refresh_token&error_description=expired"
    with pytest.raises(ProviderRejected) as rejected:
        granted(server(), answer(form, content_type="application/x-www-form-urlencoded"))
    assert rejected.value.error == "bad_refresh_token"


@pytest.mark.parametrize("extra", [{"error": ""}, {"error": None}, {"error": False}, {"ok": True}])
def test_an_empty_error_is_none(server, answer, extra: dict[str, Any]) -> None:
    """Some always send the field."""
    assert granted(server(), answer({"access_token": "a", **extra})).access_token == Secret("a")


@pytest.mark.parametrize("method", list(ClientAuthentication))
def test_a_description_that_echoes_what_we_sent_is_cleaned(
    server, client, answer, method: ClientAuthentication
) -> None:
    """Plain, percent-encoded, and the client secret out of the Basic header; in the code as well."""
    asked = server(client_authentication=method)
    request = refresh_request(asked, client, refresh_token=Secret("canary/+ token"))
    echo = "canary/+ token canary%2F%2B%20token canary%2F%2B+token " + (
        "7Fjfp0ZBr1KtDRbnfVdmIw czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3"
        if method is ClientAuthentication.BASIC
        else ""
    )
    body = {"error": "no canary/+ token", "error_description": echo}
    with pytest.raises(ProviderRejected) as rejected:
        read_token_response(asked, answer(body, 400), received_at=NOW, request=request)
    said = repr(rejected.value) + str(vars(rejected.value))
    assert "canary" not in said
    assert "7Fjfp" not in said
    assert "czZCa" not in said
    assert rejected.value.error == "no ***"


def test_without_the_request_no_description_is_kept(server, answer) -> None:
    """What we sent is not known, so what is echoed cannot be cleaned."""
    with pytest.raises(ProviderRejected) as rejected:
        granted(server(), answer({"error": "invalid_grant", "error_description": "canary"}, 400))
    assert rejected.value.description is None


def test_words_of_a_refusal_are_cleaned_and_cut(server, client, answer) -> None:
    """They end in logs and on pages."""
    request = refresh_request(server(), client, refresh_token=Secret("r-token"))
    body = {"error": "e" * 1000 + "\n", "error_description": "a\x1b[2Jb\n" + "x" * 10_000}
    with pytest.raises(ProviderRejected) as rejected:
        read_token_response(server(), answer(body, 400), received_at=NOW, request=request)
    assert len(rejected.value.error) == 100
    assert rejected.value.description is not None
    assert rejected.value.description.startswith("a [2Jb x")
    assert len(rejected.value.description) == 500


@pytest.mark.parametrize("status", [301, 302, 307, 408, 425, 500, 502, 503, 529, 100, 304])
def test_what_the_server_could_not_do_is_transient(server, answer, status: int) -> None:
    """Whatever the body claims; the provider may have acted all the same."""
    unreadable(server(), answer({"error": "invalid_grant"}, status))


def test_a_rate_limit_is_transient_and_was_not_acted_upon(server, answer) -> None:
    """By its status or by its name; the refresh token is as good as before."""
    assert unavailable(server(), answer({"error": "invalid_grant"}, 429)).sent is False
    assert unavailable(server(), answer({"ok": False, "error": "ratelimited"}, 200)).sent is False
    assert unavailable(server(), answer({"error": "server_error"}, 400)).sent is True


@pytest.mark.parametrize("error", ["temporarily_unavailable", "server_error", "ratelimited", "slow_down"])
def test_an_error_that_means_later_is_transient_whatever_its_status(server, answer, error: str) -> None:
    """Also with 200 and 400."""
    for status in (200, 400):
        assert unavailable(server(), answer({"error": error}, status, retry_after="7")).retry_after_s == 7


@pytest.mark.parametrize(
    ("header", "body", "wait"),
    [
        ("30", {}, 30),
        ("1.5", {}, 1.5),
        ("Fri, 02 Jan 2026 03:05:05 GMT", {}, 60),
        ("Fri, 02 Jan 2026 03:00:00 GMT", {}, 0),
        ("Fri, 02 Jan 2026 03:05:05", {}, 60),
        (None, {"retry_after": 0.337}, 0.337),
        (None, {"retry_after": "2"}, 2),
        ("30", {"retry_after": 5}, 30),
        ("soon", {"retry_after": 5}, 5),
        ("-5", {}, 0),
        ("1e9", {}, 86400),
        ("nan", {}, None),
        ("inf", {}, None),
        ("", {}, None),
        (None, {"retry_after": True}, None),
        (None, {"retry_after": [1]}, None),
        (None, {}, None),
    ],
)  # fmt: skip
def test_the_wish_to_wait_is_read_in_every_form(
    server, answer, header: str | None, body: dict[str, Any], wait: float | None
) -> None:
    """Seconds, a date, or a number in the body; at most a day."""
    headers = {} if header is None else {"retry_after": header}
    assert unavailable(server(), answer(body, 429, **headers)).retry_after_s == wait


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("a"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from(
    [
        "access_token", "refresh_token", "expires_in", "refresh_token_expires_in", "scope", "token_type",
        "error", "error_description", "ok", "retry_after", "message", "id_token",
    ]
)  # fmt: skip
bodies = st.one_of(
    st.binary(),
    st.text().map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.dictionaries(names, json_values).map(lambda document: json.dumps(document).encode()),
    st.dictionaries(names, json_values).map(
        lambda document: json.dumps({"access_token": "a", **document}).encode()
    ),
)
content_types = st.sampled_from(
    ["application/json", "application/x-www-form-urlencoded", "", "text/html; a=b"]
)


@settings(max_examples=400, deadline=None)
@given(bodies, st.integers(100, 599) | st.just(200), content_types, st.text())
def test_no_answer_raises_anything_but_a_provider_error(
    server, body: bytes, status: int, content_type: str, retry_after: str
) -> None:
    """Whatever the bytes are; and a grant can be kept."""
    response = Response(
        status=status, headers={"content-type": content_type, "retry-after": retry_after}, body=body
    )
    asked = server(secret_paths=("scope", "message.0", "error"))
    try:
        grant = granted(asked, response)
    except (ProviderUnavailable, ProviderRejected):
        return
    assert 200 <= status < 300
    assert grant.access_token.reveal().isascii()
    json.dumps(grant.facts, default=lambda secret: secret.masked(), allow_nan=False).encode()
