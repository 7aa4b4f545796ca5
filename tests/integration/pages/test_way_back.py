"""Return URLs with the outcome added."""

from __future__ import annotations

import pytest

from authpipe.domain.secret import Secret
from authpipe.pages.way_back import failure_address, success_address
from support.hosted import Hosted


@pytest.mark.parametrize(
    ("return_url", "begins"),
    [
        ("https://app.example.com", "https://app.example.com?"),
        ("https://app.example.com/a", "https://app.example.com/a?"),
        ("https://app.example.com/a?", "https://app.example.com/a?"),
        ("https://app.example.com/a?b=c", "https://app.example.com/a?b=c&"),
        ("https://app.example.com/a?b=c&", "https://app.example.com/a?b=c&"),
        ("https://app.example.com/a?b=%2F+%20;d", "https://app.example.com/a?b=%2F+%20;d&"),
        ("https://app.example.com/a?u=http://x?y", "https://app.example.com/a?u=http://x?y&"),
    ],
)
async def test_the_outcome_is_added_to_what_is_there(hosted: Hosted, return_url: str, begins: str) -> None:
    """The application's own query stays as it is, to the byte."""
    session, _ = await hosted.mint(return_url=return_url)
    made = f"connect_session_id={session.session_id}"
    assert success_address(session, Secret("a-b_c")) == f"{begins}{made}&completion_code=a-b_c"
    assert failure_address(session, "access_denied") == f"{begins}{made}&error=access_denied"
