"""What the peer runs and composemagic does not, a whole type or some of its settings: it loads, and a run that needs it ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, ClassVar

from composemagic.errors import Mark, RunError
from composemagic.language.template import compile_template
from composemagic.words import say
from composemagic.workflow.component import Action, Component, Context
from composemagic.workflow.items import Item

__all__ = ["Foreign", "foreign", "foreign_action", "note_of"]


class Foreign(Component):
    """Accepts whatever its YAML says; running it raises RunError of kind `foreign` with the `sentence`, drawn at `mark`."""

    def __init__(self, sentence: str, mark: Mark) -> None:
        self.sentence = sentence
        self.mark = mark

    async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
        """Raises RunError."""
        nothing: tuple[Any, ...] = ()
        for chunk in nothing:  # this makes it a generator
            yield chunk
        raise RunError("foreign", self.sentence, mark=self.mark)


def foreign(kind: str) -> type[Foreign]:
    """The component class of a type that is known by its name only, or of what is not run of one that is."""

    class Named(Foreign):
        type: ClassVar[str] = kind

        @classmethod
        def not_run(cls, settings: Mapping[str, Any], action: Mapping[str, Any]) -> str | None:
            return say("the component type `{type}` is not run by composemagic", type=kind)

    return Named


def foreign_action(item: Item, component: Item, kind: str, sentence: str, mark: Mark) -> Action:
    """An action that is not run. What it asks of the workflow's input is known as far as it can be read."""
    instance = foreign(kind)(sentence, mark)
    own = compile_template({**component.data, "action": None, "actions": None}, component.path)
    fields = compile_template(item.data, item.path)
    return Action(item.id or component.id or kind, instance, {"": fields}, {"": own}, None, item.path)


def note_of(sentence: str) -> str:
    """What is said of it when the document is loaded."""
    return say("{sentence}; a run that needs it ends there", sentence=sentence)
