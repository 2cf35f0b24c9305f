"""What the YAML of an http-client may say, and the mistakes in it that can be seen before anything runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from composemagic.components.given import misfits
from composemagic.components.http.limits import count, duration, rate
from composemagic.errors import suggest
from composemagic.language.scalars import whole_reference
from composemagic.words import listing, say
from composemagic.workflow.component import Settings

__all__ = ["METHODS", "HttpAction", "HttpSettings", "faults"]

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
_STREAMING_PATHS = ("/chat/completions", "/completions", "/responses", "/messages")
_READS_RESULT = re.compile(r"\$\{\s*result\b")
_OF_POLLING = (
    "endpoint",
    "path",
    "method",
    "headers",
    "params",
    "body",
    "status",
    "success_when",
    "fail_when",
    "interval",
)
_OF_CALLBACK = ("wait_for",)


class TimeoutParts(Settings):
    """Durations: until the connection stands, until the first byte, between two bytes, until all of the answer is there."""

    connect: Any = None
    first: Any = None
    read: Any = None
    total: Any = None


class RateParts(Settings):
    """At most `requests` in each `period`; `burst` of them at once, and `interval` between two."""

    requests: Any
    period: Any = None
    burst: Any = None
    interval: Any = None


class HttpSettings(Settings):
    """`base_url` and `headers` serve every action; the others hold for each request."""

    base_url: str | None = None
    headers: dict[str, Any] | None = None
    timeout: TimeoutParts | Any | None = None
    max_retries: Any = None
    retry_delay: Any = None
    rate_limit: RateParts | Any | None = None
    max_concurrent_count: Any = None


class Completion(Settings):
    """How an answer that is only a receipt becomes a result: asked for again and again, or waited for."""

    type: Literal["polling", "callback"]
    endpoint: str | None = None
    path: str | None = None
    method: str | None = None
    headers: dict[str, Any] | None = None
    params: Any = None
    body: Any = None
    status: Any = None
    success_when: Any = None
    fail_when: Any = None
    interval: Any = None
    timeout: Any = None
    wait_for: Any = None


class HttpAction(Settings):
    """`endpoint` is a whole URL, `path` is added to the component's `base_url`."""

    path: str | None = None
    endpoint: str | None = None
    method: str | None = None
    headers: dict[str, Any] | None = None
    params: Any = None
    body: Any = None
    stream_format: Literal["json", "text", "server-sent-events", "json-lines"] | None = None
    stream_fragmented: Any = None
    timeout: TimeoutParts | Any | None = None
    max_retries: Any = None
    retry_delay: Any = None
    completion: Completion | None = None


_CHECKS = {"timeout": duration, "max_retries": count, "retry_delay": duration}
_COMPONENT_CHECKS = {**_CHECKS, "rate_limit": rate, "max_concurrent_count": count}
_COMPLETION_CHECKS = {"interval": duration, "timeout": duration}

Fault = tuple[str, Any]


def faults(settings: Mapping[str, Any], action: Mapping[str, Any]) -> Iterator[Fault]:
    """Sentences and the keys of the action they are about, for what the models cannot see."""
    yield from _address_faults(settings, action, say("an http-client action"))
    yield from _method_faults(action)
    yield from _params_faults(action)
    yield from misfits(action, _CHECKS)
    yield from ((sentence, ("..", key)) for sentence, key in misfits(settings, _COMPONENT_CHECKS))
    yield from _stream_faults(action)
    completion = action.get("completion")
    if isinstance(completion, dict):
        yield from ((sentence, ("completion", *keys)) for sentence, *keys in _completion_faults(settings, completion))
    elif _READS_RESULT.search(str(action.get("output"))):
        yield say("`result` is what a `completion` gives; without one, write `response`"), "output"


def _address_faults(settings: Mapping[str, Any], data: Mapping[str, Any], what: str) -> Iterator[Fault]:
    path, endpoint = data.get("path"), data.get("endpoint")
    if path and endpoint:
        yield say("an action has `path` or `endpoint`, not both"), "endpoint"
    elif path and not settings.get("base_url"):
        yield say("`path` needs the component's `base_url`"), "path"
    elif not path and not endpoint and not settings.get("base_url"):
        yield say("{what} needs `endpoint`, or `path` and the component's `base_url`", what=what), None


def _params_faults(data: Mapping[str, Any]) -> Iterator[Fault]:
    params = data.get("params")
    is_reference = isinstance(params, str) and whole_reference(params) is not None
    if params is not None and not isinstance(params, dict) and not is_reference:
        yield say("`params` is a mapping of names to values"), "params"


def _method_faults(data: Mapping[str, Any]) -> Iterator[Fault]:
    method = data.get("method")
    if isinstance(method, str) and "${" not in method and method.upper() not in METHODS:
        yield no_method(method), "method"


def no_method(method: str) -> str:
    """The sentence for a method that is none."""
    near = suggest(method.upper(), METHODS)
    if near:
        return say("unknown method `{method}`{near}", method=method, near=near)
    return say("unknown method `{method}`; it is one of {known}", method=method, known=listing(METHODS))


def _stream_faults(action: Mapping[str, Any]) -> Iterator[Fault]:
    if "stream_format" in action and _never_streams(action):
        yield say("`stream_format` without a streaming request: add `stream: true` to the body"), "stream_format"
    elif action.get("stream_format") == "text" and re.search(r"response\[\][.\[]", str(action.get("output"))):
        yield say("the chunks are text, which has no paths: write `stream_format: json`"), "stream_format"


def _never_streams(action: Mapping[str, Any]) -> bool:
    """Whether it is certain that the request asks for no stream: a literal body that says so or says nothing."""
    body, output = action.get("body"), action.get("output")
    if not isinstance(body, dict) or "response[]" not in str(output) or "..." in body:
        return False
    if "stream" in body:
        return body["stream"] is False
    address = str(action.get("path") or action.get("endpoint") or "")
    return address.partition("?")[0].endswith(_STREAMING_PATHS)


def _completion_faults(settings: Mapping[str, Any], completion: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    kind = completion.get("type")
    if kind not in ("polling", "callback"):
        return  # that mistake is drawn
    others = _OF_CALLBACK if kind == "polling" else _OF_POLLING
    for key in completion:
        if key in others:
            yield say("a completion of `type: {type}` has no `{key}`", type=kind, key=key), key
    for sentence, key in misfits(completion, _COMPLETION_CHECKS):
        yield sentence, key
    if kind == "callback":
        if completion.get("wait_for") is None:
            yield (say("a callback needs `wait_for`: the id that it will name, such as `${response.id}`"),)
        return
    for sentence, key in (
        *_address_faults(settings, completion, say("a polling completion")),
        *_method_faults(completion),
        *_params_faults(completion),
    ):
        yield (sentence, key) if key else (sentence,)
    if completion.get("status") is not None and completion.get("success_when") is None:
        yield say("`status` needs `success_when`: the values that end the polling"), "status"
