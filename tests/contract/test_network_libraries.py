"""The only way out is net/: everything else that can open a socket is named here, with its reason."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Module

#: Modules that connect, listen, or resolve names.  A prefix covers what is below it.
NETWORK = (
    "aiodns", "aiohttp", "aiosmtplib", "anyio", "asyncpg", "asyncssh", "authlib.integrations", "boto3",
    "botocore", "dns", "ftplib", "granian", "grpc", "hishel", "http.client", "http.server", "httpcore",
    "httpx", "httpx2", "hvac", "imaplib", "kubernetes", "ldap3", "nntplib", "opentelemetry.exporter",
    "paramiko", "poplib", "psycopg", "pycurl", "redis", "requests", "smtplib", "socket", "socketserver",
    "ssl", "telnetlib", "trio", "urllib.request", "urllib3", "uvicorn", "websockets", "xmlrpc",
)  # fmt: skip

#: Calls that open a connection or resolve a name without one of those.
CALLS = frozenset(
    {
        "create_connection",
        "create_datagram_endpoint",
        "create_unix_connection",
        "getaddrinfo",
        "gethostbyname",
    }
    | {"open_connection", "open_unix_connection", "sock_connect"}
)

#: A module whose name is not written where it is imported.
COMPUTED = "(computed)"

#: Where they are used all the same.  Nowhere here does an address come from a tenant, a provider definition,
#: a provider config or an answer of a provider.
ALLOWED: dict[str, tuple[set[str], str]] = {
    "net/": ({"aiohttp", "socket"}, "the way out itself, behind the egress policy"),
    "store/": ({"asyncpg", "socket"}, "the database the operator named, and the embedded one's socket"),
    "api/failures.py": ({"asyncpg"}, "the types of the database's errors"),
    "vault/keks/": ({"boto3", "botocore"}, "the key service the operator named"),
    "telemetry/otlp.py": (
        {"opentelemetry.exporter", "requests"},
        "the collector the operator named, often on a private network",
    ),
    "server/http.py": (
        {"granian", "socket", "open_connection", "getaddrinfo"},
        "listens, and connects to its own address to see that it does",
    ),
    "sdk/stream_thread.py": ({"socket"}, "shuts its own connection down to wake the thread that waits on it"),
    "sdk/": ({"httpx2"}, "a program of its own: it calls the server its user named"),
    "sandbox/": ({"aiohttp"}, "listens only: the simulated providers"),
    "credentials/changes.py": ({"asyncpg"}, "the type of the database connection that listens"),
    "__init__.py": ({COMPUTED}, "the SDK's own modules, by its public names"),
    "cli/supervised.py": ({COMPUTED}, "modules of ours, loaded ahead of the command"),
    "cli/ports.py": ({"socket"}, "looks which ports of this machine are free"),
    "cli/browser_return.py": ({"http.server"}, "listens on this machine for the browser that comes back"),
    "cli/sandbox_control.py": ({"aiohttp"}, "the sandbox that the same command started"),
    "cli/demo.py": ({"aiohttp"}, "the types of its own servers' errors"),
    "cli/demo_application.py": ({"aiohttp"}, "listens: the application of the demonstration"),
    "cli/demo_browser.py": ({"aiohttp"}, "the demonstration's browser, on this machine's servers"),
    "cli/demo_stage.py": ({"aiohttp"}, "the demonstration's own servers"),
}


def _is(name: str, library: str) -> bool:
    return name == library or name.startswith(library + ".")


def _used(tree: ast.Module) -> list[tuple[int, str]]:
    """Each network library, and each call of :data:`CALLS`, with its line."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # ``from urllib import request`` names the module last.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in CALLS:
                found.append((node.lineno, called))
            # ``importlib.import_module("socket")`` and its kind
            if called in ("import_module", "__import__") and node.args:
                names = [str(getattr(node.args[0], "value", COMPUTED))]
        found += [
            (node.lineno, library) for name in names for library in (*NETWORK, COMPUTED) if _is(name, library)
        ]  # fmt: skip
    return found


def _allowed(inside: str) -> set[str]:
    return {name for place, (names, _) in ALLOWED.items() if inside.startswith(place) for name in names}


def test_nothing_but_net_and_a_named_few_can_open_a_socket(modules: list[Module]) -> None:
    """A new way out is a decision, and this list is where it is made."""
    found = [
        f"{module.shown}:{line}: {name}"
        for module in modules
        for line, name in _used(module.tree)
        if name not in _allowed(module.shown.removeprefix("src/authpipe/"))
    ]
    assert not found, "\n".join(["", *found])


def test_the_list_names_nothing_that_is_not_used(modules: list[Module]) -> None:
    """What left the sources leaves the list."""
    used = {
        (place, name)
        for module in modules
        for _, name in _used(module.tree)
        for place in ALLOWED
        if module.shown.removeprefix("src/authpipe/").startswith(place)
    }
    stale = [
        (place, name)
        for place, (names, _) in ALLOWED.items()
        for name in names - {n for p, n in used if p == place}
    ]
    assert stale == []


def test_the_search_knows_each_way_to_import() -> None:
    """Plain, from a package, a submodule, by name, and the calls that need no import of their own."""
    source = (
        "import socket\nfrom urllib import request\nimport http.client as c\n"
        "from http.server import HTTPServer\n"
        "import importlib\nimportlib.import_module('requests')\nasyncio.open_connection('a', 1)\n"
        "from urllib.parse import quote\nfrom http import HTTPStatus\nfrom yarl import URL\n"
    )
    assert [name for _, name in sorted(_used(ast.parse(source)))] == [
        "socket", "urllib.request", "http.client", "http.server", "requests", "open_connection",
    ]  # fmt: skip
