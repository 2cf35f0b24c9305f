"""What `%load_ext composemagic` adds to a shell, and how it is taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from composemagic.components.adopted import Called, Way, adopt
from composemagic.notebook.complete import is_matcher, matcher
from composemagic.notebook.hook import awaitify
from composemagic.notebook.magic import ComposeMagics
from composemagic.words import speak

if TYPE_CHECKING:
    from composemagic.api import Workflow
    from composemagic.engine.run import Run

__all__ = ["register", "unregister"]


def register(shell: Any) -> None:
    """Register the magic, the Tab key's answers, how workflows and runs show themselves and, in a kernel, the hook that makes
    its cells awaited."""
    shell.register_magics(ComposeMagics(shell))
    adopt(_lazily(shell))
    for name, shown in _SHOWN.items():
        module, _, kind = name.rpartition(".")
        shell.display_formatter.mimebundle_formatter.for_type_by_name(module, kind, shown)
    shell.Completer.custom_matchers.append(matcher(shell))
    if getattr(shell, "kernel", None) is not None and awaitify not in shell.input_transformers_post:
        shell.input_transformers_post.append(awaitify)


def unregister(shell: Any) -> None:
    """Undo what `register` did."""
    adopt(None)
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
