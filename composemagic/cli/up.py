"""`composemagic up`: workflows as an API and a web page, until Ctrl-C or `composemagic down`."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from composemagic.allowance import allow, parsed
from composemagic.cli import detached, standing
from composemagic.cli.inputs import sample
from composemagic.cli.options import YAML, Commands, add_file_options, files
from composemagic.cli.terminal import INTERRUPTED, drawable, leave, ready_model, tell
from composemagic.errors import UsageError
from composemagic.language.secret import is_secret
from composemagic.text import plain
from composemagic.words import listing, say
from composemagic.workflow.environment import pair
from composemagic.workflow.plan import no_workflow

if TYPE_CHECKING:
    from composemagic.api import Workflow
    from composemagic.server.serving import Serving, Wanted

__all__ = ["add"]

_LOOK_SECONDS = 1.0
# what shows the workflows: our own page, nothing, or a context of somebody else's that gives what has a `url`
_PAGES = {"web": "", "none": "", "voila": "composemagic.server.voila:Voila"}
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    command = commands.add("up", _up, say("serve workflows as an HTTP API and a web page"), _example())
    option = command.add_argument
    text = say("the ids of the workflows to serve, where not all of the document's")
    option("workflow", nargs="*", metavar=say("WORKFLOW"), help=text)
    text = say("send OpenAI-style requests to the embedded model; no key needed")
    option("--local", action="store_true", help=text)
    text = say("where to listen (127.0.0.1); another address can be reached from other computers and needs --token")
    option("--host", metavar="HOST", default="127.0.0.1", help=text)
    text = say("the API's port (the document's, else 8080), the page's is the next one; 0 for any that is free")
    option("--port", metavar="PORT", type=int, help=text)
    text = say("what requests must bring; without a value one is made")
    option("--token", nargs="?", const=True, metavar="TOKEN", help=text)
    text = say("a further name by which this server is reached, again for the next")
    option("--allow-host", action="append", default=[], metavar="NAME", help=text)
    text = say("what shows the workflows: the web page, Voilà with the notebook's form, or nothing")
    option("--ui", choices=tuple(_PAGES), default="web", help=text)
    option("-d", "--detach", action="store_true", help=say("serve in the background; `composemagic down` ends it"))
    text = say(
        "allow what no YAML may by itself: shell, hook, http-server, mcp-client; NAME=https://HOST lets a secret go there"
    )
    option("--allow", action="append", default=[], metavar="WHAT", help=text)
    add_file_options(command)


def _example() -> str:
    return say(
        """example:
  composemagic up -f chat.yml --local

Ctrl-C lets what runs end, a second one leaves at once. Nothing but this computer reaches the server, unless --host and
--token say so; behind a proxy or a tunnel, --allow-host says under which name."""
    )


def _up(options: argparse.Namespace) -> int:
    from composemagic.server import serving as room

    is_behind = os.environ.pop(detached.MARK, None) is not None
    source = files(options.file)
    for words, place in map(parsed, options.allow):
        allow(*words, place=place)
    workflows = _workflows(options, source)
    asked = room.wanted(
        workflows[0],
        port=options.port,
        host=options.host,
        token=options.token,
        hosts=options.allow_host,
    )
    if options.detach:
        return detached.start(_again(options))
    beside = _page(options, source, asked)
    if options.local:
        ready_model()
    with ExitStack() as stack:
        file = stack.enter_context(standing.holding(Path.cwd())) if is_behind else None
        own = asked if options.ui == "web" else replace(asked, page_port=None)
        serving = stack.enter_context(room.serve(workflows, own))
        address = serving.page_url if beside is None else _opening(stack.enter_context(beside).url, asked.token)
        text = plain("\n".join(_welcome(serving, address, is_local=options.local)))
        wish = stack.enter_context(_signals())  # before it is said that a signal ends this
        if file is None:
            print(drawable(f"{text}\n\n{say('Ctrl-C stops it.')}", sys.stdout), flush=True)
        else:
            log = str(standing.log_file(Path.cwd()))
            standing.say_there(file, standing.Standing(os.getpid(), serving.url, text, log))
        _wait(serving, wish)
    return 0


def _workflows(options: argparse.Namespace, source: Path | list[Path]) -> list[Workflow]:
    """The workflows to serve, the document's default one first. Raises UsageError."""
    from composemagic.api import load_all

    several = load_all(source, env=dict(pair(item, "-e") for item in options.env), env_files=options.env_file)
    known = {one.id: one for one in several if not one.is_private}
    for name in options.workflow:
        if Path(name).suffix in YAML:
            raise UsageError(say("WORKFLOW is a workflow's id; for a file write `-f {file}`", file=name))
        if name not in known:
            raise no_workflow(name, known)
    chosen = [one for one in several if not options.workflow or one.id in options.workflow]
    if not any(not one.is_private for one in chosen):
        raise UsageError(say("there is no workflow in this document"))
    several = sorted(chosen, key=lambda one: not one.is_default)
    return [one.around(one.surroundings, local=options.local) for one in several]


def _page(options: argparse.Namespace, source: Path | list[Path], asked: Wanted) -> Any:
    """What shows the workflows in place of our page. Raises UsageError where it is not installed."""
    where = _PAGES[options.ui]
    if not where:
        return None
    module, _, attribute = where.partition(":")
    return getattr(import_module(module), attribute)(
        [source] if isinstance(source, Path) else source,
        host=asked.host,
        port=asked.page_port,
        env=dict(pair(item, "-e") for item in options.env),
        env_files=options.env_file,
        local=options.local,
        token=asked.token,
    )


def _opening(url: str, token: str | None) -> str:
    return f"{url}?token={quote(token, safe='')}" if token else url


def _again(options: argparse.Namespace) -> list[str]:
    """The same command line, without `-d`."""
    words = ["up", "--host", options.host, "--ui", options.ui]
    several = {"-f": options.file, "-e": options.env, "--env-file": options.env_file}
    several |= {"--allow-host": options.allow_host, "--allow": options.allow}
    for name, values in several.items():
        for value in values:
            words += [name, str(value)]
    words += ["--local"] if options.local else []
    words += [] if options.port is None else ["--port", str(options.port)]
    words += ["--language", options.language] if "language" in options else []
    words += options.workflow
    # last: a token without a value would take the next word
    return words + (
        [] if options.token is None else ["--token"] if options.token is True else ["--token", options.token]
    )


# -- what is said ----------------------------------------------------------------------------------------------------------


def _welcome(serving: Serving, page: str | None, *, is_local: bool) -> Iterator[str]:
    yield say("{workflows}: served", workflows=listing(one.title for one in serving.workflows))
    yield "  " + say("API:  {url}", url=serving.url)
    if page is not None:
        yield "  " + say("Page: {url}", url=page)
    if is_local:
        yield "  " + say("OpenAI-style requests are answered by the embedded model.")
    for url in serving.callback_urls:
        yield "  " + say("Callbacks: {url}", url=url)
    yield ""
    yield say("Try it in another terminal:")
    yield f"  {_curl(serving)}"
    yield from _lacking(serving.workflows, is_local=is_local)


def _curl(serving: Serving) -> str:
    """A call of the first workflow that works as it stands."""
    first = serving.workflows[0]
    asked: dict[str, Any] = {} if len(serving.workflows) == 1 or first.is_default else {"workflow_id": first.id}
    body = json.dumps({**asked, "input": sample(first.inputs)}, ensure_ascii=False)
    headers = ["Content-Type: application/json"]
    headers += [f"Authorization: Bearer {serving.token}"] if serving.token else []
    words = " ".join(f'-H "{header}"' for header in headers)
    quoted = '"' + body.replace('"', '\\"') + '"' if sys.platform == "win32" else shlex.quote(body)
    return f"curl -N -X POST {serving.url}/workflows/runs {words} -d {quoted}"


def _lacking(workflows: Sequence[Workflow], *, is_local: bool) -> Iterator[str]:
    """The variables that runs will miss."""
    names = list(dict.fromkeys(name for one in workflows for name in one.unset_variables()))
    if not names or is_local:
        return
    yield ""
    yield say("Not set, and runs that need it will fail: {names}", names=listing(f"${name}" for name in names))
    if any(is_secret(name, "") for name in names):
        yield say("With --local the embedded model answers in place of OpenAI-style services; no key needed.")


# -- its end -----------------------------------------------------------------------------------------------------------------


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """Set once a signal says stop; a second one leaves at once."""
    wish = threading.Event()

    def first(*_: object) -> None:
        for number in _SIGNALS:
            signal.signal(number, lambda *_: leave(INTERRUPTED))
        wish.set()

    former = {number: signal.signal(number, first) for number in _SIGNALS}
    try:
        yield wish
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _wait(serving: Serving, wish: threading.Event) -> None:
    """Serve until somebody wishes it to stop; what runs may end then."""
    while not wish.is_set() and serving.is_running:
        wish.wait(_LOOK_SECONDS)
    tell(say("stopping: what runs has a few seconds to end; Ctrl-C leaves at once"))
    serving.stop()
    tell(say("■ stopped"))
