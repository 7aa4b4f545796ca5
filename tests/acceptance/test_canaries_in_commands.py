"""Every command on an installation full of marked secrets: what it prints holds none of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from authpipe.cli.main import build
from support import canaries
from support.application import Application
from support.cli import Cli, Ran, line_with
from support.running import Running, free_port

_PASSWORD = "canary-operator-password-e5d2"
_OPERATOR = "ada@example.com"
_PORT = free_port()

#: Commands that go on until told to stop, or have a stage of their own, and where those are searched.
_ELSEWHERE = {
    "serve": "the logs of test_canaries.py",
    "worker": "the logs of test_canaries.py",
    "sandbox": "the providers' side: it issues the secrets",
    "dev": "test_canaries_in_crashes.py; it prints the development key by design",
    "demo": "tests/acceptance/test_demo.py; its secrets end with it",
}

#: What prints a secret once, because nothing else ever will: the JSON fields it stands in.
_SHOWS_ONCE = {"api-keys create": "key", "api-keys rotate": "key", "operators invite": "invitation_url"}


@dataclass(frozen=True)
class _Call:
    """One run: the command, the rest of its arguments, what it reads."""

    command: str
    arguments: str = "--json"
    stdin: str | None = None


def _calls(ids: dict[str, str]) -> list[_Call]:
    """Every command that ends by itself, in an order in which each has something to do."""
    return [
        _Call("version"),
        _Call("init"),
        _Call("migrate"),
        _Call("providers list"),
        _Call("providers show", "discord --json"),
        _Call("providers lint"),
        _Call("environments list"),
        _Call("environments create", "staging --json"),
        _Call("environments update", f"development --add-return-url http://127.0.0.1:{_PORT}/* --json"),
        _Call("configs list"),
        _Call("configs show", "discord --json"),
        _Call(
            "configs add",
            "drift --client-id sandbox-drift-client --client-secret-file - --json",
            stdin=canaries.CLIENT_SECRET,
        ),
        _Call("configs disable", "drift --json"),
        _Call("configs enable", "drift --json"),
        _Call("configs remove", "drift --json"),
        _Call("connect", f"dialpad --tenant org_b --user user_1 --port {_PORT} --json"),
        _Call("credential get", "discord --tenant org_acme --user user_123 --json"),
        _Call("credential get", "discord --tenant org_acme --for installation --json"),
        _Call("connections list"),
        _Call("connections show", f"{ids['connection']} --json"),
        _Call("connections disconnect", f"{ids['connection']} --json"),
        _Call("installations list"),
        _Call("installations show", f"{ids['installation']} --json"),
        _Call("installations disconnect", f"{ids['installation']} --json"),
        _Call("api-keys create", "--name other --json"),
        _Call("api-keys list"),
        _Call("api-keys rotate", "{api-keys create} --json"),
        _Call("api-keys revoke", "{api-keys create} --json"),
        _Call("operators add", f"{_OPERATOR} --role owner --password-stdin --json", stdin=_PASSWORD),
        _Call("operators list"),
        _Call("operators update", f"{_OPERATOR} --name Ada --json"),
        _Call("operators set-password", f"{_OPERATOR} --password-stdin --json", stdin=_PASSWORD + "-2"),
        _Call("operators invite", f"{_OPERATOR} --json"),
        _Call("operators sign-out", f"{_OPERATOR} --json"),
        _Call("operators unlock", f"{_OPERATOR} --json"),
        _Call("operators add", "bob@example.com --role owner --password-stdin --json", stdin=_PASSWORD),
        _Call("operators disable", f"{_OPERATOR} --json"),
        _Call("operators enable", f"{_OPERATOR} --json"),
        _Call("keys status"),
        _Call("keys rotate-kek"),
        _Call("keys rotate-tenant", "org_acme --json"),
        _Call("keys rotate-environment"),
        _Call("keys rotate-workspace"),
        _Call("tenants list"),
        _Call("tenants erase", "org_b --yes --json"),
        _Call("audit begin"),
        _Call("audit list"),
        _Call("audit export", ""),
        _Call("audit export", "--workspace"),
        _Call("audit verify", "--all --json"),
    ]


def _commands() -> set[str]:
    """Every command there is, by its words."""

    def below(command: Any, words: tuple[str, ...]) -> set[str]:
        if not hasattr(command, "commands"):
            return {" ".join(words)}
        return {
            name for word, each in command.commands.items() for name in below(each, (*words, word))
        }  # fmt: skip

    return below(get_command(build()), ())


def test_no_command_is_forgotten() -> None:
    """A new command has to say how it is searched."""
    searched = {call.command for call in _calls({"connection": "", "installation": ""})}
    assert searched | _ELSEWHERE.keys() == _commands()
    assert searched.isdisjoint(_ELSEWHERE)


@pytest.mark.timeout(300)
async def test_no_command_prints_a_secret(tmp_path: Path) -> None:
    """As JSON, as text where there is no JSON, in its messages, and in its logs at their fullest."""
    data_dir = tmp_path / "data"
    async with Running(data_dir) as running:
        application = Application(running)
        await canaries.set_up(application)
        await canaries.good_paths(application)
        _, connections = await application.call("GET", "/v1/connections?provider=dialpad")
        _, installations = await application.call("GET", "/v1/installations")
        ids = {"connection": connections["data"][0]["id"], "installation": installations["data"][0]["id"]}
        cli = Cli(
            data_dir,
            {
                "AUTHPIPE_URL": application.url,
                "AUTHPIPE_API_KEY": running.api_key,
                "AUTHPIPE_ALLOW_LOOPBACK_EGRESS": "true",
                "AUTHPIPE_LOG_LEVEL": "debug",
            },
        )
        secrets = [*canaries.CANARIES, running.api_key, _PASSWORD]
        made: dict[str, str] = {}
        for call in _calls(ids):
            arguments = call.arguments
            for name, id_ in made.items():
                arguments = arguments.replace(f"{{{name}}}", id_)
            words = (*call.command.split(), *arguments.split())
            if call.command == "connect":
                ran = await _connect(application, cli, words)
            else:
                ran = await asyncio.to_thread(cli, *words, stdin=call.stdin)
            assert ran.code == 0, (words, ran.out, ran.err)
            told = (ran.out + ran.err).encode()
            assert ran.out, words
            assert not canaries.found(told, secrets=secrets), words
            if call.command in _SHOWS_ONCE:
                shown = ran.json[_SHOWS_ONCE[call.command]]
                assert told.count(shown.encode()) == 1
                made.setdefault(call.command, str(ran.json.get("id")))
                secrets.append(shown)
        await application.close()


async def _connect(application: Application, cli: Cli, words: tuple[str, ...]) -> Ran:
    """``connect`` waits for a browser; its link is for that browser, and printed for the person alone."""
    with cli.running(*words) as program:
        link = (await asyncio.to_thread(line_with, program, "/connect/")).strip()
        async with application.browser(stop_at=f"http://127.0.0.1:{_PORT}/never") as person:
            await application.consent(person, await person.open(link))
        out, err = await asyncio.to_thread(program.communicate, None, 20)
        assert link.rpartition("/")[2] not in out + err
        return Ran(program.returncode, out, err)
