"""`%%compose`: an inline workflow that runs below its cell. Everything it does can be done in Python without it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from traitlets import Bool, Dict, Enum, List, TraitError, Unicode, observe, validate

from composemagic.allowance import allow
from composemagic.allowance import parsed as allowed
from composemagic.errors import InputError, UsageError
from composemagic.notebook import lines
from composemagic.notebook.attended import can_click, can_fill_in, lets_go_on
from composemagic.notebook.blocking import interruptible
from composemagic.notebook.cell import Cell, Face, face, tells, wanted
from composemagic.notebook.given import given, nested
from composemagic.notebook.keys import ask_for_keys
from composemagic.notebook.options import parsed, with_options
from composemagic.words import LANGUAGES, say, speak
from composemagic.workflow.environment import pair

if TYPE_CHECKING:
    from composemagic.api import Workflow
    from composemagic.engine.run import Run
    from composemagic.notebook.view import View

__all__ = ["ComposeMagics", "Interrupted"]

_POLL_SECONDS = 0.1
_CLOSE_SECONDS = 2.0


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

    history = Unicode(
        None,
        allow_none=True,
        help="a sqlite file that keeps the runs, such as runs.db; None: this kernel alone has them",
    ).tag(config=True)
    prices = Dict(
        help='what a million tokens cost, by model, such as {"gpt-4o": {"input": 2.5, "output": 10}}',
    ).tag(config=True)

    def __init__(self, shell: Any) -> None:
        # what `allow` has allowed; the settings of a configuration file are taken over while `super` is called
        self._granted: list[str] = []
        self._undo: list[Callable[[], None]] = []
        super().__init__(shell)
        # by cell: what to stop when the cell is run again; a run that has ended need not be kept for that
        self.runs: WeakValueDictionary[str | None, Run] = WeakValueDictionary()
        self.faces: dict[str | None, Face] = {}

    # validated and not observed: what fails is not the setting then, and the same line may be run again
    @validate("allow")
    def _allow(self, proposal: Any) -> Any:
        """What stood in the setting before is allowed no more; of a list with a mistake nothing is."""
        before = self._granted
        with _or_as_before():
            try:
                self._grant(proposal["value"])
            except UsageError:
                self._grant(before)
                raise
        return proposal["value"]

    def _grant(self, items: list[str]) -> None:
        for undo in self._undo:
            undo()
        self._undo, self._granted = [], items
        for words, place in map(allowed, items):
            self._undo.append(allow(*words, place=place))

    @validate("history")
    def _keep_in_file(self, proposal: Any) -> Any:
        from composemagic.history import runs

        with _or_as_before():
            runs.file(proposal["value"])
        return proposal["value"]

    @validate("prices")
    def _price(self, proposal: Any) -> Any:
        from composemagic.prices import set_prices

        with _or_as_before():
            set_prices(proposal["value"])
        return proposal["value"]

    @observe("language")
    def _speak(self, change: Any) -> None:
        speak(change.new)

    @no_var_expand
    @with_options
    @line_cell_magic
    def compose(self, line: str, cell: str | None = None) -> None:
        """Run the YAML workflow in this cell and stream its output below it.

            %%compose chat -i prompt="Explain machine learning" -o answer

        `chat` is then the workflow, to be called with other inputs: `chat(prompt="...")`; `answer` is this run. Inputs that
        are missing are asked for in a form below the cell.

        `%compose -f FILE` runs a file as it is, with the same options.
        `%compose help [TOPIC]` explains the language: `%compose help casts`.
        `%compose runs [COUNT] [COLUMN=VALUE ...]` shows the last runs: `%compose runs 50 status=failed`.
        `%compose serve NAME` serves a workflow as an API and a web page, until `%compose serve stop`.
        `%compose secrets` lists the secret variables, where each comes from and where it may go, never a value;
        `%compose secrets forget NAME [HOST]` asks again where one may go.
        """
        if cell is None:
            if lines.follow(line, self.shell):
                return
            if not any(word.startswith(("-f", "--file")) for word in line.split()):
                raise lines.unknown(line)
        begun = self._begin(line, cell or "")
        if begun is None:
            return
        run, view = begun
        try:
            run.begin()  # in here: an interrupt before the wait must stop it, too
            view.follow(run)
            run.wait()
        except KeyboardInterrupt:
            raise _interrupted(run, view) from None
        self._end(run, view)

    async def acompose(self, line: str, cell: str) -> None:
        """The same for a cell that a kernel awaits: the kernel can hear the Stop button meanwhile."""
        import asyncio  # half of what `%load_ext` would cost in a shell that has not loaded it

        begun = self._begin(line, cell)
        if begun is None:
            return
        run, view = begun
        ended: asyncio.Future[Any] | None = None
        try:
            run.begin()
            view.follow(run)
            ended = asyncio.ensure_future(run.finished())
            # an interrupt does not wake an idle loop: it is seen when the loop turns
            while not ended.done():
                await asyncio.wait([ended], timeout=_POLL_SECONDS)
        except (asyncio.CancelledError, KeyboardInterrupt):
            if ended is not None:
                ended.cancel()
            raise _interrupted(run, view) from None
        self._end(run, view)

    # -- steps ---------------------------------------------------------------------------------------------------------
    def _begin(self, line: str, text: str) -> tuple[Run, View] | None:
        """Make a cell's run, below its view; None when nothing is to be waited for: it was only told about, shows a face, or
        runs in the background."""
        self._stop_former()
        options = self._options(line)
        workflow = self._load(text, options)
        values = given(options.input, workflow.inputs, self.shell.user_ns, named=options.vars)
        place = self._cell_id()
        cell = Cell(workflow, values, options, lambda run: self._keep(run, options, place))
        if tells(cell):
            return None
        if not (options.local or options.replay):
            self._ask_for_keys(workflow)
        name = wanted(options) or ("form" if can_fill_in(self.shell) and _missing(workflow, values) else None)
        if name:
            self._show(face(cell, name))
            return None
        workflow.check(values, hint=_input_hint())
        return self._made(cell)

    def _made(self, cell: Cell) -> tuple[Run, View] | None:
        """The cell's run that has not begun, and its view; None where it runs in the background."""
        in_background = cell.options.background and lets_go_on(self.shell)
        view = self._view(cell, in_background=in_background)
        view.show()
        run = cell.workflow.start(
            nested(cell.values), attended=view.attended, consents=True, begins=False, trace=cell.options.trace
        )
        cell.keep(run)
        if not in_background:
            return run, view
        run.begin()
        view.follow(run)
        in_kernel = can_click(self.shell)
        if not cell.options.quiet and (self.display == "plain" or not in_kernel):
            print(say("runs on in the background; `composemagic.runs[-1]` shows it"))
        if not cell.options.quiet and not in_kernel:  # in a kernel, what is printed later would land in another cell
            from composemagic.notebook.plain import tell_end

            tell_end(run, cell.workflow.title)
        return None

    def _end(self, run: Run, view: View) -> None:
        """Leave what is to stay of a run that has ended. Raises its RunError."""
        view.finish(run)
        if run.trace is not None:
            from IPython.display import display

            display(run.trace)
        run.raise_for_error()

    def _ask_for_keys(self, workflow: Workflow) -> None:
        try:
            ask_for_keys(workflow, self.shell)
        except KeyboardInterrupt:
            raise Interrupted(say("nothing was run")) from None

    def _show(self, shown: Face) -> None:
        if place := self._cell_id():
            self.faces[place] = shown
        try:
            with interruptible():  # where nobody can click, a face waits for its runs
                shown.show()
        except KeyboardInterrupt:
            shown.close()
            raise Interrupted(say("the text so far is kept")) from None

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
            record=options.record,
            replay=options.replay,
            **({"replay_speed": options.speed} if options.replay else {}),
        )
        workflow.name = options.name or ""
        if options.name:
            self.shell.user_ns[options.name] = workflow
        return workflow

    def _stop_former(self) -> None:
        """Stop what this cell started when it ran before: a form's run may still go on."""
        cell = self._cell_id()
        former, run = self.faces.pop(cell, None), self.runs.pop(cell, None)
        if run is not None and not run.done:
            run.cancel()
            run.wait(_CLOSE_SECONDS)
        if former is not None:
            former.close()

    def _options(self, line: str) -> argparse.Namespace:
        return parsed(type(self).compose.parser, line)

    def _view(self, cell: Cell, *, in_background: bool) -> View:
        from composemagic.notebook.choice import view_for
        from composemagic.notebook.view import Quiet

        if cell.options.quiet:
            return Quiet()
        return view_for(self.shell, cell.workflow.title, in_background=in_background)

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


@contextmanager
def _or_as_before() -> Iterator[None]:
    """A TraitError is what makes a setting stay as it was."""
    try:
        yield
    except UsageError as error:
        raise TraitError(str(error)) from None


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


def _input_hint() -> str:
    return say("Give it with `-i NAME=value`, or use `--form` where widgets can be clicked")
