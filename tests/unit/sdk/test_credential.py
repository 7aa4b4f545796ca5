"""A credential shows itself to nobody who did not ask by name."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import pytest


def test_repr_str_and_format_show_at_most_four_characters(make_credential):
    """Also of the headers, and in containers."""
    credential = make_credential(credential="canary-secret-0123456789")
    for shown in (
        repr(credential),
        str(credential),
        f"{credential}",
        f"{credential:>400}",
        repr([credential]),
        repr(credential.headers),
        str(credential.headers),
    ):
        assert "canar" not in shown
    assert "'cana\u2022" in repr(credential)


@pytest.mark.parametrize(("secret", "shown"), [("abc", ""), ("abcdefgh", "ab"), ("", "")])
def test_a_short_secret_shows_less(make_credential, secret, shown):
    """Never more than a quarter of it."""
    assert f"credential='{shown}\u2022" in repr(make_credential(credential=secret))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_cannot_be_pickled(make_credential, protocol):
    """Neither can its headers."""
    credential = make_credential()
    for value in (credential, credential.headers):
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(value, protocol)


def test_it_cannot_be_copied_or_turned_into_json_by_accident(make_credential):
    """Only deliberate access by name gets the secret out."""
    credential = make_credential()
    for act in (copy.copy, copy.deepcopy, json.dumps, dataclasses.asdict):
        with pytest.raises(TypeError):
            act(credential)
    with pytest.raises(TypeError):
        json.dumps(credential.headers)


def test_it_is_frozen_and_has_no_dict(make_credential):
    """Slots; ``vars`` finds nothing."""
    credential = make_credential()
    with pytest.raises(dataclasses.FrozenInstanceError):
        credential.version = 2
    assert not hasattr(credential, "__dict__")


def test_headers_work_where_a_mapping_does(make_credential):
    """Lookup, iteration, ``dict`` and ``**``."""
    headers = make_credential(credential="s").headers
    assert headers["Authorization"] == "Bearer s"
    assert dict(headers) == {**headers} == {"Authorization": "Bearer s"}
    assert len(headers) == 1
    with pytest.raises(TypeError):
        headers["Authorization"] = "x"
