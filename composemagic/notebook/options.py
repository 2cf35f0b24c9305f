"""The first line of a `%%compose` cell: its options, one table, and how it is read."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable
from keyword import iskeyword
from typing import Any

from IPython.core.error import UsageError as IPythonUsageError
from IPython.core.magic_arguments import argument, magic_arguments

from composemagic.errors import UsageError, suggest
from composemagic.words import say

__all__ = ["parsed", "with_options"]

# a value in double quotes that goes on behind the second of them
_LOST_QUOTES = re.compile(r"""(?:^|\s)(?:[\w.-]+=)?"(?:[^"\\']|\\.)*"[^\s"'\\]""")

_SINGLE = re.compile(r"'[^']*'")

_OPTIONS = (
    argument("name", nargs="?", help=say("variable that receives the Workflow")),
    argument(
        "-i", "--input", action="append", default=[], metavar="KEY=VALUE",
        help=say(
            "an input: KEY=VALUE (a YAML scalar), KEY=$VAR for a notebook variable, or VAR alone for a dict of inputs"
        ),
    ),
    argument("--vars", action="store_true", help=say("take other inputs from notebook variables of their names")),
    argument(
        "-o", "--output", metavar="VAR",
        help=say("variable that receives the Run, even when it fails or is stopped; `VAR <<` does the same"),
    ),
    argument("-w", "--workflow", metavar="ID", help=say("which workflow, where the cell has several")),
    argument(
        "-f", "--file", action="append", default=[], metavar="PATH",
        help=say("a YAML file that the cell completes and changes; of several, a later one goes over"),
    ),
    argument("--form", action="store_true", help=say("show a form for the inputs, even when all are known")),
    argument("--chat", action="store_true", help=say("a conversation instead of a run")),
    argument(
        "--sweep", action="append", default=[], metavar="NAME=A,B,...",
        help=say("a run for each value of an input, side by side; again for a second input"),
    ),
    argument("--race", action="store_true", help=say("the same request with and without streaming, side by side")),
    argument(
        "--local", action="store_true", help=say("send OpenAI-style requests to the embedded model; no key needed")
    ),
    argument("--check", action="store_true", help=say("only look for mistakes")),
    argument("--diagram", action="store_true", help=say("only show how the jobs connect")),
    argument("--trace", action="store_true", help=say("show below what was sent and received, and when")),
    argument("--record", metavar="FILE", help=say("add the answers to FILE, without secrets")),
    argument("--replay", metavar="FILE", help=say("take the answers from FILE instead of the network")),
    argument(
        "--speed", default="1", metavar="N|max",
        help=say("how fast a replay is: 1 as it was recorded, 2 twice as fast, `max` at once"),
    ),
    argument("--explain", action="store_true", help=say("only show the requests that would be sent, secrets masked")),
    argument("--background", action="store_true", help=say("run on while other cells run")),
    argument("--quiet", action="store_true", help=say("show nothing of the run; `-o` keeps it")),
    argument(
        "-e", "--env", action="append", default=[], metavar="KEY=VALUE",
        help=say("an environment variable for ${env.KEY}"),
    ),
    argument(
        "--env-file", action="append", default=[], metavar="FILE", help=say("read variables from FILE instead of .env")
    ),
)  # fmt: skip


def with_options(method: Callable[..., Any]) -> Any:
    """Give a magic's method the options, as the decorators of `IPython.core.magic_arguments` do one by one."""
    for option in reversed(_OPTIONS):
        method = option(method)
    return magic_arguments()(method)


def parsed(parser: Any, line: str) -> argparse.Namespace:
    """The options of a first line. Raises UsageError."""
    options: argparse.Namespace
    try:
        options, rest = parser.parse_known_args(_without_arrows(_words(line)))
    except IPythonUsageError as error:
        # IPython's own UsageError leaves no text in nbconvert and papermill
        why = _first(str(error))
        raise UsageError(say("%%compose {line}: {why}. See %%compose?", line=line.strip(), why=why)) from None
    if cut := next((axis for axis in options.sweep if axis.endswith(",")), None):
        raise UsageError(say("no spaces after the commas: `--sweep {axis}`", axis=f"{cut}..."))
    if rest:
        raise UsageError(_too_many(rest[0], re.findall(r"--[a-z-]+", parser.format_help())))
    for name in (options.name, options.output):
        if name and (not name.isidentifier() or iskeyword(name)):
            raise UsageError(say("`{name}` cannot be the name of a variable", name=name))
    if options.name and options.name == options.output:
        raise UsageError(
            say("`{name}` cannot be both the workflow and its run; give one of them another name", name=options.name)
        )
    if options.replay or options.speed != "1":
        from composemagic.recordings import speed_of  # with the engine behind it: `%load_ext` must stay light

        options.speed = speed_of(options.speed)
    return options


def _words(line: str) -> list[str]:
    """The words of a line, with the quotes of a shell. Raises UsageError."""
    try:
        words = shlex.split(line)
    except ValueError:
        raise UsageError(say("a quote is not closed in `%%compose {line}`", line=line.strip())) from None
    if _LOST_QUOTES.search(_SINGLE.sub("''", line)):
        raise UsageError(say("quotes inside quotes are lost; write them as in -i prompt='Say \"hello\" to me'"))
    return words


def _without_arrows(words: list[str]) -> list[str]:
    """`VAR <<`, as in `%%sql`, is `-o VAR`."""
    if "<<" not in words[1:]:
        return words
    place = words.index("<<", 1)
    return [*words[: place - 1], "-o", words[place - 1], *words[place + 1 :]]


def _too_many(word: str, options: list[str]) -> str:
    if word.startswith("-"):
        near = suggest(word, options)
        if near:
            return say("`{word}` is no option of %%compose{near}", word=word, near=near)
        return say("`{word}` is no option of %%compose; see %%compose?", word=word)
    return say(
        '`{word}` is one word too many; a value with spaces stands in quotes, as in -i prompt="Tell me a joke"',
        word=word,
    )


def _first(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else say("cannot be read")
