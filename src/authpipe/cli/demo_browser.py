"""A person with a browser, without scripts: follows redirects, keeps cookies, presses buttons of forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from types import TracebackType
from typing import Self
from urllib.parse import urljoin, urlsplit

import aiohttp
from yarl import URL

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 10


@dataclass(slots=True)
class _Form:
    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[_Button] = field(default_factory=list)


@dataclass(slots=True)
class _Button:
    name: str
    value: str
    label: str = ""


class NoSuchButton(Exception):
    """The page has no button that begins so.  The message tells which it has."""


class _Reader(HTMLParser):
    """Collects the forms of a page with what a browser would send, and the page's visible text."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[_Form] = []
        self.words: list[str] = []
        self._button: _Button | None = None
        self._select: str | None = None
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in ("style", "script", "title"):
            self._hidden += 1
        elif tag == "form":
            self.forms.append(_Form(given.get("action", ""), given.get("method", "get").upper()))
        if self.forms:
            self._part_of_form(tag, given)

    def _part_of_form(self, tag: str, given: dict[str, str]) -> None:
        form, name = self.forms[-1], given.get("name", "")
        if tag == "button":
            self._button = _Button(name, given.get("value", ""))
            form.buttons.append(self._button)
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select:
            chosen = (self._select, given.get("value", ""))
            if "selected" in given or all(known != self._select for known, _ in form.fields):
                form.fields = [each for each in form.fields if each[0] != self._select] + [chosen]
        elif tag == "input" and name and (given.get("type") != "checkbox" or "checked" in given):
            form.fields.append((name, given.get("value", "")))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("style", "script", "title"):
            self._hidden -= 1
        elif tag == "select":
            self._select = None
        elif tag == "button":
            self._button = None

    def handle_data(self, data: str) -> None:
        if self._button is not None:
            self._button.label = " ".join(f"{self._button.label} {data}".split())
        if not self._hidden:
            self.words += data.split()


@dataclass(frozen=True, slots=True)
class Page:
    """What the browser shows."""

    url: str
    status: int
    html: str

    def read(self) -> _Reader:
        """Its forms and its text."""
        reader = _Reader()
        reader.feed(self.html)
        return reader

    def says(self, text: str) -> bool:
        """Whether the visible text holds ``text``."""
        return text in " ".join(self.read().words)

    @property
    def host(self) -> str:
        """Host and port of the address."""
        return urlsplit(self.url).netloc


class Browser:
    """One person's browser.  ``trusted`` are the addresses on this machine it treats as it does https.

    Browsers keep and send ``Secure`` cookies on loopback without TLS; this one has to be told so.
    """

    def __init__(self, trusted: Sequence[str]) -> None:
        jar = aiohttp.CookieJar(unsafe=True, treat_as_secure_origin=[URL(origin) for origin in trusted])
        self._session = aiohttp.ClientSession(cookie_jar=jar, timeout=aiohttp.ClientTimeout(total=20))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def open(self, url: str) -> Page:
        """Visit an address."""
        return await self._go("GET", url, None, None)

    async def press(self, page: Page, label: str, **entered: str) -> Page:
        """Press the button whose label begins with ``label``, after filling in ``entered``.

        Raises ``NoSuchButton``.
        """
        forms = page.read().forms
        for form in forms:
            for button in form.buttons:
                if button.label.startswith(label):
                    return await self._send(page, form, button, entered)
        known = ", ".join(repr(button.label) for form in forms for button in form.buttons) or "none"
        raise NoSuchButton(
            f"no button {label!r} on {urlsplit(page.url).path} ({page.status}); it has {known}"
        )

    async def _send(self, page: Page, form: _Form, button: _Button, entered: dict[str, str]) -> Page:
        fields = [(name, entered.get(name, value)) for name, value in form.fields]
        if button.name:
            fields.append((button.name, button.value))
        parts = urlsplit(page.url)
        target = urljoin(page.url, form.action or parts.path)
        return await self._go(form.method, target, fields, f"{parts.scheme}://{parts.netloc}")

    async def _go(
        self, method: str, url: str, fields: list[tuple[str, str]] | None, origin: str | None
    ) -> Page:
        headers = {} if origin is None else {"Origin": origin}
        for _ in range(_MOST_REDIRECTS):
            async with self._session.request(
                method,
                URL(url, encoded=True),
                data=None if fields is None else aiohttp.FormData(fields),
                headers=headers,
                allow_redirects=False,
            ) as answer:
                if answer.status not in _REDIRECTS:
                    return Page(url, answer.status, await answer.text())
                url = urljoin(url, answer.headers["Location"])
                method, fields, headers = "GET", None, {}
        raise RuntimeError("the redirects do not end")
