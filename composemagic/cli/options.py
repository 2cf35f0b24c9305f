"""The command line: its parsers, the options that several commands share, and the sentence for each that is wrong."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from composemagic.errors import UsageError, suggest
from composemagic.words import LANGUAGES, say

__all__ = ["Commands", "Parser", "add_file_options", "files", "parsed", "spoken"]

YAML = (".yml", ".yaml")
_FILE_OPTION = re.compile(r"(?:--file|--language|-f)(?P<value>=.*)?|-f(?P<joined>.+)")


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is a sentence of ours, and whose help is in the user's language."""

    def __init__(self, *, add_help: bool = True, **options: Any) -> None:
        super().__init__(add_help=False, **options)
        self._positionals.title, self._optionals.title = say("positional arguments"), say("options")
        if add_help:
            self.add_argument("-h", "--help", action="help", help=say("show this help message and exit"))

    def format_help(self) -> str:
        """As argparse writes it."""
        text = super().format_help()
        return say("usage: ") + text.removeprefix("usage: ") if text.startswith("usage: ") else text

    def error(self, message: str) -> NoReturn:
        """A wrong command line as the sentence of a UsageError."""
        raise UsageError(say("{problem}; see `{command} --help`", problem=_in_words(message), command=self.prog))


def _in_words(message: str) -> str:
    """What argparse complains of most, in the user's language."""
    if found := re.fullmatch(r"argument (.+): expected one argument", message):
        return say("argument {option}: expected one argument", option=found[1])
    if found := re.fullmatch(r"argument (.+): invalid choice: (.+) \(choose from (.+)\)", message):
        option, value, known = found.groups()
        return say(
            "argument {option}: invalid choice: {value} (choose from {known})", option=option, value=value, known=known
        )
    if found := re.fullmatch(r"the following arguments are required: (.+)", message):
        return say("the following arguments are required: {names}", names=found[1])
    return message


class Commands:
    """The commands: `parser` reads the whole command line, `all` are the commands' own parsers by name."""

    def __init__(self) -> None:
        from composemagic import __version__

        self.parser = Parser(
            prog="composemagic", description=say("Run AI workflows written in YAML."), allow_abbrev=False
        )
        version = say("show program's version number and exit")
        self.parser.add_argument("--version", action="version", version=f"composemagic {__version__}", help=version)
        _add_language(self.parser)
        self.parser.set_defaults(command=lambda _: _help(self.parser))
        self._found = self.parser.add_subparsers(metavar=say("COMMAND"), parser_class=Parser)
        self.all: dict[str, Parser] = {}

    def add(self, name: str, command: Callable[[argparse.Namespace], int], text: str, example: str = "") -> Parser:
        """A command: the function that runs it and gives the exit status, and the sentence that `--help` shows."""
        made: Parser = self._found.add_parser(
            name,
            help=text,
            description=say("{sentence}.", sentence=f"{text[0].upper()}{text[1:]}"),
            epilog=example,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        made.set_defaults(command=command)
        _add_language(made)
        self.all[name] = made
        return made


def add_file_options(command: Parser) -> None:
    """`-f`, `-e` and `--env-file`: what a workflow is loaded from."""
    add = command.add_argument
    text = say("the YAML (else model-compose.yml or compose.yml here); several are merged, a later one goes over")
    add("-f", "--file", action="append", default=[], metavar="FILE", type=Path, help=text)
    add("-e", "--env", action="append", default=[], metavar="KEY=VALUE", help=say("a variable for ${env.KEY}"))
    text = say("read variables from FILE instead of .env")
    add("--env-file", action="append", default=[], metavar="FILE", help=text)
    add("-v", "--verbose", action="store_true", help=say("tell more: of a run, each job as it begins and ends"))


def files(given: list[Path]) -> Path | list[Path]:
    """The file of `-f`, or its several, else the one of this folder. Raises UsageError where there is none."""
    from composemagic.api import DEFAULT_FILES

    if given:
        return given[0] if len(given) == 1 else given
    for name in DEFAULT_FILES:
        if Path(name).is_file():
            return Path(name)
    raise UsageError(
        say(
            "there is no {first} or {second} in this folder; name the file with -f FILE",
            first=DEFAULT_FILES[0],
            second=DEFAULT_FILES[2],
        )
    )


def spoken(arguments: list[str]) -> str | None:
    """The language of `--language`, wanted before anything is said. Raises UsageError for one that nobody speaks."""
    early = Parser(prog="composemagic", add_help=False, allow_abbrev=False)
    early.add_argument("--language", nargs="?")
    name: str | None = early.parse_known_args(arguments)[0].language
    if name is not None and name not in LANGUAGES:
        known = ", ".join(f"`{each}`" for each in LANGUAGES)
        raise UsageError(say("there is no language `{name}`; there is {known}", name=name, known=known))
    return name


def parsed(arguments: list[str], parser: Parser, commands: Mapping[str, Parser]) -> argparse.Namespace:
    """The options of a command line. Raises UsageError for one that is wrong, with what was meant."""
    arguments = _with_files_last(arguments)
    command = _first_word(arguments)
    if command is not None and command not in commands:
        near = suggest(command, commands)
        if not near:
            known = ", ".join(f"`{name}`" for name in commands)
            raise UsageError(say("there is no command `{name}`; there is {known}", name=command, known=known))
        raise UsageError(say("there is no command `{name}`{near}", name=command, near=near))
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise UsageError(_unknown(unknown[0], command, commands[command] if command else parser))
    return options


def _with_files_last(arguments: list[str]) -> list[str]:
    """`-f FILE` before the command, where model-compose wants it, behind the command, where it is ours."""
    moved: list[str] = []
    left = list(arguments)
    while left and (found := _FILE_OPTION.fullmatch(left[0])):
        count = 1 if found["value"] or found["joined"] else 2
        moved, left = moved + left[:count], left[count:]
    return [*left[:1], *moved, *left[1:]] if left else []


def _first_word(arguments: list[str]) -> str | None:
    """The command's name: the first word that is no option and no option's value."""
    before = ""
    for word in arguments:
        if not word.startswith("-") and before != "--language":
            return word
        before = word
    return None


def _unknown(word: str, command: str | None, parser: Parser) -> str:
    """The sentence for a word that nothing on the command line takes."""
    if Path(word).suffix in YAML:
        return say("for a file write `{command} -f {file}`", command=parser.prog, file=word)
    if command == "quickstart" and not word.startswith("-"):
        return say(
            'a question of several words stands in quotes, as in composemagic quickstart "What is a dog?"',
        )
    near = suggest(word, re.findall(r"--[a-z-]+", parser.format_help()))
    if not near:
        return say(
            "`{word}` is not an option or argument of `{command}`; see `{command} --help`",
            word=word,
            command=parser.prog,
        )
    return say("`{word}` is not an option or argument of `{command}`{near}", word=word, command=parser.prog, near=near)


def _add_language(parser: Parser) -> None:
    text = say("the language of messages: {known} (else the locale's)", known=", ".join(LANGUAGES))
    # a default here would hide what stands before the command
    parser.add_argument("--language", metavar="LANG", default=argparse.SUPPRESS, help=text)


def _help(parser: Parser) -> int:
    parser.print_help()
    return 0
