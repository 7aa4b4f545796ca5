"""The objects with which operators sign in, each given what it works with."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

from authpipe.access.oidc_provider import OidcProvider, OidcRegistration
from authpipe.access.oidc_sign_in import OidcSignIn
from authpipe.access.operator_cleanup import OperatorCleanup
from authpipe.access.operator_invitations import OperatorInvitations
from authpipe.access.operator_sessions import OperatorSessions
from authpipe.access.operators import Operators
from authpipe.access.passwords import Passwords
from authpipe.access.sign_in import PasswordSignIn
from authpipe.domain.access import OperatorRole
from authpipe.domain.clock import Clock
from authpipe.net.client import HttpClient
from authpipe.net.egress import EgressPolicy
from authpipe.server.settings import Settings
from authpipe.store.database import Database
from authpipe.vault.vault import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningIn:
    """Operators and their ways in.  ``oidc`` is None where no OpenID provider is configured."""

    operators: Operators
    sessions: OperatorSessions
    invitations: OperatorInvitations
    password: PasswordSignIn
    oidc: OidcSignIn | None
    cleanup: OperatorCleanup


def build_signing_in(
    settings: Settings,
    stack: AsyncExitStack,
    *,
    database: Database,
    vault: Vault,
    http: HttpClient,
    egress: EgressPolicy,
    clock: Clock,
) -> SigningIn:
    """Put the objects together; ``stack`` ends the threads that hash passwords."""
    passwords = Passwords()
    stack.callback(passwords.close)
    sessions = OperatorSessions(database, clock)
    operators = Operators(database, clock, passwords, sessions)
    registration = _registration(settings)
    oidc = None
    if registration is not None:
        oidc = OidcSignIn(
            OidcProvider(registration, http=http, egress=egress, clock=clock),
            database=database,
            vault=vault,
            sessions=sessions,
            clock=clock,
            public_url=settings.public_url,
        )
    return SigningIn(
        operators=operators,
        sessions=sessions,
        invitations=OperatorInvitations(database, clock, passwords, operators, sessions),
        password=PasswordSignIn(
            database=database, passwords=passwords, operators=operators, sessions=sessions, clock=clock
        ),
        oidc=oidc,
        cleanup=OperatorCleanup(database=database, sessions=sessions, clock=clock),
    )


def _registration(settings: Settings) -> OidcRegistration | None:
    if settings.oidc_issuer is None or settings.oidc_client_id is None or settings.oidc_client_secret is None:
        return None
    role = settings.oidc_new_operators
    return OidcRegistration(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret,
        name=settings.oidc_name or urlsplit(settings.oidc_issuer).netloc,
        new_operators=None if role is None else OperatorRole(role),
        domains=frozenset(settings.oidc_domains),
    )
