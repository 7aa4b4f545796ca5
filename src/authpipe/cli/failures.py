"""From whatever a command raised to one line on standard error and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import typer

from authpipe.domain.errors import AuthpipeError
from authpipe.sdk import errors as sdk_errors

FAILED = 1
USAGE = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it

_REMEDIES: dict[type[sdk_errors.AuthpipeError], str] = {
    sdk_errors.AuthenticationFailed: "set AUTHPIPE_API_KEY to a key made with `authpipe api-keys create`",
    sdk_errors.PermissionDenied: "make a key that may with `authpipe api-keys create --role`",
    sdk_errors.AuthpipeUnavailable: "is `authpipe serve` or `authpipe dev` running where AUTHPIPE_URL says?",
    sdk_errors.ReauthorizationRequired: "connect again with `authpipe connect`",
    sdk_errors.NotConnected: "make a connection with `authpipe connect`",
    sdk_errors.AmbiguousConnection: "choose one with --label or --installation",
}


def exit_code(command: Callable[[], object]) -> int:
    """Run ``command`` and return the program's exit code: 0, 1 failed, 2 wrong usage, 130 interrupted.

    Everything raised on purpose becomes one line that names the remedy (a settings error one line for each
    setting).  Anything else is a fault of ours: one line too, with the trace at ``AUTHPIPE_LOG_LEVEL=debug``.
    """
    try:
        result = command()
    except typer.TyperException as error:
        return _usage(error)
    except (AuthpipeError, sdk_errors.AuthpipeError) as error:
        complain(*_explained(error))
        return FAILED
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone.  The interpreter would complain when it flushes on the way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # noqa: BLE001  # the last line of defence
        _unexpected(error)
        return FAILED
    # Typer hands over the code of a ``typer.Exit`` instead of raising it.
    return result if isinstance(result, int) else 0


def complain(*lines: str) -> None:
    """Say what is wrong on standard error, each line under the program's name."""
    for line in lines:
        sys.stderr.write(f"authpipe: {line}\n")


def _usage(error: typer.TyperException) -> int:
    message = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    if not message:
        return USAGE  # the help text, which is out already
    where = context.command_path if context is not None else "authpipe"
    complain(f"{message.rstrip('.')}; see `{where} --help`")
    return error.exit_code


def _explained(error: AuthpipeError | sdk_errors.AuthpipeError) -> list[str]:
    lines = error.message.splitlines() or [error.code]
    if isinstance(error, sdk_errors.AuthpipeError):
        remedy = next((text for kind, text in _REMEDIES.items() if isinstance(error, kind)), None)
        if isinstance(error, sdk_errors.AmbiguousConnection) and error.candidates:
            lines[-1] += " (" + ", ".join(_candidate(each) for each in error.candidates) + ")"
        if remedy is not None:
            lines[-1] += f": {remedy}"
        if error.request_id is not None:
            lines[-1] += f" [request {error.request_id}]"
    elif error.detail and _debugging():
        lines.append(f"detail: {error.detail}")
    return lines


def _candidate(candidate: object) -> str:
    label = getattr(candidate, "label", None)
    name = getattr(candidate, "account_name", None)
    identifier = getattr(candidate, "installation_id", None) or getattr(candidate, "connection_id", None)
    return str(label or name or identifier)


def _debugging() -> bool:
    return os.environ.get("AUTHPIPE_LOG_LEVEL", "").lower() == "debug"


def _unexpected(error: Exception) -> None:
    if _debugging():
        from authpipe.telemetry.logs import configure, get_logger

        configure("DEBUG", json=False)
        get_logger(__name__).error("unexpected", exc_info=error)
    # Only the kind: the text of a foreign exception may quote anything.
    hint = (
        "the trace is above" if _debugging() else "run it again with AUTHPIPE_LOG_LEVEL=debug for the trace"
    )
    complain(f"unexpected {type(error).__name__}, which is a fault of Authpipe: {hint}")
