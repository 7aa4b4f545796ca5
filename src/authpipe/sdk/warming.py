"""Many credentials in one request."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from authpipe.sdk.changes import Key
from authpipe.sdk.clock import Clock
from authpipe.sdk.document import Document, Malformed
from authpipe.sdk.entry import Fetched
from authpipe.sdk.errors import AuthpipeError
from authpipe.sdk.exchange import Persistence, Request, Steps, exchange
from authpipe.sdk.fetch import KEY_NAMES, Read, read_credential, timed
from authpipe.sdk.problem import item_error, read_answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmed:
    """What warming the cache came to.

    ``cached`` counts the requests whose credential is in the cache now.  ``errors`` has what
    ``get_credential`` would have raised for the others, by their place in the list (from 0).
    """

    cached: int
    errors: Mapping[int, AuthpipeError]


def key_of(
    *,
    provider: str,
    tenant_id: str,
    user_id: str | None = None,
    credential_for: str = "any",
    installation_id: str | None = None,
    label: str | None = None,
    kind: str | None = None,
) -> Key:
    """The key of one ``get_credential`` call with these arguments.  Raises TypeError for any other."""
    return (provider, tenant_id, user_id, credential_for, installation_id, label, kind)


@dataclass(frozen=True, slots=True)
class _Batch:
    items: tuple[Read | AuthpipeError, ...]


def read_batch(
    keys: Sequence[Key], clock: Clock, persistence: Persistence
) -> Steps[list[Fetched | AuthpipeError]]:
    """What reading each key alone would have come to, in the same order.

    Raises what the server answered when it refused the request as a whole.
    """
    request = Request(
        method="POST",
        path="/v1/credentials/batch",
        body={
            "credentials": [
                {name: value for name, value in zip(KEY_NAMES, key, strict=True) if value is not None}
                for key in keys
            ]
        },
        same_twice=True,
    )
    answer = yield from exchange(request, clock, persistence)

    def read(document: Document) -> _Batch:
        items = tuple(_item(item) for item in document.documents("data"))
        if len(items) != len(keys):
            raise Malformed("data")
        return _Batch(items)

    batch = read_answer(answer, read)
    return [item if isinstance(item, AuthpipeError) else timed(item, answer, clock) for item in batch.items]


def field_in_whole(field: str | None, indexes: Sequence[int]) -> str | None:
    """``credentials[3].label`` of one request by its place in the caller's list."""
    named = re.fullmatch(r"credentials\[(\d{1,4})\](.*)", field or "", re.DOTALL)
    if named is None or int(named[1]) >= len(indexes):
        return field
    return f"credentials[{indexes[int(named[1])]}]{named[2]}"


def _item(item: Document) -> Read | AuthpipeError:
    if item.text("object") == "error":
        return item_error(item.fields)
    return read_credential(item)
