"""Which return URLs and origins are allowed: the wall against open redirects."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authpipe.access.return_urls import (
    canonical_origin,
    origin_allowed,
    origin_of,
    origin_problem,
    return_url_allowed,
    return_url_problem,
)
from authpipe.domain.environment import Environment, EnvironmentKind

DEVELOPMENT, PRODUCTION = EnvironmentKind.DEVELOPMENT, EnvironmentKind.PRODUCTION


def environment(
    *return_urls: str, origins: tuple[str, ...] = (), kind: EnvironmentKind = PRODUCTION
) -> Environment:
    return Environment(
        environment_id=UUID(int=1),
        name="e",
        kind=kind,
        return_urls=return_urls,
        origins=origins,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


EXACT = environment("https://app.example/connect/done")
BELOW = environment("https://app.example/connect/*")


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        (EXACT, "https://app.example/connect/done"),
        (EXACT, "HTTPS://App.Example:443/connect/done"),
        (BELOW, "https://app.example/connect/"),
        (BELOW, "https://app.example/connect/a/b?x=1&y=/..;"),
        (BELOW, "https://app.example/connect/a%20b"),
        (environment("https://app.example/*"), "https://app.example"),
        (environment("https://app.example/*"), "https://app.example/anything"),
        (environment("https://app.example"), "https://app.example/"),
        (environment("https://app.example/"), "https://app.example"),
        (environment("https://app.example/a?b=c"), "https://app.example/a?b=c"),
        (environment("https://app.example:8443/a"), "https://app.example:8443/a"),
        (environment("https://[2001:db8::1]/a"), "https://[2001:DB8::1]/a"),
        (environment("http://localhost:3000/*", kind=DEVELOPMENT), "http://localhost:3000/x"),
    ],
)
def test_what_was_allowed_is_allowed(allowed: Environment, url: str) -> None:
    """Case and the usual port make no difference in scheme and host; a prefix covers what lies below it."""
    assert return_url_allowed(allowed, url)


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example/connect/done/",
        "https://app.example/connect/done?x=1",
        "https://app.example/connect/Done",
        "https://app.example/connect/don%65",
        "https://app.example/connect",
        "http://app.example/connect/done",
        "https://app.example:444/connect/done",
        "https://app.example.evil/connect/done",
        "https://evil.example/connect/done",
        "https://sub.app.example/connect/done",
        "//app.example/connect/done",
        "/connect/done",
        "javascript:alert(1)//app.example/connect/done",
        "",
    ],
)
def test_an_exact_url_allows_itself_alone(url: str) -> None:
    """Another path, query, port, scheme or host is another URL."""
    assert not return_url_allowed(EXACT, url)


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example/connect",
        "https://app.example/connected/x",
        "https://app.example/connect/../x",
        "https://app.example/connect/..",
        "https://app.example/connect/./x",
        "https://app.example/connect/..;/x",
        "https://app.example/connect/..;a=b/x",
        "https://app.example/connect/%2e%2e/x",
        "https://app.example/connect/.%2E/x",
        "https://app.example/connect/..%2fx",
        "https://app.example/connect/%252e%252e/x",
        "https://app.example/connect/%5c..%5cx",
        "https://app.example/connect/\\..\\x",
        "https://app.example/connect//evil.example",
        "https://app.example/connect/%00",
        "https://app.example/connect/%0d%0aSet-Cookie:x",
        "https://app.example/connect/\r\nx",
        "https://app.example/connect/\tx",
        "https://app.example/connect/x#@evil.example",
        "https://app.example/connect/%zz",
        "https://app.example/connect/x y",
        "https://app.example/connect/é",
        "https://app.example@evil.example/connect/x",
        "https://app.example:pw@evil.example/connect/x",
        "https://evil.example\\@app.example/connect/x",
        "https://evil.example/https://app.example/connect/x",
        "https://app.example%2eevil.example/connect/x",
        "https://app.example./connect/x",
        "https://app.example:/connect/x",
        "https://app.example:0443/connect/x",
        "https://app.example:443:443/connect/x",
        "https://app.example:99999/connect/x",
        "https:/app.example/connect/x",
        "https:///app.example/connect/x",
        "https://app.example?/connect/x",
        " https://app.example/connect/x",
        "https://app.example/connect/x\n",
        "https://app.example/connect/" + "x" * 2048,
    ],
)
def test_a_prefix_allows_nothing_that_could_be_read_as_outside(url: str) -> None:
    """Dot segments, encoded separators, user information, look-alike hosts: refused, not interpreted."""
    assert not return_url_allowed(BELOW, url)


def test_a_look_alike_letter_is_another_host() -> None:
    """The Kelvin sign has "k" as its lower case."""
    assert return_url_allowed(environment("https://ok.example/*"), "https://OK.example/")
    assert not return_url_allowed(environment("https://ok.example/*"), "https://o\u212a.example/")


def test_a_plain_http_url_is_for_loopback_in_development_alone() -> None:
    """Even where a list holds it already."""
    for url in ("http://localhost/", "http://app.localhost/", "http://127.0.0.1:3000/", "http://[::1]/"):
        assert return_url_problem(url, DEVELOPMENT) is None
        assert return_url_problem(url, PRODUCTION) == "must begin with https:// in a production environment"
        assert return_url_allowed(environment(url, kind=DEVELOPMENT), url)
        assert not return_url_allowed(environment(url, kind=PRODUCTION), url)
    for url in (
        "http://app.example/",
        "http://localhost.evil/",
        "http://127.0.0.1.evil/",
        "http://10.0.0.1/",
    ):
        assert return_url_problem(url, DEVELOPMENT) == "must begin with https:// unless it is on this machine"
        assert not return_url_allowed(environment(url, kind=DEVELOPMENT), url)


@pytest.mark.parametrize(
    "pattern",
    [
        "https://*.example/",
        "https://*/",
        "https://app.example*",
        "https://app.example/a*",
        "https://app.example/*/b",
        "https://app.example/**",
        "https://app.example/*?x=1",
        "https://app.example/a?x=/*",
        "https://app.example/../*",
        "https://app.example//*",
        "https://u@app.example/",
        "https://app.example/#a",
        "ftp://app.example/",
        "app.example/",
        "*",
        "",
    ],
)
def test_a_pattern_with_another_wildcard_or_a_trick_is_not_taken(pattern: str) -> None:
    """A star may stand for what lies below a path, and for nothing else."""
    assert return_url_problem(pattern, PRODUCTION) is not None
    assert return_url_problem(pattern, DEVELOPMENT) is not None


@pytest.mark.parametrize(
    "origin", ["https://a.example/", "https://a.example/x", "a.example", "null", "*", ""]
)
def test_an_origin_has_nothing_behind_it(origin: str) -> None:
    """Scheme, host and port."""
    assert origin_problem(origin, DEVELOPMENT) is not None


def test_an_origin_is_compared_as_browsers_write_it() -> None:
    """Lower case, and no usual port; a popup is answered to the exact origin of its return URL."""
    assert origin_problem("HTTPS://A.Example:443", PRODUCTION) is None
    assert canonical_origin("HTTPS://A.Example:443") == "https://a.example"
    assert origin_of("https://A.example:8443/x?y") == "https://a.example:8443"
    allowed = environment(origins=("https://a.example",))
    assert origin_allowed(allowed, "https://a.example:443/popup")
    for url in (
        "https://a.example:8443/",
        "http://a.example/",
        "https://b.a.example/",
        "https://a.example@b/",
    ):
        assert not origin_allowed(allowed, url)


_ALPHABET = st.sampled_from(
    [*"abAZ09", *"/.:@?#;&=*\\%~+!", "..", "//", "%2e", "%2F", "%5c", "%25", "é", "\n", " ", "app.example"]
)


@given(tail=st.lists(_ALPHABET, max_size=25).map("".join))
@example(tail="/connect/../admin")
@example(tail=".evil/connect/x")
def test_whatever_is_allowed_stays_on_host_and_below_path(tail: str) -> None:
    """For any text at all: what passes is read by a lenient parser, too, as the host and path we meant."""
    url = f"https://app.example{tail}"
    if return_url_allowed(BELOW, url):
        seen = urlsplit(url)
        assert (seen.scheme, seen.hostname, seen.username, seen.fragment) == (
            "https",
            "app.example",
            None,
            "",
        )
        assert seen.port in (None, 443)
        assert seen.path.startswith("/connect/")
        assert not {".", ".."} & set(seen.path.split("/"))
        assert "\\" not in url
        assert url.isascii()
        assert url.isprintable()


@given(
    url=st.text(max_size=60) | st.lists(_ALPHABET, max_size=20).map(lambda parts: "https://" + "".join(parts))
)
def test_any_text_gets_an_answer(url: str) -> None:
    """Nothing raises, and an environment without a list allows nothing."""
    assert not return_url_allowed(environment(), url)
    assert not origin_allowed(environment(), url)
    if return_url_problem(url, PRODUCTION) is None:
        allowed = environment(url)
        assert return_url_allowed(allowed, url) or url.endswith("/*")


@given(
    path=st.lists(st.text(st.sampled_from("abc-_~.!9"), min_size=1, max_size=4), max_size=4),
    extra=st.lists(st.text(st.sampled_from("abc"), min_size=1, max_size=3), max_size=3),
)
def test_a_prefix_covers_exactly_what_lies_below_it(path: list[str], extra: list[str]) -> None:
    """On segment boundaries: /a/* covers /a/ and below, not /a and not /ab."""
    path = [segment for segment in path if segment not in (".", "..")]
    root = "https://app.example" + "".join(f"/{segment}" for segment in path)
    allowed = environment(f"{root}/*")
    assert return_url_allowed(allowed, f"{root}/" + "/".join(extra))
    if path:
        assert not return_url_allowed(allowed, root)
        assert not return_url_allowed(allowed, f"{root}x/" + "/".join(extra))
