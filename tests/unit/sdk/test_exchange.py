"""The retry rules, driven by hand: no network, no waiting."""

from __future__ import annotations

import pytest

from authpipe.sdk.errors import AuthpipeUnavailable
from authpipe.sdk.exchange import Answer, NoAnswer, Persistence, Request, Sleep, exchange

GET = Request(method="GET", path="/v1/credentials")
PERSISTENCE = Persistence(attempts=4, deadline_s=30.0)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def elapsed(self) -> float:
        return self.now

    def wall(self) -> float:
        return 0.0


def play(request, outcomes, *, persistence=PERSISTENCE, takes_s=0.0, jitter=0.5):
    """Feed outcomes to an exchange; returns its result (or error) and the steps it asked for."""
    clock = Clock()
    steps = exchange(request, clock, persistence, jitter=lambda: jitter)
    asked, rest = [], list(outcomes)
    step = next(steps)
    while True:
        asked.append(step)
        if isinstance(step, Sleep):
            clock.now += step.seconds
            outcome = None
        else:
            clock.now += takes_s
            outcome = rest.pop(0)
        try:
            step = steps.send(outcome)
        except StopIteration as stop:
            return stop.value, asked
        except AuthpipeUnavailable as error:
            return error, asked


def answer(status: int, **headers: str) -> Answer:
    return Answer(
        status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}, body=b""
    )


def test_an_answer_ends_it() -> None:
    """One request, whose timeout is the whole deadline."""
    result, asked = play(GET, [answer(200)])
    assert result.status == 200
    assert result.asked_at == 100.0
    assert [step.timeout_s for step in asked] == [30.0]


def test_pauses_double_and_carry_jitter() -> None:
    """0.1 s doubling, times the jitter; the last failure raises without another pause."""
    error, asked = play(GET, [NoAnswer("refused")] * 4)
    assert isinstance(error, AuthpipeUnavailable)
    assert [step.seconds for step in asked if isinstance(step, Sleep)] == pytest.approx([0.1, 0.2, 0.4])
    assert sum(isinstance(step, Request) for step in asked) == 4


def test_retry_after_is_waited_for_where_it_is_longer() -> None:
    """Seconds and dates alike (RFC 9110 section 10.2.3)."""
    date = {
        "date": "Tue, 24 Nov 2026 16:00:00 GMT",
        "retry_after": "Tue, 24 Nov 2026 16:00:07 GMT",
    }
    _, asked = play(GET, [answer(503, retry_after="3"), answer(503, **date), answer(200)])
    assert [step.seconds for step in asked if isinstance(step, Sleep)] == [3.0, 7.0]


@pytest.mark.parametrize("nonsense", ["soon", "-1", "1e9", "²", ""])
def test_a_nonsense_retry_after_is_ignored(nonsense) -> None:
    """The usual pause applies."""
    _, asked = play(GET, [answer(503, retry_after=nonsense), answer(200)])
    assert asked[1].seconds == pytest.approx(0.1)


def test_the_deadline_covers_everything() -> None:
    """Later requests get what is left, and no pause is begun that would pass the end."""
    error, asked = play(GET, [NoAnswer("timed out")] * 4, persistence=Persistence(4, 10.0), takes_s=6.0)
    assert isinstance(error, AuthpipeUnavailable)
    assert [step.timeout_s for step in asked if isinstance(step, Request)] == pytest.approx([10.0, 3.9])


def test_a_retry_after_beyond_the_deadline_returns_the_answer() -> None:
    """The caller hears at once what the server said."""
    result, asked = play(GET, [answer(429, retry_after="31")])
    assert result.status == 429
    assert len(asked) == 1


def test_a_post_without_an_idempotency_key_is_sent_once() -> None:
    """Twice might do it twice."""
    _, asked = play(Request(method="POST", path="/x"), [NoAnswer("reset")])
    assert len(asked) == 1
    _, asked = play(Request(method="POST", path="/x", idempotency_key="k"), [NoAnswer("reset"), answer(200)])
    assert len(asked) == 3


def test_no_body_is_shown_by_a_repr() -> None:
    """Requests and answers may carry secrets."""
    request = Request(method="POST", path="/x", body={"fields": "canary"})
    assert "canary" not in repr(request)
    assert "canary" not in repr(Answer(status=200, headers={"x": "canary"}, body=b"canary"))
