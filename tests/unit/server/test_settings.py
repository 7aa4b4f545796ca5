"""Settings: what they read, what they refuse, what they never show."""

from __future__ import annotations

import os
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import ValidationError

from authpipe.domain.errors import ConfigurationError
from authpipe.domain.secret import Secret
from authpipe.server.settings import Profile, Settings, load_settings


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("AUTHPIPE_"):
            monkeypatch.delenv(name)


def test_a_machine_without_variables_gets_development(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything has a default, and what follows from another setting follows it."""
    settings = load_settings()
    assert settings.profile is Profile.DEVELOPMENT
    assert settings.database_url is None
    assert settings.public_url == "http://127.0.0.1:8700"
    assert settings.keks == (f"local:{settings.data_dir}/kek.key",)
    assert settings.log_json is False
    assert settings.allow_loopback_egress is False
    monkeypatch.setenv("AUTHPIPE_PORT", "9000")
    monkeypatch.setenv("AUTHPIPE_DATA_DIR", "~/state")
    assert load_settings().public_url == "http://127.0.0.1:9000"
    assert load_settings().data_dir == Path("~/state").expanduser()
    assert load_settings().keks == (f"local:{Path('~/state').expanduser()}/kek.key",)
    assert load_settings(profile="production").log_json is True


def test_lists_are_written_with_commas_or_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON is for items that contain a comma."""
    monkeypatch.setenv("AUTHPIPE_TRUSTED_PROXIES", "10.0.0.0/8, ::1")
    monkeypatch.setenv("AUTHPIPE_KEKS", '["local:/a,b", "local:/c"]')
    settings = load_settings()
    assert settings.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1"))
    assert settings.keks == ("local:/a,b", "local:/c")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PROFILE", "prod"),
        ("DATA_DIR", ""),
        ("DATABASE_URL", "mysql://u:hunter2@host/db"),
        ("DATABASE_URL", ""),
        ("DATABASE_URL", "postgresql//u:hunter2@host"),
        ("DATABASE_URL", "postgresql://u:hunter2@[host"),
        ("HOST", ""),
        ("PORT", "0"),
        ("PORT", "hunter2"),
        ("PUBLIC_URL", "hunter2.example"),
        ("PUBLIC_URL", "https://u:hunter2@a.example"),
        ("PUBLIC_URL", "https://a.example/hunter2"),
        ("PUBLIC_URL", "https://a.example:port"),
        ("KEKS", ""),
        ("KEKS", "[hunter2"),
        ("ALLOW_LOOPBACK_EGRESS", "perhaps"),
        ("PROCESSES", "0"),
        ("POOL_SIZE", "1"),
        ("REFRESH_CONCURRENCY", "0"),
        ("TRUSTED_PROXIES", "hunter2"),
        ("LOG_LEVEL", "loud"),
        ("LOG_JSON", ""),
        ("OTLP_ENDPOINT", "hunter2"),
        ("OTLP_ENDPOINT", "https://u:hunter2@collector.example/v1/traces"),
        ("OTLP_ENDPOINT", "https://collector.example/v1/traces?key=hunter2"),
        ("TRACE_RATIO", "1.1"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says what it takes, without the value: it may be a secret pasted into the wrong place."""
    monkeypatch.setenv(f"AUTHPIPE_{name}", value)
    with pytest.raises(ConfigurationError) as failure:
        load_settings()
    assert failure.value.message.startswith(f"AUTHPIPE_{name} must be ")
    assert "\n" not in failure.value.message
    assert "hunter2" not in failure.value.message
    assert failure.value.__context__ is None


def test_several_wrong_values_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for each, and none for what only follows from them."""
    monkeypatch.setenv("AUTHPIPE_PORT", "x")
    monkeypatch.setenv("AUTHPIPE_PROFILE", "x")
    with pytest.raises(ConfigurationError) as failure:
        load_settings()
    assert failure.value.message.splitlines() == [
        "AUTHPIPE_PROFILE must be development or production",
        "AUTHPIPE_PORT must be a port number, 1 to 65535",
    ]


def test_an_unknown_keyword_is_an_error() -> None:
    """A misspelt setting is not silently left out."""
    with pytest.raises(ConfigurationError, match="no setting prot"):
        load_settings(prot=1)


def test_production_refuses_what_is_convenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain HTTP for browsers, and calls to this machine."""
    monkeypatch.setenv("AUTHPIPE_PROFILE", "production")
    assert load_settings(public_url="https://auth.example/").public_url == "https://auth.example"
    assert load_settings(public_url="http://localhost:8700").is_production
    with pytest.raises(ConfigurationError, match="AUTHPIPE_PUBLIC_URL must begin with https://"):
        load_settings(public_url="http://auth.example")
    with pytest.raises(ConfigurationError, match="AUTHPIPE_ALLOW_LOOPBACK_EGRESS is for development"):
        load_settings(public_url="https://auth.example", allow_loopback_egress=True)
    monkeypatch.setenv("AUTHPIPE_PROFILE", "development")
    assert load_settings(public_url="http://auth.example", allow_loopback_egress=True)


def test_neither_password_nor_pin_is_shown() -> None:
    """Not by repr, str or a dump to JSON."""
    settings = load_settings(
        database_url="postgresql://u:hunter2@h/d", keks=("pkcs11:token=a?pin-value=hunter2",)
    )
    assert settings.database_url is not None
    assert settings.database_url.reveal() == "postgresql://u:hunter2@h/d"
    assert "hunter2" not in f"{settings!r} {settings} {settings.database_url}"
    with pytest.raises(ValidationError) as failure:
        Settings(database_url="mysql://u:hunter2@h/d")  # type: ignore[arg-type]
    assert "hunter2" not in str(failure.value)


def test_another_process_reads_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What as_environment gives is read back as it was, whatever the environment said before."""
    settings = load_settings(
        profile="production",
        data_dir="/var/lib/a b",
        database_url="postgresql://u:p@h/d",
        host="::",
        port=9,
        public_url="https://auth.example",
        keks=["local:/x,y", "local:/z"],
        processes=3,
        trusted_proxies="10.0.0.0/8",
        log_level="warning",
        log_json=False,
        otlp_endpoint="https://collector.example/v1/traces",
        trace_ratio=0.25,
        oidc_issuer="https://id.example/realms/a/",
        oidc_client_id="authpipe",
        oidc_client_secret=Secret("client secret"),
        oidc_name="Acme, Inc.",
        oidc_new_operators="viewer",
        oidc_domains=["acme.example", "acme.test"],
    )
    variables = settings.as_environment()
    assert set(variables) == {f"AUTHPIPE_{name.upper()}" for name in Settings.model_fields}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


_OPENID = {
    "oidc_issuer": "https://id.example",
    "oidc_client_id": "authpipe",
    "oidc_client_secret": "hunter2-hunter2",
}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"oidc_issuer": None}, "AUTHPIPE_OIDC_ISSUER must be set"),
        ({"oidc_client_id": None}, "AUTHPIPE_OIDC_CLIENT_ID must be set"),
        ({"oidc_client_secret": None}, "AUTHPIPE_OIDC_CLIENT_SECRET must be set"),
        ({"oidc_client_secret": ""}, "AUTHPIPE_OIDC_CLIENT_SECRET must be the client secret"),
        (dict.fromkeys(_OPENID) | {"oidc_name": "Acme"}, "AUTHPIPE_OIDC_ISSUER, AUTHPIPE_OIDC_CLIENT_ID"),
        ({"oidc_issuer": "http://id.example"}, "AUTHPIPE_OIDC_ISSUER must begin with https://"),
        ({"oidc_issuer": "http://127.0.0.1:9"}, "AUTHPIPE_OIDC_ISSUER must begin with https://"),
        ({"oidc_issuer": "https://u:hunter2@id.example"}, "AUTHPIPE_OIDC_ISSUER must be the issuer"),
        ({"oidc_issuer": "https://id.example?x"}, "AUTHPIPE_OIDC_ISSUER must be the issuer"),
        ({"oidc_new_operators": "viewer"}, "must be set together"),
        ({"oidc_domains": "acme.example"}, "must be set together"),
        ({"oidc_new_operators": "owner", "oidc_domains": "acme.example"}, "must be developer or viewer"),
        ({"oidc_new_operators": "viewer", "oidc_domains": "*"}, "AUTHPIPE_OIDC_DOMAINS must be"),
        ({"oidc_new_operators": "viewer", "oidc_domains": "@acme.example"}, "AUTHPIPE_OIDC_DOMAINS must be"),
    ],
)
def test_half_an_openid_provider_is_a_mistake(given: dict[str, object], told: str) -> None:
    """One line says what is missing or wrong, and no value is shown."""
    with pytest.raises(ConfigurationError, match=told) as caught:
        load_settings(**_OPENID | given)
    assert "hunter2" not in caught.value.message


def test_an_openid_provider_is_kept_to_the_letter() -> None:
    """The issuer with its slash, which is a part of it; domains in lower case; the secret shown nowhere."""
    settings = load_settings(
        **_OPENID | {"oidc_issuer": "https://id.example/"},
        oidc_new_operators="developer",
        oidc_domains="Acme.Example, acme.test",
    )
    assert settings.oidc_issuer == "https://id.example/"
    assert settings.oidc_domains == ("acme.example", "acme.test")
    assert "hunter2" not in repr(settings)
    local = {"oidc_issuer": "http://localhost:9"}
    assert load_settings(**_OPENID | local, allow_loopback_egress=True).oidc_issuer == "http://localhost:9"


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:8700"), ("::", "http://[::1]:8700"), ("10.1.2.3", "http://10.1.2.3:8700")],
)
def test_this_machine_reaches_the_server_wherever_it_listens(host: str, url: str) -> None:
    """A wildcard is no address to connect to."""
    assert load_settings(host=host).local_url == url
