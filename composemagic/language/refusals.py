"""What is wrong with a text that is no YAML, in plain words: why it is refused, and which characters to underline."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import yaml

from composemagic.errors import DocumentError, Mark, Mistake, Source
from composemagic.words import say

__all__ = [
    "ESCAPE",
    "HALF",
    "MAX_BYTES",
    "SURROGATE",
    "about_directives",
    "about_halves",
    "about_tags",
    "about_wide_colons",
    "check_key",
    "check_text",
    "explain",
    "stray_line",
    "token_end",
    "wide_colon",
]

MAX_BYTES = 256 * 1024
_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
SURROGATE = re.compile(r"[\ud800-\udfff]")
HALF = re.compile(r"\\(?:u|U0000)[dD][89a-fA-F][0-9a-fA-F]{2}")
ESCAPE = re.compile(r"\\(?:u.{4}|U.{8}|.)", re.DOTALL)
_WIDE_COLON = re.compile(r"^[ \t]*(?:-[ \t]+)*[\"']?[A-Za-z_][A-Za-z0-9_.-]*[\"']?(：)", re.MULTILINE)


def about_tags() -> str:
    return say("tags such as `!name` are not used here; for text, put quotes around it")


def about_directives() -> str:
    return say("YAML directives (lines that start with `%`) are not used here; for text, put quotes around it")


def about_halves() -> str:
    return say("half of a surrogate pair is no character")


def about_wide_colons() -> str:
    return say("`：` is a full-width colon; in YAML a key ends with `:` and a space")


def _about_colons() -> str:
    return say("a `:` cannot stand here; put quotes around the text, or mend the indentation")


def _about_equals() -> str:
    return say("`=` stands where YAML has `:` and a space")


def _about_python() -> str:
    return say("this line is Python and not YAML; in a notebook, Python stands in a cell of its own")


def _about_wide(char: str) -> str:
    return say("`{written}` is a full-width character; write `{meant}`", written=char, meant=WIDE[char])


def about_wide_spaces() -> str:
    return say("this is a full-width or a non-breaking space; YAML wants ordinary ones")


# what a Chinese or Japanese keyboard gives for YAML's own characters
WIDE = {
    "：": ":", "，": ",", "、": ",", "；": ";", "。": ".", "．": ".", "｜": "|", "＝": "=", "＃": "#", "－": "-", "—": "-",
    "｛": "{", "｝": "}", "［": "[", "］": "]", "【": "[", "】": "]", "（": "(", "）": ")", "“": '"', "”": '"', "＄": "$",
}  # fmt: skip
_WIDE_PAIRS = {"｛": "｝", "［": "］", "【": "】"}


def _about_characters() -> str:
    return say("this stands for no character")


# what the parser says (libyaml | pure), which of its two marks counts, how much is underlined, our words for the character
_SENTENCES: Iterable[tuple[str, bool, str, Callable[[str], str]]] = (
    (r"directive|incompatible YAML", True, r".*\S", lambda _: about_directives()),
    (r"tab character", False, r".", lambda _: _about_tabs()),
    (r" tag\b|tag handle", True, r"\S*", lambda _: about_tags()),
    (
        r"end of stream|document (?:indicator|separator)",
        True,
        r".",
        lambda _: say("the quote that starts here is not closed"),
    ),
    (r"could not find expected ':'", True, r".*\S", lambda _: say("a `: ` is missing after this key")),
    (r"mapping values are not allowed", False, r".", lambda _: _about_colons()),
    (r"document start", False, r".*\S", lambda _: _about_what_cannot_follow()),
    (
        r"entries are not allowed",
        False,
        r".",
        lambda _: say("a list item cannot start here; put its `-` on a new line"),
    ),
    (
        r"mapping keys are not allowed",
        False,
        r".",
        lambda _: say("a `?` cannot stand here; put quotes around the text"),
    ),
    (
        r"scanning an alias",
        True,
        r"\S*",
        lambda _: say("`*` begins an alias in YAML; for text, put quotes around it"),
    ),
    (
        r"scanning an anchor",
        True,
        r"\S*",
        lambda _: say("`&` begins an anchor in YAML; for text, put quotes around it"),
    ),
    (
        r"cannot start any token",
        False,
        r".",
        lambda char: say("{character} cannot begin a value; put quotes around it", character=char),
    ),
    (
        r"indicator equal to 0|found 0$",
        False,
        r".",
        lambda _: say("the indentation after `|` or `>` is a digit from 1 to 9"),
    ),
    (
        r"comment or (?:a )?line break|chomping",
        False,
        r".*\S",
        lambda _: say("only a comment can follow `|` or `>` on its line"),
    ),
    (r"node content", False, r".", lambda char: say("a value is missing before {character}", character=char)),
)


def _about_tabs() -> str:
    return say("a tab cannot indent YAML; use spaces")


def _about_what_cannot_follow() -> str:
    return say("this cannot follow what stands before it")


# neither can begin a YAML document
_PASTED = re.compile(r"\s*(```[^\n]*|%%[^\n]*)")


def check_text(source: Source) -> None:
    """Refuse a text for its size or its characters. Raises DocumentError."""
    text = source.text
    if len(text) > MAX_BYTES or (not text.isascii() and len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES):
        sentence = say("{name} is larger than {limit} KiB", name=source.name, limit=MAX_BYTES // 1024)
        raise DocumentError([Mistake(sentence)])
    found = _FORBIDDEN.search(text)
    if found:
        code = ord(found[0])
        other = say("the character U+{code} cannot stand in YAML", code=f"{code:04X}")
        sentence = about_halves() if 0xD800 <= code < 0xE000 else other
        # such a character must not reach the user's terminal either
        shown = Source(source.name, _FORBIDDEN.sub("\ufffd", text), source.first_line)
        raise DocumentError([Mistake(sentence, Mark.between(shown, found.start(), found.end()))])
    if pasted := _PASTED.match(text):
        sentence = say("this line came along when the YAML was copied; delete it")
        if pasted[1].startswith("`"):
            sentence = say("this line came along when the YAML was copied; delete it, and the ``` at the end")
        raise DocumentError([Mistake(sentence, Mark.between(source, *pasted.span(1)))])


def explain(error: Exception, text: str, opened: list[int], seen: int) -> tuple[str, int, int]:
    """A sentence for what the parser raised, and what to underline."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        # the pure parser's chr() of an escape beyond U+10FFFF
        found = re.compile(r"\\U(?!000|0010)[0-9a-fA-F]{8}").search(text, seen)
        return (_about_characters(), *found.span()) if found else (say("this is not YAML"), seen, seen + 1)
    said = f"{error.context or ''} {error.problem or ''}"
    problem = error.problem_mark.index
    if wide := wide_colon(text, problem):
        return about_wide_colons(), *wide
    context = error.context_mark.index if error.context_mark else problem
    if "expected ':'" in said and (found := _PYTHON.match(text, context)):
        return _about_python(), *found.span()
    if meant := _stray_before(text, problem) or _explain_wide(text, opened, problem, context):
        return meant
    if "quoted scalar" in said and ("escape" in said or "hex" in said):
        return _explain_escape(text, text.rfind("\\", 0, problem + 1))
    return (
        _explain_flow(said, text, opened, problem)
        or ("mapping values" in said and _explain_colon(text, problem))
        or ("expected ':'" in said and _explain_block(text, context))
        or _explain_by_table(said, text, problem, context)
        or _explain_position(text, problem, in_list="collection" in said)
    )


def _explain_by_table(said: str, text: str, problem: int, context: int) -> tuple[str, int, int] | None:
    for pattern, at_context, underline, sentence in _SENTENCES:
        if re.search(pattern, said):
            start = context if at_context else problem
            char = text[start : start + 1]
            found = re.compile(underline).match(text, start)
            shown = say("a backtick") if char == "`" else f"`{char}`"
            words = _about_tabs() if char == "\t" else sentence(shown)
            return words, start, found.end() if found else start + 1
    return None


def _explain_escape(text: str, at: int) -> tuple[str, int, int]:
    if half := HALF.match(text, at):
        return about_halves(), *half.span()
    if found := re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})").match(text, at):
        return _about_characters(), at, found.end()
    written = text[at : at + 2]
    sentence = say(
        "`{written}` means nothing in double quotes; write `\\\\` for a backslash, or use single quotes",
        written=written,
    )
    return sentence, at, at + 2


def _explain_flow(said: str, text: str, opened: list[int], problem: int) -> tuple[str, int, int] | None:
    """What is wrong between `[ ]` or `{ }`: it is not closed, or a comma is missing."""
    if (
        not opened
        or not text.startswith(("[", "{"), opened[-1])
        or not re.search(r"a flow (?:mapping|sequence|node)", said)
    ):
        return None
    start, char = opened[-1], text[problem : problem + 1]
    new_line = "\n" in text[start:problem]
    if char == ":" and not new_line:
        if two := re.compile(r"(?<![^\s,:{\[])[^\s,:{\[]+[ \t]+([\w-]+):").search(text, start, problem + 1):
            return say("a `,` is missing before this"), *two.span(1)
        return _about_colons(), problem, problem + 1
    if char in ("]", "}") and not any(text.startswith({"]": "[", "}": "{"}[char], begin) for begin in opened):
        return say("this `{character}` closes nothing", character=char), problem, problem + 1
    wrong = char in ("]", "}") and char != {"[": "]", "{": "}"}[text[start]]
    if not char or wrong or char == ":" or text.startswith(("---", "..."), problem):
        is_list = text[start] == "["
        words = say("the list that starts here is not closed") if is_list else _about_open_mappings()
        return words, start, start + 1
    return None if "node" in said else (say("a `,` is missing before this"), problem, token_end(text, problem))


def _about_open_mappings() -> str:
    return say("the mapping that starts here is not closed")


def _explain_position(text: str, problem: int, *, in_list: bool) -> tuple[str, int, int]:
    end = text.find("\n", problem)
    end = len(text) if end < 0 else end
    before = text[text.rfind("\n", 0, problem) + 1 : problem]
    if before.rstrip().endswith('"'):
        return (
            say('the quotes end before this; put them around the whole text, with `\\"` for a quote in it'),
            problem,
            end,
        )
    if before.rstrip().endswith("'"):
        return (
            say("the quotes end before this; put them around the whole text, with `''` for a quote in it"),
            problem,
            end,
        )
    if before.strip() or text[problem : problem + 1] in ("]", "}", ","):
        return _about_what_cannot_follow(), problem, end
    if in_list:
        return say("this line does not continue the list above it; an item begins with `- `"), problem, end
    if re.compile(r"-(?:\s|$)").match(text, problem):
        return say("a list item cannot stand among keys"), problem, end
    return say("the indentation of this line fits no line above it"), problem, end


def _explain_colon(text: str, problem: int) -> tuple[str, int, int] | None:
    """Why a `: ` is one too many: an earlier one on its line, or a value on the line above it."""
    start = text.rfind("\n", 0, problem) + 1
    end = text.find("\n", problem)
    line = text[start : end if end >= 0 else len(text)]
    if (first := _KEY.match(line)) and start + first.end() <= problem:
        value = start + first.end()
        return say("the text holds a `: `; put quotes around the whole text"), value, start + len(line.rstrip())
    above = text[: max(0, start - 1)].rstrip()
    above_start = above.rfind("\n") + 1
    if tight := _TIGHT.match(above, above_start):
        return _about_tight(), *tight.span(1)
    if first and _KEY.match(above, above_start):
        at = start + len(line) - len(line.lstrip())
        return say("this line is indented too far: the key above it has a value already"), at, problem
    return None


def _about_tight() -> str:
    return say("a space is missing after this `:`")


_KEY = re.compile(r"[ \t]*(?:-[ \t]+)*[\w.-]+:(?:[ \t]+|$)", re.MULTILINE)
_TIGHT = re.compile(r"[ \t]*(?:-[ \t]+)*[A-Za-z_][\w-]*(:)(?!//)[^\s:]")


def _explain_block(text: str, at: int) -> tuple[str, int, int] | None:
    """A line that ought to be part of the block above it."""
    above = text[:at].rstrip()
    if not re.search(r":[ \t]+[|>][-+]?$", above):
        return None
    end = text.find("\n", at)
    words = say("the lines of a block stand further to the right than its key; indent this line")
    return words, at, len(text) if end < 0 else end


def _explain_wide(text: str, opened: list[int], problem: int, context: int) -> tuple[str, int, int] | None:
    """A full-width character where YAML's own was meant: at the begin of a value or a line, or within `[ ]` or `{ }`."""
    found = None
    for at in (problem, context):
        end = text.find("\n", at)
        found = found or _WIDE_START.search(text, text.rfind("\n", 0, at) + 1, end if end >= 0 else len(text))
    if not found and opened and text.startswith(("[", "{"), opened[-1]):
        found = _WIDE_IN_FLOW.search(text, opened[-1], problem)
    return (_about_wide(found[1]), *found.span(1)) if found else None


_WIDE_START = re.compile(r"(?:^[ \t]*|:[ \t]+)([＃－—｛［])", re.MULTILINE)
_WIDE_IN_FLOW = re.compile(r"(?<=[\w\"'])[ \t]*([，、：｝］】])[ \t]*(?=[\w\"'}\]])")


# at the margin: a call, also one whose value gets a name, and an import
_PYTHON = re.compile(
    r"^(?:(?:[^\W\d]\w*[ \t]*=[ \t]*)?(?:await[ \t]+)?[^\W\d][\w.]*\(.*"
    r"|import[ \t]+[\w.]+(?:[ \t]+as[ \t]+\w+)?[ \t]*$|from[ \t]+[\w.]+[ \t]+import[ \t].*)",
    re.MULTILINE,
)


def stray_line(text: str, start: int, end: int) -> tuple[str, int, int] | None:
    """A line between two indexes that is written in another language: Python, a comment as in C, `=` for `:`."""
    if found := _PYTHON.search(text, start, end):
        return _about_python(), *found.span()
    if found := re.compile(r"^[ \t]*(//.*)", re.MULTILINE).search(text, start, end):
        return say("a comment begins with `#` in YAML"), *found.span(1)
    if found := re.compile(r"^[ \t]*([\u3000\u00a0]+)", re.MULTILINE).search(text, start, end):
        return about_wide_spaces(), *found.span(1)
    if found := re.compile(r"^[ \t]*[A-Za-z_][\w-]*[ \t]*(=)(?!=)", re.MULTILINE).search(text, start, end):
        return _about_equals(), *found.span(1)
    return None


def _stray_before(text: str, problem: int) -> tuple[str, int, int] | None:
    """The same on the line of an index, or the one above it if it is indented as far."""
    start = text.rfind("\n", 0, problem) + 1
    end = text.find("\n", problem)
    above = text[:start].rstrip().rfind("\n") + 1
    indent = re.compile(r"[ \t]*")
    both = indent.match(text, start), indent.match(text, above)
    is_even = above < start and len({found[0] for found in both if found}) == 1
    return stray_line(text, above if is_even else start, end if end >= 0 else len(text))


_WIDE_KEY = re.compile(r"[－—＃]\s|[“”][\w-]+[“”]$", re.ASCII)
# what the items of the language's lists begin with
_FIRST_KEY = re.compile(r"-(?:component|content|id|input|name|role|script|text|title|to|type|value)")


def check_key(text: str, start: int, key: str) -> tuple[str, int, int] | None:
    """What is wrong with an unquoted key that begins at an index, and was not meant as it stands."""
    if key[:1] in ("\u3000", "\u00a0"):
        return about_wide_spaces(), start, start + len(key) - len(key.lstrip())
    if _WIDE_KEY.match(key):
        return _about_wide(key[0]), start, start + 1
    is_first = not text[text.rfind("\n", 0, start) + 1 : start].strip()
    if is_first and _FIRST_KEY.fullmatch(key):
        return say("a space is missing after this `-`"), start, start + 1
    if key.count("(") > key.count(")") and (found := _PYTHON.match(text, start)):
        return _about_python(), *found.span()
    if key[-1:] in _WIDE_PAIRS.values() and not any(char in key for char in _WIDE_PAIRS):
        return _about_wide(key[-1]), start + len(key) - 1, start + len(key)
    return None


def wide_colon(text: str, at: int) -> tuple[int, int] | None:
    """The colon of Chinese and Japanese keyboards after a key, on the line of an index or the one before it."""
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    start = end
    for _ in range(2):
        start = max(0, text[:start].rstrip().rfind("\n"))
    found = _WIDE_COLON.search(text, start, end)
    return found.span(1) if found else None


def token_end(text: str, start: int) -> int:
    found = re.compile(r"[^\s,\[\]{}]+").match(text, start)
    return found.end() if found else start + 1
