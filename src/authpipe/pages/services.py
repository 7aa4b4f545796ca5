"""What the pages work with; the wiring fills it."""

from __future__ import annotations

from dataclasses import dataclass

from authpipe.access.oidc_sign_in import OidcSignIn
from authpipe.access.operator_invitations import OperatorInvitations
from authpipe.access.operator_sessions import OperatorSessions
from authpipe.access.operators import Operators
from authpipe.access.sign_in import PasswordSignIn
from authpipe.catalog.catalog import Catalog
from authpipe.connect.browser import BrowserSessions
from authpipe.connect.callback import Callbacks
from authpipe.connect.ending import SessionEnding
from authpipe.connect.key_form import KeyForm
from authpipe.connect.start import AuthorizationStart
from authpipe.domain.clock import Clock
from authpipe.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class PageServices:
    """Open for as long as the application serves.

    ``public_url`` is where browsers reach this server, without a slash at its end.
    """

    public_url: str
    clock: Clock
    catalog: Catalog
    database: Database
    browser_sessions: BrowserSessions
    authorization_start: AuthorizationStart
    callbacks: Callbacks
    key_form: KeyForm
    ending: SessionEnding
    operators: Operators
    operator_sessions: OperatorSessions
    operator_invitations: OperatorInvitations
    password_sign_in: PasswordSignIn
    oidc_sign_in: OidcSignIn | None
