"""Moves a definition's endpoints to another host: a sandbox, a regional host, an on-premise server."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit

from authpipe.catalog.definition import AppCredential, Probe, ProviderDefinition, RequestTemplate, Side
from authpipe.domain.errors import InvalidInput
from authpipe.oauth.server import AuthorizationServer


def rebase(url: str, base_url: str | None) -> str:
    """``url`` with scheme and host of ``base_url`` and its path in front; unchanged without a base URL.

    Query and fragment of ``url`` stay.  Raises ``InvalidInput`` (field ``base_url``) unless the base is an
    http or https URL with a host and without user name, query or fragment.
    """
    if base_url is None:
        return url
    base_scheme, base_host, base_path = _parts(base_url)
    target = urlsplit(url)
    return urlunsplit((base_scheme, base_host, base_path + target.path, target.query, target.fragment))


def definition_at(definition: ProviderDefinition, base_url: str | None) -> ProviderDefinition:
    """The definition with every endpoint rebased; the page with the provider's documentation stays.

    Builds new objects each time: keep the result beside the provider config it belongs to.
    """
    if base_url is None:
        return definition
    return replace(
        definition,
        api_base_url=rebase(definition.api_base_url, base_url),
        oauth=_server_at(definition.oauth, base_url),
        connection=_side_at(definition.connection, base_url),
        installation=_side_at(definition.installation, base_url),
        app_credential=_app_credential_at(definition.app_credential, base_url),
    )


def _parts(base_url: str) -> tuple[str, str, str]:
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        raise InvalidInput("is not a URL", field="base_url") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise InvalidInput("must be an http or https URL with a host", field="base_url")
    if "@" in parts.netloc or "?" in base_url or "#" in base_url:
        raise InvalidInput("must have no user name, query or fragment", field="base_url")
    return parts.scheme, parts.netloc, parts.path.rstrip("/")


def _server_at(server: AuthorizationServer | None, base_url: str) -> AuthorizationServer | None:
    if server is None:
        return None
    return replace(
        server,
        authorize_url=rebase(server.authorize_url, base_url),
        token_url=rebase(server.token_url, base_url),
        # RFC 9207 compares the issuer exactly: a server that answers elsewhere calls itself by that name.
        issuer=None if server.issuer is None else rebase(server.issuer, base_url),
    )


def _side_at(side: Side | None, base_url: str) -> Side | None:
    if side is None:
        return None
    return replace(
        side,
        probe=_probe_at(side.probe, base_url),
        revocation=_template_at(side.revocation, base_url),
        uninstall=_template_at(side.uninstall, base_url),
    )


def _app_credential_at(credential: AppCredential | None, base_url: str) -> AppCredential | None:
    return None if credential is None else replace(credential, probe=_probe_at(credential.probe, base_url))


def _probe_at(probe: Probe, base_url: str) -> Probe:
    return replace(probe, request=replace(probe.request, url=rebase(probe.request.url, base_url)))


def _template_at(template: RequestTemplate | None, base_url: str) -> RequestTemplate | None:
    return None if template is None else replace(template, url=rebase(template.url, base_url))
