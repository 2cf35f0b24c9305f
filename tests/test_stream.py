"""Stream: several readers of one source, at their own pace, and what is kept of it; and the summary of a run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composemagic.engine.run import Run, Timing
from composemagic.engine.stream import Stream, join, settle
from composemagic.engine.summary import summary
from composemagic.errors import RunError
from composemagic.language.streams import Whole, beside, chained, settled
from composemagic.words import speak


async def source(batches: Iterable[list[Any]], failure: Exception | None = None) -> AsyncIterator[list[Any]]:
    for batch in batches:
        await asyncio.sleep(0)
        yield batch
    if failure is not None:
        raise failure


async def chunks_of(stream: Stream) -> list[Any]:
    return [chunk async for batch in stream.batches() for chunk in batch]


def test_a_reader_after_the_other() -> None:
    async def main() -> None:
        stream = Stream(source([["a"], ["b", "c"], []]))
        assert await chunks_of(stream) == ["a", "b", "c"]
        assert await chunks_of(stream) == ["a", "b", "c"]
        assert await stream.collect() == "abc" and stream.collected and stream.value == "abc"

    asyncio.run(main())


def test_a_reader_that_joins_while_another_waits() -> None:
    """Both want the next batch from a source that can be asked by one at a time."""

    async def main() -> None:
        stream = Stream(source([[str(number)] for number in range(100)]))
        first = asyncio.create_task(chunks_of(stream))
        await asyncio.sleep(0)  # it waits inside the source
        second = asyncio.create_task(chunks_of(stream))
        assert await first == await second == [str(number) for number in range(100)]

    asyncio.run(main())


def test_a_failure_comes_after_the_chunks_before_it_and_to_every_reader() -> None:
    async def main() -> None:
        stream = Stream(source([["a"], ["b"]], RunError("server", "it broke")))
        for _ in range(2):
            seen: list[Any] = []
            with pytest.raises(RunError, match="it broke"):
                async for batch in stream.batches():
                    seen += batch
            assert seen == ["a", "b"]
        with pytest.raises(RunError, match="it broke"):
            await stream.collect()

    asyncio.run(main())


def test_a_reader_that_is_stopped_in_the_source_is_no_end_of_the_stream() -> None:
    async def stuck() -> AsyncIterator[list[Any]]:
        yield ["a"]
        await asyncio.Event().wait()

    async def main() -> None:
        stream = Stream(stuck())
        first, second = asyncio.create_task(chunks_of(stream)), asyncio.create_task(chunks_of(stream))
        for _ in range(10):
            await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(RunError, match="another of its readers"):
            await second
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(main())


def test_what_all_have_passed_is_kept_as_one() -> None:
    async def main() -> None:
        stream = Stream(source([[f"{number} "] * 10 for number in range(5000)]))
        expected = "".join(f"{number} " * 10 for number in range(5000))
        assert "".join(await chunks_of(stream)) == expected
        assert sum(map(len, stream._kept)) < 2000
        assert "".join(await chunks_of(stream)) == expected

    asyncio.run(main())


def test_a_reader_that_is_slow_loses_nothing() -> None:
    async def main() -> None:
        stream = Stream(source([[f"{number} "] * 7 for number in range(3000)]))
        slow = stream.batches()
        seen = [await anext(slow)]
        fast = await chunks_of(stream)
        seen += [batch async for batch in slow]
        assert "".join(chunk for batch in seen for chunk in batch) == "".join(fast)

    asyncio.run(main())


def test_a_long_stream_costs_its_length() -> None:
    async def main(count: int) -> float:
        begun = time.process_time()
        await Stream(source([["x" * 5] * 50] * count)).collect()
        return time.process_time() - begun

    asyncio.run(main(100))
    long, short = (min(asyncio.run(main(count)) for _ in range(3)) for count in (8000, 1000))
    assert long < 40 * max(short, 0.005)  # of CPU, undisturbed once in three; the square would be 64 times


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.one_of(st.text(max_size=3), st.integers()), max_size=400), max_size=12), st.integers(0, 12))
def test_any_batches_and_a_reader_that_comes_late(batches: list[list[Any]], late: int) -> None:
    async def main() -> None:
        stream = Stream(source(batches), fragmented=False)
        first = stream.batches()
        seen = [batch for _ in range(late) if (batch := await anext(first, None)) is not None]
        assert await chunks_of(stream) == [chunk for batch in batches for chunk in batch]
        seen += [batch async for batch in first]
        assert [chunk for batch in seen for chunk in batch] == [chunk for batch in batches for chunk in batch]

    asyncio.run(main())


@pytest.mark.parametrize("chunk", ["x" * 2**20, {"a": ["x" * 2**20]}, ["x" * 2**19, {"x" * 2**19: 1}], b"x" * 2**20])
def test_what_is_too_long_to_collect(chunk: Any) -> None:
    async def main() -> None:
        with pytest.raises(RunError, match="longer than 8 MiB"):
            await Stream(source([[chunk]] * 20)).collect()

    asyncio.run(main())


def test_who_comes_late_to_a_long_stream_is_refused() -> None:
    """One reader at a time needs no memory; the start that is gone is not passed over in silence."""

    async def main() -> None:
        stream = Stream(source([["x" * 2**20]] * 20))
        count = 0
        async for batch in stream.batches():
            count += len(batch)
            assert sum(len(piece) for kept in stream._kept for piece in kept) <= 9 * 2**20
        assert count == 20
        with pytest.raises(RunError, match="longer than 8 MiB and its start is gone"):
            await chunks_of(stream)

    asyncio.run(main())


def test_the_fast_reader_waits_for_the_slow_one() -> None:
    async def main() -> None:
        made = 0

        async def many() -> AsyncIterator[list[Any]]:
            nonlocal made
            for made in range(1, 41):  # noqa: B007 - looked at outside
                yield ["x" * 2**20]

        stream = Stream(many())
        slow = stream.batches()
        await anext(slow)
        fast = asyncio.create_task(chunks_of(stream))
        for _ in range(1000):
            await asyncio.sleep(0)
        assert not fast.done() and made <= 10
        seen = 1
        async for batch in slow:
            seen += len(batch)
            assert made - seen <= 10
        assert seen == 40 and len(await fast) == 40

    asyncio.run(main())


def test_a_slow_reader_that_leaves_sets_the_fast_one_free() -> None:
    async def main() -> None:
        stream = Stream(source([["x" * 2**20]] * 40))
        slow = stream.batches()
        await anext(slow)
        fast = asyncio.create_task(chunks_of(stream))
        for _ in range(1000):
            await asyncio.sleep(0)
        await slow.aclose()  # type: ignore[attr-defined]
        assert len(await fast) == 40

    asyncio.run(main())


def test_a_reader_that_is_stopped_leaves_the_source_to_the_other() -> None:
    """Of two that wait for the same batch, the one that has asked for it is stopped."""
    gate = asyncio.Event()

    async def gated() -> AsyncIterator[list[Any]]:
        yield ["a"]
        await gate.wait()
        yield ["b"]

    async def main() -> None:
        stream = Stream(gated())
        waiting = [stream.batches(), stream.batches()]
        assert [await anext(reader) for reader in waiting] == [["a"], ["a"]]
        first, second = (asyncio.ensure_future(anext(reader)) for reader in waiting)  # type: ignore[arg-type]
        for _ in range(5):
            await asyncio.sleep(0)
        first.cancel()
        gate.set()
        assert await second == ["b"] and stream.failure is None

    asyncio.run(main())


def test_a_drain_that_is_patient_forgets_nothing() -> None:
    async def main() -> None:
        stream, go_on = Stream(source([["x" * 2**20]] * 20)), asyncio.Event()
        drain = asyncio.create_task(stream.drain(go_on))
        for _ in range(1000):
            await asyncio.sleep(0)
        assert not drain.done() and not stream.ended
        assert len(await chunks_of(stream)) == 20  # from the first one on
        go_on.set()
        await drain

    asyncio.run(main())


def test_closing_what_was_never_read_closes_what_is_behind() -> None:
    async def main() -> None:
        behind = source([["a"], ["b"]])
        assert await anext(behind) == ["a"]
        stream = Stream(source([]), behind=behind)
        await stream.aclose()
        assert await anext(behind, None) is None

    asyncio.run(main())


def test_the_end_is_told_once() -> None:
    async def main() -> None:
        told: list[BaseException | None] = []
        stream = Stream(
            source([["a"]], RunError("server", "it broke")), wrap=lambda error: RunError("wrapped", str(error))
        )
        stream.when_ended(told.append)
        with pytest.raises(RunError, match="it broke") as caught:
            await stream.drain()
        stream.when_ended(told.append)
        assert caught.value.kind == "wrapped" and told == [caught.value] * 2 and stream.so_far == "a"

    asyncio.run(main())


def test_a_conversion_that_wants_another_stream_first() -> None:
    async def main() -> None:
        other = Stream(source([["!"]]))
        mapped = Stream(source([["a"], ["b"]])).map(lambda batch: [chunk + settled(other) for chunk in batch])
        assert await chunks_of(mapped) == ["a!", "b!"]

    asyncio.run(main())


def test_streams_side_by_side_and_one_after_the_other() -> None:
    async def main() -> None:
        one, two = Stream(source([["a", "b"], ["c"]])), Stream(source([[1], [2]]), fragmented=False)
        rows = beside({"one": one, "two": two, "three": [7, 8, 9]})
        assert await rows.collect() == [{"one": "a", "two": 1, "three": 7}, {"one": "b", "two": 2, "three": 8}]  # type: ignore[attr-defined]
        row = chained([one, "d", None, ["e"], one])
        assert await row.collect() == "abcdeabc"  # type: ignore[attr-defined]

    asyncio.run(main())


def test_mapping_drops_what_becomes_nothing() -> None:
    async def main() -> None:
        stream = Stream(source([["a"], ["b"]]))
        mapped = stream.map(lambda batch: [chunk.upper() for chunk in batch if chunk != "a"], encoding="text")
        assert mapped.encoding == "text" and await chunks_of(mapped) == ["B"]
        assert await chunks_of(stream) == ["a", "b"]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("chunks", "fragmented", "value"),
    [
        (["a", "b"], True, "ab"),
        (["a", "b"], False, ["a", "b"]),
        (["a", 1], True, ["a", 1]),
        ([], True, []),
        ([""], True, ""),
    ],
)
def test_joining(chunks: list[Any], fragmented: bool, value: Any) -> None:
    assert join(chunks, fragmented=fragmented) == value


def test_settling() -> None:
    async def main() -> None:
        value = {"a": Stream(source([["x"]])), "b": [Stream(source([[1], [2]])), 3], "c": Whole("w", "text")}
        assert await settle(value) == {"a": "x", "b": [[1, 2], 3], "c": "w"}

    asyncio.run(main())


# -- summary -------------------------------------------------------------------------------------------------------------


def told(**fields: Any) -> str:
    run = {"status": "done", "text": "", "timing": Timing(), "usage": None, "model": None, "instead_of": None}
    run |= {"models": (), "is_played": False, **fields}
    return summary(cast("Run", SimpleNamespace(**run)))


SUMMARIES: list[tuple[dict[str, Any], str]] = [
    ({}, "✓ done"),
    ({"timing": Timing(0.5, 2, 20)}, "✓ done · first delta 0.50 s · total 2.00 s · 20 deltas"),
    ({"timing": Timing(0.5, 2, 1)}, "✓ done · total 2.00 s"),
    ({"usage": {"completion_tokens": 7}}, "✓ done · 7 tokens"),
    ({"usage": {"output_tokens": 7, "input_tokens": 1}}, "✓ done · 7 tokens"),
    ({"usage": {"eval_count": "many"}}, "✓ done"),
    ({"model": "m-1"}, "✓ done · answered by m-1"),
    ({"model": "m-1", "instead_of": "gpt-4o"}, "✓ done · answered by m-1, not by gpt-4o"),
    ({"model": "m\x1b[2J"}, "✓ done · answered by m"),
    ({"status": "stopped", "text": "a"}, "■ stopped · the text so far is kept"),
    ({"status": "failed"}, "✗ failed"),
    ({"status": "truncated", "text": "a"}, "✗ incomplete · the text so far is kept"),
]


@pytest.mark.parametrize(("fields", "line"), SUMMARIES)
def test_summary(fields: dict[str, Any], line: str) -> None:
    assert told(**fields) == line


CHINESE: list[tuple[dict[str, Any], str]] = [
    ({"timing": Timing(0.5, 2, 20)}, "✓ 完成 · 首个增量 0.50 秒 · 总计 2.00 秒 · 20 个增量"),
    ({"usage": {"eval_count": 7}}, "✓ 完成 · 7 个词元"),
    ({"model": "m-1"}, "✓ 完成 · 由 m-1 回答"),
    ({"model": "m-1", "instead_of": "gpt-4o"}, "✓ 完成 · 由 m-1 回答，而不是 gpt-4o"),
    ({"status": "stopped", "text": "a"}, "■ 已停止 · 已保留到目前为止的文本"),
    ({"status": "truncated"}, "✗ 不完整"),
    ({"status": "failed"}, "✗ 失败"),
    ({"status": "running"}, "… 运行中"),
    ({"status": "interrupted"}, "? 等待回答"),
]


@pytest.mark.parametrize(("fields", "line"), CHINESE)
def test_summary_in_chinese(fields: dict[str, Any], line: str) -> None:
    speak("zh")
    try:
        assert told(**fields) == line
    finally:
        speak(None)


@pytest.mark.parametrize(
    ("timing", "rate"),
    [(Timing(1, 3, 20), 10), (Timing(None, 3, 0), None), (Timing(1, None, 5), None), (Timing(1, 1, 5), None)],
)
def test_deltas_a_second(timing: Timing, rate: float | None) -> None:
    assert timing.deltas_per_second == rate
