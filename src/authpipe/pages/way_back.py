"""The addresses a page leads to when it is done: the application's return URL, with the outcome added."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

from authpipe.domain.connect_session import ConnectSession, ReturnMode
from authpipe.domain.secret import Secret


def success_address(session: ConnectSession, completion_code: Secret) -> str:
    """The return URL with the completion code.  It belongs in a Location header or a link, not in a log."""
    return _with(session, "completion_code", completion_code.reveal())


def failure_address(session: ConnectSession, code: str) -> str:
    """The return URL with an error code."""
    return _with(session, "error", code)


def host_of(url: str) -> str:
    """Host and port as people read them."""
    return urlsplit(url).netloc


def is_popup(session: ConnectSession) -> bool:
    """Whether the application waits for a message instead of a visit."""
    return session.return_mode is ReturnMode.POPUP


def _with(session: ConnectSession, name: str, value: str) -> str:
    """What stands in the query already stays as it is, byte for byte; return URLs have no fragment."""
    added = urlencode({"connect_session_id": str(session.session_id), name: value})
    url = session.return_url
    if "?" not in url:
        return f"{url}?{added}"
    return f"{url}{added}" if url.endswith(("?", "&")) else f"{url}&{added}"
