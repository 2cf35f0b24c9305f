r"""`type: text-splitter`: cuts a long text into chunks, as an index of documents or a model with a small window needs them.

The text is cut at the first of `separators` that occurs in it; what is still too long, at the next one, and so on. Then
neighbouring pieces are put together again up to `chunk_size` characters, and each chunk begins with the last pieces of the one
before, up to `chunk_overlap` characters, so that no thought is lost at a cut. These are the rules of LangChain's
RecursiveCharacterTextSplitter (its package brings 33 others, which these hundred lines do not).

    workflow:
      title: Cut a text into chunks
      job: {component: splitter, output: "${output}"}
    component:
      id: splitter
      type: text-splitter
      action:
        text: ${input.text as text}
        chunk_size: 40
        chunk_overlap: 10

| setting of the action | what it says |
|---|---|
| `text` | a text, which gives a list of chunks, or a list of texts, which gives a list of lists; null gives null |
| `chunk_size` | the most characters of a chunk, 1000 where nothing is said |
| `chunk_overlap` | the most characters that two neighbours share, 200 where nothing is said; at most `chunk_size` |
| `separators` | where to cut, the best place first: `["\n\n", "\n", " ", ""]` where nothing is said; `""` is between any two characters |
| `language` | separators that suit one, in place of `separators`: python, markdown, html, sql and sixteen others |
| `streaming` | true: the chunks of all texts come one by one, as a stream |
| `stream_fragmented` | false: where the stream is collected it becomes a list of chunks and not one text |

Separators stay with the piece that follows them; blanks at a chunk's ends are taken off. A piece without any separator, which
is possible only where `""` is not among them, stays as long as it is. Source of `output`: `result`, for a stream `result[]`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, ClassVar, Literal

from composemagic.components.given import Given, flag, holds_template, misfits, whole_number
from composemagic.errors import RunError, suggest
from composemagic.language.casts import CastError, to_text
from composemagic.words import say
from composemagic.workflow.component import Action, Batch, Component, Context, Settings, SettingsModel, Value
from composemagic.workflow.schema import kind

__all__ = ["LANGUAGES", "SEPARATORS", "TextSplitter", "split"]

SIZE, OVERLAP = 1000, 200
SEPARATORS = ("\n\n", "\n", " ", "")
_AT_ONCE = 64  # chunks that are yielded together

# what begins a part in each language, at the start of a line, the greatest part first
_LINE_STARTS = {
    "python": "class |def |\tdef ",
    "javascript": "function |const |let |var |class |if |for |while |switch |case |default ",
    "typescript": "function |const |let |var |class |interface |type |enum |namespace |if |for |while |switch |case |default ",
    "java": "class |public |protected |private |static |if |for |while |switch |case ",
    "kotlin": "class |object |interface |fun |val |var |if |for |while |when ",
    "scala": "class |object |trait |def |val |var |if |for |while |match ",
    "go": "func |var |const |type |if |for |switch |case ",
    "rust": "fn |const |let |static |struct |enum |trait |impl |if |for |while |loop |match ",
    "cpp": "class |void |int |float |double |if |for |while |switch |case ",
    "c": "void |int |float |double |char |struct |if |for |while |switch ",
    "csharp": "class |public |private |protected |internal |static |namespace |if |for |foreach |while |switch ",
    "ruby": "def |class |module |if |unless |while |for |do |begin ",
    "php": "function |class |if |foreach |while |for |switch |case ",
    "swift": "func |class |struct |enum |protocol |extension |if |for |while |switch |case ",
    "sql": "SELECT |FROM |WHERE |GROUP BY |ORDER BY |HAVING |JOIN |LEFT JOIN |RIGHT JOIN |INNER JOIN |OUTER JOIN |UNION "
    "|INSERT |UPDATE |DELETE |CREATE |DROP |ALTER ",
    "solidity": "pragma |using |contract |interface |library |constructor |type |function |event |modifier |error |struct "
    "|enum |mapping |if |for |while |do |assembly ",
    "proto": "message |service |enum |options |import |syntax ",
}
_MARKDOWN = ("\n## ", "\n### ", "\n#### ", "\n##### ", "\n###### ", "```\n", "\n\n---\n", "\n\n***\n", "\n\n___\n")
_TAGS = "body div p br li h1 h2 h3 h4 h5 h6 span table tr td th ul ol header footer nav head style script meta title"
_LATEX_BLOCKS = "enumerate itemize description list quote quotation verse verbatim align"
_LATEX = (
    *(f"\n\\{part}{{" for part in ("chapter", "section", "subsection", "subsubsection")),
    *(f"\n\\begin{{{name}}}" for name in _LATEX_BLOCKS.split()),
)
LANGUAGES: Mapping[str, tuple[str, ...]] = {
    **{name: (*(f"\n{start}" for start in starts.split("|")), *SEPARATORS) for name, starts in _LINE_STARTS.items()},
    "markdown": (*_MARKDOWN, *SEPARATORS),
    "html": (*(f"<{tag}" for tag in _TAGS.split()), ""),
    "latex": (*_LATEX, "$$", "$", *SEPARATORS),
}


def split(text: str, separators: Sequence[str], size: int, overlap: int) -> Iterator[str]:
    """The chunks of a text, at most `size` characters each where the separators allow it, lazily."""
    separator, finer = _coarsest(text, separators)
    fitting: list[str] = []
    for piece in _pieces(text, separator):
        if len(piece) < size:
            fitting.append(piece)
            continue
        yield from _merged(fitting, size, overlap)
        fitting = []
        if finer:
            yield from split(piece, finer, size, overlap)
        elif chunk := piece.strip():
            yield chunk
    yield from _merged(fitting, size, overlap)


def _coarsest(text: str, separators: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The first separator that occurs in the text, and those behind it; where none does, one that cuts nothing."""
    for at, separator in enumerate(separators):
        if separator in text:
            return separator, separators[at + 1 :] if separator else ()
    return separators[-1], ()


def _pieces(text: str, separator: str) -> Iterator[str]:
    """The text cut before each separator; before each character for the empty one."""
    if not separator:
        yield from text
        return
    first, *rest = text.split(separator)
    yield from (piece for piece in (first, *(separator + piece for piece in rest)) if piece)


def _merged(pieces: Iterable[str], size: int, overlap: int) -> Iterator[str]:
    """Neighbours put together up to `size` characters; each chunk begins with the end of the one before."""
    held: deque[str] = deque()
    length = 0
    for piece in pieces:
        if held and length + len(piece) > size:
            yield from _chunk(held)
            while length > overlap or (held and length + len(piece) > size):
                length -= len(held.popleft())
        held.append(piece)
        length += len(piece)
    yield from _chunk(held)


def _chunk(pieces: Iterable[str]) -> Iterator[str]:
    if text := "".join(pieces).strip():
        yield text


# -- the component -------------------------------------------------------------------------------------------------------


class SplitterSettings(Settings):
    """A text splitter has no settings of its own."""


class SplitterAction(Settings):
    """The table at the top of this page says what each is for."""

    text: Any
    chunk_size: Any = None
    chunk_overlap: Any = None
    separators: Any = None
    language: (
        Literal[
            "python", "javascript", "typescript", "java", "kotlin", "scala", "go", "rust", "cpp", "c", "csharp", "ruby",
            "php", "swift", "sql", "solidity", "proto", "markdown", "html", "latex",
        ]
        | None
    ) = None  # fmt: skip
    streaming: Any = None
    stream_fragmented: Any = None


class TextSplitter(Component):
    """Cuts texts into chunks. Source for `output`: `result`."""

    type: ClassVar[str] = "text-splitter"
    settings: ClassVar[SettingsModel] = SplitterSettings
    action: ClassVar[SettingsModel] = SplitterAction

    @classmethod
    def faults(cls, settings: Mapping[str, Any], action: Mapping[str, Any]) -> Iterable[tuple[Any, ...]]:
        checks = {
            "chunk_size": whole_number(1),
            "chunk_overlap": whole_number(0),
            "separators": _separators,
            "streaming": flag,
            "stream_fragmented": flag,
        }
        wrong = list(misfits(action, checks))
        yield from wrong
        if action.get("separators") is not None and action.get("language") is not None:
            yield say("an action has `separators` or `language`, not both"), "language"
        size, overlap = action.get("chunk_size") or SIZE, action.get("chunk_overlap")
        if not wrong and not holds_template([size, overlap]):
            try:
                _check_overlap(int(size), OVERLAP if overlap is None else int(overlap))
            except RunError as error:
                yield error.sentence, "chunk_size" if overlap is None else "chunk_overlap"

    async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
        """Yield one Value, a list of chunks or a list of such lists; or the chunks as a stream."""
        given = Given(action, context)
        text = await given.get("text")
        size = await given.get("chunk_size", whole_number(1), SIZE)
        overlap = await given.get("chunk_overlap", whole_number(0), OVERLAP)
        _check_overlap(size, overlap)
        separators = (
            await given.get("language", _of_language) or await given.get("separators", _separators) or SEPARATORS
        )
        texts = [_text(each) for each in (text if isinstance(text, list) else [text])]
        chunks = [None if each is None else split(each, separators, size, overlap) for each in texts]
        if await given.get("streaming", flag, False):
            async for batch in _batches(chain.from_iterable(filter(None, chunks))):
                yield Batch(batch)
            return
        lists = [
            None if each is None else [chunk async for batch in _batches(each) for chunk in batch] for each in chunks
        ]
        yield Value(lists if isinstance(text, list) else lists[0])


async def _batches(chunks: Iterator[str]) -> AsyncGenerator[list[str], None]:
    """The chunks, a few at a time; in between, others on the loop have their turn."""
    while batch := list(islice(chunks, _AT_ONCE)):
        yield batch
        await asyncio.sleep(0)


def _check_overlap(size: int, overlap: int) -> None:
    if overlap > size:
        sentence = say(
            "`chunk_overlap`, {default} where nothing is said, is at most `chunk_size`: {overlap} is more than {size}",
            overlap=overlap,
            default=OVERLAP,
            size=size,
        )
        raise RunError("input", sentence)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, dict | list):
        raise RunError("input", say("`text` is a text or a list of texts, not {kind}", kind=kind(value)))
    try:
        return to_text(value)
    except CastError as error:
        raise RunError("input", say("`{key}`: {why}", key="text", why=error)) from None


def _separators(value: Any, key: str) -> Sequence[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise RunError("input", say('`{key}` is a list of texts, such as ["\\n\\n", " "]', key=key))
    return value


def _of_language(value: Any, key: str) -> Sequence[str]:
    if not isinstance(value, str) or value not in LANGUAGES:
        sentence = say("unknown `{key}` {value}{near}", key=key, value=kind(value), near=suggest(str(value), LANGUAGES))
        raise RunError("input", sentence)
    return LANGUAGES[value]
