"""Workflows behind two ports: the API on one, the web page on the other, with the API beside it under the same origin."""

from __future__ import annotations

import asyncio
import atexit
import html
import re
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.routing import BaseRoute

from composemagic.engine.loop import private_loop
from composemagic.errors import UsageError
from composemagic.server import app, page
from composemagic.server.guard import Guard, name_of
from composemagic.server.limits import Limits
from composemagic.server.listener import listeners_of
from composemagic.server.ports import Port, bound, first_of
from composemagic.server.tasks import Tasks
from composemagic.transport.address import is_loopback
from composemagic.words import say
from composemagic.workflow.controller import BASE_PATH, PAGE_PORT, PORT, controller_of

if TYPE_CHECKING:
    import socket

    from composemagic.api import Workflow

__all__ = ["Serving", "Wanted", "for_others", "of_workflows", "serve", "wanted"]

_STOP_SECONDS = 5.0
_LEAVE_SECONDS = 5.0
_SHORTEST_TOKEN = 8
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, 2.1


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where and how to serve. `port` and `page_port` 0 are any that is free, `page_port` None is no page.

    `base_path` None is `/api`, and the root as well, where programs that know model-compose look. `gives_way`: where a port
    is taken, any other will do. `hosts` are further names of this server.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    page_port: int | None = PAGE_PORT
    base_path: str | None = None
    token: str | None = field(default=None, repr=False)
    hosts: tuple[str, ...] = ()
    at_once: int | None = None
    gives_way: bool = False
    limits: Limits = field(default_factory=Limits)


def wanted(
    workflow: Workflow,
    *,
    port: int | None = None,
    page_port: int | None = None,
    host: str = "127.0.0.1",
    token: str | bool | None = None,
    hosts: Iterable[str] = (),
    with_page: bool = True,
    gives_way: bool = False,
) -> Wanted:
    """What was asked for, else what the workflow's document says, else the defaults. Raises UsageError.

    Of `controller.host` nothing is taken: a document does not open a computer to others.
    """
    says = controller_of(workflow.document.get("controller"))
    chosen = next((one for one in (port, says.port) if one is not None), PORT)
    beside = next((one for one in (page_port, says.page_port if port is None else None) if one is not None), None)
    if beside is None:
        beside = 0 if chosen == 0 else PAGE_PORT if chosen == PORT else chosen + 1
    chosen_token = _token(token)
    if not is_loopback(host) and chosen_token is None:
        raise UsageError(
            say(
                "`{host}` can be reached from other computers, so a token is needed: `--token`, in Python `token=True`",
                host=host,
            )
        )
    return Wanted(
        host=host,
        port=_checked(chosen),
        page_port=_checked(beside) if with_page else None,
        base_path=says.base_path,
        token=chosen_token,
        hosts=tuple(_name(one) for one in hosts),
        at_once=says.at_once,
        gives_way=gives_way and port is None,
    )


def _checked(port: int) -> int:
    if not 0 <= port <= 65535:
        raise UsageError(say("a port is a number from 0 to 65535, not {port}", port=port))
    return port


def _token(given: str | bool | None) -> str | None:
    """The token that was given, a new one for True. Raises UsageError for one that is guessed or cannot be sent."""
    if given is True:
        return secrets.token_urlsafe(24)
    if given is None or given is False:
        return None
    if len(given) < _SHORTEST_TOKEN or not _TOKEN.fullmatch(given):
        raise UsageError(
            say(
                "a token is {count} or more letters, digits and `-._~+/=`; without a value one is made for you",
                count=_SHORTEST_TOKEN,
            )
        )
    return given


def _name(host: str) -> str:
    found = name_of(host)
    if found is None:
        raise UsageError(say("`{host}` is no host name", host=host))
    return found


class Serving:
    """Workflows that are being served: `url` of the API, `page_url` of the page, `token` where one is needed.

    Ends with `stop()`, with a `with` block, or with the process.
    """

    def __init__(self, workflows: Sequence[Workflow], asked: Wanted) -> None:
        self._asked = asked
        self._tasks = Tasks(_told_apart(workflows), **({} if asked.at_once is None else {"at_once": asked.at_once}))
        self._ended = threading.Event()
        self.workflows = tuple(self._tasks.workflows.values())
        self.token = asked.token
        heard = _heard(workflows)
        sockets = _sockets(asked)
        self.port, *others = (one.getsockname()[1] for one in sockets)
        self.page_port: int | None = others[0] if others else None
        self._ports = [Port(made, one, asked.limits) for made, one in zip(self._applications(), sockets, strict=False)]
        self._callback_ports = tuple(heard)
        self._ports += self._listeners(heard, sockets)
        private_loop().submit(self._open()).result()

    # -- where -----------------------------------------------------------------------------------------------------------
    @property
    def url(self) -> str:
        """The API's address."""
        return f"{self._origin(self.port)}{self.base_path}"

    @property
    def page_url(self) -> str | None:
        """The page's address, with the token that opens it; None where there is no page."""
        if self.page_port is None:
            return None
        return f"{self._origin(self.page_port)}/" + (f"?token={quote(self.token, safe='')}" if self.token else "")

    @property
    def callback_urls(self) -> list[str]:
        """Where the document's listeners hear callbacks."""
        return [self._origin(port) for port in self._callback_ports]

    @property
    def base_path(self) -> str:
        """The path before those of the API."""
        return BASE_PATH if self._asked.base_path is None else self._asked.base_path

    @property
    def is_running(self) -> bool:
        """Whether it still serves."""
        return not self._ended.is_set()

    def _origin(self, port: int) -> str:
        host = self._asked.host.strip("[]")
        name = {"127.0.0.1": "localhost", "0.0.0.0": "localhost", "::": "::1"}.get(host, host)
        return f"http://{f'[{name}]' if ':' in name else name}:{port}"

    # -- its end ---------------------------------------------------------------------------------------------------------
    def stop(self, seconds: float = _STOP_SECONDS) -> None:
        """Stop serving: no new runs, those under way have so many seconds to end; then they are stopped, and say so."""
        if self.is_running:
            private_loop().submit(self._close(seconds)).result(seconds + _LEAVE_SECONDS)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it has been stopped, at most so many seconds; False where it still serves."""
        return self._ended.wait(seconds)

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- how it shows itself ---------------------------------------------------------------------------------------------
    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> list[str]:
        if not self.is_running:
            return [say("not served any more")]
        lines = [say("API:  {url}", url=self.url)]
        if self.page_url is not None:
            lines.append(say("Page: {url}", url=self.page_url))
        lines += [say("Callbacks: {url}", url=url) for url in self.callback_urls]
        return lines

    def _repr_html_(self) -> str:
        if not self.is_running:
            return html.escape(say("not served any more"))
        rows = [(say("API"), self.url, f"{self.url}/workflows")]
        if self.page_url is not None:
            rows.insert(0, (say("Page"), self.page_url, self.page_url))
        cells = "".join(
            f'<div>{html.escape(name)}: <a href="{html.escape(link)}" target="_blank" rel="noopener noreferrer">'
            f"{html.escape(shown)}</a></div>"
            for name, shown, link in rows
        )
        return f'<div class="composemagic-serving">{cells}</div>'

    # -- on the loop -----------------------------------------------------------------------------------------------------
    def _applications(self) -> list[Any]:
        asked = self._asked
        at_root = app.routes(self._tasks, base_path="") if asked.base_path is None else []
        api = app.application(base_path=self.base_path, tasks=self._tasks, more=at_root)
        routes = [
            *page.routes(self._tasks, base_path=self.base_path, most_bytes=asked.limits.body),
            *app.routes(self._tasks, base_path=self.base_path),
        ]
        shown = page.spoken(app.refusing(Starlette(routes=routes)))
        hosts = self._hosts()
        return [
            Guard(api, hosts=hosts, token=self.token, limits=asked.limits),
            Guard(shown, hosts=hosts, token=self.token, limits=asked.limits, is_page=True),
        ]

    def _hosts(self) -> tuple[str, ...]:
        """The names by which requests reach it."""
        host = self._asked.host.strip("[]").partition("%")[0]
        return (*self._asked.hosts, *(() if host in ("0.0.0.0", "::") else (host,)))

    def _listeners(self, heard: Mapping[int, list[BaseRoute]], sockets: list[socket.socket]) -> list[Port]:
        """The ports for callbacks, behind the same guard. Raises UsageError where one cannot be had."""
        asked = self._asked
        try:
            more = [bound(asked.host, port) for port in heard]
        except BaseException:
            for one in sockets:
                one.close()
            raise
        applications = (app.refusing(Starlette(routes=routes)) for routes in heard.values())
        guards = (Guard(one, hosts=self._hosts(), token=self.token, limits=asked.limits) for one in applications)
        return [Port(guard, one, asked.limits) for guard, one in zip(guards, more, strict=True)]

    async def _open(self) -> None:
        for port in self._ports:
            await port.open()

    async def _close(self, seconds: float) -> None:
        try:
            await self._tasks.close(seconds)
        finally:
            self._ended.set()
            await asyncio.gather(*(port.close() for port in self._ports))


def _told_apart(workflows: Sequence[Workflow]) -> list[Workflow]:
    """The workflows for requests from outside. Raises UsageError where two have one id."""
    ids = [one.id for one in workflows]
    if twice := [name for name in dict.fromkeys(ids) if ids.count(name) > 1]:
        raise UsageError(say("two workflows have the id `{id}`; give each its own `id:`", id=twice[0]))
    return [for_others(one) for one in workflows]


def for_others(workflow: Workflow) -> Workflow:
    """The same workflow for requests from outside: what they fill in does not lead to addresses of this network."""
    return workflow.around(replace(workflow.surroundings, served=True))


def _heard(workflows: Sequence[Workflow]) -> dict[int, list[BaseRoute]]:
    """What is heard on which port, of the listeners of all documents. Raises DocumentError."""
    found: dict[int, list[BaseRoute]] = {}
    for one in {id(one.plan.family): one for one in workflows}.values():
        for listener in listeners_of(one.plan, one.surroundings.env):
            found.setdefault(listener.port, []).extend(listener.routes())
    return found


def _sockets(asked: Wanted) -> list[socket.socket]:
    """The API's and the page's. Raises UsageError."""
    find = first_of if asked.gives_way else bound
    first = find(asked.host, asked.port)
    try:
        return [first] if asked.page_port is None else [first, find(asked.host, asked.page_port)]
    except BaseException:
        first.close()
        raise


_living: list[Serving] = []


def serve(workflows: Sequence[Workflow], asked: Wanted) -> Serving:
    """Serve workflows on the private loop; returns when requests are answered. Raises UsageError.

    What this process has served on the same port so far is stopped: a cell that is run again is not in its own way.
    """
    for former in [one for one in _living if _is_former(one, workflows, asked)]:
        former.stop(0)
    _living[:] = [one for one in _living if one.is_running]
    serving = Serving(workflows, asked)
    _living.append(serving)
    atexit.unregister(_stop_all)
    atexit.register(_stop_all)  # the last one is called first, before the loop ends
    return serving


def of_workflows(workflows: Sequence[Workflow], **asked: Any) -> Serving:
    """Workflows as Python asks for them: a default port that is taken gives way to a free one. Raises UsageError."""
    return serve(workflows, wanted(workflows[0], gives_way=True, **asked))


def _is_former(one: Serving, workflows: Sequence[Workflow], asked: Wanted) -> bool:
    """Whether it is in the way. Where another port will do, only the same workflows are served anew."""
    is_there = asked.port != 0 and asked.port == one.port
    same = [each.title for each in one.workflows] == [each.title for each in workflows]
    return is_there and (same or not asked.gives_way)


def _stop_all() -> None:
    """The process ends: streams under way end with an event."""
    for one in _living:
        if private_loop().alive:
            one.stop(0)
