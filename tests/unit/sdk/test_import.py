"""Importing the SDK is cheap and brings nothing it does not need."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import authpipe


def _modules_after(statement: str) -> set[str]:
    program = f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    "statement",
    [
        "import authpipe",
        "from authpipe import Authpipe, AsyncAuthpipe, Credential; Authpipe('http://x', 'k')",
        "from authpipe.adapters.asgi import connect_routes",
    ],
)
def test_the_http_library_waits_for_the_first_request(statement):
    """Neither httpx2 nor any room of the server is loaded."""
    loaded = _modules_after(statement)
    assert not loaded & {"httpx2", "httpcore2", "anyio", "aiohttp", "pydantic", "starlette"}
    rooms = {name.split(".")[1] for name in loaded if name.startswith("authpipe.")}
    assert rooms <= {"_version", "sdk", "adapters"}


def test_the_bare_import_loads_no_part_of_the_sdk():
    """Names are resolved when they are first used."""
    assert {name for name in _modules_after("import authpipe") if name.startswith("authpipe")} == {
        "authpipe",
        "authpipe._version",
    }


def test_every_public_name_resolves_and_nothing_else_does():
    """``__all__``, ``dir`` and attribute access agree."""
    for name in authpipe.__all__:
        assert getattr(authpipe, name) is not None
    assert set(authpipe.__all__) <= set(dir(authpipe))
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = authpipe.Nonsense
