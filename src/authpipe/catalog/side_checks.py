"""What must hold of one side of a definition, and of the app's own credential."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from authpipe.catalog.definition import (
    AppCredential,
    FactSource,
    ProviderDefinition,
    RefreshPolicy,
    RemovalEffect,
    Side,
    SideName,
)
from authpipe.catalog.finding import Finding
from authpipe.catalog.placeholders import STANDARD_NAMES, STANDARD_SECRETS
from authpipe.catalog.template_checks import header_faults, path_faults, probe_rule_faults, template_faults
from authpipe.domain.credential import CredentialKind, CredentialSource

#: Kinds a person enters on a form; the others come from an authorization server or from the app.
ENTERED_KINDS: Final = frozenset(
    {CredentialKind.API_KEY, CredentialKind.BASIC, CredentialKind.WEBHOOK_SECRET}
)

#: Parameters of an authorization request that the protocol itself sets (RFC 6749, RFC 7636, RFC 9101).
RESERVED_PARAMETERS: Final = frozenset(
    {
        "client_id",
        "client_secret",
        "code_challenge",
        "code_challenge_method",
        "nonce",
        "redirect_uri",
        "request",
        "request_uri",
        "response_mode",
        "response_type",
        "scope",
        "state",
    }
)

_FIELD_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


def side_faults(definition: ProviderDefinition, name: SideName, side: Side) -> Iterator[Finding]:
    """Everything that keeps this side from working."""
    key = name.value
    yield from _source_faults(definition, side, key)
    yield from _key_field_faults(side, key)
    yield from _account_faults(definition, side, key)
    yield from _parameter_faults(definition, side, key)
    yield from _belonging_faults(definition, name, side)
    yield from _extra_credential_faults(definition, side, key)
    yield from _request_faults(definition, name, side)


def app_credential_faults(definition: ProviderDefinition, credential: AppCredential) -> Iterator[Finding]:
    """The app's credential is asked for only where a side uses it, and can be probed by itself."""
    key = "app_credential"
    users = [
        name.value
        for name in SideName
        if (side := definition.side(name)) and side.source is CredentialSource.PROVIDER_CONFIG
    ]
    if not users:
        yield Finding(key=key, message='no side has source = "provider_config"; remove it')
    for user in users:
        side = definition.side(SideName(user))
        if side is not None and side.header != credential.header:
            yield Finding(key=f"{key}.header", message=f"differs from {user}.header; it is the same secret")
    if not _FIELD_NAME.fullmatch(credential.name):
        yield Finding(key=f"{key}.name", message="must be a word of a-z, 0-9 and _")
    yield from header_faults(credential.header, f"{key}.header", frozenset())
    yield from template_faults(
        credential.probe.request,
        f"{key}.probe.request",
        names={"client_id": False} if definition.oauth else {},
        header=credential.header,
        has_client=definition.oauth is not None,
    )
    yield from probe_rule_faults(credential.probe, f"{key}.probe")


def reserved_faults(parameters: Mapping[str, str], key: str) -> Iterator[Finding]:
    """Fixed parameters leave those of the protocol alone."""
    for name in parameters:
        if name in RESERVED_PARAMETERS:
            yield Finding(key=f"{key}.{name}", message="is set by the protocol itself; remove it")


def _source_faults(definition: ProviderDefinition, side: Side, key: str) -> Iterator[Finding]:
    if side.source is CredentialSource.PROVIDER_CONFIG:
        if definition.app_credential is None:
            yield Finding(key=f"{key}.source", message="needs an [app_credential] table to say what it is")
        if side.credential in ENTERED_KINDS or side.credential is CredentialKind.OAUTH_TOKEN:
            yield Finding(key=f"{key}.credential", message="cannot be kept on the provider config")
    elif side.credential not in ENTERED_KINDS and definition.oauth is None:
        yield Finding(key=f"{key}.credential", message=f"{side.credential.value} needs an [oauth] table")
    if side.refresh is not RefreshPolicy.NONE:
        if definition.oauth is None:
            yield Finding(key=f"{key}.refresh", message="needs an [oauth] table with a token_url")
        if side.source is not CredentialSource.OWN or side.credential in ENTERED_KINDS:
            yield Finding(key=f"{key}.refresh", message='must be "none"; such a credential is not refreshed')


def _key_field_faults(side: Side, key: str) -> Iterator[Finding]:
    if side.credential not in ENTERED_KINDS:
        if side.key_fields:
            yield Finding(
                key=f"{key}.key_fields", message=f"{side.credential.value} is not entered on a form"
            )
        return
    secrets = sum(field.secret for field in side.key_fields)
    if secrets != 1:
        yield Finding(key=f"{key}.key_fields", message=f"must have exactly one secret field, not {secrets}")
    seen: set[str] = set()
    for position, field in enumerate(side.key_fields):
        place = f"{key}.key_fields[{position}]"
        if not _FIELD_NAME.fullmatch(field.name):
            yield Finding(key=f"{place}.name", message="must be a word of a-z, 0-9 and _")
        if field.name in seen or field.name in (*STANDARD_NAMES, "secret", "basic"):
            yield Finding(key=f"{place}.name", message=f"{field.name!r} is taken; choose another name")
        seen.add(field.name)
        yield from _pattern_faults(field.pattern, f"{place}.pattern")


def _account_faults(definition: ProviderDefinition, side: Side, key: str) -> Iterator[Finding]:
    account = side.account
    if account.source is FactSource.TOKEN_RESPONSE and definition.oauth is None:
        yield Finding(key=f"{key}.account.source", message='needs an [oauth] table; use "probe" instead')
    yield from path_faults(account.id, f"{key}.account.id")
    yield from path_faults(account.name, f"{key}.account.name")
    for name, path in account.metadata.items():
        yield from path_faults(path, f"{key}.account.metadata.{name}")


def _parameter_faults(definition: ProviderDefinition, side: Side, key: str) -> Iterator[Finding]:
    server = definition.oauth
    if server is None:
        if side.parameters or side.authorize_parameters:
            yield Finding(key=f"{key}.parameters", message="mean nothing without an [oauth] table")
        return
    yield from reserved_faults(side.authorize_parameters, f"{key}.authorize_parameters")
    taken = RESERVED_PARAMETERS | side.authorize_parameters.keys() | server.authorize_parameters.keys()
    for position, parameter in enumerate(side.parameters):
        place = f"{key}.parameters[{position}]"
        if parameter.name in taken:
            yield Finding(
                key=f"{place}.name", message=f"{parameter.name!r} is set already; remove one of them"
            )
        taken |= {parameter.name}
        faults = list(_pattern_faults(parameter.pattern, f"{place}.pattern"))
        yield from faults
        default = parameter.default
        if not faults and default is not None and not re.fullmatch(parameter.pattern, default):
            yield Finding(key=f"{place}.default", message="does not match the pattern beside it")


def _belonging_faults(definition: ProviderDefinition, name: SideName, side: Side) -> Iterator[Finding]:
    key = name.value
    if name is SideName.CONNECTION:
        if side.extra_credentials:
            yield Finding(key=f"{key}.extra_credentials", message="belong to installations; move them there")
        if side.uninstall is not None:
            yield Finding(key=f"{key}.uninstall", message="belongs to installations; use revocation here")
        if definition.installation is None:
            if side.requires_installation:
                yield Finding(key=f"{key}.requires_installation", message="there is no [installation]")
            if side.on_installation_removed is not RemovalEffect.KEEP_WORKING:
                yield Finding(key=f"{key}.on_installation_removed", message="there is no [installation]")
        return
    if side.requires_installation:
        yield Finding(key=f"{key}.requires_installation", message="speaks of connections; move it there")
    if side.on_installation_removed is not RemovalEffect.KEEP_WORKING:
        yield Finding(key=f"{key}.on_installation_removed", message="speaks of connections; move it there")


def _extra_credential_faults(definition: ProviderDefinition, side: Side, key: str) -> Iterator[Finding]:
    scopes = {scope.name: scope for scope in definition.scopes}
    secret_paths = definition.oauth.secret_paths if definition.oauth else ()
    for position, extra in enumerate(side.extra_credentials):
        place = f"{key}.extra_credentials[{position}]"
        scope = scopes.get(extra.scope)
        if scope is None or SideName.INSTALLATION not in scope.sides:
            yield Finding(key=f"{place}.scope", message=f"{extra.scope!r} is not a scope of installations")
        yield from path_faults(extra.secret, f"{place}.secret")
        if extra.secret not in secret_paths:
            message = f"{extra.secret!r} must stand in oauth.secret_paths, so that it is wrapped on arrival"
            yield Finding(key=f"{place}.secret", message=message)
        for name, path in extra.metadata.items():
            yield from path_faults(path, f"{place}.metadata.{name}")
            if path in secret_paths:
                yield Finding(key=f"{place}.metadata.{name}", message="is a secret; metadata is shown")


def _request_faults(definition: ProviderDefinition, name: SideName, side: Side) -> Iterator[Finding]:
    key = name.value
    names = _placeholder_names(definition, name, side)
    shown = frozenset(field.name for field in side.key_fields if not field.secret)
    yield from header_faults(side.header, f"{key}.header", shown)
    templates = {
        "probe.request": side.probe.request,
        "revocation": side.revocation,
        "uninstall": side.uninstall,
    }
    for table, template in templates.items():
        if template is not None:
            yield from template_faults(
                template,
                f"{key}.{table}",
                names=names,
                header=side.header,
                has_client=definition.oauth is not None,
            )
    yield from probe_rule_faults(side.probe, f"{key}.probe")


def _placeholder_names(definition: ProviderDefinition, name: SideName, side: Side) -> dict[str, bool]:
    """The placeholders that have a value on this side, each with whether it is a secret."""
    usable = ["external_id" if name is SideName.INSTALLATION else "account_id"]
    if definition.oauth is not None:
        usable += ["client_id", "client_secret"]
        if side.source is CredentialSource.OWN and side.credential not in ENTERED_KINDS:
            usable.append("access_token")
            if side.refresh is not RefreshPolicy.NONE:
                usable.append("refresh_token")
    names = {usable_name: usable_name in STANDARD_SECRETS for usable_name in usable}
    return names | {field.name: field.secret for field in side.key_fields}


def _pattern_faults(pattern: str | None, key: str) -> Iterator[Finding]:
    if pattern is None:
        return
    try:
        re.compile(pattern)
    except re.error as error:
        yield Finding(key=key, message=f"is not a regular expression: {error}")
