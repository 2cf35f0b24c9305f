"""The mappings that are operators: `*` map, `|` split, `&` zip, `+` join, `?` choose. Each compiles to a function of the scope.

Over a stream they are lazy: what they give is a stream, too, that is worked out chunk by chunk while somebody reads it. It
keeps a copy of its scope, since the scope of a chunk changes with the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from composemagic.language import findings
from composemagic.language.comparison import Test, compile_test
from composemagic.language.findings import Path, Render, RenderError, Scope
from composemagic.language.secret import Secret, join
from composemagic.language.streams import Chunks, beside, chained, flattened
from composemagic.language.values import shown
from composemagic.words import say

__all__ = ["OPERATORS", "TreeCompiler", "compile_choice", "compile_operator", "is_operator"]

OPERATORS = ("*", "?", "+", "&", "|")

Items = Callable[[Iterable[Any], Scope, int], list[Any]]


class TreeCompiler(findings.Compiler, Protocol):
    """What operators ask of the compiler beside."""

    def fields(self, value: dict[str, Any], path: Path) -> Callable[[Scope], dict[str, Any]]:
        """The function that fills a plain object, with what `...` and `?` add to it."""

    def items(self, value: Any, path: Path) -> Render:
        """The function that gives the list or the stream an operator works on; null stays null."""

    def binding(self, *names: str) -> AbstractContextManager[None]:
        """Compile what stands inside an operator that gives these names a value."""


def is_operator(value: Any) -> bool:
    """Whether a value of the document is an operator as a whole."""
    if not isinstance(value, dict):
        return False
    return "*" in value or "|" in value or (len(value) == 1 and not _ALONE.keys().isdisjoint(value))


def compile_operator(value: dict[str, Any], path: Path, compiler: TreeCompiler) -> Render | None:
    """The function of a mapping that is an operator as a whole; None for a plain object."""
    if len(value) == 1:
        (key,) = value
        alone = _ALONE.get(key)
        if alone is not None:
            return alone(value[key], (*path, key), compiler)
    if "*" in value:
        return _map(value, path, compiler)
    return _split(value, path, compiler) if "|" in value else None


# -- map --------------------------------------------------------------------------------------------------------------


def _map(value: dict[str, Any], path: Path, compiler: TreeCompiler) -> Render:
    """`{"*": list, ...fields}` or `{"*": {input, where}, ...fields}`: the fields for each item; without any, the items."""
    here = (*path, "*")
    source, where = _source(value["*"], here, compiler)
    rest = {key: inner for key, inner in value.items() if key != "*"}
    with compiler.binding("item", "index"):
        test = compile_test(where, (*here, "where"), compiler) if where is not None else None
        fields = compiler.fields(rest, path) if rest else None
    over = _over(test, fields)

    def render(scope: Scope) -> Any:
        found = source(scope)
        if found is None:
            return []
        if isinstance(found, Chunks):
            return found if test is None and fields is None else found.map(_batch_by_batch(over, scope))
        return over(_list("*", found, here), scope, 0)

    return render


def _source(value: Any, path: Path, compiler: TreeCompiler) -> tuple[Render, Any]:
    """What `*` goes over, and its `where` as written."""
    if not isinstance(value, dict) or not (value.keys() & {"input", "where"}):
        return compiler.items(value, path), None
    for key in value.keys() - {"input", "where"}:
        compiler.flaw(say('"*" takes `input` and `where`, not `{key}`', key=key), (*path, key), in_key=True)
    if "input" not in value:
        compiler.flaw(say('"*" needs `input`, the list it goes over'), path)
    return compiler.items(value.get("input"), (*path, "input")), value.get("where")


def _over(test: Test | None, fields: Render | None) -> Items:
    def over(items: Iterable[Any], scope: Scope, first: int) -> list[Any]:
        inner = {**scope}
        result = []
        for inner["index"], inner["item"] in enumerate(items, first):
            if test is None or test(inner):
                result.append(inner["item"] if fields is None else fields(inner))
        return result

    return over


def _batch_by_batch(over: Items, scope: Scope) -> Callable[[list[Any]], list[Any]]:
    """What a stream's `map` takes; it counts the chunks only when a whole batch is done, since a batch may come again."""
    kept, seen = {**scope}, 0

    def convert(batch: list[Any]) -> list[Any]:
        nonlocal seen
        found = over(batch, kept, seen)
        seen += len(batch)
        return found

    return convert


# -- split ------------------------------------------------------------------------------------------------------------


def _split(value: dict[str, Any], path: Path, compiler: TreeCompiler) -> Render:
    """`{"|": list, a: template, b: template}`: an object of lists, one for each field."""
    here = (*path, "|")
    source = compiler.items(value["|"], here)
    rest = {key: inner for key, inner in value.items() if key != "|"}
    if not rest:
        compiler.flaw(say('"|" needs at least one field beside it, such as `names: ${item.name}`'), here)
    for key in ("...", "?"):
        if key in rest:
            compiler.flaw(say('"{key}" cannot stand beside "|"', key=key), (*path, key), in_key=True)
    with compiler.binding("item", "index"):
        columns = {key: _column(compiler.value(inner, (*path, key))) for key, inner in rest.items()}

    def render(scope: Scope) -> Any:
        found = source(scope)
        if isinstance(found, Chunks):
            return {key: found.map(_kept(_batch_by_batch(over, scope), found)) for key, over in columns.items()}
        items = [] if found is None else _list("|", found, here)
        return {key: over(items, scope, 0) for key, over in columns.items()}

    return render


def _column(render: Render) -> Items:
    def over(items: Iterable[Any], scope: Scope, first: int) -> list[Any]:
        inner = {**scope}
        return [render(inner) for inner["index"], inner["item"] in enumerate(items, first)]

    return over


def _kept(convert: Callable[[list[Any]], list[Any]], stream: Chunks) -> Callable[[list[Any]], list[Any]]:
    """Null is no fragment of anything."""
    if not stream.fragmented:
        return convert
    return lambda batch: [value for value in convert(batch) if value is not None]


# -- zip --------------------------------------------------------------------------------------------------------------


def _zip(value: Any, path: Path, compiler: TreeCompiler) -> Render:
    """`{"&": {a: list, b: list}}`: a list of objects `{a, b}`, as long as the shortest."""
    if not isinstance(value, dict) or not value:
        compiler.flaw(say('"&" takes an object of lists, such as `{a: ${input.a}, b: ${input.b}}`'), path)
        return _nothing
    sources = {key: compiler.items(inner, (*path, key)) for key, inner in value.items()}

    def render(scope: Scope) -> Any:
        columns = {key: source(scope) for key, source in sources.items()}
        if any(column is None for column in columns.values()):
            return []
        for key, column in columns.items():
            if not isinstance(column, Chunks):
                columns[key] = _list("&", column, (*path, key))
        if any(isinstance(column, Chunks) for column in columns.values()):
            return beside(columns)
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=False)]

    return render


# -- join -------------------------------------------------------------------------------------------------------------


def _join(value: Any, path: Path, compiler: TreeCompiler) -> Render:
    """`{"+": [parts]}`: texts, lists or objects as one; null adds nothing. With a stream among them it is a stream."""
    source = compiler.items(value, path)
    _check_parts(value, path, compiler)

    def render(scope: Scope) -> Any:
        found = source(scope)
        if found is None:
            return None
        if isinstance(found, Chunks):
            return flattened(found)
        parts = [part for part in _list("+", found, path) if part is not None]
        if any(isinstance(part, Chunks) for part in parts):
            return chained(parts)
        return _joined(parts, path)

    return render


def _check_parts(value: Any, path: Path, compiler: TreeCompiler) -> None:
    """Literal parts that can never be joined, where no part is known only in a run."""
    parts = [(at, part) for at, part in enumerate(value) if part is not None] if isinstance(value, list) else []
    if any(is_operator(part) or (isinstance(part, str) and "${" in part) for _, part in parts):
        return
    for at, part in parts:
        try:
            _joined([parts[0][1], part], (*path, at))
        except RenderError as error:
            compiler.flaw(error.sentence, error.path)
            return


def _joined(parts: list[Any], path: Path) -> Any:
    if not parts:
        return None
    kind = next((kind for kind in (str | Secret, list | tuple, Mapping) if isinstance(parts[0], kind)), None)
    if kind is None:
        raise RenderError(say("`+` joins texts, lists or objects, this is {value}", value=shown(parts[0])), path)
    for part in parts:
        if not isinstance(part, kind):
            one, other = _kind(parts[0]), _kind(part)
            raise RenderError(say("`+` cannot join {one} and {other}", one=one, other=other), path)
    if isinstance(parts[0], str | Secret):
        return join(parts)
    if kind is Mapping:
        return {key: inner for part in parts for key, inner in part.items()}
    return [item for part in parts for item in part]


def _kind(value: Any) -> str:
    return say("text") if isinstance(value, str) else shown(value)


# -- choose -----------------------------------------------------------------------------------------------------------


def compile_choice(value: Any, path: Path, compiler: TreeCompiler) -> Render:
    """`{"?": {input, operator, value, if_true, if_false}}` or a list of such: the first answer, or null.

    A condition that fails and has `if_false` answers with it, so that those after it are not asked.
    """
    entries = value if isinstance(value, list) else [value]
    paths = [(*path, at) for at in range(len(entries))] if isinstance(value, list) else [path]
    choices = [_choice(entry, here, compiler) for entry, here in zip(entries, paths, strict=True)]

    def render(scope: Scope) -> Any:
        for test, if_true, if_false in choices:
            if test(scope):
                return if_true(scope)
            if if_false is not None:
                return if_false(scope)
        return None

    return render


def _choice(value: Any, path: Path, compiler: TreeCompiler) -> tuple[Test, Render, Render | None]:
    test = compile_test(value, path, compiler, beside=("if_true", "if_false"))
    entry = value if isinstance(value, dict) else {"if_true": None}
    if "if_true" not in entry and "if_false" not in entry:
        compiler.note(say("a condition without `if_true` and `if_false` gives null"), path)
    if_true = compiler.value(entry.get("if_true"), (*path, "if_true"))
    if_false = compiler.value(entry["if_false"], (*path, "if_false")) if "if_false" in entry else None
    return test, if_true, if_false


# -- what they share --------------------------------------------------------------------------------------------------


def _nothing(_: Scope) -> None:
    return None


def _list(key: str, value: Any, path: Path) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise RenderError(say('"{key}" needs a list, this is {value}', key=key, value=shown(value)), path)
    return value


_ALONE: Mapping[str, Callable[[Any, Path, TreeCompiler], Render]] = {
    "?": compile_choice,
    "+": _join,
    "&": _zip,
}
