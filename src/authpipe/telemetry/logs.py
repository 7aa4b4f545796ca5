"""Structured logs: one chain for our own lines and those of libraries, redacted before they are rendered."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from types import MappingProxyType, TracebackType
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from authpipe.domain.errors import AuthpipeError
from authpipe.telemetry.redaction import redact_shapes, redact_value

#: Loggers that come with handlers of their own, or are too talkative below warning (they log parameters).
_LIBRARIES = (
    "_granian", "aiohttp", "aiohttp.access", "aiohttp.client", "alembic", "asyncio", "granian.access",
    "sqlalchemy",
)  # fmt: skip
_NOT_BELOW_WARNING = ("sqlalchemy", "asyncio", "botocore", "urllib3")

#: Fields the chain itself makes, which hold nothing foreign.
_MADE_HERE = frozenset({"_from_structlog", "_record", "level", "logger", "timestamp"})

#: What the HTTP server takes as its logging configuration, so that its lines reach ours instead of its own
#: handlers.
SERVER_LOG_CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {},
    "handlers": {},
    "loggers": {
        "_granian": {"handlers": [], "level": "INFO", "propagate": True},
        "granian.access": {"handlers": [], "level": "INFO", "propagate": True},
    },
}

_context: ContextVar[Mapping[str, object]] = ContextVar("log_context", default=MappingProxyType({}))

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def configure(level: str = "INFO", *, json: bool = True, stream: TextIO | None = None) -> None:
    """Send every log line of the process to ``stream`` (standard error by default).

    JSON, one object a line, for production; aligned text for development.  Either way a line holds no
    ``Secret``, nothing under a name like ``token`` or ``authorization``, no query string and no local
    variable.  Calling it again replaces the earlier configuration.
    """
    out = stream if stream is not None else sys.stderr
    chain: list[Processor] = [
        _add_context,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _render_exception,
        _redact,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *chain,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _Handler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=chain,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer() if json else _console(out),
            ],
        )
    )
    root = logging.getLogger()
    for previous in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(previous)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    for name in _NOT_BELOW_WARNING:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose keyword arguments become fields of the line: ``log.info("refreshed", provider=…)``."""
    return cast("structlog.stdlib.BoundLogger", structlog.get_logger(name))


class log_context:  # noqa: N801  # used like the functions of contextlib
    """Add fields, such as ``request_id``, to every line logged inside the block and by tasks begun in it."""

    # structlog's own bound_contextvars has a variable for each field, which costs a request ten times this.
    __slots__ = ("_before", "_values")

    def __init__(self, **values: object) -> None:
        self._values = values

    def __enter__(self) -> None:
        self._before = _context.set({**_context.get(), **self._values})

    def __exit__(self, *_: object) -> None:
        _context.reset(self._before)


def _add_context(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for key, value in _context.get().items():
        event.setdefault(key, value)
    return event


def _without_variables() -> None:
    """Until :func:`configure` is called: structlog's own way, without the values of variables."""
    if not structlog.is_configured():
        known = structlog.get_config()["processors"]
        structlog.configure(processors=[*known[:-1], _render_exception, _redact, _console(sys.stdout)])


class _Handler(logging.StreamHandler[TextIO]):
    """Reports a record it cannot write without the record: the standard one would print its arguments."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the name is logging's
        kind = sys.exc_info()[0]
        name = kind.__name__ if kind is not None else "unknown"
        try:
            self.stream.write(f"a log record of {record.name} could not be written: {name}\n")
        except (OSError, ValueError):  # the stream itself is gone, and with it the place to say so
            return


def _console(stream: TextIO) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty(),
        # The default formatter of this renderer prints local variables when rich is installed.
        exception_formatter=structlog.dev.plain_traceback,
    )


def _render_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Turn ``exc_info`` into text: frames without variables, and the private detail of our own errors."""
    info = _exc_info(event.pop("exc_info", None))
    if info is None:
        return event
    lines = traceback.TracebackException(*info, capture_locals=False).format()
    event["exception"] = "".join(lines).rstrip()
    if isinstance(info[1], AuthpipeError):
        event.setdefault("error_code", info[1].code)
        if info[1].detail:
            event.setdefault("error_detail", info[1].detail)
    return event


def _exc_info(given: object) -> ExcInfo | None:
    if isinstance(given, BaseException):
        return type(given), given, given.__traceback__
    if isinstance(given, tuple):
        return cast("ExcInfo", given) if given and given[0] is not None else None
    if given:
        current = sys.exc_info()
        return current if current[0] is not None else None
    return None


def _redact(_logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]) -> EventDict:
    cleaned: dict[str, Any] = {}
    for key, value in event.items():
        if key in _MADE_HERE:
            cleaned[key] = value
        elif key in ("event", "exception", "stack"):
            cleaned[key] = redact_shapes(value if isinstance(value, str) else str(redact_value("", value)))
        else:
            cleaned[key] = redact_value(key, value)
    return cleaned


_without_variables()
