"""Log lines: one format for everyone, and marked secrets in none of them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import logging.config
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from authpipe.domain.errors import ProviderRejected, ProviderUnavailable
from authpipe.domain.secret import Secret
from authpipe.telemetry.logs import SERVER_LOG_CONFIG, configure, get_logger, log_context

CANARY = "canary-5bb1"


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Logging is global; put back what the test changes."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(params=[True, False], ids=["json", "console"])
def written(request: pytest.FixtureRequest) -> io.StringIO:
    """The stream that both formats are written to."""
    stream = io.StringIO()
    configure("DEBUG", json=request.param, stream=stream)
    return stream


@pytest.fixture
def lines() -> list[dict[str, object]]:
    """The JSON lines written so far, read when the test looks at them."""
    stream = io.StringIO()
    configure("INFO", json=True, stream=stream)

    class Lines(list[dict[str, object]]):
        def __getitem__(self, index):  # type: ignore[no-untyped-def]
            return [json.loads(line) for line in stream.getvalue().splitlines()][index]

        def __len__(self) -> int:
            return len(stream.getvalue().splitlines())

    return Lines()


def test_a_line_is_one_json_object(lines: list[dict[str, object]]) -> None:
    """With level, logger, time and the fields given."""
    get_logger("authpipe.test").info("refreshed", provider="discord", attempt=2)
    line = lines[0]
    assert (line["event"], line["level"], line["logger"]) == ("refreshed", "info", "authpipe.test")
    assert (line["provider"], line["attempt"]) == ("discord", 2)
    assert str(line["timestamp"]).endswith("Z")


def test_lines_of_libraries_look_like_ours(lines: list[dict[str, object]]) -> None:
    """Positional arguments are filled in."""
    logging.getLogger("alembic.runtime").warning("running %s of %d", "upgrade", 3)
    assert (lines[0]["event"], lines[0]["logger"]) == ("running upgrade of 3", "alembic.runtime")


def test_the_level_is_obeyed(lines: list[dict[str, object]]) -> None:
    """By our loggers and by others."""
    get_logger("authpipe.test").debug("hidden")
    logging.getLogger("library").debug("hidden")
    logging.getLogger("sqlalchemy.engine").info("SELECT 1")
    assert len(lines) == 0


def test_a_second_configuration_replaces_the_first() -> None:
    """No line is written twice."""
    first, second = io.StringIO(), io.StringIO()
    configure(stream=first)
    configure(stream=second)
    get_logger("authpipe.test").warning("once")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1


async def test_the_context_reaches_every_line_and_no_other_task(lines: list[dict[str, object]]) -> None:
    """Two requests at once keep their ids apart, in lines of libraries too."""

    async def request(name: str) -> None:
        with log_context(request_id=name):
            await asyncio.sleep(0)
            logging.getLogger("library").warning(name)

    await asyncio.gather(request("a"), request("b"))
    get_logger("authpipe.test").info("after")
    assert lines[0]["request_id"] == lines[0]["event"]
    assert lines[1]["request_id"] == lines[1]["event"]
    assert "request_id" not in lines[2]


def test_a_secret_in_any_field_is_masked(written: io.StringIO) -> None:
    """As a Secret, under a telling name, nested, or by its looks."""
    get_logger("authpipe.test").warning(
        f"sent Bearer {CANARY}",
        secret=Secret(CANARY),
        refresh_token=CANARY,
        headers={"Authorization": f"Basic {CANARY}", "X": Secret(CANARY)},
        query={"code": CANARY, "state": CANARY},
        url=f"https://provider.example/token?clientSecret={CANARY}",
        raw=CANARY.encode(),
        parts=[("token", Secret(CANARY))],
    )
    assert written.getvalue()
    assert CANARY not in written.getvalue()


def test_a_secret_in_a_line_of_a_library_is_masked(written: io.StringIO) -> None:
    """In the message, in an argument, and in the access log of the server."""
    logging.getLogger("aiohttp.client").warning("headers %r", {"Authorization": f"Bearer {CANARY}"})
    logging.getLogger("asyncio").error("argument %s %r", Secret(CANARY), Secret(CANARY))
    logging.getLogger("granian.access").info("GET /oauth/callback?code=%s HTTP/1.1", CANARY)
    logging.getLogger("sqlalchemy.engine").warning("password=%s", CANARY)
    assert len(written.getvalue().splitlines()) == 4
    assert CANARY not in written.getvalue()


def fail_with_secrets() -> None:
    """Raise a chain whose messages and local variables hold marked secrets."""
    held = Secret(CANARY)
    plain = held.reveal()
    headers = {"Authorization": f"Bearer {plain}"}
    try:
        raise ValueError(f"bad request to https://provider.example/x?code={plain} with {headers!r}")
    except ValueError as error:
        raise RuntimeError(f"refresh_token={plain} was refused") from error


@pytest.mark.parametrize("name", ["authpipe.test", "library"])
def test_a_traceback_shows_frames_and_no_variable(written: io.StringIO, name: str) -> None:
    """Ours and a library's: file, line and function are there, values are not."""
    try:
        fail_with_secrets()
    except RuntimeError as error:
        if name == "library":
            logging.getLogger(name).exception("failed")
        else:
            get_logger(name).exception("failed")
            get_logger(name).error("again", exc_info=error)
    text = written.getvalue()
    assert "fail_with_secrets" in text
    assert "RuntimeError" in text
    assert "ValueError" in text
    assert CANARY not in text


async def test_an_exception_nobody_awaited_is_logged_without_secrets(written: io.StringIO) -> None:
    """The event loop's own report of a crashed task."""
    loop = asyncio.get_running_loop()
    try:
        fail_with_secrets()
    except RuntimeError as error:
        loop.call_exception_handler({"message": "Task exception was never retrieved", "exception": error})
    assert "never retrieved" in written.getvalue()
    assert CANARY not in written.getvalue()


def test_the_private_detail_of_our_errors_is_logged(lines: list[dict[str, object]]) -> None:
    """Callers do not see it, so the log must."""
    log = get_logger("authpipe.test")
    log.warning("a", exc_info=ProviderUnavailable("down", detail="timeout"))
    log.warning("b", exc_info=ProviderRejected("no", error="invalid_grant", description=f"token={CANARY}"))
    assert (lines[0]["error_code"], lines[0]["error_detail"]) == ("provider_unavailable", "timeout")
    assert lines[1]["error_detail"] == "token=***"


def test_a_record_that_cannot_be_written_is_reported_without_its_arguments(
    written: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """The standard handler would print them."""
    root = logging.getLogger()
    root.handlers[:] = [handler for handler in root.handlers if getattr(handler, "stream", None) is written]
    logging.getLogger("library").warning("%d items", CANARY)
    assert "could not be written" in written.getvalue()
    everything = written.getvalue() + "".join(capsys.readouterr())
    assert CANARY not in everything


def test_the_http_servers_lines_go_our_way(
    lines: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its configuration keeps our handler and adds none."""
    monkeypatch.setattr(logging.getLogger("_granian"), "filters", [])
    logging.config.dictConfig(SERVER_LOG_CONFIG)
    logging.getLogger("_granian").info("Starting")
    logging.getLogger("granian.access").info("GET /healthz")
    assert [lines[0]["event"], lines[1]["event"]] == ["Starting", "GET /healthz"]
    assert logging.getLogger("_granian").handlers == []


def test_a_new_line_in_a_value_does_not_forge_a_line() -> None:
    """A JSON line stays one line."""
    stream = io.StringIO()
    configure(stream=stream)
    get_logger("authpipe.test").info("a\n{}", x="b\r\nc")
    logging.getLogger("library").info("a\nb")
    assert len(stream.getvalue().splitlines()) == 2


def test_a_process_that_never_set_up_its_logs_shows_no_variables() -> None:
    """A library's default would print them."""
    code = (
        "from authpipe.telemetry.logs import get_logger\n"
        "def fail(held):\n"
        "    raise ValueError\n"
        "try:\n"
        "    fail('CANARY' + 'plain')\n"
        "except ValueError:\n"
        "    get_logger('a').exception('failed', token='CANARY' + 'plain')\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "ValueError" in ran.stdout
    assert "CANARYplain" not in ran.stdout + ran.stderr
