'''`@composemagic.component("my-type")`: a Python function as a component type of its own, made in a cell or a module.

    @composemagic.component("shout")
    def shout(text: str, times: int = 1) -> str:
        """Say it louder."""
        return text.upper() + "!" * times

    composemagic.load("""
    component:
      type: shout
      text: ${input.text}
      times: 3
    """)(text="hello").output        # "HELLO!!!"

The function's parameters are the keys of its action: what has no default is required, what is unknown is a mistake with a caret
when the document is loaded, and a value that no template makes must fit its annotation. Re-running the cell replaces the
type; workflows that are loaded keep the function they were loaded with. `shout.undo()` takes the type away again. The
function itself stays what it was and can be called.
'''

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, ClassVar, Protocol, TypeVar, cast

from composemagic.components import register
from composemagic.components.calling import as_function
from composemagic.components.given import Given, holds_template
from composemagic.components.signature import Parameter, parameters
from composemagic.errors import UsageError
from composemagic.words import listing, say
from composemagic.workflow import schema
from composemagic.workflow.component import Action, Component, Context, Settings

__all__ = ["Registered", "component"]

F = TypeVar("F", bound=Callable[..., Any])

# not `name`: what stands there is the action's, a component needs none
_TAKEN = frozenset({*schema.Action.model_fields, "type", "action", "actions"})
_undo: dict[str, Callable[[], None]] = {}


class Registered(Protocol):
    """A function that is a component type as well, until `undo()`."""

    undo: Callable[[], None]

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the function."""


def component(name: str) -> Callable[[F], F]:
    """Make a function a component type of this name; a type of this name made so before is replaced.

    The function is given back with an `undo()` that takes the type away. Raises UsageError for a parameter that is called
    like a key every component has, such as `id` or `output`.
    """
    if not isinstance(name, str) or not name:
        raise UsageError(say('a component type needs a name: `@composemagic.component("my-type")`'))

    def made(function: F) -> F:
        found = _type_of(name, function)
        if (former := _undo.get(name)) is not None:
            former()
        undo_type = register(found)

        def undo() -> None:
            if _undo.get(name) is undo:  # else the cell was run again: the newer one stays
                del _undo[name]
                undo_type()

        _undo[name] = undo
        cast("Registered", function).undo = undo
        return function

    return made


def _type_of(name: str, function: Callable[..., Any]) -> type[Component]:
    """The component class of a function, its action's keys the function's parameters."""
    takes = parameters(function)
    for one in takes:
        if one.name in _TAKEN:
            raise UsageError(
                say(
                    "the parameter `{key}` of a component type needs another name: every component has that key",
                    key=one.name,
                )
            )
    words = (function.__doc__ or "").strip()
    fields: dict[str, Any] = {"__annotations__": {one.name: Any for one in takes}, "__doc__": words}
    fields |= {one.name: one.default for one in takes if not one.required}
    action = type("FunctionAction", (Settings,), fields)
    own = {"type": name, "action": action, "takes": takes, "function": staticmethod(function), "__doc__": words}
    return cast("type[Component]", type("FunctionType", (_FunctionType,), own))


class _FunctionType(Component):
    """The base of what the decorator makes. Source for `output`: `result`, and `result[]` for each chunk of a generator."""

    settings: ClassVar[type[Settings]] = Settings
    takes: ClassVar[tuple[Parameter, ...]]
    function: ClassVar[Callable[..., Any]]

    @classmethod
    def faults(cls, settings: Mapping[str, Any], action: Mapping[str, Any]) -> Iterable[tuple[Any, ...]]:
        for one in cls.takes:
            if one.name in action and (wanted := _misfit(one, action[one.name])):
                yield (
                    say(
                        "`{key}` is {wanted}, this is {found}",
                        key=one.name,
                        wanted=wanted,
                        found=schema.kind(action[one.name]),
                    ),
                    one.name,
                )

    async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
        """Call the function with the action's fields. Raises RunError."""
        given = Given(action, context)
        arguments = {key: await given.get(key) for key in action.fields}
        async with aclosing(as_function(self.function, self.type).answers(arguments)) as answers:
            async for answer in answers:
                yield answer


def _misfit(one: Parameter, value: Any) -> str | None:
    """What a value ought to be, where it is certain that it is not."""
    if value is None or holds_template(value):
        return None
    if (options := one.schema.get("enum")) is not None:
        return None if value in options else say("one of {options}", options=listing(options))
    kind = one.schema.get("type")
    words, fits = _KINDS.get(str(kind), (None, None))
    return None if fits is None or fits(value) or words is None else words()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_KINDS: Mapping[str, tuple[Callable[[], str], Callable[[Any], bool]]] = {
    "string": (lambda: say("text"), lambda value: isinstance(value, str)),
    "integer": (lambda: say("a whole number"), lambda value: _is_number(value) and value == int(value)),
    "number": (lambda: say("a number"), _is_number),
    "boolean": (lambda: say("true or false"), lambda value: isinstance(value, bool)),
    "array": (lambda: say("a list"), lambda value: isinstance(value, list)),
    "object": (lambda: say("a mapping"), lambda value: isinstance(value, dict)),
}
