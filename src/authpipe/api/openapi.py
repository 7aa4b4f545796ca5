"""The OpenAPI 3.1 document: what FastAPI knows, and what stands beside it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from authpipe._version import __version__
from authpipe.api import credential_batch, credential_read, examples, meta, stream
from authpipe.api.documented import PROBLEM_SCHEMA, body_problems
from authpipe.api.edge import is_api
from authpipe.api.idempotency import is_read
from authpipe.api.rules import EXTENSION, Reach
from authpipe.catalog.catalog import Catalog

TAGS = (
    ("Credentials", "The secret that works now."),
    ("Connect sessions", "One browser, once: how something is connected."),
    ("Connections", "What tenants and their users have connected."),
    ("Installations", "Where the application was installed at providers."),
    ("Provider configs", "The application's own registrations at providers."),
    ("Providers", "The catalog of what can be connected."),
    ("Tenants", "The application's customers."),
    ("Environments", "The partition the API key belongs to."),
    ("API keys", "Keys of the environment."),
    ("Events", "What happened, and who caused it."),
    ("Operation", "For load balancers and monitoring; no API key is needed."),
)

_DESCRIPTION = """\
Authpipe connects your customers' accounts at other services and hands out credentials that work.

**Keys.** Every request under `/v1` carries `Authorization: Bearer <API key>`. A key belongs to one
environment and reaches nothing of another: ids of others are answered with `not_found`. Its role is
`viewer`, `server` or `admin`, each including the one before; it may be restricted to one tenant. Every
operation says what it needs, also in `x-authpipe-access`; what a key may not do is answered with `forbidden`.

**Errors** are problem documents (RFC 9457, `application/problem+json`). Programs look at `code`.
`invalid_input` lists every wrong field in `errors`. Values that were sent are never repeated.

**Request ids.** Every answer carries `X-Request-Id`; send one of your own (letters, digits, `._:-`, up to
100 characters) to find a request in the log and in events.

**Retries.** A `POST` that changes something may carry an `Idempotency-Key`. Sent again with the same key and
body within a day it does nothing again and gets the first answer, marked `Idempotent-Replayed: true`; with
another body it is refused. Answers of 429 and 5xx are not remembered.

**Lists** take `limit` (1 to 200) and `cursor`, and answer with `next_cursor`, null on the last page.

**Bodies** are JSON, up to 1 MiB. Times are RFC 3339 in UTC.
"""

_IDEMPOTENCY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Makes a retry safe: 1 to 255 printable ASCII characters, a new one for each new request.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}


def _header(text: str, *, required: bool = True) -> dict[str, Any]:
    return {"description": text, "required": required, "schema": {"type": "string"}}


_HEADERS = {"X-Request-Id": _header("The request's id, in the log and in events too.")}
#: By status.
_FURTHER_HEADERS = {
    "401": {"WWW-Authenticate": _header("`Bearer`.")},
    "429": {"Retry-After": _header("Seconds.")},
    "503": {"Retry-After": _header("Seconds, where it is known.", required=False)},
}


def document(application: FastAPI, catalog: Catalog, public_url: str) -> dict[str, Any]:
    """The document, with examples about a provider of the catalog."""
    made = get_openapi(
        title="Authpipe",
        version=__version__,
        openapi_version="3.1.0",
        description=_DESCRIPTION,
        routes=application.routes,
        tags=[{"name": name, "description": text} for name, text in TAGS],
        servers=[{"url": public_url}],
    )
    schemas = made["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = PROBLEM_SCHEMA
    schemas["CredentialObject"] = credential_read.CREDENTIAL_SCHEMA
    schemas.update(credential_batch.SCHEMAS)
    made["components"]["schemas"] = dict(sorted(schemas.items()))
    made["components"]["securitySchemes"] = {
        "api_key": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key, `apk_…`, made with `POST /v1/api-keys` or on the command line.",
        }
    }
    made["security"] = [{"api_key": []}]
    paths = made["paths"]
    read = dict(credential_read.OPERATION)
    paths[credential_read.PATH] = {"get": read, **paths.get(credential_read.PATH, {})}
    paths[stream.PATH] = {"get": dict(stream.OPERATION)}
    paths.update(meta.PATHS)
    for path, operations in paths.items():
        for method, operation in operations.items():
            _without_foreign_errors(operation["responses"])
            _say_what_it_is(operation, schemas)
            if is_api(path) and method != "get":
                refused = body_problems(takes_body="requestBody" in operation)
                operation["responses"] = refused | operation["responses"]
        if "post" in operations and not is_read(path):
            operations["post"].setdefault("parameters", []).append(_IDEMPOTENCY_PARAMETER)
    about = next(
        (each for each in catalog.all() if each.connection is not None and each.installation is not None),
        None,
    ) or next(iter(catalog.all()), None)
    words = {} if about is None else {examples.PROVIDER: about.id, examples.PROVIDER_NAME: about.name}
    result: dict[str, Any] = _told(made, words)
    for operations in result["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                response["headers"] = _HEADERS | _FURTHER_HEADERS.get(status, {})
    return result


def _without_foreign_errors(responses: dict[str, Any]) -> None:
    """Drop the 422 that FastAPI assumes for every parameter; ours are stated where they can happen."""
    if "HTTPValidationError" in str(responses.get("422", {})):
        del responses["422"]


def _say_what_it_is(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Replace the texts FastAPI makes of Python names by ones for readers."""
    identifier: str = operation["operationId"]
    if operation["summary"] == identifier.replace("_", " ").title():
        operation["summary"] = identifier.replace("_", " ").capitalize().replace(" api ", " API ")
    access = operation.get(EXTENSION)
    if access is not None:
        refused = "" if access["reach"] == Reach.TENANT else "; refused to a key of one tenant"
        told = f"Needs a key with the role `{access['role']}`{refused}."
        operation["description"] = f"{operation['description']}\n\n{told}"
    for response in operation["responses"].values():
        if response["description"] == "Successful Response":
            reference = str(response.get("content", {}).get("application/json", {}).get("schema"))
            name = reference.rsplit("/", 1)[-1].rstrip("'}")
            response["description"] = schemas.get(name, {}).get("description", "Done; there is no body")


def _told(value: Any, words: dict[str, str]) -> Any:
    """The same with the stand-ins replaced."""
    if isinstance(value, dict):
        return {key: _told(inner, words) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_told(inner, words) for inner in value]
    if isinstance(value, str):
        for word, text in words.items():
            value = value.replace(word, text)
    return value
