"""How a document wants to be served: what its `controller` says, in any dialect, once the loader has checked and filled it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["BASE_PATH", "PAGE_PORT", "PORT", "Controller", "controller_of"]

PORT, PAGE_PORT, BASE_PATH = 8080, 8081, "/api"
_OURS = (None, "http-server")


@dataclass(frozen=True, slots=True)
class Controller:
    """Where the API and the web page listen, and how many runs they start at once. None is what the document does not say.

    `host` is what the document asks for: who starts the server decides whether other computers may reach it.
    """

    name: str = ""
    host: str | None = None
    port: int | None = None
    base_path: str | None = None
    page_port: int | None = None
    page_driver: str | None = None
    at_once: int | None = None


def controller_of(written: Any) -> Controller:
    """What `controller` says, in today's spelling and without mistakes."""
    data = _mapping(written)
    adapter = _adapter(data)
    page = _mapping(data.get("webui"))
    base_path = adapter.get("base_path")
    return Controller(
        name=str(data.get("name") or ""),
        host=_text(adapter.get("host")),
        port=_number(adapter.get("port")),
        base_path=None if base_path is None else under(str(base_path)),
        page_port=_number(page.get("port")),
        page_driver=_text(page.get("driver")),
        at_once=_number(data.get("max_concurrent_count")) or _number(adapter.get("max_concurrent_count")),
    )


def under(path: str) -> str:
    """A base path as it stands before the others: `api/` is `/api`, and `/` is nothing."""
    inner = path.strip().strip("/")
    return f"/{inner}" if inner else ""


def _adapter(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first adapter that is ours: one may also be written `type: mcp-server`."""
    several = data.get("adapters")
    all_of_them = [data.get("adapter"), *(several if isinstance(several, list) else ())]
    ours = (one for one in map(_mapping, all_of_them) if one and one.get("type") in _OURS)
    return next(ours, {})


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _number(value: Any) -> int | None:
    """A whole number above 0, which may be quoted; the peer writes 0 for no limit."""
    return int(value) if value is not None and int(value) > 0 else None
