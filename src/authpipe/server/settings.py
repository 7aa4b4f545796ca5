"""The settings of server and worker, from the environment: every ``AUTHPIPE_…`` variable they read."""

from __future__ import annotations

import json
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from authpipe.domain.errors import ConfigurationError
from authpipe.domain.secret import Secret
from authpipe.store.embedded import default_data_dir

_PREFIX = "AUTHPIPE_"
_MISSING: tuple[str, ...] = ("missing", "default_factory_not_called")


class Profile(StrEnum):
    """How strict to be.  Production refuses what is convenient on one's own machine only."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


def _dsn(value: object) -> object:
    """Into a ``Secret`` before anything can show it: a DSN carries a password."""
    if not isinstance(value, str):
        return value
    try:
        scheme = urlsplit(value).scheme
    except ValueError:
        scheme = ""
    if scheme not in ("postgresql", "postgres"):
        raise ValueError("malformed")
    return Secret(value)


def _directory(value: object) -> object:
    if value == "":
        raise ValueError("empty")
    return Path(value).expanduser().absolute() if isinstance(value, str) else value


def _origin(value: object) -> object:
    if not isinstance(value, str):
        return value
    url = urlsplit(value)
    if url.scheme not in ("http", "https") or not url.hostname or url.port == 0:
        raise ValueError("malformed")
    if url.username is not None or url.path.strip("/") or url.query or url.fragment:
        raise ValueError("malformed")
    return value.rstrip("/")


def _collector(value: object) -> object:
    """No credentials in it: an address is shown in error messages."""
    if not isinstance(value, str):
        return value
    url = urlsplit(value)
    if url.scheme not in ("http", "https") or not url.hostname or url.port == 0:
        raise ValueError("malformed")
    if url.username is not None or url.query or url.fragment:
        raise ValueError("malformed")
    return value


def _issuer(value: object) -> object:
    """Kept to the letter, a slash at its end included: issuers are compared exactly."""
    if not isinstance(value, str):
        return value
    url = urlsplit(value)
    if url.scheme not in ("http", "https") or not url.hostname or url.port == 0:
        raise ValueError("malformed")
    if url.username is not None or "?" in value or "#" in value:
        raise ValueError("malformed")
    return value


def _secret(value: object) -> object:
    if value == "":
        raise ValueError("empty")
    return Secret(value) if isinstance(value, str) else value


def _domains(value: object) -> object:
    listed = _items(value)
    return [each.lower() for each in listed] if isinstance(listed, list | tuple) else listed


def _items(value: object) -> object:
    """Commas between items, or a JSON array for items that contain some."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [item.strip() for item in value.split(",") if item.strip()]


def _networks(value: object) -> object:
    listed = _items(value)
    return [ip_network(item, strict=False) for item in listed] if isinstance(listed, list) else listed


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


class Settings(BaseSettings):
    """Every setting; the description of a field is also what its error message asks for.

    Make one with :func:`load_settings`.  Its ``repr`` shows no password and no PIN.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        frozen=True,
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
        extra="forbid",
    )

    profile: Profile = Field(Profile.DEVELOPMENT, description="development or production")
    data_dir: Annotated[Path, BeforeValidator(_directory)] = Field(
        default_factory=default_data_dir, description="the path of a directory"
    )
    database_url: Annotated[Secret | None, BeforeValidator(_dsn)] = Field(
        None, description="a PostgreSQL address, postgresql://user:password@host/database"
    )
    host: str = Field("127.0.0.1", min_length=1, description="the address of an interface to listen on")
    port: int = Field(8700, ge=1, le=65_535, description="a port number, 1 to 65535")
    public_url: Annotated[str, BeforeValidator(_origin)] = Field(
        default_factory=lambda data: f"http://127.0.0.1:{data['port']}",
        description="the address browsers use, https://host[:port], without a path",
    )
    keks: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_items)] = Field(
        default_factory=lambda data: (f"local:{data['data_dir'] / 'kek.key'}",),
        min_length=1,
        repr=False,
        description="KEK URIs with commas between, such as local:/etc/authpipe/kek.key; the first is primary",
    )
    key_max_age_days: int = Field(
        90, ge=0, le=3650, description="days after which a data key is replaced, 0 (never) to 3650"
    )
    keyset_cache_size: int = Field(
        10_000, ge=1, le=10_000_000, description="how many keysets to hold unwrapped, 1 to 10000000"
    )
    keyset_cache_s: int = Field(
        300, ge=1, le=86_400, description="seconds to hold a keyset unwrapped, 1 to 86400"
    )
    allow_loopback_egress: bool = Field(False, description="true or false")
    processes: int = Field(1, ge=1, le=256, description="how many server processes to run, 1 to 256")
    pool_size: int = Field(16, ge=2, le=1000, description="database connections per process, 2 to 1000")
    refresh_concurrency: int = Field(256, ge=1, le=10_000, description="refreshes at a time, 1 to 10000")
    trusted_proxies: Annotated[
        tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_networks)
    ] = Field((), description="addresses or networks with commas between, such as 10.0.0.0/8,::1")
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = Field(
        "INFO", description="debug, info, warning or error"
    )
    log_json: bool = Field(
        default_factory=lambda data: data["profile"] is Profile.PRODUCTION, description="true or false"
    )
    oidc_issuer: Annotated[str | None, BeforeValidator(_issuer)] = Field(
        None, description="the issuer of an OpenID provider, to the letter, such as https://id.example.com"
    )
    oidc_client_id: str | None = Field(
        None, min_length=1, description="the client id that the OpenID provider gave"
    )
    oidc_client_secret: Annotated[Secret | None, BeforeValidator(_secret)] = Field(
        None, description="the client secret that the OpenID provider gave"
    )
    oidc_name: str | None = Field(
        None, min_length=1, max_length=40, description="a name for the OpenID provider, at most 40 characters"
    )
    oidc_new_operators: Literal["developer", "viewer"] | None = Field(
        None, description="developer or viewer; unset it to take only operators that were added"
    )
    oidc_domains: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$")], ...],
        NoDecode,
        BeforeValidator(_domains),
    ] = Field((), description="the domains of emails, with commas between, such as example.com,example.org")
    otlp_endpoint: Annotated[str | None, BeforeValidator(_collector)] = Field(
        None, description="an OTLP/HTTP address for traces, such as http://127.0.0.1:4318/v1/traces"
    )
    trace_ratio: float = Field(1.0, ge=0, le=1, description="the share of traces to record, 0 to 1")

    @property
    def is_production(self) -> bool:
        """Whether the strict profile is on."""
        return self.profile is Profile.PRODUCTION

    @property
    def local_url(self) -> str:
        """Where this machine itself reaches the server."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def as_environment(self) -> dict[str, str]:
        """The variables that make another process of ours read the same settings.  They hold the DSN."""
        values: dict[str, str] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if value is None:
                continue
            values[f"{_PREFIX}{name.upper()}"] = _as_text(value)
        return values


def load_settings(**given: Any) -> Settings:
    """The settings: ``given`` by keyword first, then the environment, then the defaults.

    Raises ``ConfigurationError`` with one line for each variable that is wrong, naming it and what it takes,
    but never its value.
    """
    try:
        settings = Settings(**given)
    except ValidationError as error:
        lines = _explain(error)
    else:
        lines = _contradictions(settings)
    if lines:
        raise ConfigurationError("\n".join(lines))
    return settings


def _explain(error: ValidationError) -> list[str]:
    lines: dict[str, None] = {}
    for fault in error.errors(include_input=False, include_url=False, include_context=False):
        name = str(fault["loc"][0])
        field = Settings.model_fields.get(name)
        if field is None:
            lines[f"there is no setting {name}"] = None
        elif fault["type"] not in _MISSING:
            lines[f"{_PREFIX}{name.upper()} must be {field.description}"] = None
    return list(lines)


def _contradictions(settings: Settings) -> list[str]:
    lines = _oidc_contradictions(settings)
    if not settings.is_production:
        return lines
    if settings.public_url.startswith("http:") and not _is_loopback(settings.public_url):
        lines.append("AUTHPIPE_PUBLIC_URL must begin with https:// when AUTHPIPE_PROFILE is production")
    if settings.allow_loopback_egress:
        lines.append(
            "AUTHPIPE_ALLOW_LOOPBACK_EGRESS is for development: unset it when AUTHPIPE_PROFILE is production"
        )
    return lines


def _oidc_contradictions(settings: Settings) -> list[str]:
    """Half a configuration is a mistake, and the half that opens the door must not stand alone."""
    needed = {
        "AUTHPIPE_OIDC_ISSUER": settings.oidc_issuer,
        "AUTHPIPE_OIDC_CLIENT_ID": settings.oidc_client_id,
        "AUTHPIPE_OIDC_CLIENT_SECRET": settings.oidc_client_secret,
    }
    further = (settings.oidc_name, settings.oidc_new_operators, settings.oidc_domains)
    missing = [name for name, value in needed.items() if value is None]
    lines = []
    if missing and (len(missing) < len(needed) or any(further)):
        lines.append(f"{', '.join(missing)} must be set for sign-in at an OpenID provider")
    issuer = settings.oidc_issuer or ""
    if issuer.startswith("http:") and not (settings.allow_loopback_egress and _is_loopback(issuer)):
        lines.append("AUTHPIPE_OIDC_ISSUER must begin with https://")
    if (settings.oidc_new_operators is None) != (not settings.oidc_domains):
        lines.append("AUTHPIPE_OIDC_NEW_OPERATORS and AUTHPIPE_OIDC_DOMAINS must be set together")
    return lines


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _as_text(value: object) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, tuple):
        return json.dumps([str(item) for item in value])
    return str(value).lower() if isinstance(value, bool) else str(value)
