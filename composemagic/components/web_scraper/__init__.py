"""`type: web-scraper`: fetches a web page, or takes HTML that is there, and gives parts of it.

    workflow:
      title: The talks of a conference
      job: {component: talks, output: "${output}"}
    component:
      id: talks
      type: web-scraper
      action:
        url: ${input.url}
        selector: li.talk
        multiple: true
        fields:
          title: h2
          speaker: .speaker
          link: {selector: a, attribute: href}
          minutes: {xpath: "number(.//time/@data-minutes)"}

| setting of the action | what it says |
|---|---|
| `url` | the page's address, or a list of addresses, which gives a list of results |
| `html` | in place of `url`: the page's text, or a list of texts |
| `selector` | a CSS selector; or a list, or a mapping of names, for several parts of one page |
| `xpath` | in place of `selector`: an XPath 1.0 expression, which may also count, or give texts and attributes |
| `extract_mode` | text, which it is where nothing is said; html; or attribute |
| `attribute` | the name of the attribute that is wanted in place of the text |
| `multiple` | true: a list of all that match; else the first one, null where there is none |
| `fields` | names and selectors, looked for inside each element that `selector` finds: the answer is objects |
| `headers`, `cookies` | sent with the request; also on the component |
| `timeout` | how long the request may take, in seconds or as a text such as `5s`; also on the component |

A field is a selector, or a mapping with `selector` or `xpath` (from the element on: `.//a`), `extract_mode`, `attribute` and
`multiple`. Text is what a reader sees, with one blank where there are several; without any selector it is the text of the whole
page. A selector that matches nothing is told as a note. Pages that scripts of their own make are not supported: there is no
browser here. The request follows the rules of `http-client`; no robots.txt is read. It needs
`pip install "composemagic[scrape]"`. Source of `output`: `result`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Literal

from composemagic.components.given import Given, flag, misfits, seconds
from composemagic.components.web_scraper.page import Page, Wanted, wanted, wanted_fields
from composemagic.errors import RunError
from composemagic.language.casts import to_text
from composemagic.language.template import Spell
from composemagic.transport.address import spell_in_address
from composemagic.transport.http import Request, Timeouts, new_client, send
from composemagic.transport.reach import is_confined, same_origin
from composemagic.words import say
from composemagic.workflow.component import Action, Component, Context, Settings, SettingsModel, Value
from composemagic.workflow.schema import kind

__all__ = ["WebScraper"]

_BROWSER = ("enable_javascript", "wait_for", "wait_until", "submit")
_PAGES = ("text/", "application/xhtml+xml", "application/xml", "application/rss+xml", "application/atom+xml")

Take = Callable[[Page], Any]


class ScraperSettings(Settings):
    """What every action of the component sends and how long it waits."""

    headers: Any = None
    cookies: Any = None
    timeout: Any = None


class ScraperAction(Settings):
    """The table at the top of this page says what each is for; the last five are the peer's."""

    url: Any = None
    html: Any = None
    selector: Any = None
    xpath: Any = None
    extract_mode: Literal["text", "html", "attribute"] | None = None
    attribute: str | None = None
    multiple: Any = None
    fields: Any = None
    headers: Any = None
    cookies: Any = None
    timeout: Any = None
    enable_javascript: Any = None
    wait_for: Any = None
    wait_until: Any = None
    submit: Any = None
    batch_size: Any = None


class WebScraper(Component):
    """Gives parts of web pages. Source for `output`: `result`."""

    type: ClassVar[str] = "web-scraper"
    text_fields: ClassVar[frozenset[str]] = frozenset({"url", "headers", "cookies", "attribute"})
    spellings: ClassVar[Mapping[str, Spell]] = {"url": spell_in_address}
    settings: ClassVar[SettingsModel] = ScraperSettings
    action: ClassVar[SettingsModel] = ScraperAction

    @classmethod
    def not_run(cls, settings: Mapping[str, Any], action: Mapping[str, Any]) -> str | None:
        """What only a browser can do."""
        wanted = next((key for key in _BROWSER if action.get(key) not in (None, False)), None)
        return wanted and say("`{key}` needs a browser, which composemagic does not run", key=wanted)

    @classmethod
    def faults(cls, settings: Mapping[str, Any], action: Mapping[str, Any]) -> Iterable[tuple[Any, ...]]:
        named = [key for key in ("url", "html") if action.get(key) is not None]
        if not named:
            yield say("a web-scraper action needs `url` or `html`"), None
        elif len(named) > 1:
            yield say("an action has `url` or `html`, not both"), "html"
        if action.get("selector") is not None and action.get("xpath") is not None:
            yield say("an action has `selector` or `xpath`, not both"), "xpath"
        if action.get("extract_mode") == "attribute" and not action.get("attribute"):
            yield say("`extract_mode: attribute` needs `attribute`, the name of one"), "extract_mode"
        yield from misfits(settings, {"timeout": seconds})
        yield from misfits(action, {"timeout": seconds, "multiple": flag} | _expressions)

    async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
        """Yield one Value: what is wanted of the page, or a list of that for a list of pages."""
        given = Given(action, context)
        take = await _take(given)
        html, url = await given.get("html"), await given.get("url", _addresses)
        source = url if html is None else html
        if html is None and url in (None, ""):  # null is written into an address as nothing
            raise RunError("input", say("`url` is null: there is no page to fetch"))
        own = _own(action, context)
        results = []
        for one in source if isinstance(source, list) else [source]:
            page = (
                Page(one if isinstance(one, bytes) else to_text(one))
                if html is not None
                else await _page(one, own, given, context)
            )
            results.append(take(page))
            for missed in page.missed:
                context.note(say("`{selector}` matched nothing on the page", selector=missed))
        yield Value(results if isinstance(source, list) else results[0])


# -- the page ------------------------------------------------------------------------------------------------------------


async def _page(url: Any, own: Sequence[str], given: Given, context: Context) -> Page:
    if not isinstance(url, str):
        raise RunError("input", say("`url` is a text or a list of texts, not {kind}", kind=kind(url)))
    request = Request("GET", url, await _headers(given), listed=any(same_origin(url, one) for one in own))
    timeout = await given.get("timeout", seconds)
    timeouts = Timeouts() if timeout is None else Timeouts(read=timeout, total=timeout)
    way = context.transport if context.transport is not None else context.shared("http", new_client)
    async with send(way, request, timeouts) as response:
        media_type = response.media_type
        if media_type and not media_type.startswith(_PAGES):
            raise RunError(
                "output", say("{host} sent {type}, which is no web page", host=request.host, type=media_type)
            )
        return Page(await response.body(), response.header("content-type") or "")


def _own(action: Action, context: Context) -> list[str]:
    """The addresses that the document itself names."""
    if not is_confined():
        return []
    said = context.authored(action.fields.get("url") or action.settings.get("url"))
    found = _addresses(said, "url")
    return [str(one) for one in (found if isinstance(found, list) else [found])]


def _addresses(value: Any, _: str) -> Any:
    """The address or addresses. A list that one template gives is, as every value in an address, text by now: JSON."""
    if isinstance(value, str) and value.startswith("["):  # which no address does
        with suppress(ValueError):
            return json.loads(value)
    return value


async def _headers(given: Given) -> Mapping[str, str]:
    headers = {name: to_text(value) for name, value in (await given.merged("headers")).items() if value is not None}
    cookies = {name: to_text(value) for name, value in (await given.merged("cookies")).items() if value is not None}
    if cookies:
        headers["cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return headers


# -- what is wanted of it ------------------------------------------------------------------------------------------------


async def _take(given: Given) -> Take:
    """What takes the wanted parts out of a page."""
    selector, xpath = await given.get("selector"), await given.get("xpath")
    attribute = await given.get("attribute")
    mode = await given.get("extract_mode", default="attribute" if attribute else "text")
    multiple = await given.get("multiple", flag, False)
    fields = await given.get("fields", wanted_fields)
    expressions, is_css = (xpath, False) if selector is None else (selector, True)

    def one(expression: Any) -> Wanted:
        css, path = (expression, None) if is_css else (None, expression)
        return wanted(css, path, mode, attribute, multiple=multiple)

    if fields is not None:
        place = one(expressions)
        return lambda page: page.records(place, fields)
    if isinstance(expressions, dict):
        named = {name: one(each) for name, each in expressions.items()}
        return lambda page: {name: page.value(each) for name, each in named.items()}
    if isinstance(expressions, list):
        several = [one(each) for each in expressions]
        return lambda page: [page.value(each) for each in several]
    only = one(expressions)
    return lambda page: page.value(only)


def _every(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]


def _checked(check: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """A check that says nothing where the package it needs is not there: that is said when the page is scraped."""

    def checked(value: Any, key: str) -> None:
        try:
            check(value, key)
        except RunError as error:
            if error.kind != "missing":
                raise

    return checked


_expressions = {
    "selector": _checked(lambda value, _: [wanted(each, None, "text", None, multiple=False) for each in _every(value)]),
    "xpath": _checked(lambda value, _: [wanted(None, each, "text", None, multiple=False) for each in _every(value)]),
    "fields": _checked(wanted_fields),
}
