"""`%compose serve`: workflows of the notebook, or of files, as an API and a web page, until `%compose serve stop`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from composemagic.errors import UsageError, suggest
from composemagic.words import listing, say
from composemagic.workflow.environment import pair
from composemagic.workflow.plan import no_workflow

if TYPE_CHECKING:
    from composemagic.api import Workflow

__all__ = ["serve"]

_served: list[Any] = []


def serve(words: list[str], shell: Any) -> None:
    """Do what `%compose serve WORDS` says, and show the addresses below the cell. Raises UsageError, DocumentError."""
    if words == ["stop"]:
        _stop()
        return
    from composemagic.api import serve_all

    options = _parsed(words)
    workflows = _of_files(options) if options.file else _of_names(options.name, shell.user_ns)
    if options.local:
        workflows = [one.around(one.surroundings, local=True) for one in workflows]
    asked = {"port": options.port, "host": options.host, "token": options.token, "hosts": options.allow_host}
    serving = serve_all(workflows, **asked)
    _served[:] = [*(one for one in _served if one.is_running), serving]
    from IPython.display import display

    display(serving)


def _stop() -> None:
    """Stop all that this notebook has served."""
    running = [one for one in _served if one.is_running]
    for one in running:
        one.stop()
    _served.clear()
    print(say("not served any more") if running else say("nothing is served"))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(
            say("{problem}; `%compose serve NAME`, with -f FILE, --port, --token or --local", problem=message)
        )


def _parsed(words: list[str]) -> argparse.Namespace:
    parser = _Parser(prog="%compose serve", add_help=False, allow_abbrev=False)
    add = parser.add_argument
    add("name", nargs="*")
    add("-f", "--file", action="append", default=[], type=Path)
    add("-e", "--env", action="append", default=[])
    add("--env-file", action="append", default=[])
    add("--port", type=int)
    add("--host", default="127.0.0.1")
    add("--token", nargs="?", const=True)
    add("--allow-host", action="append", default=[])
    add("--local", action="store_true")
    return parser.parse_args(words)


def _of_files(options: argparse.Namespace) -> list[Workflow]:
    """The workflows of files, or those of them that are named by their ids."""
    from composemagic.api import load_all

    env = dict(pair(item, "-e") for item in options.env)
    several = load_all(options.file, env=env, env_files=options.env_file)
    known = {one.id: one for one in several if not one.is_private}
    for name in options.name:
        if name not in known:
            raise no_workflow(name, known)
    return [one for one in several if not options.name or one.id in options.name]


def _of_names(names: list[str], variables: dict[str, Any]) -> list[Workflow]:
    """The workflows that the notebook has under these names; without a name the only one."""
    from composemagic.api import Workflow

    known = {name: value for name, value in variables.items() if isinstance(value, Workflow) and name[0] != "_"}
    for name in names:
        if name not in known:
            near = suggest(name, known)
            raise UsageError(say("this notebook has no workflow `{name}`{near}", name=name, near=near))
    if names:
        return [known[name] for name in names]
    if len({id(one) for one in known.values()}) == 1:
        return list(known.values())[:1]
    if not known:
        raise UsageError(say("this notebook has no workflow yet; `%%compose NAME` gives one its name"))
    there = listing(f"`{name}`" for name in known)
    raise UsageError(say("which workflow? There are {known}: `%compose serve NAME`", known=there))
