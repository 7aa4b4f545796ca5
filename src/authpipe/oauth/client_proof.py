"""How the client proves itself to an authorization server (RFC 6749 section 2.3.1)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote_plus

from authpipe.domain.errors import ConfigurationError
from authpipe.domain.secret import Secret
from authpipe.net.message import Value
from authpipe.oauth.server import AuthorizationServer, Client, ClientAuthentication


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientProof:
    """What a request must carry: headers, and fields of its body."""

    headers: Mapping[str, Value] = field(default_factory=dict)
    fields: Mapping[str, Value] = field(default_factory=dict)


def client_proof(server: AuthorizationServer, client: Client) -> ClientProof:
    """The proof in the way the server takes it.

    Raises ``ConfigurationError`` when the server wants a secret and the client has none.
    """
    if server.client_authentication is ClientAuthentication.NONE:
        return ClientProof(fields={"client_id": client.client_id})
    if client.client_secret is None:
        raise ConfigurationError("the provider config has no client secret, and the provider wants one")
    if server.client_authentication is ClientAuthentication.POST:
        return ClientProof(fields={"client_id": client.client_id, "client_secret": client.client_secret})
    return ClientProof(headers={"Authorization": basic(client.client_id, client.client_secret)})


def basic(client_id: str, client_secret: Secret) -> Secret:
    """The Basic value, id and secret form-encoded first so that neither can break out of its half."""
    pair = f"{quote_plus(client_id)}:{quote_plus(client_secret.reveal())}"
    return Secret("Basic " + base64.b64encode(pair.encode("ascii")).decode("ascii"))
