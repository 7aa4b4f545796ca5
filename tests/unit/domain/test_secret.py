"""A secret has one way out, and it is called reveal."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle
import traceback
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authpipe.domain.secret import Secret

TEXT = "canary-xoxb-17653672481-19874698323-pdFZKVeTuE8sk7oOcBrzbqgy"
MASK = "Secret(***)"


@pytest.fixture
def secret() -> Secret:
    return Secret(TEXT)


@dataclasses.dataclass(frozen=True)
class Holder:
    name: str
    secret: Secret


@pytest.mark.parametrize(
    "show",
    [
        pytest.param(repr, id="repr"),
        pytest.param(str, id="str"),
        pytest.param(format, id="format"),
        pytest.param(ascii, id="ascii"),
        pytest.param(lambda secret: f"{secret}", id="f-string"),
        pytest.param(lambda secret: f"{secret!r}", id="f-string with repr"),
        pytest.param(lambda secret: f"{secret!s:>40}".strip(), id="f-string with width"),
        pytest.param(lambda secret: f"{secret:.200}", id="f-string with precision"),
        pytest.param(lambda secret: f"{secret=}".removeprefix("secret="), id="f-string with name"),
        pytest.param(lambda secret: "%s" % secret, id="percent"),  # noqa: UP031
        pytest.param("{}".format, id="str.format"),
        pytest.param(lambda secret: repr([secret])[1:-1], id="in a list"),
        pytest.param(lambda secret: repr({"k": secret})[6:-1], id="in a dict"),
        pytest.param(lambda secret: repr(Holder("n", secret)).split("secret=")[1][:-1], id="in a dataclass"),
        pytest.param(lambda secret: json.loads(json.dumps([secret], default=str))[0], id="JSON by str"),
        pytest.param(lambda secret: json.loads(json.dumps([secret], default=repr))[0], id="JSON by repr"),
    ],
)
def test_every_way_of_printing_shows_a_mask(secret: Secret, show: Any) -> None:
    """All of them say the same, whatever the secret and the format asked for."""
    assert show(secret) == MASK


def test_a_log_line_shows_a_mask(secret: Secret, caplog: pytest.LogCaptureFixture) -> None:
    """As an argument, in a message and in an exception's arguments."""
    logger = logging.getLogger("authpipe.test")
    with caplog.at_level(logging.INFO):
        logger.info("got %s", secret)
        logger.info("got %r", {"token": secret})
        try:
            raise RuntimeError("failed", secret)
        except RuntimeError:
            logger.exception("failed")
    assert caplog.text.count(MASK) == 3
    assert TEXT not in caplog.text


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_cannot_be_pickled(secret: Secret, protocol: int) -> None:
    """By no protocol, and not inside something else."""
    for one in (secret, [secret], Holder("n", secret)):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(one, protocol)


@pytest.mark.parametrize(
    "take",
    [
        pytest.param(copy.copy, id="copy"),
        pytest.param(copy.deepcopy, id="deepcopy"),
        pytest.param(lambda secret: dataclasses.asdict(Holder("n", secret)), id="dataclasses.asdict"),
        pytest.param(json.dumps, id="json"),
        pytest.param(msgspec.json.encode, id="msgspec JSON"),
        pytest.param(msgspec.msgpack.encode, id="msgspec MessagePack"),
        pytest.param(msgspec.to_builtins, id="msgspec builtins"),
        pytest.param(hash, id="hash"),
        pytest.param(vars, id="vars"),
        pytest.param(bytes, id="bytes"),
        pytest.param(iter, id="iteration"),
        pytest.param(len, id="length"),
        pytest.param("".join, id="join"),
        pytest.param(lambda secret: "Bearer " + secret, id="concatenation"),
        pytest.param(lambda secret: {secret: 1}, id="dict key"),
        pytest.param(lambda secret: {secret}, id="set member"),
        pytest.param(lambda secret: secret.__getstate__(), id="getstate"),
    ],
)
def test_what_would_take_the_text_out_raises(secret: Secret, take: Any) -> None:
    """Serialisers, copies and string operations fail with a message that has no part of it."""
    with pytest.raises(TypeError) as caught:
        take(secret)
    assert TEXT not in "".join(traceback.format_exception(caught.value))


def test_a_secret_has_no_attributes_to_list_and_takes_none(secret: Secret) -> None:
    """No ``__dict__`` for a debugger or a serializer to walk, and no place for a stray copy."""
    assert not hasattr(secret, "__dict__")
    with pytest.raises(AttributeError):
        secret.note = "x"  # type: ignore[attr-defined]


@given(st.text(st.characters(codec="utf-8")))
def test_the_text_comes_back_whole(text: str) -> None:
    """As text and as UTF-8 bytes, by either way in."""
    assert Secret(text).reveal() == text
    assert Secret(text).reveal_bytes() == text.encode()
    assert Secret.from_bytes(text.encode()).reveal() == text
    assert bool(Secret(text)) == bool(text)


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_secrets_are_equal_when_their_texts_are(one: str, other: str) -> None:
    """Also outside ASCII, where a naive constant-time comparison raises."""
    assert Secret(one) == Secret(one)
    assert (Secret(one) == Secret(other)) == (one == other)
    assert (Secret(one) != Secret(other)) == (one != other)


def test_a_secret_is_equal_to_no_plain_text(secret: Secret) -> None:
    """Comparing it with a string is a mistake that must not look like a match, nor be ordered."""
    assert secret != TEXT
    assert secret != TEXT.encode()
    assert secret is not None
    with pytest.raises(TypeError):
        sorted([secret, Secret("another")])  # type: ignore[type-var]


@pytest.mark.parametrize(
    "value", [TEXT.encode(), bytearray(TEXT.encode()), None, 17, ["canary"], Secret(TEXT)]
)
def test_only_text_becomes_a_secret(value: Any) -> None:
    """The refusal does not repeat the value."""
    with pytest.raises(TypeError, match="holds text") as caught:
        Secret(value)
    assert "canary" not in repr(caught.value)


def assert_carries_nothing(error: BaseException, marked: str) -> None:
    """Neither the error nor anything that is chained to it, in sight or suppressed, holds the value."""
    assert error.__cause__ is None
    assert error.__context__ is None
    assert marked not in repr(error)


@pytest.mark.parametrize("value", [b"canary\xff", b"\xc3", b"canary\xed\xa0\x80"])
def test_bytes_that_are_not_utf8_are_refused_without_being_kept(value: bytes) -> None:
    """A decoding error holds the bytes it failed on; it must not travel along as a context."""
    with pytest.raises(ValueError, match="not UTF-8 text") as caught:
        Secret.from_bytes(value)
    assert_carries_nothing(caught.value, "canary")


@pytest.mark.parametrize("value", [json.loads('"canary\\ud800"'), "\udfff"])
def test_text_with_a_lone_surrogate_is_refused_without_being_kept(value: str) -> None:
    """JSON can bring one in; encoding it later would raise an error whose ``repr`` shows all of the text."""
    with pytest.raises(ValueError, match="UTF-8 can encode") as caught:
        Secret(value)
    assert not isinstance(caught.value, UnicodeError)
    assert_carries_nothing(caught.value, "canary")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        pytest.param("", "••••", id="nothing"),
        pytest.param("abc", "••••", id="too short to show any"),
        pytest.param("abcd", "a••••", id="a quarter of four"),
        pytest.param("abcdefghijklmno", "abc••••", id="a quarter of fifteen"),
        pytest.param("abcdefghijklmnop", "abcd••••", id="four of sixteen"),
        pytest.param(TEXT, "cana••••", id="never more than four"),
    ],
)
def test_the_masked_form_shows_at_most_four_characters_and_a_quarter(text: str, masked: str) -> None:
    """Its length says nothing about the secret's."""
    assert Secret(text).masked() == masked
