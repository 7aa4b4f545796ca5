"""Hands the open rooms to the API and to the pages, each what it needs."""

from __future__ import annotations

from authpipe.api.services import ApiServices
from authpipe.pages.services import PageServices
from authpipe.server.wiring import Rooms


def api_services(rooms: Rooms) -> ApiServices:
    """What the HTTP resources work with."""
    return ApiServices(
        public_url=rooms.settings.public_url,
        clock=rooms.clock,
        metrics=rooms.metrics,
        catalog=rooms.catalog,
        database=rooms.database,
        vault=rooms.vault,
        credential_reader=rooms.credential_reader,
        credential_reads=rooms.credential_reads,
        refresh_now=rooms.refresh_now,
        rejected_reports=rooms.rejected_reports,
        change_streams=rooms.change_streams,
        environments=rooms.environments,
        api_keys=rooms.api_keys,
        authenticator=rooms.authenticator,
        sessions=rooms.connecting.sessions,
        completion=rooms.connecting.completion,
        direct_storage=rooms.connecting.direct_storage,
        disconnection=rooms.connecting.disconnection,
        provider_configs=rooms.connecting.provider_configs,
        amendment=rooms.connecting.amendment,
        tenant_erasure=rooms.connecting.tenant_erasure,
    )


def page_services(rooms: Rooms) -> PageServices:
    """What the pages work with."""
    return PageServices(
        public_url=rooms.settings.public_url,
        clock=rooms.clock,
        catalog=rooms.catalog,
        database=rooms.database,
        browser_sessions=rooms.connecting.browser_sessions,
        authorization_start=rooms.connecting.authorization_start,
        callbacks=rooms.connecting.callbacks,
        key_form=rooms.connecting.key_form,
        ending=rooms.connecting.ending,
        operators=rooms.signing_in.operators,
        operator_sessions=rooms.signing_in.sessions,
        operator_invitations=rooms.signing_in.invitations,
        password_sign_in=rooms.signing_in.password,
        oidc_sign_in=rooms.signing_in.oidc,
    )
