"""What may be set on a provider config, and what the provider's definition allows of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypedDict

from authpipe.catalog.definition import Parameter, SideName
from authpipe.connect.scopes import check_scopes
from authpipe.credentials.provider import Provider
from authpipe.domain.errors import InvalidInput
from authpipe.domain.provider_config import Attachment
from authpipe.domain.secret import Secret

_LONGEST_CLIENT_ID = 512
_LONGEST_SECRET = 8192
#: RFC 6749 section 3.3.
_SCOPE = re.compile(r"[!#-\[\]-~]{1,255}")


class ConfigFields(TypedDict, total=False):
    """What may be set; a key that is missing leaves its field as it is, None empties it."""

    enabled: bool
    client_id: str | None
    client_secret: Secret | None
    app_credential: Secret | None
    scopes: tuple[str, ...]
    installation_scopes: tuple[str, ...]
    base_url: str | None
    attachment: Attachment
    parameters: Mapping[str, str]


def check_config(provider: Provider, fields: ConfigFields) -> None:
    """Everything that is no secret.  Raises ``InvalidInput`` naming the field."""
    definition = provider.definition
    client_id = fields.get("client_id")
    if client_id is not None:
        if definition.oauth is None:
            raise InvalidInput(
                f"{definition.name} has no OAuth client: leave client_id out", field="client_id"
            )
        if not 1 <= len(client_id) <= _LONGEST_CLIENT_ID or not _is_visible(client_id):
            raise InvalidInput(
                f"client_id must be 1 to {_LONGEST_CLIENT_ID} printable ASCII characters without spaces",
                field="client_id",
            )
    _check_scopes(provider, SideName.CONNECTION, fields.get("scopes", ()), field="scopes")
    _check_scopes(
        provider, SideName.INSTALLATION, fields.get("installation_scopes", ()), field="installation_scopes"
    )
    _check_parameters(provider, fields.get("parameters", {}))


def check_secrets(provider: Provider, fields: ConfigFields) -> None:
    """The secrets, without a word of what they hold.  Raises ``InvalidInput`` naming the field."""
    definition = provider.definition
    client_secret, app_credential = fields.get("client_secret"), fields.get("app_credential")
    if client_secret is not None:
        if definition.oauth is None:
            raise InvalidInput(
                f"{definition.name} has no OAuth client: leave client_secret out", field="client_secret"
            )
        _check_secret(client_secret, "client_secret")
    if app_credential is not None:
        if definition.app_credential is None:
            raise InvalidInput(
                f"{definition.name} has no app credential: leave app_credential out", field="app_credential"
            )
        _check_secret(app_credential, "app_credential")


def _check_scopes(provider: Provider, side: SideName, scopes: Sequence[str], *, field: str) -> None:
    if not scopes:
        return
    if provider.definition.side(side) is None:
        raise InvalidInput(f"{provider.definition.name} has no {side.value}s: leave {field} out", field=field)
    for scope in scopes:
        if _SCOPE.fullmatch(scope) is None:
            raise InvalidInput(
                f"{field} may hold printable ASCII characters without spaces, quotes and backslashes",
                field=field,
            )
    check_scopes(provider, side, scopes, field=field)


def _check_parameters(provider: Provider, parameters: Mapping[str, str]) -> None:
    known: dict[str, Parameter] = {
        parameter.name: parameter
        for side in (provider.definition.connection, provider.definition.installation)
        if side is not None
        for parameter in side.parameters
    }
    for name, value in parameters.items():
        parameter = known.get(name)
        if parameter is None:
            told = f"known are {', '.join(sorted(known))}" if known else "it has none"
            raise InvalidInput(
                f"parameters may not name {name[:100]!r} for {provider.definition.name}: {told}",
                field=f"parameters.{name[:100]}",
            )
        if re.fullmatch(parameter.pattern, value) is None:
            raise InvalidInput(
                f"parameters.{name} does not match {parameter.pattern} ({parameter.meaning})",
                field=f"parameters.{name}",
            )


def _check_secret(secret: Secret, field: str) -> None:
    text = secret.reveal()
    if not 1 <= len(text) <= _LONGEST_SECRET or not _is_visible(text):
        # A private key in PEM form has line breaks and is allowed to.
        if text.startswith("-----BEGIN ") and len(text) <= _LONGEST_SECRET and text.isascii():
            return
        raise InvalidInput(
            f"{field} must be 1 to {_LONGEST_SECRET} printable ASCII characters without spaces", field=field
        )


def _is_visible(text: str) -> bool:
    return all("!" <= character <= "~" for character in text)
