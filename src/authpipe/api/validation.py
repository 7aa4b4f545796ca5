"""Says what is wrong with a request, field by field, and never repeats what was sent: it may be a secret."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from authpipe.api.problem import ProblemAnswer, plain_answer

#: Names of alternatives in a body begin with this; they are no fields.
ALTERNATIVE = "~"
_LONGEST_NAME = 100
_MOST_ERRORS = 50

#: By pydantic's name of the fault; the texts take numbers and fixed words from its context, nothing else.
_MESSAGES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": lambda _: "is required",
    "extra_forbidden": lambda _: "is not a known field",
    "string_type": lambda _: "must be a string",
    "string_unicode": lambda _: "must be a string of valid Unicode",
    "bool_type": lambda _: "must be true or false",
    "bool_parsing": lambda _: "must be true or false",
    "int_type": lambda _: "must be a whole number",
    "int_parsing": lambda _: "must be a whole number",
    "int_from_float": lambda _: "must be a whole number",
    "int_parsing_size": lambda _: "is too large a number",
    "list_type": lambda _: "must be a list",
    "tuple_type": lambda _: "must be a list",
    "dict_type": lambda _: "must be an object",
    "mapping_type": lambda _: "must be an object",
    "model_type": lambda _: "must be an object",
    "model_attributes_type": lambda _: "must be an object",
    "enum": lambda told: f"must be {told['expected']}",
    "literal_error": lambda told: f"must be {told['expected']}",
    "uuid_type": lambda _: "must be a UUID as returned by the API",
    "uuid_parsing": lambda _: "must be a UUID as returned by the API",
    "string_too_short": lambda told: _at_least(told["min_length"], "character"),
    "string_too_long": lambda told: _at_most(told["max_length"], "character"),
    "too_short": lambda told: _at_least(told["min_length"], "item"),
    "too_long": lambda told: _at_most(told["max_length"], "item"),
    "greater_than_equal": lambda told: f"must be at least {told['ge']}",
    "less_than_equal": lambda told: f"must be at most {told['le']}",
    # Raised by our own validators, whose texts are fixed.
    "value_error": lambda told: str(told["error"]),
}


def invalid_answer(faults: Sequence[Mapping[str, Any]], request_id: str | None) -> ProblemAnswer:
    """422 with every fault (50 at most); ``detail`` and ``field`` tell the first."""
    errors = [
        {"field": field_of(fault["loc"]), "message": message_of(fault)} for fault in faults[:_MOST_ERRORS]
    ]
    first = errors[0]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return plain_answer(
        "invalid_input",
        f"{first['field']} {first['message']}{more}",
        request_id,
        fields={"field": first["field"], "errors": errors},
    )


def field_of(location: Sequence[str | int]) -> str:
    """The path of a fault as people write it: ``scopes[1]``, ``fields.api_key``."""
    told = ""
    for part in location[1:]:
        if isinstance(part, int):
            told += f"[{part}]"
        elif not part.startswith(ALTERNATIVE) and part != "[key]":
            told += f".{shown_name(part)}" if told else shown_name(part)
    return told or str(location[0])


def message_of(fault: Mapping[str, Any]) -> str:
    """What would be accepted."""
    say = _MESSAGES.get(fault["type"])
    return "is not valid" if say is None else say(fault.get("ctx", {}))


def shown_name(name: str) -> str:
    """A name somebody sent, fit to be repeated: short, and printable throughout."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:_LONGEST_NAME])


def _at_least(number: int, what: str) -> str:
    return f"must have at least {number} {what}{'' if number == 1 else 's'}"


def _at_most(number: int, what: str) -> str:
    return f"must have at most {number} {what}{'' if number == 1 else 's'}"
