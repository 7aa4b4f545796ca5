"""Endpoints move to another host as a whole, and nothing else does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authpipe.catalog.loader import load_catalog
from authpipe.catalog.rebase import definition_at, rebase
from authpipe.domain.errors import InvalidInput

BASE = "http://127.0.0.1:9400/discord"

segments = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8)
paths = st.lists(segments, max_size=4).map(lambda parts: "".join(f"/{part}" for part in parts))
hosts = st.lists(segments, min_size=1, max_size=3).map(lambda parts: "h" + ".".join(parts).lower())
urls = st.builds(lambda host, path: f"https://{host}{path}", hosts, paths)
bases = st.builds(
    lambda scheme, host, port, path, slash: f"{scheme}://{host}:{port}{path}{slash}",
    st.sampled_from(["http", "https"]),
    hosts,
    st.integers(1, 65535),
    paths,
    st.sampled_from(["", "/"]),
)


def texts(value: Any) -> Iterator[str]:
    """Every text anywhere in a definition."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            if field.name != "docs_url":
                yield from texts(getattr(value, field.name))
    elif isinstance(value, dict):
        yield from (text for item in value.values() for text in texts(item))
    elif isinstance(value, tuple):
        yield from (text for item in value for text in texts(item))
    elif isinstance(value, str):
        yield value


def test_scheme_host_and_path_prefix_are_those_of_the_base() -> None:
    """The path of the endpoint follows the path of the base."""
    moved = rebase("https://discord.com/api/oauth2/token", BASE)
    assert moved == "http://127.0.0.1:9400/discord/api/oauth2/token"


def test_placeholders_in_the_path_survive() -> None:
    """A template stays one."""
    assert rebase("https://discord.com/guilds/{external_id}", BASE) == f"{BASE}/guilds/{{external_id}}"


@given(urls)
def test_without_a_base_nothing_changes(url: str) -> None:
    """No base URL means the provider itself."""
    assert rebase(url, None) == url


@given(urls, bases)
def test_the_result_is_the_base_followed_by_the_path(url: str, base: str) -> None:
    """Nothing of the old host is left, and nothing of the path is lost."""
    assert rebase(url, base) == base.rstrip("/") + urlsplit(url).path


@given(urls, urls, bases)
def test_different_paths_stay_different(one: str, other: str, base: str) -> None:
    """Two endpoints never fall together unless their paths were the same."""
    same = urlsplit(one).path == urlsplit(other).path
    assert (rebase(one, base) == rebase(other, base)) == same


@pytest.mark.parametrize(
    "base",
    [
        "",
        "127.0.0.1:9400",
        "ftp://x",
        "http://",
        "http://x:0",
        "http://x:port",
        "http://[::1",
        "https://user@x",
        "https://x?",
        "https://x?a=b",
        "https://x#",
        "javascript:alert(1)",
    ],
)
def test_a_base_that_is_no_plain_http_url_is_refused(base: str) -> None:
    """The error names the field an operator set."""
    with pytest.raises(InvalidInput) as caught:
        rebase("https://discord.com/", base)
    assert caught.value.field == "base_url"


@pytest.mark.parametrize("provider", [definition.id for definition in load_catalog().all()])
def test_every_endpoint_of_a_definition_moves(provider: str) -> None:
    """After rebasing no URL of the provider is left in any request."""
    definition = load_catalog().get(provider)
    moved = definition_at(definition, BASE)
    people = set(texts(definition.setup)) | set(texts(definition.notes))
    urls_left = [text for text in texts(moved) if text.startswith("https://") and text not in people]
    assert urls_left == []
    assert moved.api_base_url == BASE + urlsplit(definition.api_base_url).path
    assert moved.docs_url == definition.docs_url


def test_rebasing_nowhere_gives_the_same_definition() -> None:
    """No copy is made when there is no base URL."""
    definition = load_catalog().get("discord")
    assert definition_at(definition, None) is definition


def test_the_endpoints_of_one_provider_stay_apart_under_one_base() -> None:
    """Providers with several hosts do not lose the difference between their endpoints."""
    for definition in load_catalog().all():
        server = definition_at(definition, BASE).oauth
        assert server is None or server.authorize_url != server.token_url
