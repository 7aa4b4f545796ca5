"""Provider configs of a development environment that point at the sandbox."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from authpipe.cli.sandbox_control import SandboxApplication, SandboxControl
from authpipe.domain.environment import Environment
from authpipe.domain.errors import Conflict
from authpipe.domain.event import Origin
from authpipe.domain.provider_config import ProviderConfig
from authpipe.domain.secret import Secret

if TYPE_CHECKING:
    from authpipe.connect.config_checks import ConfigFields
    from authpipe.server.wiring import Rooms


@dataclass(slots=True)
class SandboxConfigs:
    """What was configured: ``providers`` at the sandbox, ``kept`` with the developer's own config,
    ``stuck`` at an earlier sandbox by live connections.

    ``registrations`` are the redirect URIs the sandbox must know, which it forgets when it is restarted.
    """

    providers: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    registrations: list[tuple[str, str, str]] = field(default_factory=list)

    async def register(self, sandbox_url: str) -> None:
        """Tell the sandbox every redirect URI.  Raises ``ConfigurationError``."""
        async with SandboxControl(sandbox_url) as control:
            for registration in self.registrations:
                await control.register(*registration)


async def configure_sandbox(
    rooms: Rooms, environment: Environment, sandbox_url: str, *, origin: Origin
) -> SandboxConfigs:
    """Have a provider config for each provider of the sandbox, and its redirect URI known there.

    Configs that point elsewhere are a developer's own and stay as they are.  Raises ``ConfigurationError``.
    """
    from authpipe.connect.start import redirect_uri

    done = SandboxConfigs()
    async with SandboxControl(sandbox_url) as control:
        applications = await control.applications()
    existing = {
        config.provider: config
        for config in await rooms.connecting.provider_configs.list(environment.environment_id)
    }
    for application in applications:
        provider, before = application.provider, existing.get(application.provider)
        if before is not None and not _is_sandbox(before):
            done.kept.append(provider)
            continue
        fields = _fields(rooms, application, sandbox_url)
        try:
            if before is None:
                config = await rooms.connecting.provider_configs.create(
                    environment.environment_id, provider, fields, origin=origin
                )
            elif before.base_url != fields["base_url"]:
                config = await rooms.connecting.provider_configs.update(
                    environment.environment_id, before.provider_config_id, fields, origin=origin
                )
            else:
                config = before
        except Conflict:
            done.stuck.append(provider)
            continue
        done.providers.append(provider)
        if application.client_id is not None:
            done.registrations.append(
                (
                    provider,
                    application.client_id,
                    redirect_uri(rooms.settings.public_url, config.provider_config_id),
                )
            )
    await done.register(sandbox_url)
    return done


def _fields(rooms: Rooms, application: SandboxApplication, sandbox_url: str) -> ConfigFields:
    fields: ConfigFields = {"base_url": f"{sandbox_url}/{application.provider}"}
    if application.client_id is not None:
        fields["client_id"] = application.client_id
        fields["client_secret"] = Secret(application.fields["client_secret"])
    own = rooms.catalog.get(application.provider).app_credential
    if own is not None:
        fields["app_credential"] = Secret(application.fields[own.name])
    return fields


def _is_sandbox(config: ProviderConfig) -> bool:
    """Whether ``authpipe dev`` made it: it points at this machine, at the path of its provider."""
    url = urlsplit(config.base_url or "")
    return url.hostname in ("127.0.0.1", "localhost", "::1") and url.path == f"/{config.provider}"
