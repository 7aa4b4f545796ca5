"""A person with a browser: follows redirects, keeps cookies, clicks the buttons of forms; no script runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urljoin, urlsplit

import aiohttp
from yarl import URL


@dataclass
class Form:
    """One form of a page: where it goes and what it holds."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._select: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(given.get("action", ""), given.get("method", "get").upper()))
        if not self.forms:
            return
        form, name = self.forms[-1], given.get("name", "")
        if tag == "select":
            self._select = name
        elif tag == "option" and self._select and ("selected" in given or self._select not in form.fields):
            form.fields[self._select] = given.get("value", "")
        elif tag == "button" and name:
            form.buttons.append((name, given.get("value", "")))
        elif tag == "input" and name and (given.get("type") != "checkbox" or "checked" in given):
            form.fields[name] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = None


@dataclass
class Page:
    """What the browser shows, and every answer on the way to it."""

    url: str
    status: int
    text: str

    @property
    def forms(self) -> list[Form]:
        """The forms of the page, in order."""
        parser = _Forms()
        parser.feed(self.text)
        return parser.forms

    @property
    def query(self) -> dict[str, str]:
        """The query of the address."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.url).query).items()}


class Person:
    """One browser.  It stops before it would leave for an address that begins with ``stop_at``.

    ``seen`` keeps every answer, headers and body, but for those of the ``unseen`` origins.
    """

    def __init__(self, *, stop_at: str, secure_origins: list[str], unseen: tuple[str, ...] = ()) -> None:
        self._stop_at = stop_at
        self._unseen = unseen
        jar = aiohttp.CookieJar(
            unsafe=True, treat_as_secure_origin=[URL(origin) for origin in secure_origins]
        )
        self._session = aiohttp.ClientSession(cookie_jar=jar)
        self.seen: list[bytes] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def open(self, url: str, *, form: dict[str, str] | None = None, origin: str | None = None) -> Page:
        """Go to an address, by GET or with a form by POST, and follow redirects as a browser does."""
        method = "GET" if form is None else "POST"
        headers = {"Origin": origin} if origin else {}
        while not url.startswith(self._stop_at):
            async with self._session.request(
                method, URL(url, encoded=True), data=form, headers=headers, allow_redirects=False
            ) as response:
                body = await response.read()
                if not url.startswith(self._unseen):
                    self.seen.append(repr(sorted(response.headers.items())).encode() + b"\n" + body)
                if response.status not in (301, 302, 303, 307, 308):
                    return Page(url, response.status, body.decode())
                url, method, form = urljoin(url, response.headers["Location"]), "GET", None
        return Page(url, 302, "")

    async def submit(self, page: Page, *, form: int = 0, **fields: str) -> Page:
        """Send one of the page's forms with these fields changed."""
        chosen = page.forms[form]
        parts = urlsplit(page.url)
        return await self.open(
            urljoin(page.url, chosen.action or parts.path),
            form=chosen.fields | fields,
            origin=f"{parts.scheme}://{parts.netloc}",
        )
