"""The language on one screen a topic: `%compose help casts`, `composemagic help casts`.

What can be computed is: the examples of casts are run when they are told, settings come from the same models that check a
document.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from composemagic.errors import UsageError, suggest
from composemagic.language.casts import CASTS
from composemagic.language.comparison import COMPARISONS
from composemagic.language.template import compile_template
from composemagic.terminal import columns
from composemagic.words import described, listing, say

__all__ = ["all_topics", "told", "topics"]

_WIDTH = 100  # characters
# Chinese signs one by one, each with what may not begin a line; words with the space after them
_PIECES = re.compile(r"[（「《]*(?:[\u3400-\u9fff][，。；：、）」》！？]*|[^\s\u3400-\u9fff（「《]+\s*)|[（「《]+|\s+")
_HEADING = re.compile(r"\*\*[^*]*\*\*\s*")

# a cast, and an expression whose value shows it
_EXAMPLES: Mapping[str, tuple[str, Any]] = {
    "text": ("${input as text}", [1, 2]),
    "integer": ("${input as integer}", "42"),
    "number": ("${input as number}", "0.7"),
    "boolean": ("${input as boolean}", "yes"),
    "json": ("${input as json}", '{"a": 1}'),
    "list": ("${input as list}", "[1, 2]"),
    "object": ("${input as object}", '{"a": 1}'),
    "select": ("${input as select/cat,dog | cat}", None),
    "slider": ("${input as slider/0,2,0.1 | 0.7}", None),
    "base64": ("${input as base64}", "hi"),
}


def topics() -> list[str]:
    """What there is help for; names of component and job types beside."""
    return list(_TOPICS)


def all_topics() -> list[str]:
    """What there is help for, with the types of components and jobs."""
    schema = _language()
    return list(dict.fromkeys([*_TOPICS, *_types(schema, "component"), *_types(schema, "job")]))


def told(topic: str = "", *, in_notebook: bool = False) -> str:
    """The help for a topic, for a type of component or job, or the list of topics. Raises UsageError for none of these."""
    if not topic:
        return _overview() if not in_notebook else f"{_overview('%compose help')}\n\n{_beside()}"
    if topic in _TOPICS:
        return _TOPICS[topic]()
    schema = _language()
    for kind, name in (("component", say("component")), ("job", say("job"))):
        if topic in _types(schema, kind):
            return _of_type(schema, kind, name, topic)
    if near := suggest(topic, all_topics()):
        raise UsageError(say("there is no help for `{topic}`{near}", topic=topic, near=near))
    listed = listing(f"`{name}`" for name in _TOPICS)
    raise UsageError(say("there is no help for `{topic}`; there is for {known}", topic=topic, known=listed))


def _overview(command: str = "composemagic help") -> str:
    return "\n".join(
        [
            say("Help is there for:"),
            *_table((name, _SUMMARIES[name]()) for name in _TOPICS),
            "",
            _wrapped(
                say(
                    "and for each type of component and job, as in `{command} http-client` and `{command} for-each`",
                    command=command,
                )
            ),
        ]
    )


def _beside() -> str:
    return "\n".join(
        [
            say("There is as well:"),
            *_table(
                [
                    ("%compose runs", say("the last runs as a table; as in `%compose runs 50 status=failed`")),
                    ("%compose serve", say("serves a workflow as an API and a web page, until `%compose serve stop`")),
                    ("%compose secrets", say("the secret variables and where each may go, never a value")),
                    ("%%compose?", say("the options of a cell")),
                ]
            ),
        ]
    )


# -- casts ---------------------------------------------------------------------------------------------------------------


def _casts() -> str:
    said = {
        "text": say("text; lists and objects as JSON; a form shows a large field"),
        "string": say("text; a form shows one line"),
        "markdown": say("text that is Markdown"),
        "integer": say("a whole number"),
        "number": say("a number"),
        "boolean": say("true or false; also yes, no, on, off, 1, 0"),
        "json": say("the value of a JSON text"),
        "list": say("a list, also out of a JSON text"),
        "object": say("an object, also out of a JSON text"),
        "select": say("one of the values after `/`; anything else is refused"),
        "slider": say("a number from/to, in steps"),
        "base64": say("bytes as base64 text"),
        "file": say("the content of a file; so are `image`, `audio`, `video` and `model-3d`"),
        "stream": say("a stream that goes out piece by piece: `stream/text`, `stream/json`"),
        "any": say("whatever it is"),
    }
    names = {"integer": "int", "number": "float", "boolean": "bool", "string": "str"}
    rows = [(f"as {name}", _with_example(name, text, names.get(name))) for name, text in said.items()]
    own = sorted(CASTS.keys() - said.keys() - {*names.values(), "image", "audio", "video", "model-3d"})
    rows += [(f"as {name}", say("registered here")) for name in own]
    return "\n".join(
        [
            say("A cast says what a value is to be: `${input.n as integer | 3}`"),
            *_table(rows),
            "",
            _wrapped(
                say(
                    "`as text[]` casts each item of a list; `image;url`, `;path`, `;base64`, `;data-uri` say how a file is written"
                )
            ),
        ]
    )


def _with_example(name: str, text: str, short: str | None) -> str:
    if short:
        text = say("{text} (short: `{short}`)", text=text, short=short)
    if name not in _EXAMPLES:
        return text
    written, value = _EXAMPLES[name]
    got = _literal(compile_template(written).render({"input": value}))
    if value is None:
        return say("{text}. `{written}` gives {got}", text=text, written=written, got=got)
    return say("{text}. `{written}` of {value} gives {got}", text=text, written=written, value=_literal(value), got=got)


def _literal(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


# -- the rest of the language --------------------------------------------------------------------------------------------


def _sources() -> str:
    return "\n".join(
        [
            say("An expression begins with its source: `${source.path | default}`"),
            *_table(
                [
                    ("input.x", say("what the workflow was asked with; in a component, what the job hands it")),
                    ("env.X", say("an environment variable; a secret goes to its own provider only")),
                    ("jobs.id.output", say("what another job gave; the job waits for it by itself")),
                    ("output", say("in a job's `output`: what its component gave")),
                    (
                        "response",
                        say("in an action's `output`: the answer of a server; `response[]`: each chunk of a stream"),
                    ),
                    ("result", say("the same of components that run here; `result[]`: each piece")),
                    ("item, index", say("in for-each, filter and the operators: the item and its number")),
                    ("context.run_id", say("also `context.session_id`, `context.metadata`")),
                    ("error", say("in `on_error`: `error.message`, `error.kind`, `error.sentence`")),
                    ("accumulator, iteration, step", say("in accumulate, loop and pipeline")),
                ]
            ),
            "",
            say('Paths: `a.b`, `[0]`, `[-1]`, `[1:3]`, `[*]`, `["a name"]`. A path that leads nowhere is null.'),
        ]
    )


def _operators() -> str:
    return "\n".join(
        [
            say("A mapping with one of these keys is worked out:"),
            *_table(
                [
                    ('{"*": ${list}, ...}', say("an object for each `${item}`")),
                    ('{"?": {input, operator, value, if_true, if_false}}', say("one value or the other")),
                    ('{"+": [a, b]}', say("texts, lists, objects or streams joined")),
                    ('{"&": {x: ${list}, y: ${list}}}', say("lists side by side, as objects")),
                    ('{"|": ${list}, x: ${item.x}}', say("objects taken apart into lists")),
                    ("...${list}", say('spread into the list it stands in; `"...": ${object}` into an object')),
                ]
            ),
        ]
    )


def _conditions() -> str:
    example = "where: {input: '${item.price}', operator: lt, value: 10}"
    return "\n".join(
        [
            say("A condition is `{input, operator, value}`, or `all`, `any`, `not` of conditions:"),
            f"  {example}",
            _wrapped(say("operators: {names}", names=listing(f"`{name}`" for name in COMPARISONS))),
        ]
    )


def _components() -> str:
    return "\n".join([say("What `type` a component can have:"), *_table(_types(_language(), "component").items())])


def _jobs() -> str:
    return "\n".join([say("What `type` a job can have:"), *_table(_types(_language(), "job").items())])


# -- one type ------------------------------------------------------------------------------------------------------------


def _language() -> Mapping[str, Any]:
    from composemagic.components.described import language

    return language()


def _types(schema: Mapping[str, Any], kind: str) -> dict[str, str]:
    """The types of a kind, each with what it is."""
    offered = schema["definitions"][kind]["properties"]["type"]["anyOf"]
    about = {one["const"]: one["description"] for one in offered if "const" in one and "description" in one}
    return {name: described(text.removeprefix(f"`{name}`: ")) for name, text in about.items()}


def _of_type(schema: Mapping[str, Any], kind: str, word: str, name: str) -> str:
    about = _types(schema, kind)[name]
    lines = _lines(f"{name} ({word}): {about}", _WIDTH)
    found = schema["definitions"][f"{kind}.{name}"]
    own = found.get("then", found)
    lines += ["", say("settings:"), *_table(_settings(own["properties"]))]
    if action := schema["definitions"].get(f"action.{name}" if kind == "component" else ""):
        lines += ["", say("of its `action`, or of each of its `actions`:"), *_table(_settings(action["properties"]))]
    return "\n".join(lines)


def _settings(keys: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The keys of a mapping, those of which the same is said together, without those of older spellings."""
    found: dict[str, list[str]] = {}
    for key, what in keys.items():
        text = _HEADING.sub("", what.get("description", ""))
        if not text.startswith("Older;"):
            found.setdefault(text or f" {key}", []).append(key)
    return [(", ".join(names), described(text) if text[:1] != " " else "") for text, names in found.items()]


def _wrapped(sentence: str) -> str:
    """A sentence in lines that end between words."""
    return "\n".join(_lines(sentence, _WIDTH))


def _lines(text: str, width: int) -> list[str]:
    """A text in lines of so many columns of a screen, which end between words; Chinese may end after any sign."""
    lines = [""]
    for piece in _PIECES.findall(text):
        if lines[-1] and columns((lines[-1] + piece).rstrip()) > width:
            lines.append("")
        lines[-1] += piece if lines[-1] else piece.lstrip()
    return [line.rstrip() for line in lines]


def _table(rows: Iterable[tuple[str, str]]) -> Sequence[str]:
    """Lines in two columns; a long name has the next line for what is said of it."""
    rows = list(rows)
    wide = min(max((len(name) for name, _ in rows), default=0), 18)
    lines: list[str] = []
    for name, text in rows:
        first, *rest = _lines(text, _WIDTH - wide - 4)
        if len(name) > wide:
            lines += [f"  {name}", *([f"  {'':{wide}}  {first}"] if first else [])]
        else:
            lines.append(f"  {name:{wide}}  {first}".rstrip())
        lines += [f"  {'':{wide}}  {line}" for line in rest]
    return lines


_TOPICS: Mapping[str, Callable[[], str]] = {
    "casts": _casts,
    "sources": _sources,
    "operators": _operators,
    "conditions": _conditions,
    "components": _components,
    "jobs": _jobs,
}
_SUMMARIES: Mapping[str, Callable[[], str]] = {
    "casts": lambda: say("what stands after `as`"),
    "sources": lambda: say("what `${...}` begins with"),
    "operators": lambda: say("mappings that are worked out: map, choose, join, zip, split, spread"),
    "conditions": lambda: say("`where`, `until`, `if`"),
    "components": lambda: say("the types of components"),
    "jobs": lambda: say("the types of jobs"),
}
