"""``/operators``: who may sign in, and as what.  Everybody sees it, owners change it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from authpipe.access.operator_invitations import LIFETIME
from authpipe.access.operator_sessions import SignedIn
from authpipe.domain.access import Operator, OperatorRole
from authpipe.domain.errors import AuthpipeError, Conflict, ConnectError, InvalidInput, NotFound
from authpipe.domain.secret import Secret
from authpipe.pages.invitation_page import PATH as INVITATION
from authpipe.pages.operator_gate import OperatorGate, acting, check_role, form_token
from authpipe.pages.rendering import Rendering
from authpipe.pages.services import PageServices
from authpipe.pages.sign_in_page import sign_in_address

PATH = "/operators"
#: What was done, by the word that the way back carries.
DONE = {
    "saved": "Saved.",
    "disabled": "Disabled. Every session has ended.",
    "enabled": "Enabled. The password of before works again.",
    "unlocked": "Unlocked.",
    "signed-out": "Signed out everywhere.",
}


class OperatorsPage:
    """The list of operators and the page of each."""

    def __init__(self, services: PageServices, rendering: Rendering, gate: OperatorGate) -> None:
        self._services = services
        self._rendering = rendering
        self._gate = gate

    async def list(self, request: Request) -> Response:
        """The list; with a form to add somebody for owners."""
        signed_in = await self._gate.current(request)
        if signed_in is None:
            return self._rendering.redirect(sign_in_address("operators"))
        return await self._list(request, signed_in)

    async def add(self, request: Request) -> Response:
        """Add an operator and show the link of their invitation, once."""
        signed_in, fields = await self._gate.posted(request, role=OperatorRole.OWNER)
        entered = {name: _text(fields, name) for name in ("email", "name", "role")}
        try:
            operator = await self._services.operators.add(
                entered["email"],
                role=_role(entered["role"]),
                name=entered["name"],
                origin=acting(request, signed_in),
            )
        except (InvalidInput, Conflict) as error:
            return await self._list(request, signed_in, entered=entered, wrong=error)
        return await self._invited(request, signed_in, operator, is_new=True)

    async def show(self, request: Request) -> Response:
        """One operator, for owners."""
        signed_in = await self._gate.current(request)
        if signed_in is None:
            return self._rendering.redirect(sign_in_address("operators"))
        check_role(signed_in, OperatorRole.OWNER)
        return await self._one(request, signed_in, await self._chosen(request))

    async def update(self, request: Request) -> Response:
        """Change role and name."""
        signed_in, operator, fields = await self._posted(request)
        try:
            await self._services.operators.update(
                operator.operator_id,
                role=_role(_text(fields, "role")),
                name=_text(fields, "name"),
                origin=acting(request, signed_in),
            )
        except (InvalidInput, Conflict) as error:
            return await self._one(request, signed_in, operator, wrong=error)
        return self._back(operator, "saved")

    async def invite(self, request: Request) -> Response:
        """A new link to choose a password with, shown once."""
        signed_in, operator, _ = await self._posted(request)
        try:
            return await self._invited(request, signed_in, operator, is_new=False)
        except Conflict as error:
            return await self._one(request, signed_in, operator, wrong=error)

    async def disable(self, request: Request) -> Response:
        """Keep somebody out, from this moment on."""
        signed_in, operator, _ = await self._posted(request)
        try:
            await self._services.operators.disable(operator.operator_id, origin=acting(request, signed_in))
        except Conflict as error:
            return await self._one(request, signed_in, operator, wrong=error)
        return self._back(operator, "disabled")

    async def enable(self, request: Request) -> Response:
        """Let somebody in again."""
        signed_in, operator, _ = await self._posted(request)
        await self._services.operators.enable(operator.operator_id, origin=acting(request, signed_in))
        return self._back(operator, "enabled")

    async def unlock(self, request: Request) -> Response:
        """Forget failed sign-ins."""
        signed_in, operator, _ = await self._posted(request)
        await self._services.operators.unlock(operator.operator_id, origin=acting(request, signed_in))
        return self._back(operator, "unlocked")

    async def sign_out(self, request: Request) -> Response:
        """End every session of an operator, one's own included if it is oneself."""
        signed_in, operator, _ = await self._posted(request)
        await self._services.operator_sessions.end_all(
            operator.operator_id, origin=acting(request, signed_in)
        )
        return self._back(operator, "signed-out")

    async def _posted(self, request: Request) -> tuple[SignedIn, Operator, Mapping[str, Secret]]:
        signed_in, fields = await self._gate.posted(request, role=OperatorRole.OWNER)
        return signed_in, await self._chosen(request), fields

    async def _chosen(self, request: Request) -> Operator:
        try:
            return await self._services.operators.get(UUID(request.path_params["operator_id"]))
        except (ValueError, NotFound):
            raise ConnectError("There is no such operator.", code="page_unknown") from None

    async def _list(
        self,
        request: Request,
        signed_in: SignedIn,
        *,
        entered: Mapping[str, str] | None = None,
        wrong: AuthpipeError | None = None,
    ) -> Response:
        return self._page(
            request,
            "operators.html",
            signed_in,
            wrong=wrong,
            operators=await self._services.operators.list(),
            may_change=signed_in.operator.role.includes(OperatorRole.OWNER),
            entered=entered or {"email": "", "name": "", "role": OperatorRole.DEVELOPER.value},
        )

    async def _one(
        self,
        request: Request,
        signed_in: SignedIn,
        operator: Operator,
        *,
        wrong: AuthpipeError | None = None,
    ) -> Response:
        sessions = await self._services.operator_sessions.list(operator.operator_id)
        return self._page(
            request,
            "operator.html",
            signed_in,
            wrong=wrong,
            operator=operator,
            sessions=sessions,
            address=_address(operator),
        )

    async def _invited(
        self, request: Request, signed_in: SignedIn, operator: Operator, *, is_new: bool
    ) -> Response:
        token = await self._services.operator_invitations.invite(
            operator.operator_id, origin=acting(request, signed_in)
        )
        return self._page(
            request,
            "invited.html",
            signed_in,
            operator=operator,
            link=f"{self._services.public_url}{INVITATION}/{token.reveal()}",
            hours=int(LIFETIME.total_seconds() // 3600),
            is_new=is_new,
            address=_address(operator),
        )

    def _page(
        self,
        request: Request,
        template: str,
        signed_in: SignedIn,
        *,
        wrong: AuthpipeError | None = None,
        **context: Any,
    ) -> Response:
        status = 200
        if wrong is not None:
            status = 409 if isinstance(wrong, Conflict) else 422
        return self._rendering.page(
            request,
            template,
            status=status,
            here="operators",
            me=signed_in.operator,
            csrf_token=form_token(request),
            roles=list(OperatorRole),
            now=self._services.clock.now(),
            notice=DONE.get(request.query_params.get("done", "")),
            wrong_field=wrong.field if isinstance(wrong, InvalidInput) else None,
            wrong_text=None if wrong is None else wrong.message,
            **context,
        )

    def _back(self, operator: Operator, done: str) -> Response:
        return self._rendering.redirect(f"{_address(operator)}?done={done}")


def _address(operator: Operator) -> str:
    return f"{PATH}/{operator.operator_id}"


def _role(text: str) -> OperatorRole:
    try:
        return OperatorRole(text)
    except ValueError:
        raise InvalidInput("Choose one of the roles.", field="role") from None


def _text(fields: Mapping[str, Secret], name: str) -> str:
    """A field that is no secret."""
    value = fields.get(name)
    return "" if value is None else value.reveal()
