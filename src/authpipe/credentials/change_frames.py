"""What goes over a change stream, as server-sent events (HTML Living Standard, section 9.2)."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import msgspec

#: Changes may have been missed: what was cached before is of unknown freshness.
RESET = b"event: reset\ndata: {}\n\n"


class Change(NamedTuple):
    """Something that makes cached credentials stale, whom it concerns, and how a stream says it.

    ``tenant_id`` None concerns every tenant of the environment.
    """

    environment_id: UUID
    event_id: UUID
    tenant_id: str | None
    frame: bytes


class _Told(msgspec.Struct):
    environment_id: UUID
    event_id: UUID
    tenant_id: str | None
    change: msgspec.Raw


_decode = msgspec.json.Decoder(_Told).decode


def read_change(payload: str) -> Change:
    """The change a notification, or a row of the event log, tells of.  Raises ``ValueError``."""
    told = _decode(payload)
    frame = b"id: %s\nevent: change\ndata: %s\n\n" % (str(told.event_id).encode(), bytes(told.change))
    return Change(told.environment_id, told.event_id, told.tenant_id, frame)


def hello(begins_at: UUID, heartbeat_s: float) -> bytes:
    """The first event of a stream: where it begins, and how often it will be heard of in seconds."""
    told = msgspec.json.encode({"heartbeat_s": int(heartbeat_s) if heartbeat_s >= 1 else heartbeat_s})
    return b"id: %s\nevent: hello\ndata: %s\n\n" % (str(begins_at).encode(), told)


def heartbeat(now_at: UUID) -> bytes:
    """A comment, and the place to go on from: a quiet stream's last change may be too long ago for that.

    An ``id`` without data moves the last event id and is no event to the reader.
    """
    return b": \nid: %s\n\n" % str(now_at).encode()
