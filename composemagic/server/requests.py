"""What a request asks for: JSON, a form or a form with files as one RunRequest, with a sentence for what cannot be."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import parse_qsl

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect, Request

from composemagic.errors import suggest
from composemagic.language.casts import CastError, convert
from composemagic.language.expression import Cast
from composemagic.language.formats import Media
from composemagic.language.json_words import why_no_json
from composemagic.language.values import shown
from composemagic.server.refusals import Refusal
from composemagic.words import listing, say

__all__ = ["RunRequest", "body_of", "flag", "media_type", "nested_form", "run_request"]

_OBJECTS = ("input", "metadata")  # fields of a form that may be JSON objects
_PARTS = "multipart/form-data"
_FORMS = (_PARTS, "application/x-www-form-urlencoded")
_STEP = re.compile(r"\[([^\[\]]*)\]")
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_MOST_PARTS = 1000
_MOST_FILES = 64
_MOST_STEPS = 16
_DEEPEST = 100
_QUERY_FLAGS = {"true": True, "1": True, "false": False, "0": False}
_FLAGS = ("wait_for_completion", "output_only", "subscribe_task", "strict")

# what clients send wrongly is answered; it is not printed where nobody has set up logging
logging.getLogger("python_multipart").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class RunRequest:
    """The body of a request for a run. `strict`: inputs are checked first, as a form checks them."""

    workflow_id: str | None = None
    input: Any = None
    session_id: str | None = None
    metadata: Any = None
    wait_for_completion: bool = True
    output_only: bool = False
    subscribe_task: bool = False
    callback_url: str | None = None
    callback_headers: Any = None
    strict: bool = False
    is_form: bool = False  # all values are texts


FIELDS = tuple(one.name for one in fields(RunRequest) if one.name != "is_form")


async def run_request(request: Request) -> RunRequest:
    """The run that a request asks for. Raises Refusal (400) for what cannot be read and for what contradicts itself."""
    found, is_form = await body_of(request), media_type(request) in _FORMS
    _refuse_unknown(found)
    given = {name: _field(name, value, is_form=is_form) for name, value in found.items()}
    asked = RunRequest(**given, is_form=is_form)
    _refuse_contradictions(asked)
    return asked


async def body_of(request: Request) -> dict[str, Any]:
    """A request's body as an object: JSON, or a form with nested names. Raises Refusal (400)."""
    kind = media_type(request)
    _refuse_coded(request)
    try:
        if kind == "application/json":
            return _object(await request.body())
        if kind in _FORMS:
            return _of_form(await (_parts(request) if kind == _PARTS else _fields(request)))
    except ClientDisconnect:
        raise
    except Refusal:
        raise
    except Exception as error:  # starlette's and python-multipart's own, with texts for developers
        raise _invalid(str(getattr(error, "detail", "") or error)) from None
    if not kind:
        raise Refusal(400, "content_type", say("Missing or empty Content-Type header."))
    raise Refusal(400, "content_type", say("Unsupported Content-Type: {type}", type=kind))


def media_type(request: Request) -> str:
    """The Content-Type without its parameters."""
    return str(request.headers.get("content-type", "")).partition(";")[0].strip().lower()


def _refuse_coded(request: Request) -> None:
    """Nothing is unpacked here: a few bytes can be a bomb."""
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):
        raise _invalid(say("it is to be sent as it is, not as `{coding}`", coding=coding[:40]))


def flag(request: Request, name: str) -> bool:
    """A boolean of the query, false where it is not there. Raises Refusal (400)."""
    found = _QUERY_FLAGS.get(request.query_params.get(name, "false"))
    if found is None:
        raise _no_boolean(name, request.query_params[name])
    return found


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body, parse_constant=_no_constant, parse_float=_float)
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError:
        raise _invalid(say("it is not written in UTF-8")) from None
    except json.JSONDecodeError as error:
        raise _invalid(why_no_json(error)) from None
    except ValueError:  # Python reads no whole number of thousands of digits
        raise _too_large() from None
    if _is_deep(found):
        raise _too_deep()
    if not isinstance(found, dict):
        raise _invalid(say("a JSON object is wanted, not {value}", value=shown(found)))
    return found


def _no_constant(name: str) -> Any:
    """RFC 8259 knows neither NaN nor Infinity."""
    raise json.JSONDecodeError("Expecting value", name, 0)


def _float(text: str) -> float:
    found = float(text)
    if math.isinf(found):  # 1e999, which no answer in JSON could give back
        raise _too_large()
    return found


def _too_large() -> Refusal:
    return _invalid(say("a number in it is too large"))


def _is_deep(value: Any) -> bool:
    """Whether a value has more levels than what reads it can go down."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(_DEEPEST):
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
        level = [one for one in level if isinstance(one, dict | list)]
        if not level:
            return False
    return True


def _too_deep() -> Refusal:
    return _invalid(say("it has more than {count} levels", count=_DEEPEST))


def _invalid(why: str) -> Refusal:
    return Refusal(400, "body", say("Invalid request body: {reason}", reason=why))


# -- its fields ----------------------------------------------------------------------------------------------------------


def _refuse_unknown(found: Mapping[str, Any]) -> None:
    for name in found:
        if name not in FIELDS:
            known = listing(f"`{each}`" for each in FIELDS)
            sentence = say(
                "unknown field `{name}`{near}; inputs stand below `input`, beside it there are {known}",
                name=name,
                near=suggest(name, FIELDS),
                known=known,
            )
            raise _invalid(sentence)


def _field(name: str, value: Any, *, is_form: bool) -> Any:
    if name in _FLAGS:
        return _boolean(name, value, is_form=is_form)
    if name in ("workflow_id", "session_id") and not isinstance(value, str | None):
        raise _invalid(say("`{name}` is a text, not {value}", name=name, value=shown(value)))
    return value


def _boolean(name: str, value: Any, *, is_form: bool) -> bool:
    if isinstance(value, bool):
        return value
    if not is_form or not isinstance(value, str):
        raise _no_boolean(name, value)
    try:
        return bool(convert(value, Cast("boolean")))
    except CastError:
        raise _no_boolean(name, value) from None


def _no_boolean(name: str, value: Any) -> Refusal:
    return _invalid(say("`{name}` is true or false, not {value}", name=name, value=shown(value)))


def _refuse_contradictions(asked: RunRequest) -> None:
    if asked.subscribe_task and asked.wait_for_completion:
        raise _contradiction(say("subscribe_task=true requires wait_for_completion=false"))
    if asked.output_only and not asked.wait_for_completion:
        raise _contradiction(say("output_only=true requires wait_for_completion=true."))
    if asked.callback_url is not None or asked.callback_headers is not None:
        sentence = say(
            "`callback_url` is not taken: this server sends nothing to an address that a request names; give "
            "`wait_for_completion: false` and read `/tasks/` with the task's id and `/events`"
        )
        raise Refusal(400, "callback", sentence)


def _contradiction(sentence: str) -> Refusal:
    return Refusal(400, "contradiction", sentence)


# -- forms -----------------------------------------------------------------------------------------------------------------


async def _fields(request: Request) -> list[tuple[str, Any]]:
    """The fields of an urlencoded form, whose text is UTF-8 whether it is escaped or, as `curl -d` sends it, is not."""
    body = await request.body()
    if body.count(b"&") >= _MOST_PARTS:
        raise _invalid(say("it has more than {count} fields", count=_MOST_PARTS))
    try:
        return list(parse_qsl(body.decode(), keep_blank_values=True, errors="strict"))
    except UnicodeDecodeError:
        raise _invalid(say("it is not written in UTF-8")) from None


async def _parts(request: Request) -> list[tuple[str, Any]]:
    """The fields and files of a multipart form. One that was cut off has lost fields: it is no smaller form."""
    boundary = parse_options_header(request.headers["content-type"])[1].get(b"boundary")
    if boundary is not None and b"--%s--" % boundary not in await request.body():
        raise _invalid(say("it does not come to its end"))
    async with request.form(max_files=_MOST_FILES, max_fields=_MOST_PARTS) as form:
        return [(name, await _part(value)) for name, value in form.multi_items()]


def _of_form(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of a form; `input` and `metadata` may be JSON objects as text, and single inputs go over it."""
    wholes = {name: found for name, value in pairs if name in _OBJECTS and (found := _whole(value)) is not None}
    return _over(wholes, nested_form(pair for pair in pairs if pair[0] not in wholes))


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """An object with the fields of another one over its own."""
    found = dict(below)
    for name, value in above.items():
        inner = found.get(name)
        found[name] = _over(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return found


async def _part(value: str | UploadFile) -> Any:
    """A field's text, or a file's bytes with its type."""
    if isinstance(value, str):
        return value
    found = Media(await value.read())
    found.content_type = value.content_type or "application/octet-stream"
    return found


def _whole(value: Any) -> dict[str, Any] | None:
    """The JSON object that a text is, or None."""
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return None
    try:
        return _object(value.encode())
    except Refusal:
        return None


def nested_form(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Fields by their names as one object: `a[b]` is b in a, `a[]` one more of a list, a name that comes again a list.

    Raises Refusal (400) for a name that cannot be read, and for one that is both a value and an object.
    """
    root: dict[str, Any] = {}
    for name, value in pairs:
        found = _NAME.fullmatch(name)
        steps = [found[1], *_STEP.findall(found[2])] if found else []
        if not steps or len(steps) > _MOST_STEPS or "" in steps[:-1]:
            raise _invalid(say("the field name `{name}` cannot be read", name=name[:80]))
        if not _put(root, steps, value):
            raise _invalid(say("the field `{name}` is a value and has fields of its own", name=name[:80]))
    return root


def _put(place: dict[str, Any], steps: list[str], value: Any) -> bool:
    """Put a value at its place; whether there is one."""
    is_item = steps[-1] == ""
    *parents, last = steps[:-1] if is_item else steps
    for step in parents:
        inner = place.setdefault(step, {})
        if not isinstance(inner, dict):
            return False
        place = inner
    if is_item:
        items = place.setdefault(last, [])
        if not isinstance(items, list):
            return False
        items.append(value)
    elif last not in place:
        place[last] = value
    elif isinstance(place[last], dict):
        return False
    else:  # as browsers send several choices
        place[last] = [*place[last], value] if isinstance(place[last], list) else [place[last], value]
    return True
