"""What an agent offers its model: workflows, Python functions, tools of MCP servers, and tools that people answer for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from composemagic.components.calling import as_function
from composemagic.components.mcp_client import McpClient, McpSettings
from composemagic.components.tool import Tool
from composemagic.errors import RunError, suggest
from composemagic.language.template import Template, compile_template
from composemagic.words import say
from composemagic.workflow.component import Action, Context, Described, Settings
from composemagic.workflow.inputs import check_values, input_schema
from composemagic.workflow.schema import kind

__all__ = ["Approval", "Offer", "ToolSettings", "misfits", "offers"]

_RESULT = compile_template("${result}")
_KINDS = ("workflow", "function", "mcp", "parameters")


class Approval(Settings):
    """`message`: what the person is asked."""

    message: str | None = None


class ToolSettings(Settings):
    """`workflow`: an id; `function`: the name of a Python function; `mcp`: a server, all of whose tools are offered (`url`, or
    `command`); `parameters`: the JSON Schema of a tool that whoever runs the workflow answers for. `name` and `description`:
    what the model is told; `interrupt`: ask a person before each call."""

    workflow: str | None = None
    function: str | None = None
    mcp: McpSettings | None = None
    parameters: dict[str, Any] | None = None
    name: str | None = None
    description: str | None = None
    interrupt: Approval | Any = None


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool, the question for a person before each call (None: nobody is asked), and whether people answer for it."""

    tool: Tool
    question: str | None = None
    is_outside: bool = False

    @property
    def schema(self) -> dict[str, Any]:
        """What the model is told of it."""
        told = {"name": self.tool.name, "description": self.tool.description, "parameters": dict(self.tool.parameters)}
        return {key: value for key, value in told.items() if key != "description" or value}


def misfits(tools: Any) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """What is wrong with `tools` as written, and where: a sentence and a path of keys."""
    for at, entry in enumerate(tools if isinstance(tools, list) else ()):
        path = ("tools", at)
        if isinstance(entry, dict):
            yield from _wrong(entry, path)
        elif not isinstance(entry, str) or not entry:
            sentence = say(
                "a tool is the id of a workflow, the name of a function, or a mapping, not {value}", value=kind(entry)
            )
            yield sentence, path


def _wrong(entry: Mapping[str, Any], path: tuple[str | int, ...]) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    if len([key for key in _KINDS if entry.get(key) is not None]) != 1:
        yield say("a tool has one of `workflow`, `function`, `mcp` and `parameters`"), path
    if entry.get("parameters") is not None and not entry.get("name"):
        yield say("a tool with `parameters` needs a `name`"), path
    server = entry.get("mcp")
    if isinstance(server, dict):
        yield from (
            (sentence, (*path, "mcp")) for sentence, about, *_ in McpClient.faults(server, _NO_TOOL) if about is None
        )
        if "name" in entry or "description" in entry:
            yield say("the tools of an MCP server have names and descriptions of their own"), path
    if not isinstance(entry.get("interrupt"), bool | dict | None):
        yield say("`interrupt` is true, or a mapping with a `message`"), (*path, "interrupt")


_NO_TOOL = {"method": "list-tools"}


async def offers(entries: Iterable[Any], action: Action, context: Context, client: McpClient) -> dict[str, Offer]:
    """The tools that the settings name, by the name the model is told. Raises RunError."""
    found: dict[str, Offer] = {}
    for entry in entries:
        for offer in await _offered({"": entry} if isinstance(entry, str) else entry, action, context, client):
            if offer.tool.name in found:
                raise RunError("tool", say("two tools of the agent are called `{name}`", name=offer.tool.name))
            found[offer.tool.name] = offer
    return found


async def _offered(entry: Mapping[str, Any], action: Action, context: Context, client: McpClient) -> list[Offer]:
    tools, is_outside = [_anybodys(entry)], True
    if entry.get("mcp") is not None:
        tools, is_outside = await client.tools(_of_server(entry["mcp"], action, client), context), False
    elif entry.get("parameters") is None:
        tools, is_outside = [_named(entry, context)], False
    return [Offer(_renamed(tool, entry), _question(entry, tool.name), is_outside) for tool in tools]


def _renamed(tool: Tool, entry: Mapping[str, Any]) -> Tool:
    name, words = entry.get("name") or tool.name, entry.get("description") or tool.description
    return replace(tool, name=str(name), description=str(words))


def _question(entry: Mapping[str, Any], name: str) -> str | None:
    asks = entry.get("interrupt")
    if not asks and asks != {}:
        return None
    message = asks.get("message") if isinstance(asks, dict) else None
    return str(message) if message else say("The agent wants to use the tool `{name}`.", name=entry.get("name") or name)


# -- what stands behind a tool -------------------------------------------------------------------------------------------


def _anybodys(entry: Mapping[str, Any]) -> Tool:
    """A tool that this run does not know how to call."""
    return Tool(str(entry.get("name")), "", entry.get("parameters") or {}, _not_called)


async def _not_called(arguments: Mapping[str, Any]) -> Any:
    raise AssertionError("people answer for it")  # pragma: no cover


def _named(entry: Mapping[str, Any], context: Context) -> Tool:
    """A workflow or a function; a bare name is that of a workflow, if there is one. Raises RunError."""
    if entry.get("function") is not None:
        return _function(str(entry["function"]), context)
    name = str(entry.get("workflow") or entry.get(""))
    try:
        return _workflow(context.workflow(name), name, context)
    except RunError as missing:
        if entry.get("workflow") is not None:
            raise
        try:
            return _function(name, context)
        except RunError as also:
            raise _neither(name, missing, also) from None


def _neither(name: str, no_workflow: RunError, no_function: RunError) -> RunError:
    """The failure that says most: one that knows a near name, or why a function that is there is not called."""
    if no_workflow.sentence.endswith("?"):
        return no_workflow
    if no_function.sentence != say("there is no Python function `{name}`", name=name):
        return no_function
    sentence = say("the agent's tool `{name}` is no workflow of this document and no Python function", name=name)
    return RunError("tool", sentence)


def _function(name: str, context: Context) -> Tool:
    return as_function(context.function(name), name).tool()


def _workflow(described: Described, name: str, context: Context) -> Tool:
    """A workflow as a tool: its inputs are the arguments, its output, streams collected, the result."""
    schema = input_schema(described.inputs)
    is_mapping = schema.get("type", "object") == "object"
    whole = {"type": "object", "properties": {"input": schema}, "required": ["input"]}
    parameters = {"type": "object", "properties": {}, **schema} if is_mapping else whole
    call = partial(_run, described, name, context, is_mapping)
    title = described.title if described.title not in (described.id, described.name) else ""
    return Tool(described.name or described.id, described.description.strip() or title, parameters, call)


async def _run(
    described: Described, name: str, context: Context, is_mapping: bool, arguments: Mapping[str, Any]
) -> Any:
    given = dict(arguments) if is_mapping else arguments.get("input")
    if isinstance(given, dict):
        _check(described, given)
    return await context.render(_RESULT, {"result": await context.run_workflow(name, given)})


def _check(described: Described, given: Mapping[str, Any]) -> None:
    """Raise RunError, in words for the model, for what the workflow does not take and what it lacks."""
    inputs = described.inputs
    known = list(dict.fromkeys(one.name.partition(".")[0].partition("[")[0] for one in inputs))
    unknown = [] if any(one.is_open for one in inputs) else [key for key in given if key not in known]
    if unknown:
        near = suggest(unknown[0], [key for key in known if key not in given])
        takes = near or say("; it takes {names}", names=", ".join(f"`{key}`" for key in known) or say("nothing"))
        raise RunError("input", say("the tool takes no `{key}`{near}", key=unknown[0], near=takes))
    check_values(inputs, given)


def _of_server(settings: Mapping[str, Any], action: Action, client: McpClient) -> Action:
    """The action that stands for an MCP server's settings."""
    constants = {key: Template(partial(_giving, value), ()) for key, value in settings.items()}
    return Action("mcp", client, {}, constants, None, action.path)


def _giving(value: Any, scope: Mapping[str, Any]) -> Any:
    return value
