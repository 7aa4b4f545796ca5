"""The cookie that makes a browser the one a session belongs to."""

from __future__ import annotations

from datetime import datetime

from starlette.responses import Response

from authpipe.connect.browser import cookie_name
from authpipe.domain.connect_session import ConnectSession
from authpipe.domain.secret import Secret


def bind(response: Response, session: ConnectSession, value: Secret, *, now: datetime) -> None:
    """Give the browser the cookie for the rest of the session's life.

    Lax, not Strict: the provider sends the browser back from another site, by a visit.  Secure cookies work
    on ``http://localhost`` and ``http://127.0.0.1``, too: Chromium trusts loopback as it does https.
    """
    life = max(1, int((session.expires_at - now).total_seconds()))
    _set(response, session, value.reveal(), life)


def release(response: Response, session: ConnectSession) -> None:
    """Take the cookie away: the session is over for this browser."""
    _set(response, session, "", 0)


def _set(response: Response, session: ConnectSession, value: str, max_age_s: int) -> None:
    response.set_cookie(
        cookie_name(session.session_id),
        value,
        max_age=max_age_s,
        path="/",
        secure=True,
        httponly=True,
        samesite="lax",
    )
