"""Reads the body of a provider's answer into plain data, whatever a hostile or broken server puts there."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from authpipe.domain.secret import Secret
from authpipe.net.message import Response

_DEEPEST = 32
#: Names under which a token response holds a secret at whatever depth, declared or not.
_SECRET_NAMES = frozenset({"access_token", "refresh_token", "id_token", "client_secret"})


def read_document(response: Response) -> Mapping[str, Any] | None:
    """The JSON object of the body, or the form it holds when the content type says so.

    None when it is neither.  Numbers that no database holds (NaN, infinities, endless ones) are read as
    text.
    """
    try:
        document = json.loads(
            response.body, parse_constant=str, parse_float=_finite, parse_int=_bounded_integer
        )
    except (ValueError, RecursionError):
        return _read_form(response)
    if not isinstance(document, dict) or not _shallow(document, _DEEPEST):
        return None
    return document


def read_json(body: bytes) -> object | None:
    """A JSON document that can be stored and shown; None for what is not JSON.

    Numbers no database holds become text, and characters none stores are taken out.
    """
    try:
        document = json.loads(body, parse_float=_finite, parse_int=_bounded_integer, parse_constant=str)
    except (ValueError, RecursionError):
        return None
    return _storable_all(document) if _shallow(document, _DEEPEST) else None


def _storable_all(value: Any) -> Any:
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, dict):
        return {_storable(name): _storable_all(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_storable_all(each) for each in value]
    return value


def public_facts(
    document: Mapping[str, Any], *, without: Iterable[str], secret_paths: Iterable[str]
) -> dict[str, Any]:
    """A copy of the document that may be kept: no value at ``without``, those at ``secret_paths`` wrapped.

    So is anything named like a token, at any depth.  Text comes without NUL and unpaired surrogates, which
    no database stores.
    """
    copy: dict[str, Any] = _copied("", document)
    for path in without:
        _remove(copy, path.split("."))
    for path in secret_paths:
        _wrap(copy, path.split("."))
    return copy


def _read_form(response: Response) -> Mapping[str, Any] | None:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return None
    try:
        text = response.body.decode("utf-8")
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, max_num_fields=100)
    except ValueError:
        return None
    form = dict(pairs)
    return form if len(form) == len(pairs) else None


def _finite(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def _bounded_integer(text: str) -> int | str:
    return int(text) if len(text) <= 40 else text


def _shallow(value: object, levels: int) -> bool:
    if isinstance(value, dict):
        return levels > 0 and all(_shallow(item, levels - 1) for item in value.values())
    if isinstance(value, list):
        return levels > 0 and all(_shallow(item, levels - 1) for item in value)
    return True


def _copied(name: str, value: Any) -> Any:
    if name in _SECRET_NAMES and value is not None:
        return _secret(value)
    if isinstance(value, Mapping):
        return {_storable(key): _copied(key, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied("", item) for item in value]
    return _storable(value) if isinstance(value, str) else value


def _storable(text: str) -> str:
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def _secret(value: Any) -> Secret:
    return Secret(_storable(value) if isinstance(value, str) else json.dumps(value, default=_opened))


def _opened(value: object) -> str:
    """A secret within one: what is around it was named a secret after its parts were wrapped."""
    if isinstance(value, Secret):
        return value.reveal()
    raise TypeError(type(value).__name__)


def _parent(document: Any, parts: list[str]) -> tuple[Any, Any]:
    """The container of the last part and the key in it, or (None, None)."""
    for part in parts[:-1]:
        if isinstance(document, dict):
            document = document.get(part)
        elif isinstance(document, list) and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        else:
            return None, None
    last = parts[-1]
    if isinstance(document, dict) and last in document:
        return document, last
    if isinstance(document, list) and last.isdigit() and int(last) < len(document):
        return document, int(last)
    return None, None


def _remove(document: dict[str, Any], parts: list[str]) -> None:
    container, key = _parent(document, parts)
    if container is not None:
        del container[key]


def _wrap(document: dict[str, Any], parts: list[str]) -> None:
    container, key = _parent(document, parts)
    if container is None or container[key] is None or isinstance(container[key], Secret):
        return
    container[key] = _secret(container[key])
