"""The URI of a key at AWS KMS, read strictly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from authpipe.domain.errors import ConfigurationError

SCHEME = "aws-kms"

_ARN = re.compile(r"arn:aws[a-z0-9-]*:kms:(?P<region>[a-z0-9-]+):\d{12}:(?:key|alias)/[A-Za-z0-9/_-]+")
_NAME = re.compile(r"alias/[A-Za-z0-9/_-]+|(?:mrk-)?[A-Za-z0-9-]+")
_PARAMETERS: Final = ("region", "endpoint_url")


@dataclass(frozen=True, slots=True)
class AwsKmsUri:
    """``aws-kms:KEY?region=…&endpoint_url=…``.

    ``key`` is what KMS itself takes as a key id: the ARN of a key or alias, ``alias/NAME`` or the id alone.
    ``region`` is None where only the environment knows it.
    """

    key: str
    region: str | None
    endpoint_url: str | None
    text: str

    @classmethod
    def parse(cls, rest: str, *, production: bool) -> AwsKmsUri:
        """Read what follows ``aws-kms:``.  Raises ``ConfigurationError`` without repeating a value.

        ``production`` refuses an endpoint that is asked over plain HTTP, unless it is on this machine: the
        data keys themselves travel there.
        """
        key, _, query = rest.partition("?")
        arn = _ARN.fullmatch(key)
        if arn is None and not _NAME.fullmatch(key):
            raise ConfigurationError(
                "an aws-kms KEK URI names no key; give 'aws-kms:' and the ARN of a key or alias, "
                "'alias/NAME' or a key id"
            )
        given = _parameters(query)
        region, of_arn = given.get("region"), arn.group("region") if arn else None
        if region and of_arn and region != of_arn:
            raise ConfigurationError(f"the aws-kms KEK {key} is in {of_arn} and not in the region of its URI")
        endpoint = given.get("endpoint_url")
        if endpoint is not None:
            check_endpoint(key, endpoint, production=production)
        return cls(key=key, region=region or of_arn, endpoint_url=endpoint, text=f"{SCHEME}:{rest}")


def _parameters(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, strict_parsing=True, max_num_fields=len(_PARAMETERS)) if query else []
    except ValueError:
        pairs = [("", "")]
    given = dict(pairs)
    if len(given) != len(pairs) or not given.keys() <= set(_PARAMETERS):
        raise ConfigurationError(f"an aws-kms KEK URI takes, once each: {', '.join(_PARAMETERS)}")
    return given


def check_endpoint(key: str, endpoint: str, *, production: bool) -> None:
    """Raise ``ConfigurationError`` for an address that data keys may not travel to."""
    try:
        url = urlsplit(endpoint)
        known = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        known = False
    if not known or url.username is not None or url.password is not None or url.query or url.fragment:
        raise ConfigurationError(
            f"the endpoint_url of the aws-kms KEK {key} must be http(s):// and a host, without a user"
        )
    if production and url.scheme == "http" and not _is_loopback(url.hostname or ""):
        raise ConfigurationError(
            f"the endpoint_url of the aws-kms KEK {key} must begin with https:// in production: "
            "data keys travel there"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
