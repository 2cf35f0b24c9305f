"""Bodies as bytes, by their Content-Type; without one, by what the value is, and the header is added.

JSON for `application/json` and `...+json`, form fields for `application/x-www-form-urlencoded` (HTML, 4.10.21.7), parts for
`multipart/form-data` (RFC 7578), everything else as it is. A stream goes out as it comes where it is the whole body and that
is no JSON; elsewhere it is collected.
"""

from __future__ import annotations

import asyncio
import json
import mimetypes
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from typing import Any, cast
from urllib.parse import urlencode

from composemagic.errors import RunError
from composemagic.language.casts import Chunks
from composemagic.language.streams import holds_chunks
from composemagic.transport.http import BODY_LIMIT, Content
from composemagic.words import say
from composemagic.workflow.component import Context

__all__ = ["collected", "encoded", "form_text"]

_JSON, _TEXT, _BYTES = "application/json", "text/plain; charset=utf-8", "application/octet-stream"
_FORM, _PARTS = "application/x-www-form-urlencoded", "multipart/form-data"
_FILE_KEYS = frozenset({"file", "filename", "content_type"})


async def encoded(body: Any, headers: dict[str, str], context: Context) -> Content | None:
    """The body as it goes out; its Content-Type is added to the headers where they have none. Raises RunError."""
    name = next((name for name in headers if name.lower() == "content-type"), None)
    kind = None if name is None else headers[name].partition(";")[0].strip().lower()
    if isinstance(body, Chunks):
        found = await _kind_of_stream(body) if kind is None else headers[str(name)]
        if found is not None and _goes_as_it_is(found):
            headers.setdefault(name or "content-type", found)
            return lambda: _pieces(body)
    body = await collected(body)
    if body is None:
        return None
    if kind is None:
        written = _kind_of(body)
        kind = written.partition(";")[0]
        name = "content-type"
        headers[name] = written
    if kind == _PARTS and isinstance(body, dict):
        content, headers[str(name)] = await _parts(body, context)
        return content
    return _whole(body, kind)


def _kind_of(body: Any) -> str:
    if isinstance(body, bytes):
        return str(getattr(body, "content_type", None) or _BYTES)
    if isinstance(body, dict) and any(_is_file(inner) for value in body.values() for inner in _each(value)):
        return _PARTS
    return _JSON if isinstance(body, dict | list) else _TEXT


def _whole(body: Any, kind: str) -> bytes:
    if _is_json(kind):
        return _json(body)
    if kind == _FORM and isinstance(body, dict):
        pairs = [(key, form_text(item)) for key, value in body.items() for item in _each(value) if item is not None]
        return urlencode([(_utf8(str(key)), _utf8(text)) for key, text in pairs]).encode()
    if isinstance(body, dict):
        raise RunError("request", say("an object cannot be sent as {type}", type=kind))
    if isinstance(body, list):
        raise RunError("request", say("a list cannot be sent as {type}", type=kind))
    return bytes(body) if isinstance(body, bytes) else _utf8(form_text(body))


def _is_json(kind: str) -> bool:
    return kind == _JSON or kind.endswith("+json")


def _each(value: Any) -> list[Any]:
    """A list repeats its name, in forms as in queries."""
    return value if isinstance(value, list) else [value]


def form_text(value: Any) -> str:
    """A value as a field of a form or of a query: text as it is, everything else as JSON."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            sentence = say("bytes that are no text cannot be a field of a form; send them as `multipart/form-data`")
            raise RunError("request", sentence) from None
    return value if isinstance(value, str) else _dumped(value)


def _json(value: Any) -> bytes:
    return _utf8(_dumped(value))


def _dumped(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise RunError("request", say("NaN and Infinity cannot be written as JSON")) from None
    except (TypeError, RecursionError) as error:
        raise RunError("request", say("the body cannot be written as JSON: {reason}", reason=error)) from None


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise RunError("request", say("the body has half a surrogate pair, which is no text")) from None


# -- streams -------------------------------------------------------------------------------------------------------------


async def collected(value: Any) -> Any:
    """The value with every stream in it as one value: text or bytes where it is of fragments of them, else a list."""
    if not holds_chunks(value):
        return value
    if isinstance(value, Chunks):
        found = value.value if value.collected else [chunk async for batch in value.batches() for chunk in batch]
        return _joined(found) if value.fragmented and isinstance(found, list) and found else found
    if isinstance(value, dict):
        return {key: await collected(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [await collected(inner) for inner in value]
    return value


def _joined(chunks: list[Any]) -> Any:
    if all(isinstance(chunk, str) for chunk in chunks):
        return "".join(chunks)
    return b"".join(chunks) if all(isinstance(chunk, bytes) for chunk in chunks) else chunks


async def _kind_of_stream(stream: Chunks) -> str | None:
    """The Content-Type that the first chunk suggests; None for what can only be sent whole, as JSON."""
    async with aclosing(cast("Any", stream.batches())) as batches:
        async for batch in batches:
            for chunk in batch:
                if isinstance(chunk, str):
                    return _TEXT if stream.fragmented else None
                return _kind_of(chunk) if isinstance(chunk, bytes) else None
    return None


def _goes_as_it_is(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return not _is_json(kind) and kind != _FORM


async def _pieces(stream: Chunks) -> AsyncIterator[bytes]:
    async for batch in stream.batches():
        for chunk in batch:
            if chunk is not None:
                yield bytes(chunk) if isinstance(chunk, bytes) else _utf8(_line(chunk))


def _line(chunk: Any) -> str:
    """Text as it is; what is none as a line of JSON."""
    return chunk if isinstance(chunk, str) else _dumped(chunk) + "\n"


# -- multipart -----------------------------------------------------------------------------------------------------------


def _is_file(value: Any) -> bool:
    """Whether a field is a file for certain: bytes, such as a picture; text and objects may be anything."""
    return isinstance(value, bytes)


async def _parts(fields: Mapping[str, Any], context: Context) -> tuple[bytes, str]:
    """The body of a form with files, and its Content-Type with the boundary."""
    boundary = secrets.token_hex(16)
    pieces: list[bytes] = []
    for name, value in fields.items():
        for item in _each(value):
            if item is None:
                continue
            head, data = await _part(name, item, context)
            pieces += [b"--", boundary.encode(), b"\r\n", *head, b"\r\n", data, b"\r\n"]
    return b"".join([*pieces, b"--", boundary.encode(), b"--\r\n"]), f"{_PARTS}; boundary={boundary}"


async def _part(name: str, value: Any, context: Context) -> tuple[Iterator[bytes], bytes]:
    if isinstance(value, dict) and "file" in value and value.keys() <= _FILE_KEYS:
        return await _file(name, value, context)
    if isinstance(value, bytes):
        kind = str(getattr(value, "content_type", None) or _BYTES)
        return _head(name, f"{name}{mimetypes.guess_extension(kind) or ''}", kind), bytes(value)
    return _head(name), _utf8(form_text(value))


async def _file(name: str, value: Mapping[str, Any], context: Context) -> tuple[Iterator[bytes], bytes]:
    """A part from `file`: bytes, or the path of a file under the document's folder; `filename` and `content_type` name it."""
    data, filename = value["file"], value.get("filename")
    if isinstance(data, str):
        path = context.file(data)
        filename = filename or path.name
        try:
            if path.stat().st_size > BODY_LIMIT:
                raise RunError(
                    "request", say("`{path}` is larger than {limit} MiB", path=data, limit=BODY_LIMIT // 2**20)
                )
            data = await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            raise RunError(
                "request", say("`{path}` cannot be read: {reason}", path=data, reason=error.strerror)
            ) from None
    if not isinstance(data, bytes):
        raise RunError("request", say("`file` is bytes, or the path of a file under the folder of the document"))
    filename = str(filename or name)
    kind = value.get("content_type") or getattr(data, "content_type", None) or mimetypes.guess_type(filename)[0]
    return _head(name, filename, str(kind or _BYTES)), bytes(data)


def _head(name: str, filename: str | None = None, kind: str | None = None) -> Iterator[bytes]:
    given = f'; filename="{_quoted(filename)}"' if filename is not None else ""
    yield _utf8(f'Content-Disposition: form-data; name="{_quoted(name)}"{given}\r\n')
    if kind is not None:
        yield _utf8(f"Content-Type: {''.join(char for char in kind if char.isprintable())}\r\n")


def _quoted(text: str) -> str:
    """A name as browsers write it (HTML, 4.10.21.8): a quote or a line break would end the header."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
