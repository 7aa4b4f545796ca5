"""Looks for marked texts in everything a process can reach, from inside; and in its memory, from outside."""

from __future__ import annotations

import gc
import sys
from collections import Counter, deque
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from authpipe.server.asgi import build_application
from authpipe.server.wiring import Rooms

#: The program of a server that tells, at ``/_memory?look=…``, where a text is held.
SERVING = (
    "import sys; sys.path.insert(0, {tests!r}); "
    "from authpipe.server.run import serve; from authpipe.server.settings import load_settings; "
    "from support.memory import build; serve(load_settings(), with_worker=True, build=build)"
)
#: Texts travel with every byte changed, so that the search does not find itself.
_MASK = 0x5A
_PIECE = 1 << 24


def serving() -> str:
    """The program, for ``python -c``."""
    return SERVING.format(tests=str(Path(__file__).resolve().parents[1]))


def masked(text: str) -> str:
    """How to ask for a text."""
    return bytes(byte ^ _MASK for byte in text.encode()).hex()


def build(rooms: Rooms) -> ASGIApp:
    """The server's application, with one address more."""

    async def look(request: Request) -> JSONResponse:
        needles = [
            bytes(byte ^ _MASK for byte in bytes.fromhex(text))
            for text in request.query_params.getlist("look")
        ]
        return JSONResponse(holders(needles))

    inner = build_application(rooms)
    extra = Starlette(routes=[Route("/_memory", look)])

    async def application(scope: Any, receive: Any, send: Any) -> None:
        chosen = extra if scope.get("path") == "/_memory" else inner
        await chosen(scope, receive, send)

    return application


def holders(needles: list[bytes]) -> dict[str, Any]:
    """For each needle that is held: which of them, and the chain of objects that hold it, nearest first.

    Starts at everything the garbage collector tracks and at the frames of all threads, and follows every
    reference; texts are no concern of the collector's, but what refers to them is.
    """
    gc.collect()
    here = sys._getframe()
    frames = [frame.f_back if frame is here else frame for frame in sys._current_frames().values()]
    roots = [*gc.get_objects(), *frames]
    parents: dict[int, Any] = {}
    waiting: deque[Any] = deque(roots)
    ours = {id(each) for each in (frames, roots, parents, waiting, needles, *needles)}
    ours.add(id(ours))
    found = []
    seen: set[int] = set(map(id, roots))
    ours.add(id(seen))
    looked = 0
    while waiting:
        thing = waiting.popleft()
        if id(thing) in ours:
            continue
        for each in gc.get_referents(thing):
            if id(each) in seen or id(each) in ours:
                continue
            seen.add(id(each))
            parents[id(each)] = thing
            if not isinstance(each, str | bytes | bytearray):
                waiting.append(each)
                continue
            looked += 1
            data = each.encode("utf-8", "surrogatepass") if isinstance(each, str) else bytes(each)
            found += [
                (number, _chain(each, parents)) for number, needle in enumerate(needles) if needle in data
            ]
    return {"texts": looked, "objects": len(seen), "found": found}


def _chain(thing: Any, parents: dict[int, Any]) -> list[str]:
    chain = [f"{type(thing).__name__} of {len(thing)}"]
    parent = parents.get(id(thing))
    while parent is not None and len(chain) < 10:
        chain.append(_name(parent))
        above = parents.get(id(parent))
        if above is None:
            # A root: what else holds it, of the things that are no list of ours.
            chain += [
                f"<- {_name(each)}"
                for each in gc.get_referrers(parent)
                if isinstance(each, dict) or type(each).__module__ != "builtins"
            ][:4]
        parent = above
    return chain


def _name(thing: Any) -> str:
    kind = f"{type(thing).__module__}.{type(thing).__qualname__}"
    if isinstance(thing, dict):
        return f"{kind}({[key for key in list(thing)[:8] if isinstance(key, str) and len(key) < 30]})"
    if hasattr(thing, "f_code"):
        return f"{kind}({thing.f_code.co_filename}:{thing.f_lineno} {thing.f_code.co_name})"
    return f"{kind}({getattr(thing, '__qualname__', '')})"


def copies(pid: int, texts: list[str]) -> Counter[str]:
    """How often each text stands in the writable memory of another process, freed memory included."""
    counted: Counter[str] = Counter()
    needles = {text: text.encode() for text in texts}
    longest = max(map(len, needles.values()))
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            if "rw" not in rights:
                continue
            at, end = (int(each, 16) for each in span.split("-"))
            while at < end:
                memory.seek(at)
                try:
                    piece = memory.read(min(_PIECE, end - at))
                except OSError:
                    break
                if not piece:
                    break
                for text, needle in needles.items():
                    counted[text] += piece.count(needle)
                at += max(len(piece) - longest, 1) if at + len(piece) < end else len(piece)
    return counted
