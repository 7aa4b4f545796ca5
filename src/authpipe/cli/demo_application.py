"""A small application as our users write them: its own sign-in, and the two moments it calls Authpipe."""

from __future__ import annotations

import html
import secrets
from types import TracebackType
from typing import Self

from aiohttp import web

from authpipe.sdk.async_client import AsyncAuthpipe
from authpipe.sdk.errors import AuthpipeError
from authpipe.sdk.objects import ConnectSession

_COOKIE = "demo_application_session"
_PAGE = "<!doctype html><html lang=en><title>Demo</title><h1>{heading}</h1>{body}</html>"


class DemoApplication:
    """Serves on a port of its own while the context is open.  ``finished`` keeps what was connected.

    Its users belong to one tenant.  It learns of a user from its own cookie alone, never from an address.
    """

    def __init__(self, port: int, authpipe: AsyncAuthpipe, *, tenant_id: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.return_url = f"{self.url}/connected"
        self.authpipe = authpipe
        self.finished: list[ConnectSession] = []
        self._port = port
        self._tenant_id = tenant_id
        self._signed_in: dict[str, str] = {}
        application = web.Application()
        application.add_routes(
            [
                web.get("/", self._home),
                web.post("/sign-in", self._sign_in),
                web.post("/connect/{provider}/{kind}", self._connect),
                web.get("/connected", self._connected),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    def page_for(self, provider: str) -> str:
        """The address of the page that offers to connect this provider."""
        return f"{self.url}/?provider={provider}"

    async def _home(self, request: web.Request) -> web.Response:
        user_id = self._user(request)
        if user_id is None:
            return _page(
                "Sign in",
                '<form method="post" action="/sign-in"><input name="user_id"><button>Sign in</button></form>',
            )
        provider = html.escape(request.query.get("provider", ""), quote=True)
        forms = "".join(
            f'<form method="post" action="/connect/{provider}/{kind}"><button>{label}</button></form>'
            for kind, label in (("installation", "Install"), ("connection", "Connect"))
        )
        return _page(f"Hello {html.escape(user_id)}", forms if provider else "")

    async def _sign_in(self, request: web.Request) -> web.Response:
        """Whoever says who they are is believed: this is a demonstration."""
        user_id = str((await request.post()).get("user_id", ""))
        session = secrets.token_urlsafe(32)
        self._signed_in[session] = user_id
        response = web.Response(status=303, headers={"Location": "/"})
        response.set_cookie(_COOKIE, session, httponly=True, samesite="Lax")
        return response

    async def _connect(self, request: web.Request) -> web.Response:
        """First moment: mint a connect session for the signed-in user and send the browser there."""
        installs = request.match_info["kind"] == "installation"
        session = await self.authpipe.connect_sessions.create(
            provider=request.match_info["provider"],
            tenant_id=self._tenant_id,
            user_id=self._required_user(request),
            kind="installation" if installs else "connection",
            return_url=self.return_url,
        )
        return web.Response(status=303, headers={"Location": session.url or "/"})

    async def _connected(self, request: web.Request) -> web.Response:
        """Second moment: the browser is back.  Confirm, inside this user's own session, that it is the one
        who began."""
        user_id = self._required_user(request)
        if "completion_code" not in request.query:
            return _page("Not connected", html.escape(request.query.get("error", "")), status=400)
        try:
            done = await self.authpipe.connect_sessions.complete(
                request.query["connect_session_id"],
                completion_code=request.query["completion_code"],
                tenant_id=self._tenant_id,
                user_id=user_id,
            )
        except AuthpipeError as error:
            return _page("Not connected", html.escape(error.message), status=400)
        self.finished.append(done)
        return _page("Connected", "You can use it now.")

    def _user(self, request: web.Request) -> str | None:
        return self._signed_in.get(request.cookies.get(_COOKIE, ""))

    def _required_user(self, request: web.Request) -> str:
        user_id = self._user(request)
        if user_id is None:
            raise web.HTTPUnauthorized(text="sign in first")
        return user_id


def _page(heading: str, body: str, *, status: int = 200) -> web.Response:
    return web.Response(
        text=_PAGE.format(heading=heading, body=body), content_type="text/html", status=status
    )
