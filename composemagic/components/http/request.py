"""The request as it goes out: to its own address, or to the embedded model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlencode

from composemagic.components.http.body import collected, encoded, form_text
from composemagic.components.http.settings import METHODS, no_method
from composemagic.errors import RunError
from composemagic.language.secret import Secret, made
from composemagic.language.template import Template
from composemagic.transport import reach
from composemagic.transport.http import Request
from composemagic.transport.providers import dialect_of
from composemagic.words import say
from composemagic.workflow.component import Action, Context, LocalAddress

__all__ = ["local_request", "request_of"]

_END_OF_NAME = re.compile(r"[?#]")


async def request_of(
    action: Action, context: Context, *, of: str = "", method: str = "POST", more: Mapping[str, Any] | None = None
) -> Request:
    """The action's own request, or with `of="completion."` the one that asks for its result; `more` are further sources."""
    fields = {key.removeprefix(of): field for key, field in action.fields.items() if key.startswith(of)}
    method = str(await context.render(fields.get("method"), more) or method).upper()
    if method not in METHODS:
        raise RunError("request", no_method(method))
    layers = [action.settings.get("headers"), fields.get("headers")]
    if of:
        layers.insert(1, action.fields.get("headers"))
    sealed = _merged([await collected(await context.sealed(layer, more)) for layer in layers if layer is not None])
    address = _with_params(
        await _address(action, fields, context, more), await context.sealed(fields.get("params"), more)
    )
    url, headers, body = await context.open(address, sealed, await context.sealed(fields.get("body"), more))
    if of:
        headers = {name: value for name, value in headers.items() if name.lower() != "content-type" or "body" in fields}
    content = await encoded(body, headers, context)
    said = body if isinstance(body, dict) else {}
    model = said.get("model")
    return Request(
        method,
        url,
        headers,
        content,
        model if isinstance(model, str) else None,
        tuple(_variables(layers)),
        bool(said.get("tools") or said.get("functions")),
        reach.is_confined() and reach.same_origin(url, _own_address(action, fields, context)),
    )


async def _address(
    action: Action, fields: Mapping[str, Template], context: Context, more: Mapping[str, Any] | None
) -> Any:
    """The URL; a Secret where one stands in it."""
    endpoint = await context.sealed(fields.get("endpoint"), more)
    if endpoint:
        return endpoint if isinstance(endpoint, Secret) else str(endpoint)
    base = _text(await context.sealed(action.settings.get("base_url")))
    path = _text(await context.sealed(fields.get("path"), more))
    return made(_under, base, path) if path else base


def _own_address(action: Action, fields: Mapping[str, Template], context: Context) -> str:
    """The address that the document gives where nobody fills in anything."""
    return str(context.authored(fields.get("endpoint")) or context.authored(action.settings.get("base_url")) or "")


def _text(value: Any) -> Any:
    return value if isinstance(value, Secret) else str(value or "")


def _under(base: str, path: str) -> str:
    return f"{base.rstrip('/')}/{path.lstrip('/')}"


def _merged(layers: list[Any]) -> dict[str, Any]:
    """Headers of the component and of the action, merged without regard to case; null removes one. Secrets stay closed."""
    merged: dict[str, tuple[str, Any]] = {}
    for layer in layers:
        if not isinstance(layer, dict | None):
            raise RunError("request", say("`headers` is a mapping of names to values"))
        for name, value in (layer or {}).items():
            if value is None:
                merged.pop(name.lower(), None)
            else:
                merged[name.lower()] = (name, made(partial(_header, name), value))
    return dict(merged.values())


def _header(name: str, value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    if not text.isprintable() or not text.isascii():
        # the value itself is not shown: it may be a key
        raise RunError(
            "request", say("the header `{name}` has characters that cannot be sent, such as a line break", name=name)
        )
    return text.strip()


def _with_params(url: Any, params: Any) -> Any:
    if not params:
        return url
    if not isinstance(params, dict):
        raise RunError("request", say("`params` is a mapping of names to values"))
    pairs = [
        made(partial(_pair, name), item if isinstance(item, Secret) else form_text(item))
        for name, value in params.items()
        for item in (value if isinstance(value, list) else [value])
        if item is not None
    ]
    return made(_with_query, url, *pairs) if pairs else url


def _pair(name: str, value: str) -> str:
    return urlencode([(name, value)])


def _with_query(url: str, *pairs: str) -> str:
    """The query joins one that is written, and stands before a fragment."""
    query = "&".join(pairs)
    address, mark, fragment = url.partition("#")
    joint = "&" if "?" in address else "?"
    return f"{address}{joint}{query}{mark}{fragment}"


def _variables(templates: list[Template | None]) -> Iterator[str]:
    """The environment variables the headers are made from."""
    holes = (hole for template in templates if template is not None for hole in template.holes)
    yield from dict.fromkeys(hole.reference.path_text for hole in holes if hole.reference.source == "env")


# -- the embedded model --------------------------------------------------------------------------------------------------


async def local_request(action: Action, context: Context) -> Request | None:
    """The request to the embedded model, where the run asked for it and this is one it can answer.

    Neither the address nor the headers of the document are filled: no key is needed, and none is sent.
    """
    if not context.wants_local:
        return None
    fields = action.fields
    address = str(await context.render(fields.get("endpoint")) or await context.render(fields.get("path")) or "")
    path = _END_OF_NAME.split(address)[0].rstrip("/")
    dialect = dialect_of(path)
    body = await collected(await context.render(fields.get("body")))
    if dialect is None or dialect.name != "openai-chat" or not isinstance(body, dict):
        context.note(say("`--local` serves OpenAI-style chat requests; this request goes to its own address"))
        return None
    local = await context.local_model()
    asked = body.get("model")
    context.answered_by(local.name, instead_of=asked if isinstance(asked, str) else None, local=True)
    kind = "chat/completions" if path.endswith("/chat/completions") else "completions"
    headers = _local_headers(local)
    content = await encoded({**body, "model": local.name}, headers, context)
    return Request("POST", f"{local.url}/{kind}", headers, content, local.name, listed=True)


def _local_headers(local: LocalAddress) -> dict[str, str]:
    # llama.cpp closes idle connections without saying so: a kept one may be gone when the next request takes it
    return {"authorization": f"Bearer {local.key}", "content-type": "application/json", "connection": "close"}
