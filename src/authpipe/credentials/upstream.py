"""Calls to a provider about one credential: probing it, revoking it, removing the app."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from authpipe.catalog.definition import HeaderFormat, Probe, Reading, RequestAuth, RequestTemplate, Side
from authpipe.catalog.headers import credential_header
from authpipe.catalog.reading import ProbeResult, read_probe
from authpipe.catalog.request import needed_values, render
from authpipe.credentials.provider import Provider, Providers
from authpipe.domain.errors import ConfigurationError, ProviderError
from authpipe.domain.secret import Secret
from authpipe.net.client import HttpClient
from authpipe.net.message import Request, Value
from authpipe.telemetry.logs import get_logger
from authpipe.telemetry.metrics import Metrics
from authpipe.telemetry.provider_call import provider_call

#: Seconds.  Probes and revocations happen while somebody waits.
_DEADLINE_S = 10.0

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The secrets of one credential in memory, with the non-secret facts its requests may need."""

    secret: Secret
    refresh_token: Secret | None = None
    external_id: str | None = None
    account_id: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def texts(self) -> dict[str, str]:
        """The facts that are text: what headers are built from."""
        return {name: value for name, value in self.facts.items() if isinstance(value, str)}

    def values(self, side: Side) -> dict[str, Value]:
        """What request templates may name."""
        values: dict[str, Value] = {**self.texts(), "access_token": self.secret}
        # RFC 7009 section 2.1: the refresh token is what lives on; without one the access token stands in.
        values["refresh_token"] = self.refresh_token or self.secret
        if self.external_id is not None:
            values["external_id"] = self.external_id
        if self.account_id is not None:
            values["account_id"] = self.account_id
        for key_field in side.key_fields:
            if key_field.secret:
                values[key_field.name] = self.secret
        return values


class Upstream:
    """Sends what a definition describes and reads what comes back."""

    def __init__(self, *, providers: Providers, http: HttpClient, metrics: Metrics) -> None:
        self._providers = providers
        self._http = http
        self._metrics = metrics

    async def probe(self, provider: Provider, side: Side, held: Held) -> ProbeResult:
        """One cheap authenticated call.  Raises ``ProviderUnavailable`` when no answer came."""
        return await self._probe(provider, side.probe, side.header, held, held.values(side))

    async def probe_app(self, provider: Provider, app_credential: Secret) -> ProbeResult | None:
        """The app's own secret, tested.  None when the definition has no such secret."""
        app = provider.definition.app_credential
        if app is None:
            return None
        held = Held(secret=app_credential)
        return await self._probe(provider, app.probe, app.header, held, {"access_token": app_credential})

    async def revoke(self, provider: Provider, side: Side, held: Held) -> bool:
        """End the grant at the provider.  False when it has no way to, or did not confirm."""
        return await self._tell(provider, side, side.revocation, held, purpose="revoke")

    async def uninstall(self, provider: Provider, side: Side, held: Held) -> bool:
        """Remove the app from the workspace.  False when there is no way to, or no confirmation."""
        return await self._tell(provider, side, side.uninstall, held, purpose="uninstall")

    async def _probe(
        self,
        provider: Provider,
        probe: Probe,
        header: HeaderFormat,
        held: Held,
        values: Mapping[str, Value],
    ) -> ProbeResult:
        request = await self._request(provider, probe.request, header, held, values)
        with provider_call(self._metrics, provider.config.provider, "probe") as call:
            response = await self._http.send(request, deadline_s=_DEADLINE_S)
            call.set(status=response.status)
        result = read_probe(probe, response)
        if result.reading is Reading.TRANSIENT:
            _log.info("inconclusive probe", provider=provider.config.provider, reason=result.reason)
        return result

    async def _tell(
        self, provider: Provider, side: Side, template: RequestTemplate | None, held: Held, *, purpose: str
    ) -> bool:
        if template is None:
            return False
        try:
            request = await self._request(provider, template, side.header, held, held.values(side))
            with provider_call(self._metrics, provider.config.provider, purpose) as call:
                response = await self._http.send(request, deadline_s=_DEADLINE_S)
                call.set(status=response.status)
        except (ProviderError, ConfigurationError) as error:
            _log.warning(f"{purpose} failed", provider=provider.config.provider, error=error.code)
            return False
        if response.status not in template.success:
            _log.warning(f"{purpose} refused", provider=provider.config.provider, status=response.status)
            return False
        return True

    async def _request(
        self,
        provider: Provider,
        template: RequestTemplate,
        header: HeaderFormat,
        held: Held,
        values: Mapping[str, Value],
    ) -> Request:
        client = None
        if template.auth is RequestAuth.CLIENT or needed_values(template) & {"client_id", "client_secret"}:
            client = await self._providers.client(provider)
        oauth = provider.definition.oauth
        return render(
            template,
            values,
            header=credential_header(header, held.secret, held.texts()),
            client=client,
            client_authentication=None if oauth is None else oauth.client_authentication,
        )
