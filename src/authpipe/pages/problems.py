"""What a person reads when something does not go on: one status and one title for each code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from authpipe.domain.errors import AuthpipeError, ConnectError


@dataclass(frozen=True, slots=True)
class Problem:
    """How a refusal is shown.  ``text`` stands where the error's own words are meant for an API's caller.

    ``link`` is where to go on: an address of ours and its words.
    """

    status: int
    title: str
    text: str | None = None
    link: tuple[str, str] | None = None


_SIGN_IN = ("/sign-in", "Sign in")
_START_AGAIN = "Go back to the application and start again."

PROBLEMS: Mapping[str, Problem] = MappingProxyType(
    {
        "link_unknown": Problem(404, "This link is not valid"),
        "link_used": Problem(410, "This link was already used"),
        "session_unknown": Problem(404, "This page is not valid"),
        "session_expired": Problem(410, "This took too long"),
        "session_ended": Problem(410, "This is already finished"),
        "browser_mismatch": Problem(403, "This belongs to another browser"),
        "provider_mismatch": Problem(400, "The answer came to the wrong address"),
        "issuer_mismatch": Problem(
            400,
            "The answer came from somebody else",
            f"It is not from the provider you were sent to, and was not used. {_START_AGAIN}",
        ),
        "state_missing": Problem(400, "The provider's answer is incomplete"),
        "state_unknown": Problem(400, "This answer is not good any more"),
        "callback_malformed": Problem(400, "The provider's answer is malformed"),
        "callback_unknown": Problem(404, "This address belongs to no provider"),
        "provider_disabled": Problem(
            409, "This is switched off", f"The application has switched this provider off. {_START_AGAIN}"
        ),
        "too_many_attempts": Problem(403, "Too many keys were refused"),
        "access_denied": Problem(403, "You did not allow access"),
        "authorization_refused": Problem(403, "The provider did not allow it"),
        "code_refused": Problem(502, "The provider refused the connection"),
        "credential_refused": Problem(502, "The provider refused the credential"),
        "credential_limited": Problem(403, "The credential is not allowed enough"),
        "account_unknown": Problem(502, "The provider did not say whose account it is"),
        "provider_unavailable": Problem(502, "The provider cannot be reached"),
        "provider_config_incomplete": Problem(502, "The application is not set up for this"),
        "provider_config_refused": Problem(502, "The provider refuses the application"),
        "not_an_authorization": Problem(400, "This is not how the provider is connected"),
        "not_a_key": Problem(400, "This is not how the provider is connected"),
        "form_refused": Problem(403, "This form did not come from its own page"),
        "form_too_large": Problem(413, "What was sent is too long"),
        "form_unreadable": Problem(400, "The form cannot be read"),
        "page_unknown": Problem(404, "There is no such page"),
        "method_unsupported": Problem(405, "This page does not work that way"),
        "prefetch_refused": Problem(503, "This page is not loaded in advance"),
        "not_a_visit": Problem(403, "This page is opened on its own"),
        "database_unavailable": Problem(503, "This does not work at the moment"),
        "forbidden": Problem(403, "Your role does not include this", link=("/operators", "Back to the list")),
        "not_signed_in": Problem(401, "You are signed out", link=_SIGN_IN),
        "sign_in_wrong": Problem(401, "You are not signed in"),
        "sign_in_limited": Problem(429, "Too many tries", link=_SIGN_IN),
        "sign_in_busy": Problem(503, "Too busy at the moment", link=_SIGN_IN),
        "sign_in_stale": Problem(400, "This answer is not good any more", link=_SIGN_IN),
        "sign_in_malformed": Problem(400, "The identity provider's answer is malformed", link=_SIGN_IN),
        "sign_in_other_issuer": Problem(400, "The answer came from somebody else", link=_SIGN_IN),
        "sign_in_denied": Problem(403, "You were not signed in", link=_SIGN_IN),
        "sign_in_provider_failed": Problem(502, "The identity provider does not work", link=_SIGN_IN),
        "id_token_refused": Problem(502, "The identity provider's word does not hold", link=_SIGN_IN),
        "email_unverified": Problem(403, "Your email is not verified", link=_SIGN_IN),
        "operator_unknown": Problem(403, "You are not an operator here", link=_SIGN_IN),
        "invitation_unknown": Problem(404, "This invitation is not good any more", link=_SIGN_IN),
    }
)
_OVER = Problem(410, "This cannot go on", f"What it was about is not there any more. {_START_AGAIN}")


def problem_of(error: AuthpipeError) -> tuple[Problem, str]:
    """The problem and the text to show for it.

    What is neither in the table nor meant for a browser, such as a provider config that was deleted
    meanwhile, is told in general words.
    """
    problem = PROBLEMS.get(error.code)
    if problem is None:
        problem = Problem(400, "This cannot go on") if isinstance(error, ConnectError) else _OVER
    return problem, problem.text or error.message
