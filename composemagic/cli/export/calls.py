"""A job's request as a function of the script: its parameters, the request, and what becomes of the answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from composemagic.cli.export.expressions import (
    Scope,
    Source,
    expression,
    laid_out,
    literal,
    name_of,
    no_python,
    scalar,
    typed_default,
)
from composemagic.cli.export.helpers import HELPERS
from composemagic.components.http.limits import duration
from composemagic.errors import UsageError
from composemagic.language.expression import Name, Reference, parse, parse_path
from composemagic.transport.providers import Dialect, dialect_of
from composemagic.words import say
from composemagic.workflow.inputs import Input
from composemagic.workflow.job import ComponentJob, passes_input
from composemagic.workflow.plan import Plan
from composemagic.workflow.streaming import streaming_key

__all__ = ["TAKEN", "Call", "Parameters", "call_of", "parameters_of"]

_TEXTS = ("string", "text", "markdown", "select")
TAKEN = frozenset({*HELPERS, "json", "os", "sys", "httpx", "quote", "response", "chunk", "piece", "run"})
_READ_SECONDS = 60.0
_CALLS = {"GET": "get", "POST": "post", "PUT": "put", "PATCH": "patch", "DELETE": "delete"}
_BODY_METHODS = ("POST", "PUT", "PATCH")


# -- parameters ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parameters:
    """The inputs of a workflow as parameters: how they are declared, which must be given, and what `input` is then."""

    declared: str
    required: list[str]
    source: Source
    named: bool = True


def parameters_of(plan: Plan) -> Parameters:
    """The parameters for what a workflow asks for. Raises UsageError for a name that Python has for something else."""
    inputs = plan.inputs
    if len(inputs) == 1 and not inputs[0].name:
        return Parameters("value", ["value"], Source("value", is_parameter=True), named=False)
    roots: dict[str, list[Input]] = {}
    for one in inputs:
        roots.setdefault(_root(one.name), []).append(one)
    for name in roots:
        if name != name_of(name) or name in TAKEN:
            raise UsageError(say("an input called `{name}` cannot be a parameter of a script; give it another name", name=name))  # fmt: skip
    required = [name for name, several in roots.items() if any(one.required for one in several)]
    optional = {name: _default(name, several) for name, several in roots.items() if name not in required}
    declared = ", ".join([*required, *(f"{name}={literal(value)}" for name, value in optional.items())])
    keys = {
        name: Source(name, is_text=_is_text(name, several) and (name in required or isinstance(optional[name], str)), is_parameter=True)
        for name, several in roots.items()
    }  # fmt: skip
    return Parameters(declared, required, Source(keys=keys))


def _root(name: str) -> str:
    first = next(iter(parse_path(name)), None) if name else None
    if not isinstance(first, Name):
        raise no_python("${input}")
    return first.name


def _default(name: str, several: list[Input]) -> Any:
    own = next((one for one in several if one.name == name and one.has_default), None)
    return None if own is None else typed_default(own.default, own.cast)


def _is_text(name: str, several: list[Input]) -> bool:
    return all(one.name == name and one.type in _TEXTS and not one.is_list for one in several)


# -- a call ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Call:
    """A request as a function: `streams`, if it yields pieces; `is_text`, if what it gives is text for certain."""

    job: ComponentJob
    name: str
    parameters: str
    arguments: Mapping[str, Any]
    body: str
    streams: bool
    is_text: bool

    def text(self, doc: str) -> str:
        """The function."""
        doc = doc or ("Yield the pieces of the answer." if self.streams else "Give the answer.")
        return f'def {self.name}({self.parameters}):\n    """{doc}"""\n{self.body}'

    def called(self, scope: Scope) -> str:
        """The call of it."""
        given = [f"{name}={expression(value, scope)}" for name, value in self.arguments.items()]
        return f"{self.name}({', '.join(given)})"

    def collected(self, called: str, helpers: set[str]) -> str:
        """The call, with its pieces as one value."""
        if not self.streams:
            return called
        if self.is_text:
            return f'"".join({called})'
        helpers.add("joined")
        return f"joined({called})"


def call_of(plan: Plan, job: ComponentJob, scope: Scope, name: str) -> Call:
    """The function for a job's request. Raises UsageError for what a plain script cannot say."""
    return _Making(plan, job, scope, name).call()


class _Making:
    def __init__(self, plan: Plan, job: ComponentJob, scope: Scope, name: str) -> None:
        self.plan, self.job, self.name = plan, job, name
        path = job.action.path
        self.action: dict[str, Any] = dict(plan.written(path) or {})
        self.component: dict[str, Any] = dict(plan.written(path[:-2]) or {})
        self.outer = scope
        self.scope = Scope({}, scope.helpers)
        self.parameters = ""
        self.arguments: dict[str, Any] = {}
        self._take_input()
        if "completion" in self.action:
            raise no_python("completion")

    def _take_input(self) -> None:
        """What the function is given: the workflow's inputs that it reads, the keys of the job's input, or one value."""
        written = self.plan.written((*self.job.path, "input"))
        source = self.outer.sources["input"]
        if self.job.input is None or passes_input(self.job.input):
            used = self._used()
            if source.keys is None:
                self.arguments = {"value": "${input}"} if used is None or used else {}
            else:
                names = list(source.keys) if used is None else [key for key in source.keys if key in used]
                self.arguments = {key: f"${{input.{key}}}" for key in names}
                source = Source(keys={key: source.keys[key] for key in names})
            self.parameters = ", ".join(self.arguments) if self.name != "run" else parameters_of(self.plan).declared
        elif isinstance(written, dict) and not {"...", "?", "*", "+", "&", "|"} & written.keys():
            named = {key: name_of(key) + ("_" if name_of(key) in TAKEN else "") for key in written}
            self.arguments = {named[key]: value for key, value in written.items()}
            source = Source(keys={key: Source(named[key], is_text=self._is_text(written[key])) for key in written})
            self.parameters = ", ".join(self.arguments)
        else:
            self.arguments, source, self.parameters = {"value": written}, Source("value"), "value"
        self.scope = self.scope.with_sources(input=source)

    def _is_text(self, value: Any) -> bool:
        """Whether an argument is text for certain."""
        if not isinstance(value, str):
            return False
        parts = parse(value)
        one = parts[0] if len(parts) == 1 else None
        return not isinstance(one, Reference) or (one.cast is not None and one.cast.type in ("text", "string"))

    def _used(self) -> set[str] | None:
        """The inputs that the action reads by name; None where it reads the whole input."""
        found = set()
        for template in self.job.action.templates():
            for hole in template.holes:
                if hole.reference.source == "input":
                    first = next(iter(hole.reference.path), None)
                    if not isinstance(first, Name):
                        return None
                    found.add(first.name)
        return found

    # -- the request
    def call(self) -> Call:
        streams = self._streams()
        method = str(self.action.get("method") or "POST").upper()
        if "${" in method or method in ("HEAD", "OPTIONS"):
            raise no_python(f"method: {method}")
        arguments = [*self._request(method)]
        if streams:
            lines, is_text = [*_call("with httpx.stream", [literal(method), *arguments], " as response:")], True
            inner, is_text = self._pieces()
            lines += [f"    {line}" for line in ["check_status(response)", *inner]]
        else:
            has_body = any(one.startswith(("json=", "data=", "content=")) for one in arguments)
            short = method in _CALLS and (method in _BODY_METHODS or not has_body)
            head = f"httpx.{_CALLS[method]}" if short else "httpx.request"
            lines = [*_call(f"response = {head}", [*([] if short else [literal(method)]), *arguments], "")]
            value, is_text = self._value()
            lines += ["check_status(response)", f"return {value}"]
        self.scope.helpers.add("check_status")
        body = "\n".join(f"    {line}" for line in lines)
        return Call(self.job, self.name, self.parameters, self.arguments, body, streams, is_text)

    def _request(self, method: str) -> Iterator[str]:
        yield self._address()
        headers = self._headers()
        body = list(self._body(headers, method))
        if headers:
            items = [f"{literal(name)}: {self._text(value)}" for name, value in headers.items()]
            yield f"headers={laid_out('{', items, '}', 8)}"
        if self.action.get("params") is not None:
            yield self._fields("params", self.action["params"])
        yield from body
        yield f"timeout={self._timeout()}"

    def _address(self) -> str:
        endpoint = self.action.get("endpoint")
        if endpoint:
            return self._url(str(endpoint))
        base, path = str(self.component.get("base_url") or ""), str(self.action.get("path") or "")
        return self._url(f"{base.rstrip('/')}/{path.lstrip('/')}" if path else base)

    def _url(self, text: str) -> str:
        """An address: values behind its beginning are percent-encoded."""
        pieces = []
        for at, part in enumerate(parse(text)):
            if not isinstance(part, Reference):
                pieces.append(literal(part)[1:-1].replace("{", "{{").replace("}", "}}"))
                continue
            code = self._text(str(part)).replace('"', "'")
            pieces.append("{" + (code if at == 0 or part.source == "env" else f"quote({code}, safe='')") + "}")
        joined = "".join(pieces)
        return f'f"{joined}"' if any(isinstance(part, Reference) for part in parse(text)) else literal(text)

    def _text(self, value: Any) -> str:
        """A value as text."""
        if not isinstance(value, str):
            return literal(str(value).lower() if isinstance(value, bool) else str(value))
        code, is_text = scalar(value, self.scope)
        if is_text:
            return code
        self.scope.helpers.add("as_text")
        return f"as_text({code})"

    def _headers(self) -> dict[str, Any]:
        merged: dict[str, tuple[str, Any]] = {}
        for layer in (self.component.get("headers"), self.action.get("headers")):
            if not isinstance(layer, dict | None):
                raise no_python("headers")
            for name, value in (layer or {}).items():
                merged[name.lower()] = (name, value)
        return {name: value for name, value in merged.values() if value is not None}

    def _body(self, headers: dict[str, Any], method: str) -> Iterator[str]:
        """The argument for the body. A Content-Type that httpx gives by itself is taken out of the headers."""
        body = self.action.get("body")
        if body is None:
            return
        name = next((name for name in headers if name.lower() == "content-type"), None)
        kind = str(headers[name]).partition(";")[0].strip().lower() if name else ""
        if kind == "application/json" or kind.endswith("+json") or (not kind and isinstance(body, dict | list)):
            if kind == "application/json" and name:
                del headers[name]
            yield f"json={expression(body, self.scope, indent=8)}"
        elif kind == "application/x-www-form-urlencoded":
            del headers[str(name)]
            yield self._fields("data", body)
        elif isinstance(body, str) and kind != "multipart/form-data" and scalar(body, self.scope)[1]:
            headers.setdefault(name or "Content-Type", "text/plain; charset=utf-8")
            yield f"content={scalar(body, self.scope)[0]}"
        else:
            raise no_python(f"body: {kind}" if kind else "body")

    def _fields(self, argument: str, value: Any) -> str:
        """Fields of a form or a query: those without a value are left out."""
        if not isinstance(value, dict) or any(isinstance(inner, dict) for inner in value.values()):
            raise no_python(argument)
        code = expression(value, self.scope, indent=8)
        if not any("${" in str(inner) or inner is None for inner in value.values()):
            return f"{argument}={code}"
        self.scope.helpers.add("without_none")
        return f"{argument}=without_none({code})"

    def _timeout(self) -> str:
        written = self.action.get("timeout", self.component.get("timeout"))
        connect, read = 5.0, _READ_SECONDS
        if isinstance(written, dict):
            connect, read = (_seconds(written.get(key), usual) for key, usual in (("connect", connect), ("read", read)))
        elif written is not None:
            read = _seconds(written, read)
        return f"httpx.Timeout({read:g}, connect={min(connect, read):g})"

    # -- the answer
    def _streams(self) -> bool:
        return self.job.action.per_chunk or "stream_format" in self.action or streaming_key(self.action.get("body")) is not None  # fmt: skip

    def _pieces(self) -> tuple[list[str], bool]:
        """The loop over the chunks, and whether its pieces are text."""
        chunks = self._chunks()
        self.scope.helpers.add(chunks)
        written = self.action.get("output")
        scope = self.scope.with_sources(**{"response[]": Source("chunk")})
        if written is None or written == "${response[]}":
            return [f"yield from {chunks}(response)"], chunks == "messages"
        self._refuse_own(written)
        code = expression(written, scope, indent=12)
        is_text = isinstance(written, str) and self._dialect() is not None
        return [f"for chunk in {chunks}(response):", f"    piece = {code}", "    if piece is not None:", "        yield piece"], is_text  # fmt: skip

    def _chunks(self) -> str:
        form = self.action.get("stream_format")
        if form == "server-sent-events" or (isinstance(form, str) and "${" in form):
            raise no_python(f"stream_format: {form}")
        dialect = self._dialect()
        if form == "json-lines" or (dialect is not None and dialect.name == "ollama"):
            return "json_lines"
        reads_paths = bool(re.search(r"response\[\]\s*[.\[]", str(self.action.get("output"))))
        return "json_chunks" if form == "json" or (form is None and reads_paths) else "messages"

    def _dialect(self) -> Dialect | None:
        """The provider whose API this is, as far as the address says."""
        address = str(self.action.get("endpoint") or self.action.get("path") or self.component.get("base_url"))
        return dialect_of(re.split(r"[?#]", address)[0])

    def _value(self) -> tuple[str, bool]:
        self.scope.helpers.add("answer_of")
        written = self.action.get("output")
        if written is None or written == "${response}":
            return "answer_of(response)", False
        self._refuse_own(written)
        scope = self.scope.with_sources(response=Source("answer_of(response)"))
        return expression(written, scope, indent=4), False

    def _refuse_own(self, written: Any) -> None:
        """Refuse an output whose words are another API's."""
        if "${result" in str(written):
            raise no_python("${result}")


def _call(head: str, arguments: list[str], tail: str) -> Iterator[str]:
    """A call over several lines."""
    yield f"{head}("
    for argument in arguments:
        yield "    " + argument + ","
    yield f"){tail}"


def _seconds(value: Any, usual: float) -> float:
    if value is None or (isinstance(value, str) and "${" in value):
        return usual
    return float(duration(value, "timeout"))
