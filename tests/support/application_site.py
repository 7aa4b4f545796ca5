"""An application's web site: a page that opens a popup and hears its message, and a page to come back to."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiohttp import web

_OPENER = """<!doctype html><html lang="en"><title>application</title>
<button id="open">Connect</button><pre id="heard"></pre>
<script>
addEventListener("message", (event) => {
  const heard = { origin: event.origin, data: event.data };
  document.getElementById("heard").textContent += JSON.stringify(heard) + "\\n";
});
document.getElementById("open").addEventListener("click", () => {
  const link = new URLSearchParams(location.search).get("link");
  window.popup = window.open(link, "connect", "width=480,height=720");
});
</script></html>"""


@dataclass
class ApplicationSite:
    """Serves while the context is open; ``visits`` are the queries that came back."""

    host: str = "localhost"
    visits: list[dict[str, str]] = field(default_factory=list)
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Its origin."""
        assert self._runner is not None
        return f"http://{self.host}:{self._runner.addresses[0][1]}"

    @property
    def return_url(self) -> str:
        """Where it wants browsers back, with a query of its own."""
        return f"{self.url}/connected?tab=integrations"

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.add_routes(
            [web.get("/", self._front), web.get("/connected", self._back), web.get("/moved", self._moved)]
        )
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _front(self, _request: web.Request) -> web.Response:
        return web.Response(text=_OPENER, content_type="text/html")

    async def _back(self, request: web.Request) -> web.Response:
        self.visits.append(dict(request.query))
        return web.Response(text="<!doctype html><h1>Back at the application</h1>", content_type="text/html")

    async def _moved(self, request: web.Request) -> web.Response:
        """An application whose return URL leads on to another host of its own."""
        raise web.HTTPFound(f"http://127.0.0.1:{request.url.port}/connected?{request.query_string}")
