"""What must hold across the keys of a definition before an engine may trust it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from authpipe.catalog.definition import AuthModel, ProviderDefinition, SideName
from authpipe.catalog.finding import Finding
from authpipe.catalog.quirks import QUIRKS
from authpipe.catalog.side_checks import app_credential_faults, reserved_faults, side_faults
from authpipe.catalog.strict import close_match
from authpipe.catalog.template_checks import path_faults, plain_url_faults
from authpipe.domain.credential import CredentialKind

#: The shelves of the catalog.  A new one is a decision, not a typing error.
CATEGORIES: Final = (
    "accounting",
    "analytics",
    "calendar",
    "communication",
    "crm",
    "developer-tools",
    "e-commerce",
    "forms",
    "hr",
    "marketing",
    "other",
    "payments",
    "productivity",
    "social",
    "storage",
    "support",
)

_ID: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

#: The sides each auth model has: connection, installation.
_SIDES_OF: Final = {
    AuthModel.USER_OAUTH: (True, False),
    AuthModel.INSTALLATION_AND_USER: (True, True),
    AuthModel.INSTALLATION: (False, True),
    AuthModel.API_KEY: (True, False),
    AuthModel.BASIC: (True, False),
}

_KIND_OF: Final = {AuthModel.API_KEY: CredentialKind.API_KEY, AuthModel.BASIC: CredentialKind.BASIC}


def contradictions(definition: ProviderDefinition) -> Iterator[Finding]:
    """Every reason not to use the definition: what its keys say cannot all be true."""
    for check in _CHECKS:
        yield from check(definition)
    for name in SideName:
        side = definition.side(name)
        if side is not None:
            yield from side_faults(definition, name, side)
    if definition.app_credential is not None:
        yield from app_credential_faults(definition, definition.app_credential)


def _identity_faults(definition: ProviderDefinition) -> Iterator[Finding]:
    if not _ID.fullmatch(definition.id):
        yield Finding(key="id", message="must be words of a-z and 0-9 joined by hyphens")
    if definition.category not in CATEGORIES:
        meant = close_match(definition.category, CATEGORIES)
        hint = f"did you mean {meant}?" if meant else f"known: {', '.join(CATEGORIES)}"
        yield Finding(key="category", message=f"{definition.category!r} is not a category ({hint})")
    yield from plain_url_faults(definition.docs_url, "docs_url")
    yield from plain_url_faults(definition.api_base_url, "api_base_url")
    for name in sorted(definition.quirks - QUIRKS.keys()):
        meant = close_match(name, tuple(QUIRKS))
        hint = f"did you mean {meant}?" if meant else f"known: {', '.join(QUIRKS)}"
        yield Finding(key="quirks", message=f"unknown quirk {name!r} ({hint})")


def _model_faults(definition: ProviderDefinition) -> Iterator[Finding]:
    model = definition.auth_model
    if definition.connection is None and definition.installation is None:
        yield Finding(
            key="auth_model", message="there is nothing to make; add [connection] or [installation]"
        )
        return
    if model not in _SIDES_OF:
        return
    for name, wanted in zip((SideName.CONNECTION, SideName.INSTALLATION), _SIDES_OF[model], strict=True):
        if wanted and definition.side(name) is None:
            yield Finding(key=name.value, message=f"missing; auth_model {model.value!r} has one")
        elif not wanted and definition.side(name) is not None:
            yield Finding(key=name.value, message=f"auth_model {model.value!r} has none; remove it")
    kind = _KIND_OF.get(model)
    if (
        kind is not None
        and definition.connection is not None
        and definition.connection.credential is not kind
    ):
        message = f"auth_model {model.value!r} means {kind.value!r}"
        yield Finding(key="connection.credential", message=message)


def _oauth_faults(definition: ProviderDefinition) -> Iterator[Finding]:
    server = definition.oauth
    if server is None:
        return
    if definition.auth_model in _KIND_OF:
        yield Finding(key="oauth", message=f"auth_model {definition.auth_model.value!r} uses none; remove it")
    yield from plain_url_faults(server.authorize_url, "oauth.authorize_url")
    yield from plain_url_faults(server.token_url, "oauth.token_url")
    if server.issuer is not None:
        yield from plain_url_faults(server.issuer, "oauth.issuer")
    elif server.issuer_in_callback:
        yield Finding(key="oauth.issuer", message="missing; issuer_in_callback compares with it (RFC 9207)")
    if server.default_lifetime_s is not None and server.default_lifetime_s <= 0:
        yield Finding(key="oauth.default_lifetime_s", message="must be a positive number of seconds")
    for position, path in enumerate(server.secret_paths):
        yield from path_faults(path, f"oauth.secret_paths[{position}]")
    fields = server.token_fields
    for field in ("access_token", "refresh_token", "expires_in", "refresh_expires_in", "scope", "token_type"):
        yield from path_faults(getattr(fields, field), f"oauth.token_fields.{field}")
    yield from reserved_faults(server.authorize_parameters, "oauth.authorize_parameters")


def _scope_faults(definition: ProviderDefinition) -> Iterator[Finding]:
    server = definition.oauth
    if definition.scopes and server is None:
        yield Finding(key="scopes", message="mean nothing without an [oauth] table")
        return
    seen: set[str] = set()
    for position, scope in enumerate(definition.scopes):
        place = f"scopes[{position}]"
        if scope.name in seen:
            yield Finding(key=f"{place}.name", message=f"{scope.name!r} was named before")
        seen.add(scope.name)
        if server is not None and server.scope_separator in scope.name:
            yield Finding(key=f"{place}.name", message="contains the scope separator; name one scope each")
        if not scope.sides and scope.note is None:
            message = f"{scope.name!r} can stand in no request; name a side, or say in a note how it is had"
            yield Finding(key=f"{place}.sides", message=message)
        for side in sorted(scope.sides):
            if definition.side(side) is None:
                yield Finding(key=f"{place}.sides", message=f"{scope.name!r}: there is no [{side.value}]")
        asked_for = "required" if scope.required else "default"
        if scope.required and not scope.default:
            yield Finding(
                key=f"{place}.default", message=f"{scope.name!r} is required, so it must be default too"
            )
        if (scope.required or scope.default) and not scope.sides:
            yield Finding(
                key=f"{place}.{asked_for}", message=f"{scope.name!r} has no side in which to ask for it"
            )
        if (scope.required or scope.default) and server is not None and not server.scope_in_request:
            message = f"{scope.name!r} cannot be asked for while oauth.scope_in_request is false"
            yield Finding(key=f"{place}.{asked_for}", message=message)


_CHECKS: Final[tuple[Callable[[ProviderDefinition], Iterator[Finding]], ...]] = (
    _identity_faults,
    _model_faults,
    _oauth_faults,
    _scope_faults,
)
