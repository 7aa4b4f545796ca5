"""Turns a request template and the facts of one credential into a request that can be sent."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from authpipe.catalog.definition import RequestAuth, RequestTemplate
from authpipe.catalog.placeholders import fill, placeholders
from authpipe.domain.errors import ConfigurationError, InvalidInput
from authpipe.domain.secret import Secret
from authpipe.net.message import Request, Value
from authpipe.oauth.client_proof import basic
from authpipe.oauth.server import Client, ClientAuthentication


def needed_values(template: RequestTemplate) -> frozenset[str]:
    """The placeholders the template names, wherever they stand: what a caller has to supply."""
    texts = [template.url, *template.headers.values(), *template.query.values()]
    texts += [*(template.form or {}).values(), *(template.json or {}).values()]
    return frozenset(name for text in texts for name in placeholders(text))


def render(
    template: RequestTemplate,
    values: Mapping[str, Value],
    *,
    header: tuple[str, Secret] | None = None,
    client: Client | None = None,
    client_authentication: ClientAuthentication | None = None,
) -> Request:
    """The request with every placeholder filled and the proof its ``auth`` asks for.

    ``header`` is the credential's (for ``auth = "credential"``), ``client`` and ``client_authentication``
    are the OAuth client's (for ``auth = "client"``); ``{client_id}`` and ``{client_secret}`` are taken from
    ``client`` unless ``values`` has them.  Values are percent-encoded in the URL and literal elsewhere.
    Whatever a secret takes part in is a ``Secret`` in the result, and none is ever part of the URL.

    Raises ``ConfigurationError`` when a value or proof is missing or a secret stands in the URL, and
    ``InvalidInput`` for a value that would change the path or a header instead of filling it.
    """
    known: dict[str, Value] = {**_client_values(client), **values}
    headers = {name: _header_value(name, fill(text, known)) for name, text in template.headers.items()}
    form = _filled(template.form, known)
    json = _filled(template.json, known)
    if template.auth is RequestAuth.CREDENTIAL:
        if header is None:
            raise ConfigurationError("this request needs the header of the credential")
        headers[header[0]] = header[1]
    elif template.auth is RequestAuth.CLIENT:
        if client is None or client_authentication is None:
            raise ConfigurationError("this request needs the OAuth client; set client id and secret")
        proof = _client_proof(client, client_authentication)
        if client_authentication is ClientAuthentication.BASIC:
            headers.update(proof)
        elif json is not None:
            json.update(proof)
        else:
            form = {**(form or {}), **proof}
    return Request(
        method=template.method,
        url=_url(template.url, known),
        headers=headers,
        query=_filled(template.query, known) or {},
        form=form,
        json=json,
    )


def _client_values(client: Client | None) -> dict[str, Value]:
    if client is None:
        return {}
    values: dict[str, Value] = {"client_id": client.client_id}
    if client.client_secret is not None:
        values["client_secret"] = client.client_secret
    return values


def _filled(texts: Mapping[str, str] | None, values: Mapping[str, Value]) -> dict[str, Value] | None:
    return None if texts is None else {name: fill(text, values) for name, text in texts.items()}


def _url(text: str, values: Mapping[str, Value]) -> str:
    url = fill(text, values, _path_segment)
    if isinstance(url, Secret):
        raise ConfigurationError("a secret must not be part of a URL; put it into query, form or headers")
    return url


def _path_segment(value: str) -> str:
    # Percent-encoding leaves dots alone, and `..` or nothing at all would address another resource.
    if value in ("", ".", ".."):
        raise InvalidInput("cannot stand in the path of a URL")
    return quote(value, safe="")


def _header_value(name: str, value: Value) -> Value:
    text = value.reveal() if isinstance(value, Secret) else value
    # RFC 9110 section 5.5: a control character would end the header, or start another one.
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in text):
        raise InvalidInput(f"the value for the header {name} contains a control character")
    return value


def _client_proof(client: Client, method: ClientAuthentication) -> dict[str, Value]:
    if method is ClientAuthentication.NONE:
        return {"client_id": client.client_id}
    secret = client.client_secret
    if secret is None:
        raise ConfigurationError("this provider config has no client secret; set it")
    if method is ClientAuthentication.POST:
        return {"client_id": client.client_id, "client_secret": secret}
    return {"Authorization": basic(client.client_id, secret)}
