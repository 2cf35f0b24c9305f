"""`composemagic export`: a workflow as a curl call, as a Python script that needs httpx alone, as YAML for model-compose."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from composemagic.cli import inputs
from composemagic.cli.options import Commands, add_file_options, files
from composemagic.cli.terminal import tell
from composemagic.cli.writing import refuse_unwritable, write_whole
from composemagic.words import listing, say
from composemagic.workflow.environment import Environment, pair

if TYPE_CHECKING:
    from composemagic.workflow.plan import Loaded, Plan

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    text = say("write a workflow as a curl call, a Python script or YAML for model-compose")
    command = commands.add("export", _export, text, _example())
    option = command.add_argument
    text = say("the id of the workflow, where there are several")
    option("workflow", nargs="?", metavar=say("WORKFLOW"), help=text)
    text = say("what to write: {known}", known=listing(_FORMS))
    option("--as", dest="form", choices=list(_FORMS), required=True, help=text)
    text = say("an input, KEY=VALUE (a YAML scalar), again for the next; or all as a JSON object")
    option("-i", "--input", action="append", default=[], metavar="INPUT", help=text)
    option("-o", "--output", metavar="FILE", type=Path, help=say("write it to FILE, else to stdout"))
    add_file_options(command)


def _example() -> str:
    return say(
        """examples:
  composemagic export -f chat.yml --as curl -i prompt=Hello
  composemagic export -f chat.yml --as python -o chat.py
  composemagic export -f chat.yml --as model-compose -o model-compose.yml

Keys are never written: curl reads $OPENAI_API_KEY from the shell, Python from os.environ, model-compose from its .env."""
    )


def _export(options: argparse.Namespace) -> int:
    from composemagic.api import examine

    source = files(options.file)
    refuse_unwritable(options.output)
    given = dict(pair(item, "-e") for item in options.env)
    loaded, _ = examine(source, env=given, env_files=options.env_file)
    folder = (source[0] if isinstance(source, list) else source).parent
    text, notes = _FORMS[options.form](loaded, options, Environment(given, options.env_file, folder))
    if options.output is None:
        sys.stdout.write(text)
    else:
        write_whole(options.output, text.encode())
    for note in notes:
        tell(note)
    return 0


def _as_curl(loaded: Loaded, options: argparse.Namespace, env: Environment) -> tuple[str, list[str]]:
    from composemagic.cli.export import curl

    plan = loaded.plan(options.workflow)
    return curl.written(plan, _given(plan, options, must=True), env), []


def _as_python(loaded: Loaded, options: argparse.Namespace, env: Environment) -> tuple[str, list[str]]:
    from composemagic.cli.export import script

    plan = loaded.plan(options.workflow)
    value = _given(plan, options, must=False)
    return script.written(plan, value if isinstance(value, Mapping) else {"": value}), []


def _as_yaml(loaded: Loaded, options: argparse.Namespace, env: Environment) -> tuple[str, list[str]]:
    from composemagic.cli.export import peer

    if options.workflow is not None:
        loaded.plan(options.workflow)  # a name that does not exist is a mistake
    return peer.written(loaded)


def _given(plan: Plan, options: argparse.Namespace, *, must: bool) -> Any:
    """What `-i` says. Raises InputError where something does not fit or, with `must`, is missing."""
    from composemagic.workflow.inputs import lacking

    value = inputs.read(options.input, plan.inputs)
    if isinstance(value, dict) and (must or not lacking(plan.inputs, value) or options.input):
        inputs.check(plan.inputs, value)
    return value


_FORMS: Mapping[str, Callable[[Loaded, argparse.Namespace, Environment], tuple[str, list[str]]]] = {
    "curl": _as_curl,
    "python": _as_python,
    "model-compose": _as_yaml,
}
