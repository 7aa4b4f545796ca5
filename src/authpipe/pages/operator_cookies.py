"""The cookies of operators' browsers.  Each holds 256 bits and nothing that means anything by itself."""

from __future__ import annotations

import re
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from authpipe.access import oidc_sign_in, operator_invitations
from authpipe.access.operator_sessions import LONGEST_LIFE
from authpipe.access.sign_in import NewSession
from authpipe.domain.secret import Secret

#: Browsers insist on Secure, Path=/ and no Domain for this prefix: no other host can plant one.
_PREFIX = "__Host-authpipe_"
#: Who is signed in.
SESSION = _PREFIX + "operator"
#: What forms are bound to while nobody is signed in.
FORM = _PREFIX + "form"
#: The browser that left for the OpenID provider.
DEPARTURE = _PREFIX + "sign_in"
#: The browser that opened an invitation.
INVITATION = _PREFIX + "invitation"
#: A browser in which the operator signed in before.
MARK = _PREFIX + "known"

_VALUE = re.compile(r"[A-Za-z0-9_-]{43}")
_MARK_KEPT = timedelta(days=180)


def shown(request: Request, name: str) -> Secret | None:
    """The cookie's value, or None when it is missing or cannot be one of ours."""
    value = request.cookies.get(name, "")
    return Secret(value) if _VALUE.fullmatch(value) else None


def keep(response: Response, name: str, value: Secret, *, life: timedelta | None = None) -> None:
    """Give the browser a cookie; without ``life`` it goes when the browser is closed.

    Lax, not Strict: the OpenID provider sends the browser back from another site, by a visit.  Whatever
    changes something is a POST, which such a cookie does not follow from elsewhere, and carries a token.
    """
    _set(response, name, value.reveal(), None if life is None else int(life.total_seconds()))


def drop(response: Response, *names: str) -> None:
    """Take cookies away."""
    for name in names:
        _set(response, name, "", 0)


def keep_departure(response: Response, value: Secret) -> None:
    """For as long as signing in at the provider may take."""
    keep(response, DEPARTURE, value, life=oidc_sign_in.LIFETIME)


def keep_invitation(response: Response, value: Secret) -> None:
    """For as long as an invitation can be good."""
    keep(response, INVITATION, value, life=operator_invitations.LIFETIME)


def keep_mark(response: Response, value: Secret) -> None:
    """So that the operator's lock does not hold this browser off."""
    keep(response, MARK, value, life=_MARK_KEPT)


def begin_session(response: Response, made: NewSession) -> None:
    """The cookies of somebody who has just signed in; those of the way there go."""
    keep(response, SESSION, made.cookie, life=LONGEST_LIFE)
    keep_mark(response, made.mark)
    drop(response, FORM, DEPARTURE, INVITATION)


def _set(response: Response, name: str, value: str, max_age_s: int | None) -> None:
    response.set_cookie(name, value, max_age=max_age_s, path="/", secure=True, httponly=True, samesite="lax")
