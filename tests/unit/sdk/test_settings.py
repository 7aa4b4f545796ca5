"""What a client accepts as its settings, and what it says otherwise."""

from __future__ import annotations

import os
import pickle
import sys
import time

import pytest

from authpipe import AsyncAuthpipe, Authpipe, ConfigurationError, ReauthorizationRequired
from authpipe.sdk.clock import SystemClock
from authpipe.sdk.settings import read_settings

NUMBERS = {
    "timeout_s": 30.0,
    "max_staleness_s": 60.0,
    "refetch_retry_s": 5.0,
    "max_entries": 10,
    "negative_s": 2.0,
}
ARGUMENTS = NUMBERS | {"stream": None, "snapshot": None}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("AUTHPIPE_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("client", [Authpipe, AsyncAuthpipe])
def test_address_and_key_come_from_the_environment(client, monkeypatch):
    """Arguments win over it; white space around either is dropped."""
    monkeypatch.setenv("AUTHPIPE_URL", " http://127.0.0.1:8700/ \n")
    monkeypatch.setenv("AUTHPIPE_API_KEY", "apk_abcdefgh_secret\n")
    assert repr(client()) == f"{client.__name__}(url='http://127.0.0.1:8700', api_key='apk_abcdefgh_***')"
    assert "other.example" in repr(client("https://other.example", "apk_x_y"))


@pytest.mark.parametrize("client", [Authpipe, AsyncAuthpipe])
def test_what_is_missing_is_named_with_the_remedy_in_one_line(client):
    """The environment variable and the argument."""
    with pytest.raises(ConfigurationError, match=r"set AUTHPIPE_URL .* or pass url=") as caught:
        client()
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"set AUTHPIPE_API_KEY or pass api_key="):
        client("http://x")


@pytest.mark.parametrize(
    "url",
    [
        "x",
        "ftp://x",
        "http://",
        "http://[",
        "http://u:p@x",
        "http://x?q=1",
        "http://x#f",
        "//x",
        "http://x:99999",
    ],
)
def test_an_unusable_address_is_refused(url):
    """Also one with a password in it."""
    with pytest.raises(ConfigurationError, match="AUTHPIPE_URL") as caught:
        read_settings(url, "k", **ARGUMENTS)
    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize("key", ["apk_x\r\nX-Evil: 1", "apk x", "apk_\N{BULLET}", "apk_\x00"])
def test_a_key_that_cannot_be_a_header_is_refused_without_being_quoted(key):
    """An HTTP library would quote the whole header."""
    with pytest.raises(ConfigurationError) as caught:
        read_settings("http://x", key, **ARGUMENTS)
    assert key not in str(caught.value)


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_a_negative_number_is_refused_by_name(name):
    """So is not-a-number."""
    for value in (-1, float("nan")):
        with pytest.raises(ConfigurationError, match=name):
            read_settings("http://x", "k", **(ARGUMENTS | {name: value}))


@pytest.mark.parametrize(
    ("told", "argument", "on"),
    [("", None, True), ("1", None, True), (" On ", None, True), ("0", None, False), ("off", None, False),
     ("FALSE", None, False), ("no", None, False), ("off", True, True), ("on", False, False)],
)  # fmt: skip
def test_the_stream_is_on_unless_it_is_switched_off(told, argument, on):
    """AUTHPIPE_STREAM, or the argument, which wins."""
    environ = {"AUTHPIPE_STREAM": told}
    assert read_settings("http://x", "k", **(ARGUMENTS | {"stream": argument}), environ=environ).stream is on


def test_a_switch_that_is_neither_on_nor_off_is_refused_by_name():
    """A typing error does not switch anything."""
    with pytest.raises(ConfigurationError, match="AUTHPIPE_STREAM must be on or off"):
        read_settings("http://x", "k", **ARGUMENTS, environ={"AUTHPIPE_STREAM": "offf"})


@pytest.mark.parametrize(
    "key", ["short", "no-underscores-at-all-in-here", "one_underscore", "a" * 20 + "_b_c"]
)
def test_a_key_of_unknown_form_shows_nothing(key):
    """Only the public prefix of the known form is shown."""
    assert read_settings("http://x", key, **ARGUMENTS).masked_key == "***"


def test_the_elapsed_clock_goes_on_through_sleep():
    """On Linux that is CLOCK_BOOTTIME, not what time.monotonic reads."""
    elapsed = SystemClock().elapsed
    first = elapsed()
    assert elapsed() >= first
    if sys.platform.startswith("linux"):
        assert abs(elapsed() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 1


def test_an_error_can_cross_a_process_boundary():
    """A worker pool pickles what a worker raises."""
    error = ReauthorizationRequired("m", reason="revoked", connection_id="c1", request_id="r", status=409)
    again = pickle.loads(pickle.dumps(error))
    assert (again.reason, again.connection_id, str(again)) == ("revoked", "c1", "m [request r]")
