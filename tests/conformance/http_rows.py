"""`workflow` rows with `http`: requests to the API of the row's document, one after the other."""

from __future__ import annotations

import base64
import json
from contextlib import AbstractContextManager
from typing import Any

import httpx

from composemagic.api import examine
from composemagic.errors import DocumentError
from composemagic.workflow.controller import controller_of
from tests.api_server import Api, api
from tests.conformance.responses import projected
from tests.conformance.rows import Row, refuse, with_echo

SECONDS = 30
_BODIES = ("json", "data", "files", "content", "params", "headers")


def run(row: Row) -> object:
    """The answers to a row's requests, as far as the row speaks of them."""
    expected = row["expected"]["responses"]
    seen: dict[str, str] = {}
    found = []
    with _served(row) as served, httpx.Client(base_url=f"http://127.0.0.1:{served.port}") as client:
        for request in row["http"]:
            found.append(_asked(client, _filled(request, seen)))
            _remember(found[-1].get("json"), seen, first=int("{{POINT0}}" not in json.dumps(row["http"])))
    return {"responses": [projected(one, got) for one, got in zip(expected, found, strict=True)]}


def _served(row: Row) -> AbstractContextManager[Api]:
    document, env = with_echo(row["yaml"]), row.get("env")
    try:
        base_path = controller_of(examine(document, env=env)[0].controller).base_path
        return api(document, base_path="" if base_path is None else base_path, env=env)
    except DocumentError as error:
        raise refuse("load", [mistake.sentence for mistake in error.mistakes]) from None


def _asked(client: httpx.Client, request: Row) -> Row:
    how = {key: request[key] for key in _BODIES if key in request}
    answer = client.request(request["method"], request["path"], timeout=SECONDS, **how)
    found: Row = {"status": answer.status_code, "content_type": answer.headers.get("content-type")}
    if "cache-control" in answer.headers:
        found["cache_control"] = answer.headers["cache-control"]
    if answer.headers.get("content-type") == "application/json":
        found["json"] = answer.json()
    return {**found, "text": answer.text, "bytes": base64.b64encode(answer.content).decode()}


def _filled(request: Row, seen: dict[str, str]) -> Row:
    """A request with the ids that were seen before."""
    text = json.dumps(request)
    for mark, name in seen.items():
        text = text.replace(mark, name)
    found: Row = json.loads(text)
    return found


def _remember(told: Any, seen: dict[str, str], *, first: int) -> None:
    """Know the ids an answer tells: of the task, and of its points from number `first` on."""
    if not isinstance(told, dict) or "task_id" not in told:
        return
    seen["{{TASK}}"] = told["task_id"]
    for point in told.get("interrupt", ()):
        if point["id"] not in seen.values():
            number = sum(mark.startswith("{{POINT") for mark in seen) + first
            seen[f"{{{{POINT{number}}}}}"] = point["id"]
