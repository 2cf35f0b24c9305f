"""What an action was given: filled, its streams read whole, and checked, with one sentence for what does not fit.

The same checks look at what is literal in the YAML when it is loaded (`misfits`) and at what templates give in a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from composemagic.errors import RunError
from composemagic.language.casts import CastError, convert, settled, shown
from composemagic.language.expression import Cast
from composemagic.language.template import Template
from composemagic.words import say
from composemagic.workflow import duration
from composemagic.workflow.component import Action, Context

__all__ = ["Check", "Given", "flag", "holds_template", "misfits", "seconds", "whole_number"]

# a value and the name of its setting -> the value as it is used; raises RunError
Check = Callable[[Any, str], Any]


class Given:
    """The settings of one action in one run."""

    def __init__(self, action: Action, context: Context) -> None:
        self._action = action
        self._context = context

    async def get(self, key: str, check: Check | None = None, default: Any = None) -> Any:
        """The action's setting, else the component's of the same name, else the default.

        Null is as good as left out; streams are read to their end. Raises RunError for what `check` does not take.
        """
        for settings in (self._action.fields, self._action.settings):
            value = await self._context.render(_whole(settings.get(key)))
            if value is not None:
                return value if check is None else check(value, key)
        return default

    async def merged(self, key: str) -> dict[str, Any]:
        """The component's mapping of this name with the action's over it. Raises RunError for what is no mapping."""
        found: dict[str, Any] = {}
        for settings in (self._action.settings, self._action.fields):
            value = await self._context.render(_whole(settings.get(key)))
            if not isinstance(value, dict | None):
                raise RunError("input", say("`{key}` is a mapping, not {value}", key=key, value=shown(value)))
            found |= value or {}
        return found


def _whole(template: Template | None) -> Template | None:
    """A template that gives what its streams collect in place of the streams."""
    if template is None or template.constant:
        return template
    return Template(lambda scope: settled(template.render(scope)), template.holes)


def misfits(data: Mapping[str, Any], checks: Mapping[str, Check]) -> Iterator[tuple[str, str]]:
    """The sentence and the key for each literal value in the YAML that its check does not take."""
    for key, check in checks.items():
        value = data.get(key)
        if value is None or holds_template(value):
            continue
        try:
            check(value, key)
        except RunError as error:
            yield error.sentence, key


def holds_template(value: Any) -> bool:
    """Whether a value of the YAML can only be known in a run."""
    if isinstance(value, dict):
        return any(map(holds_template, value.values()))
    if isinstance(value, list):
        return any(map(holds_template, value))
    return isinstance(value, str) and "${" in value


# -- checks --------------------------------------------------------------------------------------------------------------


def flag(value: Any, key: str) -> bool:
    """True or false, in the spellings of `as boolean`."""
    try:
        return bool(convert(value, Cast("boolean")))
    except CastError:
        raise RunError("input", say("`{key}` is true or false, not {value}", key=key, value=shown(value))) from None


def whole_number(least: int) -> Check:
    """A check for whole numbers from `least` on; a text that spells one is one."""

    def check(value: Any, key: str) -> int:
        try:
            number = None if isinstance(value, bool) else convert(value, Cast("integer"))
        except CastError:
            number = None
        if number is None or number < least or (isinstance(value, float) and value != number):
            sentence = say(
                "`{key}` is a whole number from {least} on, not {value}", key=key, least=least, value=shown(value)
            )
            raise RunError("input", sentence)
        return int(number)

    return check


def seconds(value: Any, key: str) -> float:
    """A duration of more than nothing, in seconds."""
    try:
        found = duration.seconds(value)
    except duration.DurationError as error:
        raise RunError("input", say("`{key}`: {why}", key=key, why=error)) from None
    if not found:
        raise RunError("input", say("`{key}` is more than 0 seconds", key=key))
    return found
