"""`%%compose`: an inline workflow that runs below its cell. Everything it does can be done in Python without it."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from IPython.core.error import UsageError as IPythonUsageError
from IPython.core.magic import Magics, cell_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments
from traitlets import Bool, Enum

from composemagic.errors import ComposeError, InputError, UsageError

__all__ = ["ComposeMagics", "Interrupted", "register", "unregister"]

_POLL_SECONDS = 0.05
_CLOSE_SECONDS = 2.0
_CALL = "get_ipython().run_cell_magic('compose', "
_AWAITED = "await get_ipython().magics_manager.registry['ComposeMagics'].acompose("
_INPUT_HINT = "Give it with `-i NAME=value`, or use `--form` where widgets can be clicked"


class Interrupted(KeyboardInterrupt):
    """An interrupt, shown as one line and not as the frames it happened to arrive in."""

    def _render_traceback_(self) -> list[str]:
        return ["compose: interrupted; the text so far is kept"]


@magics_class
class ComposeMagics(Magics):
    """Run AI workflows written in YAML; see `%%compose?`."""

    display = Enum(
        ["auto", "widget", "plain"], "auto", help="how a run is shown: widget in a kernel, else plain text"
    ).tag(config=True)
    awaited = Bool(True, help="await %%compose cells in a kernel, so that Stop works while they run").tag(config=True)

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self.runs: dict[str, Any] = {}

    @no_var_expand
    @magic_arguments()
    @argument("name", nargs="?", help="variable that receives the Workflow")
    @argument(
        "-i", "--input", action="append", default=[], metavar="KEY=VALUE",
        help="an input: KEY=VALUE (a YAML scalar), KEY=$VAR for a notebook variable, or VAR alone for a dict of inputs",
    )  # fmt: skip
    @argument("-o", "--output", metavar="VAR", help="variable that receives the Run, even when it fails or is stopped")
    @argument("-w", "--workflow", metavar="ID", help="which workflow, where the cell has several")
    @argument("--form", action="store_true", help="show a form for the inputs, even when all are known")
    @argument("--local", action="store_true", help="send OpenAI-style requests to the embedded model; no key needed")
    @argument("--check", action="store_true", help="only look for mistakes")
    @argument("-e", "--env", action="append", default=[], metavar="KEY=VALUE", help="an environment variable for ${env.KEY}")
    @argument("--env-file", action="append", default=[], metavar="FILE", help="read variables from FILE instead of .env")
    @cell_magic
    def compose(self, line: str, cell: str) -> None:
        """Run the YAML workflow in this cell and stream its output below it."""
        prepared = self._prepare(line, cell)
        if prepared is None:
            return
        options, workflow, values = prepared
        view = self._view(workflow)
        view.show()
        run = self._start(workflow, values, options)
        try:
            view.follow(run)
            run.wait()
            _await_close(view)
        except KeyboardInterrupt:
            run.wait(_CLOSE_SECONDS)
            _await_close(view)
            raise Interrupted from None
        run.raise_for_error()

    async def acompose(self, line: str, cell: str) -> None:
        """The same for a cell that a kernel awaits: the kernel can hear the Stop button meanwhile."""
        prepared = self._prepare(line, cell)
        if prepared is None:
            return
        options, workflow, values = prepared
        view = self._view(workflow)
        if not hasattr(view, "closed"):
            self.compose(line, cell)
            return
        view.show()
        run = self._start(workflow, values, options)
        view.follow(run)
        try:
            # an interrupt does not wake an idle loop: it is seen when the loop turns
            while not view.closed.is_set():
                await asyncio.sleep(_POLL_SECONDS)
        except asyncio.CancelledError:
            run.cancel()
            run.wait(_CLOSE_SECONDS)
            _await_close(view)
            raise Interrupted from None
        run.raise_for_error()

    # -- steps ---------------------------------------------------------------------------------------------------------
    def _prepare(self, line: str, cell: str) -> tuple[argparse.Namespace, Any, dict[str, Any]] | None:
        """Options, workflow and input values of a cell that is to run now; None when it was only checked or shows its form."""
        from composemagic.api import load_text

        options = self._options(line)
        workflow = load_text(
            cell,
            "this cell",
            options.workflow,
            first_line=2,
            local=options.local,
            env=dict(_pair(item, "-e") for item in options.env),
            env_files=options.env_file,
            folder=Path.cwd(),
        )
        workflow.name = options.name or ""
        if options.name:
            self.shell.user_ns[options.name] = workflow
        values = self._values(options.input, workflow)
        if options.check:
            print(_checked(workflow))
            return None
        if options.form or (_missing(workflow, values) and self._can_click()):
            from composemagic.notebook import form

            form.show(workflow, values, keep=lambda run: self._keep(run, options))
            return None
        workflow.check(values, hint=_INPUT_HINT)
        return options, workflow, values

    def _options(self, line: str) -> argparse.Namespace:
        parser = type(self).compose.parser
        try:
            options: argparse.Namespace = parser.parse_args(shlex.split(line))
        except (IPythonUsageError, ValueError) as error:
            # IPython's own UsageError leaves no text in nbconvert and papermill
            raise UsageError(f"%%compose {line.strip()}: {_first(str(error))}. See %%compose?") from None
        for name in (options.name, options.output):
            if name and not name.isidentifier():
                raise UsageError(f"`{name}` cannot be the name of a variable")
        return options

    def _values(self, given: list[str], workflow: Any) -> dict[str, Any]:
        texts = {one.name for one in workflow.inputs if one.type in ("string", "text", "markdown", "select")}
        values: dict[str, Any] = {}
        for item in given:
            if "=" not in item:
                values.update(self._mapping(item))
                continue
            key, value = _pair(item, "-i")
            if value.startswith("$") and value[1:].isidentifier():
                values[key] = self._variable(value[1:])
            else:
                values[key] = value if key in texts else _scalar(value)
        return values

    def _mapping(self, name: str) -> dict[str, Any]:
        value = self._variable(name)
        if not isinstance(value, dict):
            raise UsageError(f"`-i {name}`: the variable holds no dict of inputs; write `-i KEY=VALUE` or `-i KEY=${name}`")
        return value

    def _variable(self, name: str) -> Any:
        if name not in self.shell.user_ns:
            raise UsageError(f"there is no variable `{name}` in the notebook")
        return self.shell.user_ns[name]

    def _view(self, workflow: Any) -> Any:
        from composemagic.notebook.view import Live, Plain

        in_kernel = getattr(self.shell, "kernel", None) is not None
        wants_widget = self.display == "widget" or (self.display == "auto" and in_kernel)
        return Live(workflow.title) if wants_widget else Plain(workflow.title)

    def _start(self, workflow: Any, values: dict[str, Any], options: argparse.Namespace) -> Any:
        """Start the run; the former run of the same cell is stopped first."""
        cell = self._cell_id()
        former = self.runs.pop(cell, None) if cell else None
        if former is not None and not former.done:
            former.cancel()
            former.wait(_CLOSE_SECONDS)
        run = workflow.start(values)
        if cell:
            self.runs[cell] = run
        self._keep(run, options)
        return run

    def _keep(self, run: Any, options: argparse.Namespace) -> None:
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
    """Register the magic and, in a kernel, the hook that makes its cells awaited."""
    magics = ComposeMagics(shell)
    shell.register_magics(magics)
    if getattr(shell, "kernel", None) is not None and _awaitify not in shell.input_transformers_post:
        shell.input_transformers_post.append(_awaitify)


def unregister(shell: Any) -> None:
    """Undo what `register` did."""
    if _awaitify in shell.input_transformers_post:
        shell.input_transformers_post.remove(_awaitify)
    shell.magics_manager.magics["cell"].pop("compose", None)
    magics = shell.magics_manager.registry.pop("ComposeMagics", None)
    if magics in shell.configurables:
        shell.configurables.remove(magics)


def _awaitify(lines: list[str]) -> list[str]:
    """Turn a translated `%%compose` cell into an awaited one: Stop then works while it runs.

    Inside another cell magic (`%%time`, `%%capture`) the cell stays as it is, since there nothing can be awaited.
    """
    if not lines or not lines[0].startswith(_CALL) or _inside_cell_magic():
        return lines
    shell = get_ipython()
    magics = shell.magics_manager.registry.get("ComposeMagics") if shell else None
    if magics is None or not magics.awaited:
        return lines
    return [_AWAITED + lines[0][len(_CALL) :], *lines[1:]]


def get_ipython() -> Any:
    """The running shell, or None."""
    from IPython.core.getipython import get_ipython as current

    return current()


def _inside_cell_magic() -> bool:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "run_cell_magic":
            return True
        frame = frame.f_back
    return False


def _await_close(view: Any) -> None:
    closed = getattr(view, "closed", None)
    if closed is not None:
        closed.wait(_CLOSE_SECONDS)


def _missing(workflow: Any, values: dict[str, Any]) -> bool:
    try:
        workflow.check({**dict.fromkeys(values), **values})
    except InputError as error:
        return any(problem.endswith("is missing") for problem in error.problems.values())
    return False


def _checked(workflow: Any) -> str:
    lines = [f"no mistakes: {workflow.title}"]
    lines += [f"  {one.name}: {one.type}{', required' if one.required else f' = {one.default!r}'}" for one in workflow.inputs]
    lines += [f"  {note}" for note in workflow.notes]
    lines += [f"  not set: ${name}" for name in workflow.unset_variables()]
    return "\n".join(lines)


def _pair(item: str, option: str) -> tuple[str, str]:
    key, equals, value = item.partition("=")
    if not equals or not key:
        raise UsageError(f"`{option} {item}` is written `{option} KEY=VALUE`")
    return key, value


def _scalar(text: str) -> Any:
    from composemagic.language.document import plain_value

    try:
        return plain_value(text)
    except ValueError as error:
        raise ComposeError(str(error)) from None


def _first(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "cannot be read"
