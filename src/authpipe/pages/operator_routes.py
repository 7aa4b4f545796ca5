"""Every address of the operators' pages."""

from __future__ import annotations

from collections.abc import Callable

from authpipe.pages.account_page import AccountPage
from authpipe.pages.invitation_page import InvitationPage
from authpipe.pages.operator_gate import OperatorGate
from authpipe.pages.operators_page import OperatorsPage
from authpipe.pages.rendering import Rendering
from authpipe.pages.services import PageServices
from authpipe.pages.sign_in_page import SignInPage
from authpipe.telemetry.plain_route import PlainRoute


def build(services: PageServices, rendering: Rendering, at: Callable[..., PlainRoute]) -> list[PlainRoute]:
    """The routes; ``at`` makes one from a path and its handlers by method."""
    gate = OperatorGate(services)
    sign_in = SignInPage(services, rendering, gate)
    invitation = InvitationPage(services, rendering)
    account = AccountPage(services, rendering, gate)
    operators = OperatorsPage(services, rendering, gate)
    one = "/operators/{operator_id}"
    return [
        at("/", get=sign_in.home),
        at("/sign-in", get=sign_in.show, post=sign_in.submit),
        at("/sign-in/oidc", post=sign_in.leave),
        at("/sign-in/callback", get=sign_in.callback),
        at("/sign-out", post=sign_in.sign_out),
        at("/invitation", get=invitation.show, post=invitation.submit),
        at("/invitation/{token}", get=invitation.open),
        at("/account", get=account.show),
        at("/account/password", post=account.change_password),
        at("/account/sessions/end-others", post=account.end_others),
        at("/account/sessions/{session_id}/end", post=account.end_session),
        at("/operators", get=operators.list, post=operators.add),
        at(one, get=operators.show),
        at(f"{one}/update", post=operators.update),
        at(f"{one}/invite", post=operators.invite),
        at(f"{one}/disable", post=operators.disable),
        at(f"{one}/enable", post=operators.enable),
        at(f"{one}/unlock", post=operators.unlock),
        at(f"{one}/sign-out", post=operators.sign_out),
    ]
