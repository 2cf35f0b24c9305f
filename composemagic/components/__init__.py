"""Component types: one type, one file, its own settings model inside. This is the one place to register them.

Looked up in this order: what `register` added, the built-ins, then the entry points `composemagic.components` of installed
packages (the entry point's name is the type, its object the class).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from composemagic.errors import UsageError
from composemagic.words import listing, say

if TYPE_CHECKING:
    from composemagic.workflow.component import Component

__all__ = ["find", "known", "register"]

# names and not classes, so that a workflow imports only what it uses
BUILT_IN = {
    "http-client": "composemagic.components.http_client:HttpClient",
    "echo": "composemagic.components.echo:Echo",
    "function": "composemagic.components.function:FunctionComponent",
    "http-server": "composemagic.components.http_server:HttpServer",
    "mcp-client": "composemagic.components.mcp_client:McpClient",
    "model": "composemagic.components.model:Model",
    "workflow": "composemagic.components.workflow:WorkflowComponent",
    "text-splitter": "composemagic.components.text_splitter:TextSplitter",
    "key-value-store": "composemagic.components.key_value_store:KeyValueStore",
    "vector-store": "composemagic.components.vector_store:VectorStore",
    "datasets": "composemagic.components.datasets:Datasets",
    "web-scraper": "composemagic.components.web_scraper:WebScraper",
    "shell": "composemagic.components.shell:Shell",
    "agent": "composemagic.components.agent:Agent",
}
GROUP = "composemagic.components"
CONTRACT = ("type", "sources", "text_fields", "spellings", "settings", "action", "faults", "run")

_registered: dict[str, type[Component]] = {}


def register(component: type[Component]) -> Callable[[], None]:
    """Make a component class known under its `type`; returns a function that takes it away again.

    The class is best derived from `composemagic.workflow.component.Component`. Raises UsageError where it lacks something.
    """
    _check(component)
    before = _registered.get(component.type)
    _registered[component.type] = component

    def undo() -> None:
        if before is None:
            _registered.pop(component.type, None)
        else:
            _registered[component.type] = before

    return undo


def find(name: str) -> type[Component] | None:
    """The class of a component type, or None."""
    if name in _registered:
        return _registered[name]
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        found: type[Component] = getattr(import_module(module), attribute)
        return found
    return _installed(name)


def known() -> list[str]:
    """The names of the built-in and registered types."""
    return [*BUILT_IN, *(name for name in _registered if name not in BUILT_IN)]


def _installed(name: str) -> type[Component] | None:
    from importlib.metadata import entry_points

    for point in entry_points(group=GROUP, name=name):
        try:
            found: type[Component] = point.load()
        except Exception as error:
            package = point.dist.name if point.dist else point.value
            raise UsageError(
                say(
                    "the component type `{name}` of {package} cannot be loaded: {reason}",
                    name=name,
                    package=package,
                    reason=error,
                )
            ) from error
        _check(found)
        return found
    return None


def _check(component: type[Component]) -> None:
    missing = [f"`{name}`" for name in CONTRACT if not hasattr(component, name)]
    if missing:
        name = getattr(component, "__name__", repr(component))
        raise UsageError(
            say(
                "the component class {name} lacks {parts}; derive it from Component",
                name=name,
                parts=listing(missing),
            )
        )
