'''`type: function`: a Python function of the notebook, or one that is given to `load`, called with the action's input.

    def count(text: str, least: int = 1) -> int:
        """How many words of at least so many letters a text has."""
        return sum(len(word) >= least for word in text.split())

    chat = composemagic.load("""
    component:
      type: function
      function: count
      input: {text: "${input.text}", least: 4}
    """, functions={"count": count})

In a cell the name is looked up among the notebook's variables when the workflow runs, so an edited and re-run function is
the one that is called. `input` is a mapping of its parameters; without it, the action's whole input is; a value that is no
mapping is the first argument. What is missing and what it does not take is said in one sentence.

A plain function runs on a thread of its own (other jobs and the Stop button go on meanwhile), an `async` one in a notebook on
the kernel's own loop, where its other tasks and connections live. A generator, `async` or not, streams: each thing it yields
is a chunk. `result` in the action's `output` is what it gives, `result[]` each chunk. What it raises fails the run with the
line of the function that raised it. Its name, docstring and annotations are what an agent is told of it (`Tool`).
'''

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, ClassVar

from composemagic.components.calling import as_function
from composemagic.components.given import Given
from composemagic.language.template import compile_template
from composemagic.words import say
from composemagic.workflow.component import Action, Component, Context, Settings, SettingsModel

__all__ = ["FunctionComponent"]

_INPUT = compile_template("${input}")


class FunctionSettings(Settings):
    """`function`: the name of the Python function that the actions call, where they do not name their own."""

    function: str | None = None


class FunctionAction(Settings):
    """`function`: the name of a Python function; `input`: its arguments by name, the action's whole input where it is absent."""

    function: str | None = None
    input: Any = None


class FunctionComponent(Component):
    """Calls a Python function. Source for `output`: `result`, and `result[]` for each chunk of a generator."""

    type: ClassVar[str] = "function"
    text_fields: ClassVar[frozenset[str]] = frozenset({"function"})
    settings: ClassVar[SettingsModel] = FunctionSettings
    action: ClassVar[SettingsModel] = FunctionAction

    @classmethod
    def faults(cls, settings: Mapping[str, Any], action: Mapping[str, Any]) -> Iterable[tuple[Any, ...]]:
        name = action.get("function", settings.get("function"))
        if name is None:
            yield say("a function component needs `function`, the name of a Python function"), None
        elif isinstance(name, str) and not name.isidentifier():
            # what a request or a model says must not choose among all that the notebook has
            yield say('`function` is the name of a Python function, not "{name}"', name=name), "function"

    async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
        """Call the function and yield its value, or its chunks. Raises RunError."""
        given = Given(replace(action, fields={"input": _INPUT, **action.fields}), context)
        name = await given.get("function")
        function = as_function(context.function(name), name)
        async with aclosing(function.answers(await given.get("input"))) as answers:
            async for answer in answers:
                yield answer
