"""A document as YAML for model-compose 0.4.120: older spellings in today's, and what only composemagic reads said in its words.

What model-compose cannot say at all is refused by its name; what it reads and does not do is noted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from composemagic.cli.export.references import Writer, no_peer
from composemagic.errors import UsageError
from composemagic.language.expression import Reference, parse
from composemagic.words import listing, say
from composemagic.workflow.job import Job
from composemagic.workflow.plan import Loaded, Plan
from composemagic.workflow.schema import LATER_COMPONENT_TYPES

__all__ = ["written"]

Tree = dict[str, Any]

_SHARED_TYPES = (
    "agent", "datasets", "http-client", "http-server", "key-value-store", "mcp-client", "model", "shell",
    "text-splitter", "vector-store", "web-scraper", "workflow",
)  # fmt: skip
_WORDS = ("id", "name", "title", "description", "type", "default", "private", "driver")  # no templates
_WITHOUT = ("timeout", "max_retries", "retry_delay")  # of a request
_STREAM_FORMATS = ("json", "text")
_CONTROLLER: Tree = {"adapter": {"type": "http-server", "port": 8080, "base_path": "/api"}}
_ORDER = ("controller", "workflow", "workflows", "component", "components")


def written(loaded: Loaded) -> tuple[str, list[str]]:
    """The YAML, and what its reader should know. Raises UsageError."""
    return _Translation(loaded).text()


class _Translation:
    def __init__(self, loaded: Loaded) -> None:
        self.plans = list(loaded.plans.values())
        if not self.plans:
            raise UsageError(say("there is no workflow in this document"))
        self.data: Tree = self.plans[0].written(())
        self.notes: dict[str, None] = {}
        self.writer = Writer(self.note)

    def note(self, sentence: str) -> None:
        """Say something once."""
        self.notes[sentence] = None

    def text(self) -> tuple[str, list[str]]:
        """The whole document."""
        tree: Tree = {key: value for key, value in self.data.items() if key not in ("workflows", "components")}
        tree["controller"] = self.data.get("controller") or _CONTROLLER
        plans = {plan.path: plan for plan in self.plans}
        workflows = self.data.get("workflows") or [{"jobs": [{}]}]
        several = [self.workflow(one, plans.get(("workflows", at))) for at, one in enumerate(workflows)]
        components = [self.component(one) for one in self.data.get("components") or ()]
        tree |= {**_one_or_several("workflow", several), **_one_or_several("component", components)}
        ordered = sorted(tree, key=lambda key: _ORDER.index(key) if key in _ORDER else len(_ORDER))
        return _dumped({key: tree[key] for key in ordered}), list(self.notes)

    # -- workflows
    def workflow(self, data: Tree, plan: Plan | None) -> Tree:
        """A workflow; `output` in its output is the output of its last job."""
        jobs = [job or {} for job in data.get("jobs") or ()]
        known = {job.path: job for job in plan.jobs} if plan else {}
        path = plan.path if plan else ()
        found = [self.job(job, known.get((*path, "jobs", at)), is_only=len(jobs) == 1) for at, job in enumerate(jobs)]
        rest = {key: self.word(value) for key, value in data.items() if key not in ("jobs", "output", "input")}
        tree = {**rest, **_one_or_several("job", found)}
        if data.get("output") is not None:
            tree["output"] = self.writer.value(data["output"], output=self._last(plan, found))
        return tree

    def _last(self, plan: Plan | None, jobs: list[Tree]) -> str:
        terminals = plan.graph.terminals if plan else ()
        if len(jobs) == 1:
            return str(jobs[0].get("id") or "__job__")
        return terminals[-1] if terminals else ""

    def job(self, data: Tree, job: Job | None, *, is_only: bool) -> Tree:
        """A job, with an id where there are several, and with every job that it waits for."""
        tree: Tree = {}
        if job is not None and not is_only:
            tree["id"] = job.id
        for key, value in data.items():
            if key in ("do", "steps", "component"):
                tree[key] = self._inside(key, value)
            else:
                tree[key] = self.word(value) if key in _WORDS or key == "depends_on" else self.writer.value(value)
        self._cases(tree)
        if job is not None and job.depends_on:
            tree["depends_on"] = [group[0] if len(group) == 1 else list(group) for group in job.depends_on]
        return tree

    def word(self, value: Any) -> Any:
        """A text for people, in quotes where a variable is put into it; what else looks like a reference is an example."""
        if not (isinstance(value, str) and "${env." in value):
            return value
        return _Text(self.writer.text(value))

    def _cases(self, job: Tree) -> None:
        """The values of a switch's cases, which are text for the peer."""
        cases = job.get("cases")
        for case in cases if isinstance(cases, list) else [cases, job]:
            if isinstance(case, dict) and isinstance(case.get("value"), int | float):
                case["value"] = _text(case["value"])
                self.note(say("a case of model-compose's `switch` is text, which no number equals"))

    def _inside(self, key: str, value: Any) -> Any:
        if key == "component":
            return self.component(value) if isinstance(value, dict) else value
        if isinstance(value, list):
            return [self.job(one, None, is_only=True) for one in value]
        return self.job(value, None, is_only=True) if isinstance(value, dict) else value

    # -- components
    def component(self, data: Tree) -> Tree:
        """A component and its actions."""
        kind = str(data.get("type"))
        if kind not in _SHARED_TYPES and kind not in LATER_COMPONENT_TYPES and "${" not in kind:
            raise no_peer(f"type: {kind}")
        actions = [dict(one or {}) for one in data.get("actions") or [{}]]
        own = {key: value for key, value in data.items() if key != "actions"}
        if kind == "http-client":
            own, actions = self.http(own, actions)
        tree = {key: self.word(value) if key in _WORDS else self.writer.value(value) for key, value in own.items()}
        found = [{key: self.word(value) if key in _WORDS else self.writer.value(value) for key, value in one.items()} for one in actions]  # fmt: skip
        return {**tree, **_one_or_several("action", [one for one in found if one] or [])}

    def http(self, own: Tree, actions: list[Tree]) -> tuple[Tree, list[Tree]]:
        """An http-client in the peer's words: what it does not fill on the component is moved to the actions."""
        own = self._without(own)
        headers = own.get("headers") or {}
        moved = headers if isinstance(headers, str) or any(map(_is_filled, headers.values())) else {}
        if moved:
            del own["headers"]
        base = str(own.get("base_url") or "")
        actions = [self._http_action(self._without(one), moved or {}, headers, base) for one in actions]
        if _is_filled(base):
            del own["base_url"]
        return {**own, **({"headers": _texts(own["headers"])} if own.get("headers") else {})}, actions

    def _without(self, data: Tree) -> Tree:
        left = [key for key in _WITHOUT if key in data]
        if left:
            names = listing(f"`{key}`" for key in left)
            self.note(say("model-compose has no {names} for requests: left out", names=names))
        return {key: value for key, value in data.items() if key not in _WITHOUT}

    def _http_action(self, action: Tree, moved: Any, headers: Any, base: str) -> Tree:
        if action.get("stream_format") not in (None, *_STREAM_FORMATS):
            raise no_peer(f"stream_format: {action['stream_format']}")
        if isinstance(method := action.get("method"), str):
            if method.upper() in ("HEAD", "OPTIONS"):
                raise no_peer(f"method: {method}")
            action["method"] = method.upper()
        path = action.get("path")
        if path is not None and (_is_filled(base) or "?" in str(path)):
            action["endpoint"] = f"{base.rstrip('/')}/{str(action.pop('path')).lstrip('/')}"
        elif path is None and "endpoint" not in action and base:
            action["endpoint"] = base
        own = {**moved, **(action.get("headers") or {})} if isinstance(moved, dict) else action.get("headers") or {}
        names = {str(name).lower() for layer in (headers, own) if isinstance(layer, dict) for name in layer}
        if isinstance(action.get("body"), dict | list) and "content-type" not in names:
            own = {**own, "Content-Type": "application/json"}
        if own:
            action["headers"] = _texts(own)
        if isinstance(action.get("params"), dict):
            action["params"] = {key: _text(value) if isinstance(value, bool) else value for key, value in action["params"].items()}  # fmt: skip
        return action


def _one_or_several(name: str, found: list[Any]) -> Tree:
    """`job: {...}` for one, `jobs: [...]` for several."""
    return {} if not found else {name: found[0]} if len(found) == 1 else {f"{name}s": found}


def _is_filled(value: Any) -> bool:
    """Whether a value is made of more than variables of the environment."""
    return isinstance(value, str) and any(isinstance(part, Reference) and part.source != "env" for part in parse(value))


def _texts(headers: Mapping[str, Any]) -> Tree:
    """Headers, whose values are text for the peer."""
    return {name: None if value is None else _text(value) for name, value in headers.items()}


class _Text(str):
    """A text that is written in quotes, whatever stands in it when its variables are filled."""

    __slots__ = ()


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return _Text("true" if value else "false")
    return _Text(value)


# -- writing it ------------------------------------------------------------------------------------------------------------


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, and those that a variable is put into in quotes: the peer fills it in before it parses."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Lists stand further in than their key."""
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        """A value that stands in two places is written twice."""
        return True


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    is_whole = text.startswith("${env.") and text.endswith("}") and text.count("${") == 1
    is_quoted = "${env." in text and (isinstance(text, _Text) or not is_whole)
    style = "|" if "\n" in text.strip("\n") and "${env." not in text else '"' if is_quoted else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style)


_Dumper.add_representer(str, _string)
_Dumper.add_representer(_Text, _string)


def _dumped(tree: Tree) -> str:
    text: str = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    return text
