"""What a page does with the widgets of a kernel, as far as it matters for what arrives when: @jupyter-widgets/base and Link.

A model has one change on its way. What is typed before the kernel's `idle` for that change came back is held back, the last
value of each trait; a click and Enter go out at once. A link sets its target as soon as its source changes, and once when it
is made. The page reads what the kernel sends only when it is told to: what a test types and clicks meanwhile is on its way in
that order, however fast the kernel is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.conftest import Executed, Kernel

SECONDS = 30


class Page(Kernel):
    """A kernel and the page in front of it. `models` are the states of its widgets by their ids."""

    models: dict[str, dict[str, Any]]
    answers = True
    """Whether links work in it."""

    @classmethod
    def of(cls, kernel: Kernel) -> Page:
        made = cls(kernel.manager, kernel.client)
        made.models, made._on_the_way, made._held = {}, {}, {}
        return made

    _on_the_way: dict[str, str]  # the message of each model
    _held: dict[str, dict[str, Any]]

    # -- what a person does

    def type(self, model: str, value: Any, trait: str = "value") -> None:
        """Change a trait of a widget."""
        self.models[model][trait] = value
        self._held.setdefault(model, {})[trait] = value
        if model not in self._on_the_way:
            self._send_held(model)

    def click(self, model: str) -> None:
        self._send(model, {"method": "custom", "content": {"event": "click"}})

    def enter(self, model: str) -> None:
        """Press Enter in a line."""
        self._send(model, {"method": "custom", "content": {"event": "submit"}})

    def find(self, **state: Any) -> str:
        """The id of the widget with these traits that was made last."""
        return [name for name, one in self.models.items() if state.items() <= one.items()][-1]

    def until(self, seen: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read what the kernel sends until a message for which `seen` is true."""
        end = time.monotonic() + SECONDS
        while not seen(message := self._next(end, SECONDS, Executed())):
            pass
        return message

    # -- what the page does

    def _next(self, end: float, timeout: float, done: Executed) -> dict[str, Any]:
        message = super()._next(end, timeout, done)
        kind, content = message["msg_type"], message["content"]
        if kind == "comm_open" and content["target_name"] == "jupyter.widget":
            self._opened(content["comm_id"], content["data"]["state"])
        elif kind == "comm_msg" and content["data"].get("method") == "update" and content["comm_id"] in self.models:
            self._changed(content["comm_id"], content["data"]["state"])
        elif kind == "comm_close":
            self.models.pop(content["comm_id"], None)
        elif kind == "status" and content["execution_state"] == "idle":
            self._idle(message["parent_header"].get("msg_id", ""))
        return message

    def _opened(self, model: str, state: dict[str, Any]) -> None:
        self.models[model] = state
        if state["_model_name"] == "DirectionalLinkModel":
            self._follow(state)

    def _changed(self, model: str, state: dict[str, Any]) -> None:
        self.models[model].update(state)
        for link in [one for one in self.models.values() if one["_model_name"] == "DirectionalLinkModel"]:
            source, trait = link["source"]
            if source == f"IPY_MODEL_{model}" and trait in state:
                self._follow(link)

    def _follow(self, link: dict[str, Any]) -> None:
        (source, of), (target, to) = link["source"], link["target"]
        value = self.models[source.removeprefix("IPY_MODEL_")][of]
        target = target.removeprefix("IPY_MODEL_")
        if self.answers and self.models[target][to] != value:
            self.type(target, value, to)

    def _idle(self, message: str) -> None:
        for model in [name for name, on_the_way in self._on_the_way.items() if on_the_way == message]:
            del self._on_the_way[model]
            if model in self._held:
                self._send_held(model)

    def _send_held(self, model: str) -> None:
        self._on_the_way[model] = self._send(
            model, {"method": "update", "state": self._held.pop(model), "buffer_paths": []}
        )

    def _send(self, model: str, data: dict[str, Any]) -> str:
        message = self.client.session.msg("comm_msg", {"comm_id": model, "data": data})
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])
