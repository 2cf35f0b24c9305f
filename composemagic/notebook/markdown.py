"""Model text, which nobody vouches for, as HTML that a trusted output may hold.

render(text)     a whole text
Growing          the same for a stream: what is finished is rendered once
plain(text)      the same cleaning for places that show plain text

A notebook trusts the outputs of an executed cell: a script in them runs. So nothing here is passed through. The text is
CommonMark 0.31 with tables and strikethrough (GFM), raw HTML is shown as text, an image is shown as a link to it, links go
to http, https and mailto only, and no attribute but `href`, `title`, `start`, the alignment of a table cell and the
language of a code fence comes from the text.

The text is read as a row of top-level blocks. A block is cut off and rendered for good when the next one has begun, which
in CommonMark is known as soon as the next one's first line is complete. A top-level code fence is escaped line by line. Any
other block beyond `LIMIT` characters is cut there and what follows is read as a new block, so that the work stays in
proportion to the text. A line costs as much as many characters: what follows `LINES` lines is shown as it was written.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml, unescapeAll
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock, table
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from composemagic.text import STRAY, UNFINISHED, has_only_print, plain

__all__ = ["LIMIT", "LINES", "Growing", "Step", "framed", "plain", "render"]

LIMIT = 32_000
"""Characters of one top-level block (code fences excepted) that are rendered as one."""

LINES = 20_000
"""Lines of a text, those of code fences excepted, that are read as Markdown; one of many elements counts for several."""

NESTING = 24
"""Blocks within blocks: a list takes two. A deeper block is shown as it was written."""

_MISSING_CELLS = 2_000
"""Cells that the rows of one table may leave out; each costs an element though no character stands for it."""

# JupyterLab typesets the TeX in text/html outputs as well. The first class stops its MathJax 3 and 4, the second MathJax 2.
_HEAD, _FOOT = '<div class="mathjax_ignore tex2jax_ignore">\n', "</div>\n"
_CODE_FOOT = "</code></pre>\n"

_ALLOWED = re.compile(r"(?:https?://|mailto:)[^\s]", re.IGNORECASE)
_LANGUAGE = re.compile(r"[A-Za-z0-9+#-]{1,30}")
_NEVER = re.compile(r"(?!)")
_ACTIVE = "[]!*_~<`&\\"


def render(text: str) -> str:
    """The text as safe HTML. A link's definition may stand after its use, less than `LIMIT` characters apart."""
    growing = Growing()
    growing.add(text)
    return growing.html()


def framed(html: str) -> str:
    """The HTML of blocks as a text of its own, in which no front end looks for TeX."""
    return f"{_HEAD}{html}{_FOOT}"


class Step(NamedTuple):
    """What is new in a growing text, for who keeps what came before: `opened` of the last step and then `frozen` are finished.

    `opened` goes on with what is behind that, or begins it: a code block that is not closed yet. `tail` closes it, and is the
    rest until the next step.
    """

    frozen: str
    opened: str
    tail: str


class Growing:
    """A text that arrives in pieces, and its HTML so far.

    After the last piece `html()` equals `render(text)`, however the text was cut, with one exception: a link whose
    definition (`[label]: url`) stands below it stays text when its block was finished before the definition came.
    Work is done in `html()` only; adding is free.
    """

    def __init__(self) -> None:
        self._taken: list[str] = []
        self._fresh: list[str] = []
        self._held = ""  # the end of the text, not cleaned yet: half a pair, an escape sequence without its end
        self._given: list[str] = []  # frozen, and told by `step`
        self._frozen: list[str] = []
        self._opened_at = 0  # where in it the code block begins that is not closed
        self._tail = ""
        self._code: _Code | None = None  # the fence that the tail continues
        self._lines = 0  # frozen
        self._references: dict[str, Any] = {}
        self._read: tuple[str, list[_Block]] = ("", [])

    def add(self, delta: str) -> None:
        """Take the next piece of the text."""
        self._fresh.append(delta)

    @property
    def text(self) -> str:
        """All that was added, as it came."""
        self._taken, self._fresh = ["".join(self._taken)], ["".join(self._fresh)]
        return self._taken[0] + self._fresh[0]

    def html(self) -> str:
        """The HTML of all that was added, the unfinished end included."""
        tail = self._advance()
        closed, opened = self._parts()
        self._given, self._frozen, self._opened_at = ["".join(self._given)], [closed, opened], 1
        return framed(f"{self._given[0]}{closed}{opened}{tail}")

    def step(self) -> Step:
        """The same for a page that keeps what it was given: what is new since the last step, and the unfinished end."""
        tail = self._advance()
        closed, opened = self._parts()
        self._given += [closed, opened]
        self._frozen, self._opened_at = [], 0
        return Step(closed, opened, tail)

    def _parts(self) -> tuple[str, str]:
        """What is frozen, up to a code block that is not closed, and from there on."""
        end = self._opened_at if self._code else len(self._frozen)
        return "".join(self._frozen[:end]), "".join(self._frozen[end:])

    def _advance(self) -> str:
        """Freeze what is finished, and give the HTML of the rest."""
        self._take()
        while self._settle():
            pass
        return self._unfinished(self._tail + plain(self._held))

    def _take(self) -> None:
        fresh = self._held + "".join(self._fresh)
        self._taken += self._fresh
        self._fresh = []
        unfinished = UNFINISHED.search(fresh)
        end = unfinished.start() if unfinished else len(fresh)
        self._tail += plain(fresh[:end])
        self._held = fresh[end:]

    def _settle(self) -> bool:
        """Freeze what is finished at the start of the tail; false when nothing more is."""
        if self._code:
            return self._settle_code(self._code)
        window = self._tail[: LIMIT + LIMIT // 8]
        blocks = self._blocks(window)
        cut = next((block for block in blocks if len(block) > LIMIT), None) or _last_begun(
            blocks, window, is_cut=len(window) < len(self._tail)
        )
        if not cut:
            return False
        if cut.start:
            at = blocks.index(cut)
            self._freeze(blocks[:at], cut.start, blocks[at:] if len(window) == len(self._tail) else ())
        elif cut.fence:
            self._open_code(cut.fence)
        elif len(cut) > LIMIT:
            end = _break(window)
            self._freeze(self._blocks(window[:end]), end)
        else:
            return False
        return True

    def _freeze(self, blocks: Sequence[_Block], end: int, rest: Sequence[_Block] = ()) -> None:
        """Keep the HTML of blocks up to a place in the tail; `rest` are those behind it, read already, if they are all."""
        for block in blocks:
            self._frozen.append(block.html)
            self._references |= {
                label: entry for label, entry in block.references.items() if label not in self._references
            }
            self._lines += max(self._tail.count("\n", block.start, block.end), block.html.count("<") // 4)
            if self._lines > LINES:
                end, rest = block.end, ()
                self._code, self._opened_at = _Code(_NEVER, 0), len(self._frozen)
                self._frozen.append(_code_head(""))
                break
        self._tail = self._tail[end:]
        self._read = (self._tail, [block.moved(end) for block in rest]) if rest else ("", [])

    def _open_code(self, fence: Token) -> None:
        line, _, self._tail = self._tail.partition("\n")
        self._code, self._opened_at = _Code.opened(fence, line), len(self._frozen)
        self._frozen.append(_code_head(fence.info))

    def _settle_code(self, code: _Code) -> bool:
        end = code.closing.search(self._tail)
        done = end.start() if end else self._tail.rfind("\n") + 1
        self._frozen.append(code.html(self._tail[:done]))
        if end:
            self._frozen.append(_CODE_FOOT)
            self._code = None
        self._tail = self._tail[end.end() if end else done :]
        return end is not None

    def _unfinished(self, tail: str) -> str:
        if not self._code:
            return "".join(block.html for block in self._blocks(tail))
        closed = self._code.closing.match(tail + "\n")
        return ("" if closed else self._code.html(tail)) + _CODE_FOOT

    def _blocks(self, text: str) -> list[_Block]:
        """The text's top-level blocks, kept until another text is asked for."""
        if self._read[0] != text:
            self._read = (text, list(_blocks(text, self._references)))
        return self._read[1]


@dataclass(frozen=True, slots=True)
class _Block:
    """A top-level block: where it starts and where the next one does, in characters.

    `kind` is the type of its first token, `fence` that token if it opens a code fence and its line is complete,
    `references` are the link definitions in it or between it and the next block: they make no tokens.
    """

    start: int
    end: int
    kind: str
    html: str
    fence: Token | None
    references: Mapping[str, Any]

    def __len__(self) -> int:
        return self.end - self.start

    def moved(self, by: int) -> _Block:
        """The same where the text before it, so many characters, is taken away."""
        return replace(self, start=self.start - by, end=self.end - by)


@dataclass(frozen=True, slots=True)
class _Code:
    """A code fence that has been opened: how its lines are shown and which line ends it (CommonMark 0.31, 4.5)."""

    closing: re.Pattern[str]
    indent: int

    @classmethod
    def opened(cls, fence: Token, line: str) -> _Code:
        mark = re.escape(fence.markup[0])
        closing = rf"^ {{0,3}}{mark}{{{len(fence.markup)},}}+[ \t]*+\n"
        return cls(re.compile(closing, re.MULTILINE), len(line) - len(line.lstrip(" ")))

    def html(self, lines: str) -> str:
        if self.indent:
            lines = "\n".join(_dedent(line, self.indent) for line in lines.split("\n"))
        return escapeHtml(lines)


def _blocks(text: str, known: Mapping[str, Any]) -> Iterator[_Block]:
    """Read a text whose links may use the known references."""
    env: dict[str, Any] = {"references": ChainMap({}, dict(known))}
    tokens = _markdown().parse(text, env)
    offsets = [0, *(match.end() for match in re.finditer("\n", text)), len(text)]
    found = {label: (offsets[entry["map"][0]], entry) for label, entry in env["references"].maps[0].items()}
    for group, start, end in _groups(tokens, offsets):
        mine = {label: entry for label, (place, entry) in found.items() if start <= place < end} if found else {}
        yield _block(text[start:end], group, start, mine, env)


def _groups(tokens: Sequence[Token], offsets: Sequence[int]) -> Iterator[tuple[Sequence[Token], int, int]]:
    """The tokens of each top-level block and its place; what stands before the first block is a group without tokens."""
    firsts = [index for index, token in enumerate(tokens) if token.level == 0 and token.nesting >= 0]
    starts = [offsets[tokens[index].map[0]] for index in firsts]  # type: ignore[index]  # block tokens have a map
    if not starts or starts[0] > 0:
        yield [], 0, starts[0] if starts else offsets[-1]
    bounds = zip(firsts, [*firsts[1:], len(tokens)], starts, [*starts[1:], offsets[-1]], strict=False)
    for first, following, start, end in bounds:
        yield tokens[first:following], start, end


def _block(text: str, tokens: Sequence[Token], start: int, references: Mapping[str, Any], env: EnvType) -> _Block:
    kind = tokens[0].type if tokens else ""
    if any(token.type in ("blockquote_open", "list_item_open") and token.level >= NESTING - 1 for token in tokens):
        html = f"<pre>{escapeHtml(text)}</pre>\n"  # markdown-it leaves out what is deeper
    else:
        # An entity (`&#8238;`) or a link shown decoded brings back what was removed from the text.
        html = _without_stray(_markdown().renderer.render(tokens, _markdown().options, env))
    fence = tokens[0] if kind == "fence" and "\n" in text else None
    return _Block(start, start + len(text), kind, html, fence, references)


def _without_stray(html: str) -> str:
    return html if has_only_print(html) else STRAY.sub("", html)


def _last_begun(blocks: Sequence[_Block], text: str, *, is_cut: bool) -> _Block | None:
    """The last block if no later text can take away its first line, else the one before it.

    A partial line can: `#` is a heading, `#x` is not. A table takes its second line as well, unless a blank line stands
    before it. `is_cut`: the text goes on, and a line that is still not complete is long enough to say what it is.
    """
    for last in blocks[:-3:-1]:
        needed = 2 if last.kind == "table_open" and not text.endswith("\n\n", 0, last.start) else 1
        if text.count("\n", last.start) >= needed or (is_cut and last.start > 0):
            return last
    return None


def _break(text: str) -> int:
    """Where to cut a block that is too long: after a blank line, else after a line, else anywhere."""
    for end in ("\n\n", "\n"):
        place = text.rfind(end, LIMIT // 2, LIMIT)
        if place >= 0:
            return place + len(end)
    return LIMIT


def _dedent(line: str, indent: int) -> str:
    """Take away up to `indent` columns of white space; a tab reaches to the next multiple of 4 (CommonMark 0.31, 2.2)."""
    width = place = 0
    while width < indent and line[place : place + 1] in (" ", "\t"):
        width += 4 - width % 4 if line[place] == "\t" else 1
        place += 1
    return " " * (width - indent) + line[place:]


@cache
def _markdown() -> MarkdownIt:
    markdown = _Markdown("commonmark", {"html": False, "maxNesting": NESTING}, renderer_cls=_Renderer)
    markdown.enable(["table", "strikethrough"])
    markdown.block.ruler.at("table", _table, {"alt": ["paragraph", "reference"]})
    markdown.core.ruler.at("inline", _inline)
    markdown.core.ruler.disable("normalize")  # the text is `plain`: no NUL, and its line ends are newlines
    return markdown


class _Markdown(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802  (markdown-it's name)
        """A link that is not allowed stays text as it was written."""
        return _ALLOWED.match(url) is not None


class _Renderer(RendererHTML):
    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """As `Growing` shows a fence."""
        return _code_head(tokens[idx].info) + escapeHtml(tokens[idx].content) + _CODE_FOOT


def _code_head(info: str) -> str:
    """The start of a code block; the first word behind the fence is its language if it looks like one."""
    words = unescapeAll(info).split(maxsplit=1)
    known = words and _LANGUAGE.fullmatch(words[0])
    return f'<pre><code class="language-{words[0]}">' if known else "<pre><code>"


def _table(state: StateBlock, line: int, end: int, silent: bool) -> bool:
    """A table, unless its short rows would be filled up with more than `_MISSING_CELLS` cells."""
    if line < state.env.get("no_table_before", 0) or not table(state, line, end, True):
        return False
    columns = state.src.count("|", state.bMarks[line + 1], state.eMarks[line + 1]) + 1
    missing, row = 0, line + 2
    while row < end and not state.isEmpty(row) and missing <= _MISSING_CELLS:
        missing += max(0, columns - 1 - state.src.count("|", state.bMarks[row], state.eMarks[row]))
        row += 1
    if missing > _MISSING_CELLS:
        state.env["no_table_before"] = row  # so that the lines up to here are counted once
        return False
    return silent or table(state, line, end, False)


def _inline(state: StateCore) -> None:
    """markdown-it's own step for inline text, and then links and images as we want them."""
    for token in state.tokens:
        if token.type == "inline":
            token.children = []
            if _noise(token.content):
                token.children.append(_text(token.content))
            else:
                state.md.inline.parse(token.content, state.md, state.env, token.children)
                token.children = list(_tamed(token.children))


def _noise(text: str) -> bool:
    """Whether a long text is mostly marks: nobody writes that, and each unmatched mark is costly."""
    return len(text) > 2_000 and 4 * sum(map(text.count, _ACTIVE)) > len(text)


def _tamed(children: Sequence[Token]) -> Iterator[Token]:
    inside = 0
    for token in children:
        if token.type == "link_open":
            _guard(token)
        inside += token.nesting if token.type in ("link_open", "link_close") else 0
        if token.type == "image":
            yield from _image(token, linked=inside > 0)
        else:
            yield token


def _image(token: Token, *, linked: bool) -> Iterator[Token]:
    """An image is never fetched: its description is shown, as a link to it unless it stands in a link already."""
    source = str(token.attrs["src"])
    markdown = _markdown()
    words = RendererHTML().renderInlineAsText(token.children, markdown.options, {})
    if linked:
        yield _text(words or source)
        return
    opening = Token("link_open", "a", 1, attrs={"href": source})
    _guard(opening)
    yield from (opening, _text(words or source), Token("link_close", "a", -1))


def _guard(link: Token) -> None:
    link.attrs |= {"rel": "noopener noreferrer", "target": "_blank"}


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)
