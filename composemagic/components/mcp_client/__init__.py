"""`type: mcp-client`: a tool of an MCP server, by the official SDK (`pip install "composemagic[mcp]"`).

    component:
      type: mcp-client
      command: [python, weather.py]        # or, for a server that runs already: url: http://127.0.0.1:8000/mcp
      actions:
        - id: weather
          default: true
          tool: weather
          arguments: {city: "${input.city}"}
          output: ${response[0]}
        - id: what-there-is
          method: list-tools

`response` is the list of what the tool gives: texts as text, images and audio as base64, resources as their text or base64, links
as addresses; of a tool that gives an object, its JSON is the first text (`${response[0] as json}`). `method: list-tools`
gives a list of `{name, description, parameters}` instead. A tool that fails fails the run with its own words.

`command` (a list of words, no shell reads it) starts a process, so Python has to allow it: `composemagic.allow("mcp-client")`.
It runs in the document's folder, or in `working_dir` below it, with a small environment and `env`. `url` and `headers` speak
streamable HTTP. The session is opened by the first action and shared by all runs of the workflow; it is closed, and its process
ended, when the workflow is gone or Python ends. `timeout` (60 s) is for opening it and for each call.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ClassVar, Literal

from composemagic.components.given import Given, holds_template, seconds
from composemagic.components.mcp_client.session import ByCommand, ByUrl, Session, failure
from composemagic.components.tool import Tool
from composemagic.errors import RunError, suggest
from composemagic.transport.quiet import quiet
from composemagic.transport.reach import is_confined, same_origin
from composemagic.words import listing, say
from composemagic.workflow.component import Action, Component, Context, Settings, SettingsModel, Value

__all__ = ["McpClient"]

_SECONDS = 60.0
_PAGES = 100
_SESSIONS = 8  # of one component: headers that a template makes could make any number
_METHODS = ("call-tool", "list-tools")


class McpSettings(Settings):
    """`url`: where a running server answers; `headers`: what it is sent; `command`: the words that start one as a process;
    `env`: variables for that process; `working_dir`: the folder it runs in; `timeout`: for opening and for a call, 60 s."""

    url: str | None = None
    headers: dict[str, Any] | None = None
    command: list[Any] | None = None
    env: dict[str, Any] | None = None
    working_dir: str | None = None
    timeout: Any = None


class McpAction(Settings):
    """`tool`: the name of a tool; `arguments`: what it is given, by name; `method`: `call-tool` or `list-tools`;
    `headers`: besides the component's; `timeout`: of this call."""

    method: Literal["call-tool", "list-tools"] | None = None
    tool: str | None = None
    arguments: Any = None
    headers: dict[str, Any] | None = None
    timeout: Any = None


class McpClient(Component):
    """Calls tools of an MCP server. Source for `output`: `response`."""

    type: ClassVar[str] = "mcp-client"
    sources: ClassVar[tuple[str, ...]] = ("response",)
    text_fields: ClassVar[frozenset[str]] = frozenset({"url", "headers", "tool", "env", "working_dir"})
    settings: ClassVar[SettingsModel] = McpSettings
    action: ClassVar[SettingsModel] = McpAction

    def __init__(self) -> None:
        self._sessions: dict[ByUrl | ByCommand, Session] = {}
        weakref.finalize(self, _close_all, self._sessions).atexit = False

    @classmethod
    def faults(cls, settings: Mapping[str, Any], action: Mapping[str, Any]) -> Iterable[tuple[Any, ...]]:
        if bool(settings.get("url")) == bool(settings.get("command")):
            yield say("an mcp-client has `url`, where a server answers, or `command`, which starts one"), None
        if action.get("method") == "list-tools":
            if "tool" in action:
                yield say("`method: list-tools` calls no tool"), "tool"
        elif not action.get("tool"):
            yield say("an mcp-client action needs `tool`, the name of a tool, or `method: list-tools`"), None
        arguments = action.get("arguments")
        if arguments is not None and not isinstance(arguments, dict) and not holds_template(arguments):
            yield say("`arguments` is a mapping of names to values"), "arguments"

    async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
        """Call the tool, or list the tools, and yield one Value. Raises RunError."""
        given = Given(action, context)
        async with self._client(action, context) as (client, session, timeout):
            if (await given.get("method")) == "list-tools":
                found = await _guarded(_listed(client), session, timeout)
                yield Value(
                    [
                        {"name": one.name, "description": one.description or "", "parameters": one.input_schema}
                        for one in found
                    ]
                )
                return
            arguments = await given.get("arguments", _mapping, {})
            yield Value(await _call(client, session, timeout, str(await given.get("tool")), arguments))

    async def tools(self, action: Action, context: Context) -> list[Tool]:
        """The server's tools, for an agent; each call opens the session again where it has been closed. Raises RunError."""
        async with self._client(action, context) as (client, session, timeout):
            found = await _guarded(_listed(client), session, timeout)
        return [
            Tool(one.name, one.description or "", one.input_schema, partial(self._use, action, context, one.name))
            for one in found
        ]

    async def _use(self, action: Action, context: Context, name: str, arguments: Mapping[str, Any]) -> Any:
        async with self._client(action, context) as (client, session, timeout):
            parts = await _call(client, session, timeout, name, arguments)
        return parts[0] if len(parts) == 1 else parts

    @asynccontextmanager
    async def _client(self, action: Action, context: Context) -> AsyncIterator[tuple[Any, Session, float]]:
        """The open client of the server that the settings name."""
        timeout = await Given(action, context).get("timeout", seconds, _SECONDS)
        session = self._session(await _server(action, context), timeout)
        session.users += 1
        try:
            yield await session.client(), session, timeout
        finally:
            session.users -= 1

    def _session(self, server: ByUrl | ByCommand, timeout: float) -> Session:
        session = self._sessions.get(server)
        if session is None or not session.usable or session.loop is not asyncio.get_running_loop():
            self._make_room()
            session = self._sessions[server] = Session(server, timeout)
        return session

    def _make_room(self) -> None:
        """Close the oldest that nobody uses."""
        idle = [server for server, session in self._sessions.items() if not session.users]
        for server in idle[: max(0, len(self._sessions) - _SESSIONS + 1)]:
            self._sessions.pop(server).close()


async def _server(action: Action, context: Context) -> ByUrl | ByCommand:
    """What the settings name. Raises RunError where Python has not allowed a process."""
    given = Given(action, context)
    command = await given.get("command")
    if command is not None:
        context.demand("mcp-client")
        if (
            not isinstance(command, list)
            or not command
            or any(isinstance(word, dict | list | None) for word in command)
        ):
            raise RunError("input", say("`command` is a list of words, such as [python, server.py]"))
        folder = context.file(str(await given.get("working_dir", default=".")))
        return ByCommand(tuple(map(str, command)), str(folder), _pairs(await given.get("env", _mapping, {})))
    of_component = await context.sealed(action.settings.get("headers")) or {}
    headers = {**of_component, **(await context.sealed(action.fields.get("headers")) or {})}
    url, headers, _ = await context.open(str(await given.get("url")), headers)
    if is_confined() and not same_origin(
        url, str(context.authored(action.fields.get("url") or action.settings.get("url")))
    ):
        raise RunError("address", say("the address of an mcp-client is the YAML's own, which a request cannot fill in"))
    found = ByUrl(url, _pairs(headers))
    if context.is_offline:
        raise RunError(
            "replay",
            say("the MCP server {name} is not recorded, and a replay asks nobody on the network", name=found.name),
        )
    return found


def _mapping(value: Any, key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RunError("input", say("`{key}` is a mapping of names to values", key=key))
    return value


def _pairs(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((str(name), str(value)) for name, value in values.items() if value is not None))


async def _call(client: Any, session: Session, timeout: float, name: str, arguments: Mapping[str, Any]) -> list[Any]:
    """What a tool gives, part by part. Raises RunError where it fails and where there is none of this name."""
    try:
        result = await _guarded(client.call_tool(name, dict(arguments)), session, timeout)
    except RunError:
        if session.usable:
            await _check_name(client, session, timeout, name)
        raise
    parts = [_part(one) for one in result.content]
    if result.is_error:
        await _check_name(client, session, timeout, name)
        words = " ".join(" ".join(str(part) for part in parts).split())
        raise RunError("tool", say("the tool `{name}` failed: {words}", name=name, words=words))
    return parts


async def _listed(client: Any) -> list[Any]:
    """All tools, page by page; a server whose pages have no end is heard for 100 of them."""
    tools: list[Any] = []
    cursor = None
    for _ in range(_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if not cursor:
            break
    return tools


async def _check_name(client: Any, session: Session, timeout: float, name: str) -> None:
    known = [one.name for one in await _guarded(_listed(client), session, timeout)]
    if name not in known:
        near = suggest(name, known) or say("; it has {names}", names=listing(f"`{one}`" for one in known))
        raise RunError("tool", say("the MCP server has no tool `{name}`{near}", name=name, near=near))


async def _guarded(work: Any, session: Session, timeout: float) -> Any:
    """Await something of the SDK's; what it raises is a RunError, and a session that broke is opened anew the next time."""
    try:
        with quiet():  # the SDK sends in the context of who calls
            async with asyncio.timeout(timeout):
                return await work
    except Exception as error:
        code = getattr(getattr(error, "error", None), "code", None)
        if code is not None and code != _CONNECTION_CLOSED:
            raise RunError(
                "tool", say("the MCP server {name} refused: {words}", name=session.server.name, words=error)
            ) from None
        if not isinstance(error, TimeoutError):
            session.close()
        raise failure(error, session.server, timeout) from None


_CONNECTION_CLOSED = -32000  # the SDK's own code for a server that is gone


def _part(content: Any) -> Any:
    """One part of a tool's answer, as model-compose gives it."""
    match content.type:
        case "text":
            return content.text
        case "image" | "audio":
            return content.data
        case "resource":
            return getattr(content.resource, "text", None) or getattr(content.resource, "blob", None)
        case "resource_link":
            return str(content.uri)
    return None


def _close_all(sessions: dict[ByUrl | ByCommand, Session]) -> None:
    for session in sessions.values():
        session.close()
