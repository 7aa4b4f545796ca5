"""ClickSend: HTTP Basic with a username and an API key, and a status repeated in every body."""

from __future__ import annotations

import hmac

from aiohttp import web

from authpipe.sandbox.clicksend_accounts import ClickSendAccount
from authpipe.sandbox.state import SandboxState
from authpipe.sandbox.wire import basic_pair, json_answer


class ClickSend:
    """``rest.clicksend.com/v3``, as far as an account is concerned."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state

    def routes(self) -> list[web.RouteDef]:
        """The routes to mount."""
        return [
            web.get("/clicksend/v3/account", self._account),
            web.route("*", "/clicksend/v3/{rest:.*}", self._not_found),
        ]

    async def _account(self, request: web.Request) -> web.Response:
        account = self._admit(request)
        if account is None:
            return _answer(401, "UNAUTHORIZED", "Authentication credentials were missing or incorrect.")
        if account.suspended:
            return _answer(403, "FORBIDDEN", "The request is understood, but it has been refused.")
        person = account.person
        first_name, _, last_name = person.display_name.partition(" ")
        return _answer(
            200,
            "SUCCESS",
            "Here's your account",
            {
                "user_id": int(person.id),
                "username": person.username,
                "user_email": person.email,
                "active": 1,
                "banned": 0,
                "balance": "2.00",
                "user_phone": "+15550100",
                "user_first_name": first_name,
                "user_last_name": last_name,
                "account_name": person.display_name,
                "country": "US",
                "default_country_sms": "US",
                "timezone": "Europe/London",
                "_currency": {
                    "currency_name_short": "USD",
                    "currency_prefix_d": "$",
                    "currency_prefix_c": "¢",
                },
            },
        )

    async def _not_found(self, request: web.Request) -> web.Response:
        return _answer(404, "NOT_FOUND", "The requested resource does not exist.")

    def _admit(self, request: web.Request) -> ClickSendAccount | None:
        username, api_key = basic_pair(request) or ("", "")
        account = self._state.clicksend_accounts.get(username)
        if account is None or account.api_key is None:
            return None
        return account if hmac.compare_digest(api_key.encode(), account.api_key.encode()) else None


def _answer(status: int, code: str, text: str, data: object = None) -> web.Response:
    body = {"http_code": status, "response_code": code, "response_msg": text, "data": data}
    return json_answer(body, status=status)
