"""Which scopes an authorization request asks for."""

from __future__ import annotations

from collections.abc import Sequence

from authpipe.catalog.definition import SideName
from authpipe.credentials.provider import Provider
from authpipe.domain.errors import InvalidInput


def check_scopes(provider: Provider, side: SideName, scopes: Sequence[str], *, field: str) -> tuple[str, ...]:
    """Refuse scopes the definition does not know for this side; definitions without scopes take any."""
    known = {scope.name for scope in provider.definition.scopes_for(side)}
    for index, scope in enumerate(scopes):
        if known and scope not in known:
            # Not repeated: a secret may have been put into the wrong field.
            raise InvalidInput(
                f"{field}[{index}] is no scope of {provider.definition.name} for {side.value}s; "
                f"known are {', '.join(sorted(known))}",
                field=f"{field}[{index}]",
            )
    return tuple(dict.fromkeys(scopes))


def requested_scopes(provider: Provider, side: SideName, wished: Sequence[str]) -> tuple[str, ...]:
    """The session's own wish, else the provider config's scopes, else the defaults; required ones always."""
    config = provider.config
    configured = config.scopes if side is SideName.CONNECTION else config.installation_scopes
    known = provider.definition.scopes_for(side)
    chosen = tuple(wished) or configured or tuple(scope.name for scope in known if scope.default)
    required = tuple(scope.name for scope in known if scope.required)
    return tuple(dict.fromkeys((*required, *chosen)))
