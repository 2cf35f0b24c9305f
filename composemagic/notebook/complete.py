"""The Tab key in a `%%compose` cell: options on its first line, the language below it.

Light to import, since `%load_ext` does: what knows the language is loaded with the first Tab.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from composemagic.notebook.lines import LINES

if TYPE_CHECKING:
    from composemagic.completion import Suggestion, Suggestions

__all__ = ["is_matcher", "matcher"]

_CELL = re.compile(r"\s*%%compose(?:\s|$)")
_LINE = re.compile(r"\s*%compose(?:\s|$)")
_NAME = "composemagic.notebook.complete"


class _Words(list[Any]):
    """A matcher's answer that stands even when it is none: IPython asks the others where the length is 0."""

    def __len__(self) -> int:
        return super().__len__() or 1


def matcher(shell: Any) -> Callable[[Any], dict[str, Any]]:
    """What `shell.Completer.custom_matchers` takes (matcher API 2): it answers in composemagic's cells only."""

    def compose_matcher(context: Any) -> dict[str, Any]:
        found = _found(shell, context.full_text, context.cursor_line, context.cursor_position)
        if found is None:
            return {"completions": []}
        from IPython.core.completer import SimpleCompletion

        # on the first line Python's names are of use behind `-i`
        words = _Words() if context.cursor_line else []
        words += [SimpleCompletion(text=word.text, type=word.kind) for word in found.words]
        # what Python would offer is of no use here
        return {"completions": words, "matched_fragment": found.typed, "suppress": True, "ordered": True}

    compose_matcher.matcher_api_version = 2  # type: ignore[attr-defined]  # as IPython.core.completer asks
    compose_matcher.matcher_identifier = _NAME  # type: ignore[attr-defined]
    return compose_matcher


def is_matcher(found: object) -> bool:
    """Whether one of the shell's matchers was made here."""
    return getattr(found, "matcher_identifier", None) == _NAME


def _found(shell: Any, text: str, line: int, column: int) -> Suggestions | None:
    first, _, body = text.partition("\n")
    if line == 0 and _LINE.match(first):
        return _fitting(first[:column], list(_on_magic_line(shell, first[:column])))
    if not _CELL.match(first):
        return None
    if line == 0:
        return _fitting(first[:column], list(_on_first_line(shell, first[:column], body)))
    from composemagic.completion import suggestions

    return suggestions(body, line - 1, column, _language, _variables())


def _on_magic_line(shell: Any, before: str) -> Iterator[Suggestion]:
    """What `%compose` knows, what its words take, or the options."""
    match _before_last(before)[1:]:
        case ["help"]:
            from composemagic.help import all_topics

            yield from _words(all_topics(), "value")
        case ["runs", *_]:
            from composemagic.history.past import COLUMNS

            yield from _words([f"{name}=" for name in COLUMNS], "value")
        case ["secrets"]:
            yield from _words(["forget"], "value")
        case ["serve"]:
            yield from _words(["stop"], "value")
        case [word, *_] if word in LINES:
            return
        case words:
            yield from () if words else _words(LINES, "value")
            yield from _on_first_line(shell, before, "")


def _before_last(before: str) -> list[str]:
    """The words that are complete, since something stands behind them."""
    words = before.split()
    return words if before[-1:].isspace() else words[:-1]


def _on_first_line(shell: Any, before: str, body: str) -> Iterator[Suggestion]:
    """Behind `-i`, `-e` and `-w` the names they take, behind `-f` and its like files, else the options."""
    from composemagic.completion.suggestions import ids, input_names

    typed = _typed(before)
    taken: dict[str, Callable[[], Iterator[Suggestion]]] = {
        "-f": lambda: _files(typed, ".yml", ".yaml"),
        "--file": lambda: _files(typed, ".yml", ".yaml"),
        "--record": lambda: _files(typed, ".jsonl"),
        "--replay": lambda: _files(typed, ".jsonl"),
        "--env-file": lambda: _files(typed, ""),
        "-o": lambda: iter(()),
        "--output": lambda: iter(()),
        "--speed": lambda: _words(["max"], "value"),
        "-i": lambda: _words([f"{name}=" for name in input_names(body)], "input"),
        "--input": lambda: _words([f"{name}=" for name in input_names(body)], "input"),
        "--sweep": lambda: _words([f"{name}=" for name in input_names(body)], "input"),
        "-e": lambda: _words([f"{name}=" for name in _read_variables(body)], "variable"),
        "--env": lambda: _words([f"{name}=" for name in _read_variables(body)], "variable"),
        "-w": lambda: _words(ids(body, "workflow"), "value"),
        "--workflow": lambda: _words(ids(body, "workflow"), "value"),
    }
    last = _before_last(before)
    yield from taken[last[-1]]() if last and last[-1] in taken else _options(shell)


def _files(typed: str, *endings: str) -> Iterator[Suggestion]:
    """Folders, and files with one of these endings, that begin as typed."""
    head, slash, tail = typed.rpartition("/")
    try:
        inside = Path(head + slash or ".").expanduser().iterdir()
        found = sorted((one.name, one.is_dir()) for one in inside if one.name.startswith(tail))
    except (OSError, ValueError, RuntimeError):  # a folder, a name, a home that there is not
        return
    for name, is_folder in found:
        is_hidden = name.startswith(".") and not (tail.startswith(".") or name.startswith(".env"))
        if not is_hidden and (is_folder or name.endswith(endings)):
            yield from _words([head + slash + name + "/" * is_folder], "path")


def _options(shell: Any) -> list[Suggestion]:
    from composemagic.completion import Suggestion

    parser = type(shell.magics_manager.registry["ComposeMagics"]).compose.parser
    return [
        Suggestion(option, "option", action.help or "")
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--")
    ]


def _words(names: Iterable[str], kind: str) -> Iterator[Suggestion]:
    from composemagic.completion import Suggestion

    return (Suggestion(name, kind) for name in names)


def _typed(before: str) -> str:
    return "" if not before or before[-1].isspace() else before.rsplit(maxsplit=1)[-1]


def _fitting(before: str, words: list[Suggestion]) -> Suggestions:
    from composemagic.completion import Suggestions

    typed = _typed(before)
    return Suggestions(typed, tuple(word for word in words if word.text.startswith(typed)))


def _read_variables(body: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r"\$\{\s*env\.([A-Za-z_]\w*)", body)))


@cache
def _language() -> dict[str, Any]:
    from composemagic.components.described import language

    return language()


def _variables() -> list[str]:
    """The names, never the values, of what `${env.X}` may read."""
    from composemagic.workflow.environment import Environment

    return list(Environment())
