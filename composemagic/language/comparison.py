"""`{input, operator, value}`, `all`, `any` and `not`: what a condition says, compiled to a test of the scope.

Nothing is coerced: "5" is not 5, and what has no order is an error. Only a loose test (of `if` and `switch`) compares a
number with text that is one; true and false are no numbers there.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection
from typing import Any

from composemagic.errors import suggest
from composemagic.language.casts import settled, shown
from composemagic.language.document import plain_value
from composemagic.language.findings import Compiler, Path, RenderError, Scope
from composemagic.language.secret import Secret, closed
from composemagic.words import listing, say

__all__ = ["COMPARISONS", "Test", "compile_test"]

Test = Callable[[Scope], bool]
Compare = Callable[[Any, Any], bool]

_GROUPS = ("all", "any", "not")
_LEAF = ("input", "operator", "value")


class ComparisonError(Exception):
    """Two values that cannot be compared so; the text is a sentence for the user."""


def _in(found: Any, among: Any) -> bool:
    if not isinstance(among, str | list | tuple | dict):
        sentence = say("`in` needs a list, a text or an object to look in, this is {value}", value=shown(among))
        raise ComparisonError(sentence)
    return found in among


def _texts(name: str, compare: Callable[[str, str], bool]) -> Compare:
    def of_texts(found: Any, wanted: Any) -> bool:
        for value in (found, wanted):
            if not isinstance(value, str):
                sentence = say("`{operator}` compares texts, this is {value}", operator=name, value=shown(value))
                raise ComparisonError(sentence)
        return compare(found, wanted)

    return of_texts


COMPARISONS: dict[str, Compare] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "in": _in,
    "not-in": lambda found, among: not _in(found, among),
    "starts-with": _texts("starts-with", str.startswith),
    "ends-with": _texts("ends-with", str.endswith),
    "match": _texts("match", lambda text, pattern: re.match(pattern, text) is not None),
}

# what other languages call them
_MEANT = {
    "=": "eq", "==": "eq", "===": "eq", "is": "eq", "equals": "eq", "!=": "neq", "<>": "neq", "not-equals": "neq",
    ">": "gt", ">=": "gte", "<": "lt", "<=": "lte", "startswith": "starts-with", "endswith": "ends-with", "regex": "match",
    "matches": "match", "not in": "not-in",
}  # fmt: skip


def compile_test(
    value: Any, path: Path, compiler: Compiler, *, loose: bool = False, beside: Collection[str] = ()
) -> Test:
    """Compile the condition at `path`; `beside` are keys that its owner reads. Mistakes go to the compiler.

    The test raises RenderError where two values cannot be compared, and what its templates raise.
    """
    if not isinstance(value, dict):
        sentence = say(
            "a condition is a mapping such as `{{input: ${{input.n}}, operator: gt, value: 3}}`, this is {kind}",
            kind=shown(value),
        )
        compiler.flaw(sentence, path)
        return _never
    known = (*_LEAF, *_GROUPS, *beside)
    for key in value:
        if key not in known:
            sentence = say("unknown key `{key}` in a condition{near}", key=key, near=suggest(key, known))
            compiler.flaw(sentence, (*path, key), in_key=True)
    group = next((name for name in _GROUPS if name in value), None)
    _note_unread(value, path, compiler, group)
    if group == "not":
        return _negated(compile_test(value["not"], (*path, "not"), compiler, loose=loose))
    if group is not None:
        return _group(group, value[group], (*path, group), compiler, loose=loose)
    return _leaf(value, path, compiler, loose=loose)


def _note_unread(value: dict[str, Any], path: Path, compiler: Compiler, group: str | None) -> None:
    """The first of `all`, `any` and `not` wins, and a comparison beside them says nothing."""
    for key in (*_GROUPS, *_LEAF) if group else ():
        if key in value and key != group:
            sentence = say("`{key}` is not read, since `{group}` stands beside it", key=key, group=group)
            compiler.note(sentence, (*path, key), in_key=True)


def _never(_: Scope) -> bool:
    return False


def _negated(test: Test) -> Test:
    return lambda scope: not test(scope)


def _group(name: str, value: Any, path: Path, compiler: Compiler, *, loose: bool) -> Test:
    if not isinstance(value, list):
        compiler.flaw(say("`{name}` is a list of conditions, this is {kind}", name=name, kind=shown(value)), path)
        return _never
    tests = [compile_test(each, (*path, at), compiler, loose=loose) for at, each in enumerate(value)]
    if name == "all":
        return lambda scope: all(test(scope) for test in tests)
    return lambda scope: any(test(scope) for test in tests)


def _leaf(value: dict[str, Any], path: Path, compiler: Compiler, *, loose: bool) -> Test:
    name, compare = _operator(value, path, compiler)
    if "input" not in value:
        compiler.note(say("a condition without `input` compares null"), path)
    left = compiler.operand(value.get("input"), (*path, "input"))
    right = compiler.operand(value.get("value"), (*path, "value"))
    if name == "match" and isinstance(pattern := value.get("value"), str) and "${" not in pattern:
        _check_pattern(pattern, (*path, "value"), compiler)
    _check_wanted(name, value.get("value"), (*path, "value"), compiler)
    if loose:
        compare = _loose(name, compare)

    def test(scope: Scope) -> bool:
        found, wanted = settled(left(scope)), settled(right(scope))
        if isinstance(found, Secret) or isinstance(wanted, Secret):
            return _of_secret(name, found, wanted, path)
        try:
            return bool(compare(found, wanted))
        except ComparisonError as error:
            raise RenderError(str(error), path) from None
        except re.error as error:
            raise RenderError(_no_pattern(wanted, error), path) from None
        except (TypeError, RecursionError):
            places = {"operator": name, "found": shown(found), "wanted": shown(wanted)}
            raise RenderError(say("`{operator}` cannot compare {found} with {wanted}", **places), path) from None

    return test


def _of_secret(name: str, found: Any, wanted: Any, path: Path) -> bool:
    """Whether it is there at all may be asked; anything else would tell what it is, piece by piece."""
    if name in ("eq", "neq") and (found is None or wanted is None):
        return name == "neq"
    raise RenderError(
        closed(tuple(one for each in (found, wanted) if isinstance(each, Secret) for one in each.names)), path
    )


def _operator(value: dict[str, Any], path: Path, compiler: Compiler) -> tuple[str, Compare]:
    name = value.get("operator", "eq")
    if isinstance(name, str) and name in COMPARISONS:
        return name, COMPARISONS[name]
    shape = f"`{name}`" if isinstance(name, str) else shown(name)
    known = listing(f"`{each}`" for each in COMPARISONS)
    if isinstance(name, str) and (near := suggest(_MEANT.get(name.lower(), name), COMPARISONS)):
        sentence = say("unknown operator {name}{near}", name=shape, near=near)
    else:
        sentence = say("unknown operator {name}; there are {known}", name=shape, known=known)
    compiler.flaw(sentence, (*path, "operator"))
    return "eq", operator.eq


def _check_wanted(name: str, wanted: Any, path: Path, compiler: Compiler) -> None:
    """A literal of a kind that the operator can never work on: it would fail whatever the input is."""
    if wanted is None or isinstance(wanted, str | dict):  # a mapping may be an operator, which gives anything
        return
    try:
        if name in ("in", "not-in"):
            _in("", wanted)
        elif name in ("starts-with", "ends-with", "match"):
            COMPARISONS[name]("", wanted)
    except ComparisonError as error:
        compiler.flaw(str(error), path)


def _check_pattern(pattern: str, path: Path, compiler: Compiler) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        compiler.flaw(_no_pattern(pattern, error), path)


def _no_pattern(pattern: str, error: re.error) -> str:
    return say("{pattern} is no regular expression ({reason})", pattern=shown(pattern), reason=error.msg)


# -- numbers and the texts that are numbers ---------------------------------------------------------------------------


def _loose(name: str, compare: Compare) -> Compare:
    if name in ("in", "not-in"):
        return lambda found, among: (name == "in") == _loosely_in(found, among)
    if name in ("starts-with", "ends-with", "match"):
        return compare
    return lambda found, wanted: compare(*_numbers(found, wanted))


def _loosely_in(found: Any, among: Any) -> bool:
    if isinstance(among, list | tuple):
        return any(operator.eq(*_numbers(found, each)) for each in among)
    return _in(found, among)


def _numbers(left: Any, right: Any) -> tuple[Any, Any]:
    """Two values, where one is a number and the other text that is one: both as numbers."""
    if _is_number(left) and isinstance(right, str):
        return left, _number_or_text(right)
    if _is_number(right) and isinstance(left, str):
        return _number_or_text(left), right
    return left, right


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number_or_text(text: str) -> Any:
    try:
        found = plain_value(text.strip())
    except ValueError:  # so many digits that it is no number of a document
        return text
    return found if _is_number(found) else text
