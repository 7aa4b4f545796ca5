"""The simulator's pages: plain HTML without scripts, marked as a simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from aiohttp import web
from jinja2 import Environment, PackageLoader, select_autoescape

from authpipe.sandbox.seeds import LABELS, Person

_TEMPLATES = Environment(
    loader=PackageLoader("authpipe.sandbox"),
    autoescape=select_autoescape(["html"]),
    trim_blocks=True,
    lstrip_blocks=True,
)

#: ``form-action`` is left out on purpose: Chromium applies it to the redirect that follows the form.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Choice:
    """One entry of a list to choose from."""

    value: str
    label: str
    group: str = ""


@dataclass(frozen=True)
class Question:
    """What a consent page asks: scopes with meanings, and at Discord a guild, a channel and permissions."""

    scopes: Sequence[tuple[str, str]]
    guilds: Sequence[Choice] = field(default_factory=tuple)
    selected_guild: str | None = None
    guild_fixed: bool = False
    channels: Sequence[Choice] = field(default_factory=tuple)
    permissions: Sequence[Choice] = field(default_factory=tuple)
    adds_bot: bool = False


def consent(
    *,
    provider: str,
    application: str,
    person: Person,
    others: Sequence[tuple[Person, str]],
    question: Question,
    transaction: str,
    action: str,
    redirect_uri: str | None,
) -> web.Response:
    """The consent page; ``others`` are the people one can become, each with the URL that does it."""
    return _page(
        "consent.html",
        status=200,
        provider=provider,
        label=LABELS[provider],
        application=application,
        person=person,
        others=others,
        question=question,
        transaction=transaction,
        action=action,
        redirect_uri=redirect_uri,
    )


def message(title: str, text: str, *, status: int = 400) -> web.Response:
    """A page that says one thing."""
    return _page("message.html", status=status, title=title, text=text, is_error=status >= 400)


def front(url: str) -> web.Response:
    """The page at the root: what this is and which providers it plays."""
    return _page("front.html", status=200, url=url, labels=LABELS)


def _page(template: str, *, status: int, **context: object) -> web.Response:
    return web.Response(
        status=status,
        text=_TEMPLATES.get_template(template).render(context),
        content_type="text/html",
        charset="utf-8",
        headers=_HEADERS,
    )
