"""An HTML or XML page and what is wanted of it: parsed by lxml, whose XPath cssselect translates CSS selectors to.

lxml and not selectolax, which is faster and has no XPath, nor parsel, which is these two with five packages more.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from composemagic.components.extras import needed
from composemagic.components.given import flag
from composemagic.errors import RunError, suggest
from composemagic.text import clean
from composemagic.words import say
from composemagic.workflow.schema import kind

__all__ = ["Page", "Wanted", "wanted", "wanted_fields"]

_MODES = ("text", "html", "attribute")
_KEYS = ("selector", "xpath", "extract_mode", "attribute", "multiple")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_DECLARED = re.compile(rb"<meta[^>]+charset|<\?xml[^>]+encoding", re.IGNORECASE)
_SILENT = frozenset({"script", "style", "template", "noscript", "head"})
# what begins a new line for a reader: its text does not run together with its neighbours'
_BLOCK_NAMES = (
    "address article aside blockquote body br caption dd details dialog div dl dt fieldset figcaption figure footer form h1 "
    "h2 h3 h4 h5 h6 header hr html legend li main nav ol option p pre section select summary table tbody td textarea tfoot "
    "th thead title tr ul"
)
_BLOCKS = frozenset(_BLOCK_NAMES.split())


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which elements are wanted, and what of each. `find` None is the element itself that is looked in."""

    find: Callable[[Any], Any] | None
    shown: str
    mode: str
    attribute: str | None
    multiple: bool


def wanted(selector: Any, xpath: Any, mode: Any, attribute: Any, *, multiple: bool) -> Wanted:
    """What one selector or XPath expression wants. Raises RunError for one that is none."""
    if selector is not None and xpath is not None:
        raise RunError("input", say("`selector` and `xpath` are both given; write one of them"))
    for key, value in (("selector", selector), ("xpath", xpath)):
        if not isinstance(value, str | None):
            raise RunError("input", say("`{key}` is a text, this is {kind}", key=key, kind=kind(value)))
    if mode not in _MODES:
        near = suggest(str(mode), _MODES)
        raise RunError(
            "input", say("`extract_mode` is text, html or attribute, not {given}{near}", given=kind(mode), near=near)
        )
    if mode == "attribute" and not attribute:
        raise RunError("input", say("`extract_mode: attribute` needs `attribute`, the name of one"))
    find = _css(selector) if selector is not None else _xpath(xpath, xpath) if xpath is not None else None
    return Wanted(find, selector or xpath or "", str(mode), attribute, multiple)


def wanted_fields(value: Any, key: str) -> Mapping[str, Wanted]:
    """What is wanted under each name: a selector, or a mapping with the keys of an action. Raises RunError."""
    if not isinstance(value, dict):
        sentence = say("`{key}` is a mapping of names to selectors, this is {kind}", key=key, kind=kind(value))
        raise RunError("input", sentence)
    return {name: _field(name, one) for name, one in value.items()}


def _field(name: str, value: Any) -> Wanted:
    if not isinstance(value, dict):
        value = {"selector": value}
    for key in value:
        if key not in _KEYS:
            near = suggest(str(key), _KEYS)
            raise RunError(
                "input", say("unknown key `{key}` in the field `{name}`{near}", key=key, name=name, near=near)
            )
    mode = value.get("extract_mode") or ("attribute" if value.get("attribute") else "text")
    multiple = flag(value.get("multiple") or False, "multiple")
    return wanted(value.get("selector"), value.get("xpath"), mode, value.get("attribute"), multiple=multiple)


def _css(selector: str) -> Callable[[Any], Any]:
    cssselect = needed("cssselect", by="web-scraper", package="cssselect", extra="scrape")
    try:
        return _xpath(cssselect.HTMLTranslator().css_to_xpath(selector), selector)
    except cssselect.SelectorError as error:
        raise RunError("input", say("`{selector}` is no CSS selector: {why}", selector=selector, why=error)) from None


def _xpath(expression: str, shown: str) -> Callable[[Any], Any]:
    etree = needed("lxml.etree", by="web-scraper", package="lxml", extra="scrape")
    try:
        compiled = etree.XPath(expression)
    except etree.XPathError as error:
        raise _no_xpath(shown, error) from None

    def find(element: Any) -> Any:
        try:
            return compiled(element)
        except etree.XPathError as error:
            raise _no_xpath(shown, error) from None

    return find


def _no_xpath(shown: str, error: Exception) -> RunError:
    return RunError("input", say("`{xpath}` is no XPath expression: {why}", xpath=shown, why=error))


class Page:
    """A page. `missed` are the selectors that matched nothing so far."""

    def __init__(self, content: bytes | str, content_type: str = "") -> None:
        """Raises RunError for what is neither HTML nor XML."""
        self.missed: list[str] = []
        self._etree = needed("lxml.etree", by="web-scraper", package="lxml", extra="scrape")
        self._root = self._parsed(content, content_type)

    def _parsed(self, content: bytes | str, content_type: str) -> Any:
        data, charset = (
            (clean(content).encode(), "utf-8")
            if isinstance(content, str)
            else (content, _charset(content, content_type))
        )
        if re.search(r"(?<!xht)[/+m]xml\b", content_type) and "xhtml" not in content_type:
            parser = self._etree.XMLParser(encoding=charset, resolve_entities=False, no_network=True, recover=True)
        else:
            parser = self._etree.HTMLParser(encoding=charset, no_network=True)
        try:
            root = self._etree.fromstring(data, parser) if data.strip() else None
        except self._etree.XMLSyntaxError as error:
            raise RunError("output", say("the page cannot be read: {why}", why=error)) from None
        return self._etree.Element("html") if root is None else root

    def value(self, one: Wanted) -> Any:
        """What is wanted of the whole page."""
        return self._value(self._root, one)

    def records(self, place: Wanted, fields: Mapping[str, Wanted]) -> Any:
        """An object with the fields of each place, a list of them for many places; null where there is none."""
        found = self._found(self._root, place)
        places = [each for each in found if _is_element(each)] if isinstance(found, list) else []
        objects = [{name: self._value(each, one) for name, one in fields.items()} for each in places]
        return objects if place.multiple else next(iter(objects), None)

    def _value(self, element: Any, one: Wanted) -> Any:
        found = self._found(element, one)
        if not isinstance(found, list):
            return _number(found)
        values = (self._of(each, one) for each in found)
        return list(values) if one.multiple else next(values, None)

    def _found(self, element: Any, one: Wanted) -> Any:
        found = [element] if one.find is None else one.find(element)
        if found == [] and one.shown not in self.missed:
            self.missed.append(one.shown)
        return found

    def _of(self, found: Any, one: Wanted) -> Any:
        """The wanted part of an element; of a text or an attribute, which XPath finds too, the text."""
        if not _is_element(found):
            return str(found).strip()
        match one.mode:
            case "html":
                return self._etree.tostring(found, encoding="unicode", method="html", with_tail=False)
            case "attribute":
                return found.get(one.attribute)
            case _:
                return " ".join("".join(self._texts(found)).split())

    def _texts(self, element: Any) -> Iterator[str]:
        """The texts a reader sees, with a blank around what stands by itself."""
        walk = self._etree.iterwalk(element, events=("start", "end", "comment", "pi"))
        for event, each in walk:
            is_block = each.tag in _BLOCKS
            if event == "start":
                if each.tag in _SILENT and each is not element:
                    walk.skip_subtree()
                    continue
                yield " " if is_block else ""
                yield each.text or ""
            elif each is not element:
                yield " " if is_block else ""
                yield each.tail or ""


def _is_element(found: Any) -> bool:
    return hasattr(found, "tag")


def _number(found: Any) -> Any:
    """What an XPath expression computes: true or false, a text, or a number, which XPath has only as a float."""
    if isinstance(found, float):
        return None if math.isnan(found) else int(found) if found.is_integer() else found
    return found if isinstance(found, bool) else str(found).strip()


def _is_known(charset: str) -> bool:
    try:
        codecs.lookup(charset)
    except LookupError:
        return False
    return True


def _charset(content: bytes, content_type: str) -> str | None:
    """The charset: of the header, else of the page itself (None: lxml reads it there), else UTF-8 where that is possible."""
    if (found := _CHARSET.search(content_type)) and _is_known(found[1]):
        return found[1]
    if _DECLARED.search(content[:2048]):
        return None
    try:
        content.decode()
    except UnicodeDecodeError:
        return "windows-1252"
    return "utf-8"
