"""Templates into answers, with the headers that every page needs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from authpipe.access.return_urls import origin_of
from authpipe.connect.ending import FailedSession
from authpipe.domain.connect_session import ConnectSession
from authpipe.domain.errors import AuthpipeError
from authpipe.domain.secret import Secret
from authpipe.pages.assets import Assets
from authpipe.pages.browser_name import browser_name
from authpipe.pages.browser_request import request_id
from authpipe.pages.cookies import release
from authpipe.pages.headers import security_headers
from authpipe.pages.problems import problem_of
from authpipe.pages.way_back import failure_address, host_of, is_popup, success_address

#: The person chose these ends, so there is nothing to read before a popup closes.
_CHOSEN = frozenset({"access_denied", "cancelled"})


class Rendering:
    """Makes pages and redirects.  Whatever stands in a template is escaped; an unknown name is an error."""

    def __init__(self, public_url: str, assets: Assets) -> None:
        self._public_url = public_url
        self._templates = Environment(
            loader=PackageLoader("authpipe.pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals["assets"] = assets.addresses
        self._templates.filters |= {"host": host_of, "browser": browser_name, "when": _when}

    def page(
        self,
        request: Request,
        template: str,
        *,
        status: int = 200,
        form_action: Iterable[str] = (),
        script: bool = False,
        keeps_opener: bool = False,
        **context: Any,
    ) -> Response:
        """A page.  See :func:`security_headers` for what the options allow."""
        return HTMLResponse(
            self._templates.get_template(template).render(reference=request_id(request), **context),
            status,
            security_headers(
                self._public_url, form_action=form_action, script=script, keeps_opener=keeps_opener
            ),
        )

    def redirect(self, address: str, *, keeps_opener: bool = False) -> Response:
        """303: go there by GET, whatever the method was.  The address is sent as it is."""
        headers = security_headers(self._public_url, keeps_opener=keeps_opener)
        return Response(status_code=303, headers=headers | {"Location": address})

    def empty(self, status: int = 200) -> Response:
        """No body."""
        return Response(status_code=status, headers=security_headers(self._public_url))

    def success(self, request: Request, session: ConnectSession, completion_code: Secret) -> Response:
        """Back to the application with the completion code; the session's cookie is gone."""
        address = success_address(session, completion_code)
        return self._back(request, session, address, {"completion-code": completion_code.reveal()})

    def cancelled(self, request: Request, session: ConnectSession) -> Response:
        """Back to the application, as the person wished; the session's cookie is gone."""
        return self._back(request, session, failure_address(session, "cancelled"), {"error": "cancelled"})

    def problem(
        self, request: Request, error: AuthpipeError, *, headers: dict[str, str] | None = None
    ) -> Response:
        """A page that says what happened and what to do, with the way back where the session is known."""
        problem, text = problem_of(error)
        session = error.session if isinstance(error, FailedSession) else None
        popup = session is not None and is_popup(session)
        response = self.page(
            request,
            "problem.html",
            status=problem.status,
            script=popup,
            keeps_opener=popup,
            title=problem.title,
            text=text,
            code=error.code,
            link=problem.link,
            session=session,
            popup=popup,
            closes=error.code in _CHOSEN,
            target=origin_of(session.return_url) if session is not None and popup else None,
            way_back=None if session is None else failure_address(session, error.code),
        )
        response.headers.update(headers or {})
        if session is not None:
            release(response, session)
        return response

    def failure(self, request: Request) -> Response:
        """The page for a defect of ours: a reference, and nothing of what went wrong."""
        return self.page(request, "failure.html", status=500)

    def _back(
        self, request: Request, session: ConnectSession, address: str, answer: dict[str, str]
    ) -> Response:
        if is_popup(session):
            response = self.page(
                request,
                "popup.html",
                script=True,
                keeps_opener=True,
                session=session,
                answer=answer,
                target=origin_of(session.return_url),
                way_back=address,
            )
        else:
            response = self.redirect(address)
        release(response, session)
        return response


def _when(moment: datetime) -> str:
    """Such as 17 May 2026, 12:00 UTC."""
    return f"{moment.astimezone(UTC):%-d %B %Y, %H:%M} UTC"
