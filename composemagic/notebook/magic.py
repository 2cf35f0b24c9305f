"""`%%compose`: an inline workflow that runs below its cell. Everything it does can be done in Python without it."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Callable
from keyword import iskeyword
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from IPython.core.error import UsageError as IPythonUsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments
from traitlets import Bool, Enum, List, Unicode, observe

from composemagic.allowance import allow, parsed
from composemagic.components.adopted import Called, Way, adopt
from composemagic.errors import InputError, UsageError, suggest
from composemagic.notebook.given import given, nested
from composemagic.notebook.keys import ask_for_keys
from composemagic.text import plain
from composemagic.words import LANGUAGES, say, speak
from composemagic.workflow.environment import pair

if TYPE_CHECKING:
    from composemagic.api import Workflow
    from composemagic.engine.run import Run
    from composemagic.notebook.form import Form
    from composemagic.notebook.view import View
    from composemagic.workflow.inputs import Input

__all__ = ["ComposeMagics", "Interrupted", "register", "unregister"]

_POLL_SECONDS = 0.1
_CLOSE_SECONDS = 2.0
_CALL = "get_ipython().run_cell_magic('compose', "
_AWAITED = "await get_ipython().magics_manager.registry['ComposeMagics'].acompose("


class Interrupted(KeyboardInterrupt):
    """An interrupt, shown as one line and not as the frames it happened to arrive in."""

    def _render_traceback_(self) -> list[str]:
        return [say("compose: interrupted; {rest}", rest=self)]


# the name stands in the saved notebook, where front ends and papermill know the built-in one
Interrupted.__name__ = "KeyboardInterrupt"


@magics_class
class ComposeMagics(Magics):
    """Run AI workflows written in YAML; see `%%compose?`."""

    display = Enum(
        ["auto", "widget", "plain"],
        "auto",
        help="how a run is shown; auto: as a widget in a notebook, else as plain text",
    ).tag(config=True)
    awaited = Bool(True, help="await %%compose cells in a kernel, so that Stop works while they run").tag(config=True)
    language = Enum(
        [None, *LANGUAGES],
        None,
        allow_none=True,
        help=f"the language of messages: {', '.join(LANGUAGES)}; None: the locale's",
    ).tag(config=True)

    allow = List(
        Unicode(),
        help='what no YAML may by itself, such as ["shell"], or ["SHOP_API_KEY=https://shop.example"] for a secret',
    ).tag(config=True)

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        # by cell: what to stop when the cell is run again; a run that has ended need not be kept for that
        self.runs: WeakValueDictionary[str | None, Run] = WeakValueDictionary()
        self.forms: dict[str | None, Form] = {}

    @observe("allow")
    def _allow(self, change: Any) -> None:
        """What stood in the setting before is allowed no more."""
        undo, self._undo = getattr(self, "_undo", []), []
        for each in undo:
            each()
        for words, place in map(parsed, change.new):
            self._undo.append(allow(*words, place=place))

    @observe("language")
    def _speak(self, change: Any) -> None:
        speak(change.new)

    @no_var_expand
    @magic_arguments()
    @argument("name", nargs="?", help=say("variable that receives the Workflow"))
    @argument(
        "-i", "--input", action="append", default=[], metavar="KEY=VALUE",
        help=say(
            "an input: KEY=VALUE (a YAML scalar), KEY=$VAR for a notebook variable, or VAR alone for a dict of inputs"
        ),
    )  # fmt: skip
    @argument(
        "-o", "--output", metavar="VAR", help=say("variable that receives the Run, even when it fails or is stopped")
    )
    @argument("-w", "--workflow", metavar="ID", help=say("which workflow, where the cell has several"))
    @argument(
        "-f", "--file", action="append", default=[], metavar="PATH",
        help=say("a YAML file that the cell completes and changes; of several, a later one goes over"),
    )  # fmt: skip
    @argument("--form", action="store_true", help=say("show a form for the inputs, even when all are known"))
    @argument(
        "--local", action="store_true", help=say("send OpenAI-style requests to the embedded model; no key needed")
    )
    @argument("--check", action="store_true", help=say("only look for mistakes"))
    @argument("--diagram", action="store_true", help=say("only show how the jobs connect"))
    @argument(
        "-e", "--env", action="append", default=[], metavar="KEY=VALUE",
        help=say("an environment variable for ${env.KEY}"),
    )  # fmt: skip
    @argument(
        "--env-file", action="append", default=[], metavar="FILE", help=say("read variables from FILE instead of .env")
    )
    @line_cell_magic
    def compose(self, line: str, cell: str | None = None) -> None:
        """Run the YAML workflow in this cell and stream its output below it.

            %%compose chat -i prompt="Explain machine learning" -o answer

        `chat` is then the workflow, to be called with other inputs: `chat(prompt="...")`; `answer` is this run. Inputs that
        are missing are asked for in a form below the cell.

        `%compose -f FILE` runs a file as it is, with the same options. `%compose secrets` lists the secret variables, where each comes from and where it may go, never a value;
        `%compose secrets forget NAME [HOST]` asks again where one may go.
        """
        if cell is None and line.split()[:1] == ["secrets"]:
            print(_told(line.split()[1:]))
            return
        if cell is None and not self._options(line).file:
            raise UsageError(say("`%compose` knows `secrets` and `-f FILE`; a workflow stands below `%%compose`"))
        begun = self._begin(line, cell or "")
        if begun is None:
            return
        run, view = begun
        try:
            view.follow(run)
            run.wait()
        except KeyboardInterrupt:
            raise _interrupted(run, view) from None
        view.finish(run)
        run.raise_for_error()

    async def acompose(self, line: str, cell: str) -> None:
        """The same for a cell that a kernel awaits: the kernel can hear the Stop button meanwhile."""
        import asyncio  # half of what `%load_ext` would cost in a shell that has not loaded it

        begun = self._begin(line, cell)
        if begun is None:
            return
        run, view = begun
        view.follow(run)
        ended = asyncio.ensure_future(run.finished())
        try:
            # an interrupt does not wake an idle loop: it is seen when the loop turns
            while not ended.done():
                await asyncio.wait([ended], timeout=_POLL_SECONDS)
        except asyncio.CancelledError:
            ended.cancel()
            raise _interrupted(run, view) from None
        view.finish(run)
        run.raise_for_error()

    # -- steps ---------------------------------------------------------------------------------------------------------
    def _begin(self, line: str, cell: str) -> tuple[Run, View] | None:
        """Start a cell's run, below its view; None when the cell was only checked or shows its form."""
        self._stop_former()
        options = self._options(line)
        workflow = self._load(cell, options)
        values = given(options.input, workflow.inputs, self.shell.user_ns)
        if options.check or options.diagram:
            self._tell(workflow, options)
            return None
        if not options.local:
            try:
                ask_for_keys(workflow, self.shell)
            except KeyboardInterrupt:
                raise Interrupted(say("nothing was run")) from None
        if options.form or (self._can_click() and _missing(workflow, values)):
            self._show_form(workflow, values, options)
            return None
        workflow.check(values, hint=_input_hint())
        view = self._view(workflow.title)
        view.show()
        run = workflow.start(nested(values), attended=view.attended, consents=True)
        self._keep(run, options)
        return run, view

    def _load(self, cell: str, options: argparse.Namespace) -> Workflow:
        """The cell's workflow, bound to its NAME."""
        from composemagic.api import load_text

        workflow = load_text(
            cell,
            say("this cell"),
            options.workflow,
            first_line=2,
            local=options.local,
            env=dict(pair(item, "-e") for item in options.env),
            env_files=options.env_file,
            folder=Path.cwd(),
            files=options.file,
        )
        workflow.name = options.name or ""
        if options.name:
            self.shell.user_ns[options.name] = workflow
        return workflow

    def _tell(self, workflow: Workflow, options: argparse.Namespace) -> None:
        """What is asked of a cell that is not to run."""
        if options.check:
            print(_checked(workflow))
        if options.diagram:
            from IPython.display import display

            display(workflow.diagram())

    def _stop_former(self) -> None:
        """Stop what this cell started when it ran before: a form's run may still go on."""
        cell = self._cell_id()
        form, run = self.forms.pop(cell, None), self.runs.pop(cell, None)
        if run is not None and not run.done:
            run.cancel()
            run.wait(_CLOSE_SECONDS)
        if form is not None:
            form.close()

    def _show_form(self, workflow: Workflow, values: dict[str, Any], options: argparse.Namespace) -> None:
        from composemagic.notebook.form import Form

        cell = self._cell_id()
        form = Form(workflow, values, keep=lambda run: self._keep(run, options, cell))
        if cell:
            self.forms[cell] = form
        form.show()

    def _options(self, line: str) -> argparse.Namespace:
        parser = type(self).compose.parser
        options: argparse.Namespace
        try:
            options, rest = parser.parse_known_args(shlex.split(line))
        except (IPythonUsageError, ValueError) as error:
            # IPython's own UsageError leaves no text in nbconvert and papermill
            why = _first(str(error))
            raise UsageError(say("%%compose {line}: {why}. See %%compose?", line=line.strip(), why=why)) from None
        if rest:
            raise UsageError(_too_many(rest[0], re.findall(r"--[a-z-]+", parser.format_help())))
        for name in (options.name, options.output):
            if name and (not name.isidentifier() or iskeyword(name)):
                raise UsageError(say("`{name}` cannot be the name of a variable", name=name))
        return options

    def _view(self, title: str) -> View:
        from composemagic.notebook.view import Live, Plain, Still

        if self.display == "plain" or (self.display == "auto" and getattr(self.shell, "kernel", None) is None):
            return Plain()
        if self.display == "auto" and not self._can_click():
            return Still()
        # before ipykernel 7 no click arrives while a cell runs; subshells changed that, and this private name says so
        hears = getattr(getattr(self.shell, "kernel", None), "_supports_kernel_subshells", False)
        return Live(title, stop=bool(hears), attended=bool(hears))

    def _keep(self, run: Run, options: argparse.Namespace, cell: str | None = None) -> None:
        """Give a run to whoever asks for it later: the notebook's variable, and the cell when it is run again."""
        if cell := cell or self._cell_id():
            self.runs[cell] = run
        if options.output:
            self.shell.user_ns[options.output] = run

    def _cell_id(self) -> str | None:
        """The running cell's id, where the front end sends one."""
        try:
            found: str | None = self.shell.get_parent()["metadata"].get("cellId")
        except (AttributeError, KeyError, TypeError):
            return None
        return found

    def _can_click(self) -> bool:
        """Whether somebody sits in front of the kernel; nbconvert and papermill say that they take no input."""
        kernel = getattr(self.shell, "kernel", None)
        return kernel is not None and bool(getattr(kernel, "_allow_stdin", True))


def register(shell: Any) -> None:
    """Register the magic, how workflows and runs show themselves and, in a kernel, the hook that makes its cells awaited."""
    shell.register_magics(ComposeMagics(shell))
    adopt(_lazily(shell))
    for name, shown in _SHOWN.items():
        module, _, kind = name.rpartition(".")
        shell.display_formatter.mimebundle_formatter.for_type_by_name(module, kind, shown)
    if getattr(shell, "kernel", None) is not None and _awaitify not in shell.input_transformers_post:
        shell.input_transformers_post.append(_awaitify)


def unregister(shell: Any) -> None:
    """Undo what `register` did."""
    adopt(None)
    if _awaitify in shell.input_transformers_post:
        shell.input_transformers_post.remove(_awaitify)
    for name in _SHOWN:
        shell.display_formatter.mimebundle_formatter.pop(name, None)
    for kind in ("cell", "line"):
        shell.magics_manager.magics[kind].pop("compose", None)
    magics = shell.magics_manager.registry.pop("ComposeMagics", None)
    if magics is not None:
        magics.allow = []
        if magics.language is not None:
            speak(None)
    if magics in shell.configurables:
        shell.configurables.remove(magics)


def _lazily(shell: Any) -> Way:
    """How the shell's functions are called; the module that does it is loaded with the first of them."""
    loop: Any = None
    if getattr(shell, "kernel", None) is not None:
        import asyncio

        loop = asyncio._get_running_loop()
    ways: list[Way] = []

    def make(function: Callable[..., Any], name: str) -> Called:
        if not ways:
            from composemagic.notebook.functions import calling

            ways.append(calling(shell, loop))
        return ways[0](function, name)

    return make


def _show_run(run: Run) -> dict[str, str]:
    from composemagic.notebook.view import bundle

    return bundle(run)


def _show_workflow(workflow: Workflow) -> dict[str, str]:
    from composemagic.notebook.card import card

    return card(workflow)


# by name and not by import: registering must not load the engine
_SHOWN: dict[str, Callable[[Any], dict[str, str]]] = {
    "composemagic.engine.run.Run": _show_run,
    "composemagic.api.Workflow": _show_workflow,
}


def _awaitify(lines: list[str]) -> list[str]:
    """Turn a translated `%%compose` cell into an awaited one: Stop then works while it runs.

    Inside another cell magic (`%%time`, `%%capture`) and in `get_ipython().run_cell(...)` it stays as it is, since there
    nothing can be awaited.
    """
    if not lines or not lines[0].startswith(_CALL) or _is_called_synchronously():
        return lines
    shell = get_ipython()
    magics = shell.magics_manager.registry.get("ComposeMagics") if shell else None
    if magics is None or not magics.awaited or magics.display == "plain" or not shell.autoawait:
        return lines
    return [_AWAITED + lines[0][len(_CALL) :], *lines[1:]]


def get_ipython() -> Any:
    """The running shell, or None."""
    from IPython.core.getipython import get_ipython as current

    return current()


def _is_called_synchronously() -> bool:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name in ("run_cell_magic", "run_cell"):
            return True
        frame = frame.f_back
    return False


def _interrupted(run: Run, view: View) -> Interrupted:
    """What an interrupted cell raises, after its run has been stopped and its text kept."""
    run.cancel()
    run.wait(_CLOSE_SECONDS)
    view.finish(run)
    return Interrupted(say("the text so far is kept") if run.text else say("there was no text yet"))


def _missing(workflow: Workflow, values: dict[str, Any]) -> bool:
    """Whether all that is wrong is what a form would ask for; a name with a typo is told instead."""
    from composemagic.workflow.inputs import lacking  # with all of the language behind it: `%load_ext` must stay light

    try:
        workflow.check(values)
    except InputError as error:
        return error.problems.keys() <= {one.name for one in lacking(workflow.inputs, values)}
    return False


def _told(words: list[str]) -> str:
    """What is known of the secrets, or that one is forgotten."""
    from composemagic.transport.known import told
    from composemagic.workflow.environment import Environment

    return told(words, Environment())


def _input_hint() -> str:
    return say("Give it with `-i NAME=value`, or use `--form` where widgets can be clicked")


def _checked(workflow: Workflow) -> str:
    lines = [say("no mistakes: {title}", title=workflow.title)]
    lines += [f"  {_asked(one)}" for one in workflow.inputs]
    lines += [f"  {note}" for note in workflow.notes]
    lines += ["  " + say("not set: ${name}", name=name) for name in workflow.unset_variables()]
    return plain("\n".join(lines))


def _asked(one: Input) -> str:
    name = one.name or say("the whole input")
    kind = f"{one.type}[]" if one.is_list else one.type
    if one.required:
        return say("{name}: {type}, required", name=name, type=kind)
    return f"{name}: {kind}" + (f" = {one.default!r}" if one.has_default else "")


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
