"""The event stream parser against its table, against a plain reference, and at its limits."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composemagic.errors import RunError
from composemagic.transport.sse import EventTooLarge, LineReader, Message, SSEParser
from tests import conformance
from tests.conformance.rows import read_rows
from tests.conformance.sse import cut

TABLE = Path(__file__).parent / "data" / "sse.jsonl"
ROWS = read_rows(TABLE)
SOAK = os.environ.get("COMPOSEMAGIC_SOAK") == "1"


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_row(row: dict[str, Any]) -> None:
    failures = conformance.check("sse", row)
    assert not failures, "\n".join(map(str, failures))


def test_the_table_is_whole() -> None:
    assert len(ROWS) == 124
    assert len({row["id"] for row in ROWS}) == 124


# ── the reference: the standard's text, step by step, on the whole input ────────────────────────────────────────────


def reference(data: bytes) -> tuple[list[Message], str, int | None]:
    """WHATWG HTML 9.2.6 on a whole stream: messages, last event id, reconnection time."""
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = re.split("\r\n|\n|\r", text)[:-1]  # the last piece has no end: it is no line
    messages = []
    data_buffer = event_buffer = id_buffer = last_event_id = ""
    retry = block_retry = None
    for line in lines:
        if line == "":
            last_event_id = id_buffer
            if data_buffer != "":
                messages.append(Message(event_buffer or "message", data_buffer[:-1], last_event_id, block_retry))
            data_buffer = event_buffer = ""
            block_retry = None
            continue
        if line.startswith(":"):
            continue
        if ":" in line:
            name, value = line.split(":", 1)
            if value.startswith(" "):
                value = value[1:]
        else:
            name, value = line, ""
        if name == "event":
            event_buffer = value
        elif name == "data":
            data_buffer += value + "\n"
        elif name == "id":
            if "\0" not in value:
                id_buffer = value
        elif name == "retry" and re.fullmatch("[0-9]+", value):
            retry = block_retry = int(value)
    return messages, last_event_id, retry


def reference_cut(data: bytes, limit: int) -> tuple[list[Message], bool]:
    """The messages before the first line that, with the data lines of its event before it, is beyond the limit."""
    start = 3 if data.startswith(b"\xef\xbb\xbf") else 0  # a BOM is not of the line
    position = good = start
    used = 0
    for piece in re.findall(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$", data[start:]):
        line = piece.rstrip(b"\r\n")
        if used + len(line) > limit:
            return reference(data[:good])[0], True
        position += len(piece)
        if not line:
            used, good = 0, position
        elif line.split(b":", 1)[0] == b"data":
            used += len(line)
    return reference(data)[0], False


def parse(reads: list[bytes], limit: int = 2**24) -> tuple[list[Message], str, int | None]:
    parser = SSEParser(limit)
    messages = [message for data in reads for message in parser.feed(data)]
    return messages, parser.last_event_id, parser.retry


def parse_cut(reads: list[bytes], limit: int) -> tuple[list[Message], bool]:
    parser = SSEParser(limit)
    messages: list[Message] = []
    try:
        for data in reads:
            messages += parser.feed(data)
    except EventTooLarge as error:
        return messages + error.messages, True
    return messages, False


PIECES = [
    b"data: ", b"data:", b"data", b"data: {}\n\n", b'data: {"a":1}\n\ndata: \xc3\xa9\n\n', b"\n\ndata: ", b"data: a\r\n\r\n",
    b"event: e", b"event:", b"event: e\ndata: x\n\n", b"id: 7", b"id", b"id:\0", b"retry: 5", b"retry:+5", b"retry: 0300",
    b"\n", b"\n", b"\n\n", b"\r", b"\r\n", b"\r\r\n", b":", b": hb\n\n", b" ", b"x", b"\0", b"error: y", b"Data: y",
    b"\xef\xbb\xbf", b"\xef", b"\xbb", b"\xbf", b"\xe2\x80\xa8", b"\xc2\x85", b"\xf0\x9f", b"\x9a\x80", b"\xff", b"\x0b",
]  # fmt: skip


def random_stream(rng: random.Random) -> bytes:
    return b"".join(rng.choices(PIECES, k=rng.randrange(1, 25)))


def random_reads(rng: random.Random, data: bytes) -> list[bytes]:
    count = rng.choice((0, 0, 1, 2, 5, len(data)))
    edges = sorted([0, *(rng.randrange(len(data) + 1) for _ in range(count)), len(data)])
    return [data[start:end] for start, end in zip(edges, edges[1:], strict=False)]  # noqa: RUF007 - reads may be empty


@pytest.mark.timeout(3000)
def test_random_streams_read_as_the_reference_reads_them() -> None:
    for seed in range(1_000_000 if SOAK else 20_000):
        rng = random.Random(seed)
        data = random_stream(rng)
        reads = random_reads(rng, data)
        assert parse(reads) == reference(data), (seed, reads)


@pytest.mark.timeout(600)
def test_random_streams_reach_the_limit_where_the_reference_does() -> None:
    reached = 0
    for seed in range(100_000 if SOAK else 5_000):
        rng = random.Random(seed)
        data = random_stream(rng)
        reads, limit = random_reads(rng, data), rng.randrange(8, 40)
        got = parse_cut(reads, limit)
        assert got == reference_cut(data, limit), (seed, limit, reads)
        reached += got[1]
    assert reached > 500  # the case is really met


@settings(max_examples=5000 if SOAK else 300, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=6)), max_size=20), st.randoms(use_true_random=False)
)
def test_no_chunking_changes_the_result(pieces: list[bytes], rng: random.Random) -> None:
    data = b"".join(pieces)
    assert parse(random_reads(rng, data)) == parse([data]) == reference(data)


def test_the_fast_way_says_what_the_slow_way_says() -> None:
    values = ["{}", "", " two", "é\u2028\u0085", "data: x", "a" * 300]
    plain = "".join(f"data: {value}\n\n" for value in values).encode() + b"data: \xff\xf0\x9f\n\n"
    fast, slow = SSEParser()._plain(plain), SSEParser()._interpret(plain)
    assert fast == slow == reference(plain)[0]
    assert len(fast) == 7


@pytest.mark.parametrize(
    "lines",
    [
        b"data: a\n",
        b"data: a\ndata: b\n\n",
        b"data: a\n\n\n",
        b"data:a\n\n",
        b"id: 1\n\n",
        b": c\n\n",
        b"data: a\n\nx\n\n",
    ],
)
def test_what_is_not_plain_takes_the_slow_way(lines: bytes) -> None:
    assert SSEParser()._plain(lines) is None


def test_a_mark_behind_a_blank_line_is_not_at_the_start() -> None:
    for data in (b"\n\xef\xbb\xbfdata: a\n\n", b"\r\n\xef\xbb\xbfdata: a\n\n"):
        for chunking in ("whole", "every-byte"):
            assert parse(cut(data, chunking)) == reference(data) == ([], "", None)


def test_an_id_given_earlier_reaches_the_fast_way() -> None:
    parser = SSEParser()
    assert parser.feed(b"id: 1\n\n") == []
    assert parser.feed(b"data: a\n\ndata: b\n\n") == [("message", "a", "1", None), ("message", "b", "1", None)]


def test_an_id_waits_for_its_blank_line() -> None:
    parser = SSEParser()
    parser.feed(b"id: 1\ndata: a\n")
    assert parser.last_event_id == ""
    assert parser.feed(b"\n") == [Message("message", "a", "1", None)]
    assert parser.last_event_id == "1"


def test_retry_is_of_its_own_block_and_stays_as_state() -> None:
    parser = SSEParser()
    assert [message.retry for message in parser.feed(b"retry: 9\ndata: a\n\ndata: b\n\n")] == [9, None]
    assert parser.retry == 9


def test_the_longest_and_the_shortest_retry() -> None:
    assert parse([b"retry: " + b"9" * 15 + b"\n"])[2] == 10**15 - 1
    assert parse([b"retry: 0\n"])[2] == parse([b"retry: 000\n"])[2] == 0


@pytest.mark.parametrize("digits", ["9" * 16, "9" * 5000])
def test_a_retry_that_is_no_time_is_ignored(digits: str) -> None:
    messages, _, retry = parse([f"retry: {digits}\ndata: x\n\n".encode()])
    assert (messages[0].retry, retry) == (None, None)


def test_zeros_before_a_retry_do_not_count_as_digits() -> None:
    assert parse([b"retry: " + b"0" * 5000 + b"7\n"])[2] == 7


def test_the_error_field_is_kept_beside_the_standard() -> None:
    parser = SSEParser()
    assert parser.error_field is None
    assert parser.feed(b'data: a\n\nerror: {"message":"boom"}\n\n') == [Message("message", "a", "", None)]
    assert parser.error_field == '{"message":"boom"}'


@pytest.mark.parametrize("reads", [[b""], [b"data: a\r", b"", b"\n\r", b"", b"\n"], [b"", b"\xef", b"", b"\xbb\xbf"]])
def test_empty_reads_change_nothing(reads: list[bytes]) -> None:
    assert parse(reads) == reference(b"".join(reads))


def test_a_read_that_ends_in_cr_gives_its_message_at_once() -> None:
    parser = SSEParser()
    assert [len(parser.feed(bytes([byte]))) for byte in b"data: a\r\r\ndata: b\r\n\r\n"].index(1) == 8
    assert parser.feed(b"data: c\r\n\r") == [Message("message", "c", "", None)]
    assert parser.feed(b"\n") == []


# ── limits and size ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"data: 12345\n\n", 1),  # 11 bytes: the limit
        (b"data: 123456\n\n", None),
        (b"data: 123456", None),  # also before its end has come
        (b"data: 1\ndata: 2\n\n", None),  # two lines of one event
        (b"data: 1\n\ndata: 2\n\n", 2),
        (b": 23456789012\n", None),  # a comment is a line as well
        (b": 2345678\n: 2345678\ndata: 1\n\n", 1),  # but is not kept
        (b"\xef\xbb\xbfdata: 12345\n\n", 1),
        (b"\xef\xbb\xbfdata: 12345", 0),
        (b"data: 1\n\ndata: 123456\n\n", None),
    ],
)
@pytest.mark.parametrize("chunking", ["whole", "every-byte", "fixed:3"])
def test_the_limit(data: bytes, count: int | None, chunking: str) -> None:
    messages, too_large = parse_cut(cut(data, chunking), 11)
    assert too_large == (count is None)
    if count is not None:
        assert len(messages) == count


def test_what_came_before_the_large_event_is_kept() -> None:
    with pytest.raises(EventTooLarge) as caught:
        SSEParser(20).feed(b"data: a\n\ndata: b\n\ndata: " + b"c" * 30)
    assert [message.data for message in caught.value.messages] == ["a", "b"]


def test_the_limit_error_is_a_run_error_in_words() -> None:
    with pytest.raises(RunError) as caught:
        SSEParser().feed(b"data: " + b"q" * 2**24)
    assert (caught.value.kind, caught.value.limit) == ("too_large", 2**24)
    for limit, words in ((2**24, "16 MiB"), (3 * 2**19, "1.5 MiB"), (2**20, "1 MiB"), (2**20 - 1, "1048575 bytes")):
        assert f"longer than {words};" in str(EventTooLarge(limit))


def test_memory_stays_at_the_limit() -> None:
    parser, read = SSEParser(2**20), b"q" * 2**16
    tracemalloc.start()
    try:
        with pytest.raises(EventTooLarge):
            for _ in range(1024):
                parser.feed(read)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("data", [b"data: " + b"q" * 2**16 + b"\n", b"q" * 2**16], ids=["lines", "one line"])
@pytest.mark.parametrize("kind", [SSEParser, LineReader])
def test_what_was_too_large_is_let_go_at_once(kind: type[SSEParser] | type[LineReader], data: bytes) -> None:
    """The error that is kept holds the parser by its frames."""
    if kind is LineReader:
        data = data.replace(b"\n", b"")
    parser = kind(2**20)
    tracemalloc.start()
    try:
        with pytest.raises(EventTooLarge) as caught:
            for _ in range(64):
                parser.feed(data)
        assert tracemalloc.get_traced_memory()[0] < 2**18, caught
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def long_line_seconds(size: int) -> float:
    reads = cut(b"data: " + b"y" * (5 * 2**20) + b"\n\n", f"fixed:{size}")
    started = time.process_time()
    messages = parse(reads)[0]
    seconds = time.process_time() - started
    assert [len(message.data) for message in messages] == [5 * 2**20]
    return seconds


@pytest.mark.timeout(60)  # quadratic would be an hour
def test_a_line_of_5_mb_in_17_byte_reads() -> None:
    long_line_seconds(17)


@pytest.mark.soak
@pytest.mark.skipif(not SOAK, reason="a measurement: COMPOSEMAGIC_SOAK=1")
def test_a_line_in_small_reads_costs_at_most_15_times_the_whole() -> None:
    assert min(long_line_seconds(17) for _ in range(5)) <= 15 * min(long_line_seconds(2**24) for _ in range(5))


# ── JSON lines ──────────────────────────────────────────────────────────────────────────────────────────────────────


def read_lines(reads: list[bytes], limit: int = 2**24) -> list[str]:
    reader = LineReader(limit)
    return [line for data in reads for line in reader.feed(data)] + reader.close()


LINES: list[tuple[bytes, list[str]]] = [
    (b"", []),
    (b"\n\r\n \n\t\r\n", []),
    (b"1\n2\r\n3", ["1", "2", "3"]),
    (b"1\r", ["1"]),
    (b'{"a":\r1}\n', ['{"a":\r1}']),  # a CR alone is JSON's white space
    (b"\xef\xbb\xbf1\n\xef\xbb\xbf2\n", ["1", "\ufeff2"]),
    (b"\xef\xbb\xbf", []),
    ('"a\u2028b\u2029c\u0085d\x0be\x1cf"\n2\n'.encode(), ['"a\u2028b\u2029c\u0085d\x0be\x1cf"', "2"]),
    ("\u0085\n".encode(), ["\u0085"]),  # not white space of ASCII: an error for JSON to find
    (b"a\xffb\n\xf0\x9f", ["a\ufffdb", "\ufffd"]),
    ("é🚀\n".encode(), ["é🚀"]),
]


@pytest.mark.parametrize(("data", "expected"), LINES)
@pytest.mark.parametrize("chunking", ["whole", "every-byte", "fixed:2", "fixed:3"])
def test_lines(data: bytes, expected: list[str], chunking: str) -> None:
    assert read_lines(cut(data, chunking)) == expected


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"12345\r\n12345\n12345", None),
        (b"\xef\xbb\xbf12345\r\n", None),
        (b"1\n123456\n2\n", ["1"]),
        (b"1\n123456", ["1"]),
        (b"1\n \n123456\r\n", ["1"]),
    ],
)
@pytest.mark.parametrize("chunking", ["whole", "every-byte", "fixed:4"])
def test_a_line_beyond_the_limit(data: bytes, lines: list[str] | None, chunking: str) -> None:
    reader, got = LineReader(5), []
    try:
        for read in cut(data, chunking):
            got += reader.feed(read)
        got += reader.close()
    except EventTooLarge as error:
        got += error.lines
        assert got == lines
    else:
        assert lines is None


@pytest.mark.parametrize(
    ("before", "line"),
    [(b"", b"123456"), (b"", b"\xef\xbb\xbf123456"), (b"1\n", b"123456"), (b"1\n", b"\xef\xbb\xbf12345"), (b"1\n", b"X12345"),
     (b"", b"12345\r\r")],
)  # fmt: skip
def test_a_line_that_can_only_become_too_long_is_not_waited_for(before: bytes, line: bytes) -> None:
    reader = LineReader(5)
    assert reader.feed(before) == [before.decode()[:1]] * bool(before)
    with pytest.raises(EventTooLarge):
        reader.feed(line)


@pytest.mark.parametrize("line", [b"12345", b"\xef\xbb\xbf12345", b"\xef\xbb\xbf12345\r"])
def test_a_line_that_may_end_within_the_limit_is(line: bytes) -> None:
    reader = LineReader(5)
    assert reader.feed(line) == [] and reader.feed(b"\n") == ["12345"]


@settings(max_examples=5000 if SOAK else 200, deadline=None)
@given(
    st.lists(st.recursive(st.none() | st.text(max_size=9), lambda inner: st.lists(inner, max_size=3)), max_size=6),
    st.randoms(use_true_random=False),
)
def test_json_lines_survive_every_chunking(values: list[object], rng: random.Random) -> None:
    data = "\n".join(json.dumps(value, ensure_ascii=False) for value in values).encode("utf-8", "replace")
    assert (
        read_lines(random_reads(rng, data))
        == read_lines([data])
        == [line for line in data.decode().split("\n") if line]
    )


LINE_PIECES = [
    b'{"a":1}', b"[1,\r2]", b'"\xc3\xa9\xf0\x9f\x9a\x80"', b"\xe2\x80\xa8", b"\xc2\x85", b"\x1c", b"\xa0", b"7", b"XX", b"x" * 9, b"\0",
    b"\n", b"\n", b"\n\n", b"\r\n", b"\r\n", b"\r", b"\r\r\n", b"\n\r", b" ", b"\t", b"\x0b", b"\x0c", b" \r\n",
    b"\xef\xbb\xbf", b"\xef", b"\xbb", b"\xbf", b"\xf0\x9f", b"\x9a\x80", b"\xff",
]  # fmt: skip


def reference_lines(data: bytes, limit: int) -> tuple[list[str], bool]:
    """The lines of a whole input, and whether one was beyond the limit: those before it then."""
    lines: list[str] = []
    for piece in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        line = piece[:-1] if piece.endswith(b"\r") else piece
        if len(line) > limit:
            return lines, True
        if re.search(rb"[^ \t\r\x0b\x0c]", line):
            lines.append(line.decode("utf-8", "replace"))
    return lines, False


def read_lines_cut(reads: list[bytes], limit: int) -> tuple[list[str], bool]:
    reader, lines = LineReader(limit), list[str]()
    try:
        for data in reads:
            lines += reader.feed(data)
        lines += reader.close()
    except EventTooLarge as error:
        return lines + error.lines, True
    return lines, False


@pytest.mark.timeout(3000)
def test_random_lines_read_as_the_reference_reads_them() -> None:
    reached = whole = 0
    for seed in range(1_000_000 if SOAK else 20_000):
        rng = random.Random(seed)
        data = b"".join(rng.choices(LINE_PIECES, k=rng.randrange(1, 25)))
        reads, limit = random_reads(rng, data), rng.choice((2**24, rng.randrange(3, 40)))
        got = read_lines_cut(reads, limit)
        assert got == reference_lines(data, limit), (seed, limit, reads)
        reached += got[1]
        whole += not got[1] and len(got[0]) > 2
    assert reached > 2000 and whole > 2000  # both cases are really met


def test_lines_come_as_soon_as_they_end_and_one_is_kept_no_longer() -> None:
    reader = LineReader()
    assert [reader.feed(bytes([byte])) for byte in b"1\r\n\n2"] == [[], [], ["1"], [], []]
    assert (reader.feed(b"3\n4"), reader.close(), reader.close(), reader.feed(b"5\n")) == (["23"], ["4"], [], ["5"])


# ── the runner ──────────────────────────────────────────────────────────────────────────────────────────────────────


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.conformance", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parent.parent, timeout=120, check=False
    )


def doctored(row: dict[str, Any], **changes: object) -> str:
    return json.dumps({**row, **changes})


def test_the_runner_passes_the_table() -> None:
    result = run("sse", str(TABLE))
    assert (result.returncode, result.stdout, result.stderr) == (0, "124 passed, 0 failed\n", "")


def test_the_runner_shows_what_fails(tmp_path: Path) -> None:
    by_id = {row["id"]: row for row in ROWS}
    chat = by_id["oai-chat-basic"]
    lines = [
        doctored(by_id["basic-one-event"]),
        doctored(by_id["event-bare-field"], events=[]),
        doctored(by_id["id-basic"], final={"last_event_id": "2", "retry": None}),
        doctored(by_id["nl-cr-dispatch-is-prompt"], prompt_after=[[9, 0]]),
        doctored(by_id["ndjson-error-mid"], items=[]),
        doctored(chat, expect={**chat["expect"], "text": "Other"}),
        doctored(by_id["size-1m-blank-lines"], limits={"seconds": 0}, chunkings=["whole"]),
        doctored(by_id["size-1m-blank-lines"], events_summary={"count": 2}, chunkings=["whole"]),
        doctored(by_id["basic-one-event"], expect_limit_error=True),
        doctored(by_id["basic-one-event"], chunkings=["by-moonlight"]),
    ]
    table = tmp_path / "doctored.jsonl"
    table.write_text("\n".join(lines) + "\n", "utf-8")
    result = run("sse", str(table))
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1] == "1 passed, 9 failed"
    for row_id in ("event-bare-field", "id-basic", "nl-cr-dispatch-is-prompt", "ndjson-error-mid", "oai-chat-basic"):
        assert f"FAILED {row_id}\n" in result.stdout
    assert "every-byte: events\n    expected []\n    got      [{" in result.stdout


@pytest.mark.parametrize("arguments", [[], ["sse"], ["sse", "no-such-file"], ["poetry", str(TABLE)], ["sse", __file__]])
def test_the_runner_refuses_misuse(arguments: list[str]) -> None:
    assert run(*arguments).returncode == 2
