"""What `%load_ext composemagic` adds to a shell, and how it is taken back."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from composemagic.components.adopted import Called, Way, adopt
from composemagic.engine.kept import hear_of
from composemagic.notebook.complete import is_matcher, matcher
from composemagic.notebook.hook import awaitify
from composemagic.notebook.magic import ComposeMagics
from composemagic.words import speak

if TYPE_CHECKING:
    from composemagic.engine.run import Run

__all__ = ["register", "unregister"]


def register(shell: Any) -> None:
    """Register the magic, the Tab key's answers, how workflows and runs show themselves and, in a kernel, the hook that makes
    its cells awaited."""
    shell.register_magics(ComposeMagics(shell))
    adopt(_lazily(shell))
    hear_of(_keep)
    for name, shown in _SHOWN.items():
        module, _, kind = name.rpartition(".")
        shell.display_formatter.mimebundle_formatter.for_type_by_name(module, kind, shown)
    shell.Completer.custom_matchers.append(matcher(shell))
    if getattr(shell, "kernel", None) is not None and awaitify not in shell.input_transformers_post:
        shell.input_transformers_post.append(awaitify)


def unregister(shell: Any) -> None:
    """Undo what `register` did."""
    adopt(None)
    hear_of(_keep)()
    if awaitify in shell.input_transformers_post:
        shell.input_transformers_post.remove(awaitify)
    matchers = shell.Completer.custom_matchers
    matchers[:] = [one for one in matchers if not is_matcher(one)]
    for name in _SHOWN:
        shell.display_formatter.mimebundle_formatter.pop(name, None)
    for kind in ("cell", "line"):
        shell.magics_manager.magics[kind].pop("compose", None)
    magics = shell.magics_manager.registry.pop("ComposeMagics", None)
    if magics is not None:
        magics.allow = []
        magics.prices = {}
        if magics.history is not None:
            _keep_in_no_file()
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


def _keep(run: Run, name: str) -> None:
    """Each run of the kernel, however it was started, is one of `composemagic.runs`."""
    from composemagic.history import runs

    runs.keep(run, name)


def _keep_in_no_file() -> None:
    from composemagic.history import runs

    runs.file(None)  # a trait that is set to None is not validated


def _by(name: str) -> Callable[[Any], dict[str, str]]:
    """What shows a value, loaded when there is one to show."""
    module, _, attribute = name.partition(":")

    def show(value: Any) -> dict[str, str]:
        found: dict[str, str] = getattr(import_module(module), attribute)(value)
        return found

    return show


# by name and not by import: registering must not load the engine
_SHOWN: dict[str, Callable[[Any], dict[str, str]]] = {
    "composemagic.api.Workflow": _by("composemagic.notebook.card:card"),
    "composemagic.comparing.Comparison": _by("composemagic.notebook.compare:shown"),
    "composemagic.engine.trace.Trace": _by("composemagic.notebook.trace:shown"),
    "composemagic.explaining.Explanation": _by("composemagic.notebook.explained:shown"),
    "composemagic.engine.run.Run": _by("composemagic.notebook.still:bundle"),
    "composemagic.history.past.Past": _by("composemagic.notebook.runs:shown_one"),
    "composemagic.history.sequence.Runs": _by("composemagic.notebook.runs:shown"),
}
