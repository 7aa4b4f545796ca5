"""What Schemathesis loads first: it makes requests about objects that exist, with keys of every kind.

Half of what it invents would end at "not found"; here ids, and the fields whose rule no schema can state, are
taken from what :mod:`support.fuzzing_arena` keeps alive.  What is taken is chosen by the request and its
number, so a run with the same seed makes the same choices.
"""

from __future__ import annotations

import json
import os
import re
import urllib.request
from pathlib import Path
from random import Random
from typing import Any

import schemathesis
from schemathesis.core.failures import Failure
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import TestPhase
from schemathesis.openapi.checks import RejectedPositiveData

#: Requests made about one set of objects before there is another.
_ACT = 60
#: Fields of a well-formed request that can be refused all the same: they must agree with the provider's
#: definition, the environment's allow-lists, what is stored or one another.
RULED = {
    "create_provider_config": {
        "provider", "client_id", "client_secret", "app_credential", "scopes", "installation_scopes",
        "base_url", "attachment", "parameters",
    },
    "update_provider_config": {
        "client_id", "client_secret", "app_credential", "scopes", "installation_scopes", "base_url",
        "attachment", "parameters",
    },
    "create_connect_session": {
        "provider", "return_url", "return_mode", "scopes", "user_id", "label", "installation_id",
        "connection_id",
    },
    "reconnect_connection": {"return_url", "return_mode", "scopes", "user_id"},
    "reconnect_installation": {"return_url", "return_mode", "scopes", "user_id"},
    "store_credential": {"provider", "fields", "user_id", "label"},
    "update_environment": {"return_urls", "origins"},
    "report_rejected_credential": {"version"},
}  # fmt: skip
#: Lists of every kind refuse a cursor that none of them gave out; lines for people must be printable, which
#: no pattern can say.
_RULED_ANYWHERE = {"cursor", "name", "label"}
_INVENTING = {TestPhase.FUZZING, TestPhase.STATEFUL}
_DESTROYS_KEYS = {"revoke_api_key", "rotate_api_key"}


class _Pool:
    """The objects of the present act."""

    def __init__(self) -> None:
        self._arena = os.environ["FUZZ_ARENA"]
        self.sent = 0
        self.told: dict[str, Any] = {}

    def turn(self) -> None:
        if self.sent % _ACT == 0:
            with urllib.request.urlopen(f"{self._arena}/act", timeout=60) as answer:
                self.told = json.load(answer)
        self.sent += 1


_pool = _Pool()
_tally = Path(os.environ["FUZZ_TALLY"]).open("a", buffering=1)  # noqa: SIM115  # until the process ends


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: dict[str, Any]) -> None:
    """Put real ids, real values and another key in, where the request is not about their being wrong."""
    _pool.turn()
    chance = Random(f"{_pool.sent} {case.operation.label} {case.path_parameters} {case.query} {case.body!r}")
    identifier = case.operation.definition.raw["operationId"]
    positive = case.meta is None or case.meta.generation.mode.is_positive or _authorized_again(case, chance)
    if not _negative(case, ParameterLocation.PATH):
        _put_ids(case, chance)
    if identifier in _DESTROYS_KEYS and case.path_parameters.get("api_key_id") in _pool.told["used"]:
        case.path_parameters["api_key_id"] = _pool.told["path"]["api_key_id"][0]
    if isinstance(case.body, dict):
        _stay_on_this_machine(identifier, case.body)
        if positive:
            _put_fields(case.body, chance)
    if positive and isinstance(case.query, dict):
        _put_fields(case.query, chance)
    if positive:
        _put_whole(identifier, case, chance)
    if positive and "Authorization" in case.headers and chance.random() < 0.25:
        case.headers["Authorization"] = f"Bearer {chance.choice(_pool.told['keys'])}"
    if (
        not _negative(case, ParameterLocation.HEADER)
        and "Idempotency-Key" in case.headers
        and chance.random() < 0.9
    ):
        # A key that comes again with another request is refused before anything is looked at.
        case.headers["Idempotency-Key"] = f"{_pool.sent}"


@schemathesis.hook
def after_call(_context: Any, case: Any, response: Any) -> None:
    """Note what was answered, for those who want to know that deep code was reached."""
    line = {
        "operation": case.operation.definition.raw["operationId"],
        "status": response.status_code,
        "seconds": round(response.elapsed, 3),
        "code": _problem(response).get("code"),
    }
    _tally.write(json.dumps(line) + "\n")


@schemathesis.hook
def filter_failure(_context: Any, failure: Failure, case: Any, response: Any) -> bool:
    """Whether it is one: well-formed requests may break the rules that no schema can state."""
    if not isinstance(failure, RejectedPositiveData) or response.status_code != 422:
        return True
    problem = _problem(response)
    if problem.get("code") in ("idempotency_key_reused", "credential_refused", "credential_limited"):
        return False
    ruled = RULED.get(case.operation.definition.raw["operationId"], set())
    fields = [re.split(r"[\[.]", error["field"]) for error in problem.get("errors", ())]
    return not (fields and all(field[0] in ruled or field[-1] in _RULED_ANYWHERE for field in fields))


def _negative(case: Any, location: ParameterLocation) -> bool:
    return case.meta is not None and case.meta.is_negative_at(location)


def _authorized_again(case: Any, chance: Random) -> bool:
    """Whether a request that was to have no good key got one: they would be half of all there are."""
    phase = case.meta.phase
    if phase.name not in _INVENTING or phase.data.parameter != "Authorization" or chance.random() < 0.15:
        return False
    case.headers["Authorization"] = f"Bearer {os.environ['FUZZ_KEY']}"
    # It is a good key now, or the check for ignored authentication would be alarmed that it is taken.
    case._has_explicit_auth = True
    return True


def _put_ids(case: Any, chance: Random) -> None:
    # Mostly, an id in a chain of requests is one that an earlier answer told.
    share = 0.25 if case.meta is not None and case.meta.phase.name is TestPhase.STATEFUL else 0.85
    for name, value in case.path_parameters.items():
        known = _pool.told["path"].get(name)
        if known and isinstance(value, str) and chance.random() < share:
            case.path_parameters[name] = chance.choice(known)


def _put_whole(identifier: str, case: Any, chance: Random) -> None:
    """Now and then a request whose parts agree with one another, and which can succeed."""
    known = _pool.told["wholes"].get(identifier)
    if not known or chance.random() < 0.5:
        return
    whole = chance.choice(known)
    case.path_parameters |= whole.get("path", {})
    case.query = whole.get("query", case.query)
    case.body = whole.get("body", case.body)


def _put_fields(values: dict[str, Any], chance: Random) -> None:
    for name in values:
        known = _pool.told["fields"].get(name)
        if known and chance.random() < 0.85:
            values[name] = chance.choice(known)


def _stay_on_this_machine(identifier: str, body: dict[str, Any]) -> None:
    """A provider config never names, and never leaves open, an address outside of the test."""
    if identifier not in ("create_provider_config", "update_provider_config"):
        return
    address = body.get("base_url", None if identifier == "create_provider_config" else "")
    if address is None or (isinstance(address, str) and address[:4].lower() == "http"):
        body["base_url"] = f"{_pool.told['sandbox']}/discord"


def _problem(response: Any) -> dict[str, Any]:
    if response.headers.get("content-type", [""])[0] != "application/problem+json":
        return {}
    document = json.loads(response.content)
    return document if isinstance(document, dict) else {}
