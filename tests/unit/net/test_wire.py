"""A request in the form the wire takes."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authpipe.domain.errors import InvalidInput
from authpipe.domain.secret import Secret
from authpipe.net.message import Request
from authpipe.net.wire import write

URL = "https://provider.example/token"


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=5))
def test_a_form_is_read_back_as_it_was(form: dict[str, str]) -> None:
    """Whatever characters a secret holds."""
    if any("\ud800" <= character <= "\udfff" for text in (*form, *form.values()) for character in text):
        return
    wire = write(Request(method="POST", url=URL, form={name: Secret(value) for name, value in form.items()}))
    assert wire.body is not None
    assert dict(parse_qsl(wire.body.decode(), keep_blank_values=True)) == form
    assert wire.headers["Content-Type"] == "application/x-www-form-urlencoded"


def test_a_query_is_added_to_that_of_the_url() -> None:
    """Both arrive, encoded."""
    wire = write(Request(method="GET", url=URL + "?a=1", query={"clientSecret": Secret("x+y&z=1 %")}))
    assert parse_qsl(wire.url.raw_query_string) == [("a", "1"), ("clientSecret", "x+y&z=1 %")]


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\x00b", "sn\N{SNOWMAN}w", "a\x7f"])
@pytest.mark.parametrize("wrap", [str, Secret])
def test_a_header_value_that_could_break_the_framing_is_refused(value: str, wrap: type) -> None:
    """The error names the header and never its value."""
    with pytest.raises(InvalidInput) as refused:
        write(Request(method="GET", url=URL, headers={"Authorization": wrap(value)}))
    assert "Authorization" in refused.value.message
    assert value not in repr(refused.value)


@pytest.mark.parametrize("name", ["", "X Y", "X:Y", "X\r\nY", "Host", "content-length", "Transfer-Encoding"])
def test_a_header_name_that_is_malformed_or_ours_is_refused(name: str) -> None:
    """Framing and routing are the client's."""
    with pytest.raises(InvalidInput):
        write(Request(method="GET", url=URL, headers={name: "x"}))


@pytest.mark.parametrize("method", ["get", "CONNECT", "TRACE", "GET /evil HTTP/1.1\r\nX:", ""])
def test_an_unusual_method_is_refused(method: str) -> None:
    """Only the six that providers use."""
    with pytest.raises(InvalidInput):
        write(Request(method=method, url=URL))


def test_two_bodies_are_refused() -> None:
    """A request has one."""
    with pytest.raises(InvalidInput):
        write(Request(method="POST", url=URL, form={}, json={}))


def test_text_that_utf8_cannot_hold_is_refused_without_repeating_it() -> None:
    """The codec's own error would carry the whole value."""
    with pytest.raises(InvalidInput) as refused:
        write(Request(method="POST", url=URL, form={"code": "canary\ud800"}))
    assert refused.value.__context__ is None
    assert "canary" not in repr(refused.value)


def test_a_written_request_prints_no_secret() -> None:
    """Its fields are plain text by then."""
    wire = write(
        Request(
            method="POST",
            url=URL,
            headers={"Authorization": Secret("Basic canary")},
            query={"q": Secret("canary")},
            json={"token": Secret("canary")},
        )
    )
    assert "canary" not in repr(wire)
