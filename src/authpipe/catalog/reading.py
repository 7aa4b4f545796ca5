"""Reads the answer to a probe: what it says about the credential that was used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from authpipe.catalog.definition import Probe, ProbeRule, Reading
from authpipe.net.message import Response
from authpipe.oauth.document import read_json
from authpipe.oauth.paths import read_path


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """The reading, a stable word for its reason, and the JSON document of the answer.

    ``document`` is None when the body is not JSON.  It may hold personal data and stays out of ``repr``.
    """

    reading: Reading
    reason: str
    document: Any = field(default=None, repr=False)


def read_probe(probe: Probe, response: Response) -> ProbeResult:
    """What the answer says, by the first rule of the probe that matches, else by default.

    The defaults: 2xx alive, 429 and 5xx transient, 401 dead, 403 limited, anything else transient.  A rule
    that looks into the body does not match a body that is not JSON.
    """
    document = read_json(response.body)
    for rule in probe.rules:
        if _matches(rule, response.status, document):
            return ProbeResult(reading=rule.reading, reason=rule.reason, document=document)
    reading, reason = _default(response.status)
    return ProbeResult(reading=reading, reason=reason, document=document)


def _matches(rule: ProbeRule, status: int, document: Any) -> bool:
    if status not in rule.status:
        return False
    if rule.path is None:
        return True
    return _scalar_text(read_path(document, rule.path)) in rule.values


def _default(status: int) -> tuple[Reading, str]:
    if 200 <= status < 300:
        return Reading.ALIVE, "ok"
    if status == 401:
        return Reading.DEAD, "credential_refused"
    if status == 403:
        return Reading.LIMITED, "permission_missing"
    if status == 429:
        return Reading.TRANSIENT, "rate_limited"
    if status >= 500:
        return Reading.TRANSIENT, "provider_error"
    return Reading.TRANSIENT, "unexpected_status"


def _scalar_text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return None
