"""The types of fields in bodies and answers, shared by the resources."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Request
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    StringConstraints,
)
from pydantic_core import CoreSchema, core_schema

from authpipe.api.validation import shown_name
from authpipe.domain.errors import InvalidInput
from authpipe.domain.identifiers import check_opaque_id
from authpipe.domain.secret import Secret

_LONGEST_SECRET = 8192
_SCOPE = re.compile(r"[!#-\[\]-~]{1,255}")  # RFC 6749 section 3.3
#: The rules that the checks below enforce, as JSON Schema says them.
OPAQUE_ID = r"^[!-)+-~]{1,200}$"
_SCOPE_NAME = r"^[!#-\[\]-~]{1,255}$"
_VISIBLE = r"^[!-~]+$"


class Body(BaseModel):
    """A request's body or query: unknown fields are errors, and its ``repr`` shows no input."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Answer(BaseModel):
    """An answer's object."""

    model_config = ConfigDict(frozen=True)


def _secret_schema(_source: Any, _handler: Callable[[Any], CoreSchema]) -> CoreSchema:
    return core_schema.no_info_after_validator_function(_wrapped, core_schema.str_schema(min_length=1))


def _wrapped(text: str) -> Secret:
    if len(text) > _LONGEST_SECRET:
        raise ValueError(f"must have at most {_LONGEST_SECRET} characters")
    try:
        return Secret(text)
    except ValueError:
        raise ValueError("must be a string of valid Unicode") from None


def _printable(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError("must be printable text without spaces around it")
    return text


def _opaque(text: str) -> str:
    try:
        return check_opaque_id(text, field="")
    except InvalidInput as error:
        raise ValueError(error.message.strip()) from None


def _scope(text: str) -> str:
    if _SCOPE.fullmatch(text) is None:
        raise ValueError("must be 1 to 255 printable ASCII characters without spaces, quotes and backslashes")
    return text


def _whole(value: Any) -> Any:
    """JSON knows one kind of number: ``1.0`` is a whole one (JSON Schema 2020-12 section 4.2.3)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _ascii(text: str) -> str:
    if not all("!" <= letter <= "~" for letter in text):
        raise ValueError("must be printable ASCII characters without spaces")
    return text


async def each_parameter_once(request: Request) -> None:
    """Raise ``InvalidInput`` for a query parameter that is given twice: one of them would be ignored."""
    seen = set()
    for name, _ in request.query_params.multi_items():
        if name in seen:
            shown = shown_name(name)
            raise InvalidInput(f"{shown} is given twice", field=shown)
        seen.add(name)


#: A secret on its way in: plaintext ends here.
SecretText = Annotated[
    Secret,
    GetPydanticSchema(
        _secret_schema,
        lambda _schema, _handler: {
            "type": "string",
            "format": "password",
            "writeOnly": True,
            "minLength": 1,
            "maxLength": _LONGEST_SECRET,
        },
    ),
]
OpaqueId = Annotated[str, AfterValidator(_opaque), Field(json_schema_extra={"pattern": OPAQUE_ID})]
#: For strict numbers; it stands behind their bounds, or the document would not tell those.
WHOLE = BeforeValidator(_whole)
#: A number, and no text or truth value that looks like one.
WholeNumber = Annotated[int, Field(strict=True), WHOLE]
#: One line for people.
Line = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_printable)]
#: Text of a machine's that may hold spaces.
Words = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_printable)]
#: Something of a machine's: an id, an address.
Token = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2048),
    AfterValidator(_ascii),
    Field(json_schema_extra={"pattern": _VISIBLE}),
]
ScopeName = Annotated[str, AfterValidator(_scope), Field(json_schema_extra={"pattern": _SCOPE_NAME})]
Scopes = Annotated[list[ScopeName], Field(max_length=100)]
