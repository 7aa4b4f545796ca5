"""The parser of server-sent events, against the specification's own examples and any way to cut a stream."""

from __future__ import annotations

import pytest

from authpipe.sdk.sse import LONGEST_EVENT, LONGEST_LINE, EventParser, ServerSentEvent, TooLong


def read(raw: bytes, size: int = 1 << 30) -> list[tuple[str, str]]:
    parser = EventParser()
    chunks = [raw[begin : begin + size] for begin in range(0, len(raw), size)]
    return [(event.name, event.data) for chunk in chunks for event in parser.feed(chunk)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 30])
@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"], ids=["lf", "cr", "crlf"])
def test_any_line_end_and_any_cut_reads_the_same(end, size):
    """Chunks of the network have nothing to do with lines, and a CRLF may be cut in two."""
    lines = [b"event: change", b"data: one", b"data:two", b": a comment", b"", b"data", b"", b"data: x", b""]
    raw = end.join([*lines, b""])
    expected = [("change", "one\ntwo"), ("message", ""), ("message", "x")]
    assert read(raw, size) == expected


def test_mixed_line_ends_are_one_blank_line_each():
    """LF then CR is two line ends, CR LF is one."""
    assert read(b"data: a\r\n\ndata: b\n\rdata: c\r\r\n") == [
        ("message", "a"),
        ("message", "b"),
        ("message", "c"),
    ]


def test_a_byte_order_mark_is_dropped_at_the_very_beginning_only():
    """Elsewhere it is part of a field's name, which nobody knows."""
    assert read(b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\ndata: c\n\n", 1) == [
        ("message", "a"),
        ("message", "c"),
    ]


def test_only_one_space_after_the_colon_is_dropped():
    """From the specification."""
    assert read(b"data:test\n\ndata: test\n\ndata:  test\n\n") == [
        ("message", "test"),
        ("message", "test"),
        ("message", " test"),
    ]


def test_an_event_without_data_is_none_but_its_id_counts():
    """The specification's example with the empty id resets it."""
    parser = EventParser("before")
    assert parser.feed(b"event: hello\nid: 7\n\n") == []
    assert parser.last_event_id == "7"
    assert parser.feed(b"data: x\n\n") == [ServerSentEvent("message", "x", "7")]
    assert parser.last_event_id == "7"
    parser.feed(b"id\n\n")
    assert parser.last_event_id == ""


def test_an_id_counts_from_the_end_of_its_event():
    """An event cut off by a lost connection was not received, so it must be sent again."""
    parser = EventParser("before")
    parser.feed(b"id: 8\ndata: cut off\n")
    assert parser.last_event_id == "before"


def test_an_id_with_nul_is_ignored():
    """As the specification has it."""
    parser = EventParser("before")
    parser.feed(b"id: a\0b\n\n")
    assert parser.last_event_id == "before"


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [(b"retry: 1500\n", 1.5), (b"retry: 1e3\n", None), (b"retry: -1\n", None), (b"retry\n", None),
     ("retry: \N{ARABIC-INDIC DIGIT THREE}\n".encode(), None), (b"retry: " + b"9" * 400 + b"\n", None)],
)  # fmt: skip
def test_only_digits_make_a_retry(raw, seconds):
    """Milliseconds on the wire, seconds here."""
    parser = EventParser()
    parser.feed(raw)
    assert parser.retry_s == seconds


def test_bytes_that_are_no_utf_8_become_the_replacement_character():
    """They spoil neither the reading nor the rest."""
    assert read(b"data: \xff\xfe|\n\ndata: b\n\n", 1) == [("message", "\ufffd\ufffd|"), ("message", "b")]


@pytest.mark.parametrize("size", [1000, 1 << 30])
def test_a_line_without_end_is_refused(size):
    """Comments too: memory is bounded whatever is sent."""
    with pytest.raises(TooLong):
        read(b":" * (LONGEST_LINE + 1), size)


def test_an_event_of_many_lines_is_refused_when_it_is_too_long():
    """Each line is short, the event is not."""
    line = b"data: " + b"x" * 60_000 + b"\n"
    with pytest.raises(TooLong):
        read(line * (LONGEST_EVENT // 60_000 + 1))
