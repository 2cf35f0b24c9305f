"""The faces of a workflow: what shows it, asks for its inputs, serves it. Each is loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any

from composemagic.text import plain
from composemagic.workflow.inputs import told

if TYPE_CHECKING:
    from composemagic.workflow.inputs import Input

__all__ = ["Faces", "serve_all"]

# by name and not by import: Python without a notebook must not load them
_FACES = {
    "form": "composemagic.notebook.form:Form",
    "chat": "composemagic.notebook.chat:Chat",
    "sweep": "composemagic.notebook.sweep:swept",
    "race": "composemagic.notebook.race:race",
    "explain": "composemagic.explaining:explain",
    "serve": "composemagic.server.serving:of_workflows",
}


class Faces:
    """What a workflow offers to people, beside being run."""

    @property
    def title(self) -> str:
        """What it is called."""
        raise NotImplementedError

    @property
    def description(self) -> str:
        """What it is for."""
        raise NotImplementedError

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What the workflow asks for, in the order written."""
        raise NotImplementedError

    def form(self, /, **values: Any) -> Any:
        """A form for the inputs, prefilled with `values`; a notebook cell that ends with it shows it. Raises UsageError."""
        return _face("form")(self, values)

    def chat(self, /, **values: Any) -> Any:
        """A conversation; a notebook cell that ends with it shows it, and `.say("...")` asks and waits anywhere.

        `values` are the inputs that stay the same. Raises UsageError for a workflow that no text can be said to.
        """
        return _face("chat")(self, values)

    def sweep(self, /, **values: Any) -> Any:
        """A run for each value in the lists among `values`, side by side: `chat.sweep(temperature=[0, 0.7], prompt="Hi")`.

        An input that is a list itself varies where it is given a list of lists; `at_once=8` runs eight at the same time and
        not four. A notebook cell that ends with it shows it;
        elsewhere `.to_rows()` waits and gives the results. Raises InputError and UsageError.
        """
        return _face("sweep")(self, values)

    def race(self, /, **values: Any) -> Any:
        """The same request with and without streaming, side by side: when does a reader see the first word?"""
        return _face("race")(self, values)

    def serve(
        self,
        *,
        port: int | None = None,
        host: str = "127.0.0.1",
        token: str | bool | None = None,
        hosts: Sequence[str] = (),
        page: bool = True,
    ) -> Any:
        """Serve it over HTTP, as an API and a web page, until `.stop()` or the end of the process; returns at once.

        `port` is the API's, 0 for any that is free; without one it is the document's, else 8080, else a free one. `token`
        is what requests must bring, True for a new one; with it `host` may be an address that other computers reach, and
        `hosts` are the names by which they do. Needs the extra `serve`. Raises UsageError.
        """
        return serve_all([self], port=port, host=host, token=token, hosts=hosts, with_page=page)

    def explain(self, /, **values: Any) -> Any:
        """What a run with these inputs would send, secrets masked; nothing is sent. Print it, or let a cell end with it."""
        return _face("explain")(self, values)

    @property
    def __signature__(self) -> Signature:
        """Its inputs as parameters: what `chat?`, Shift-Tab and `inspect.signature` show."""
        named = [one for one in self.inputs if one.name.isidentifier()]
        kind, none = Parameter.KEYWORD_ONLY, Parameter.empty
        return Signature([Parameter(one.name, kind, default=one.default if one.has_default else none) for one in named])

    def getdoc(self) -> str:
        """What IPython shows for `chat?`: title, description, and each input on a line."""
        lines = [self.title, self.description, "", *(f"  {told(one)}" for one in self.inputs)]
        return plain("\n".join(lines).strip())


def serve_all(workflows: Sequence[Any], **asked: Any) -> Any:
    """Serve several workflows together, as `Workflow.serve` does one. Raises UsageError."""
    return _face("serve")(workflows, **asked)


def _face(name: str) -> Callable[..., Any]:
    module, _, attribute = _FACES[name].partition(":")
    found: Callable[..., Any] = getattr(import_module(module), attribute)
    return found
