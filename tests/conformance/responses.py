"""What `workflow` rows with `http` say of answers: as the peer answers, with what ours answers on purpose in its place.

A row says of each answer its `status`, `content_type`, `cache_control`, `json`, `text` or `bytes` (base64): what it does not
speak of is free, further fields of a JSON object among it. `<task>` and the like stand for any text, `{...}` for any object.
"""

from __future__ import annotations

import re
from typing import Any

Row = dict[str, Any]

__all__ = ["SSE", "merged", "projected"]

SSE = "text/event-stream; charset=utf-8"
_MARK = re.compile(r"<\w+>")
_SAID = re.compile(r"\b(?P<status>\d{3}) (?P<content_type>[\w.+-]+/[\w.+-]+)")


def merged(peer: Row, decision: Row) -> Row:
    """The answers of a row with a decision's `ours` in their place."""
    ours, theirs = decision["ours"], peer["responses"]
    several = ours.get("responses") or [ours, *theirs[1:]]
    found = [_one(theirs, at, told) for at, told in enumerate(several)]
    if "the number is open" in decision.get("why", ""):
        found[0]["status"] = "not 200"
    return {"responses": found}


def _one(theirs: list[Row], at: int, told: Row | str) -> Row:
    """One answer, of what a decision says of it as fields or in words."""
    if not isinstance(told, str):
        rest = {key: value for key, value in theirs[at].items() if key not in ("json", "text", "bytes")}
        is_stream = "text" in told and "json" in theirs[at]
        return {**rest, **({"content_type": SSE} if is_stream else {}), **told}
    if "as the peer" in told:
        return dict(theirs[at])
    said = _SAID.search(told)
    assert said is not None, told
    body = {"bytes": theirs[0]["bytes"]} if "the same bytes" in told else {}
    return {"status": int(said["status"]), "content_type": said["content_type"], **body}


def projected(expected: Any, got: Any) -> Any:
    """Of what came, what the row speaks of; where that fits a mark, the mark."""
    match expected:
        case "not 200":
            return expected if isinstance(got, int) and got >= 400 else got
        case str() if _MARK.fullmatch(expected):
            return expected if isinstance(got, str) and got else got
        case str() if "{...}" in expected:
            pattern = r"\{.*\}".join(map(re.escape, expected.split("{...}")))
            return expected if isinstance(got, str) and re.fullmatch(pattern, got) else got
        case dict() if isinstance(got, dict):
            return {key: projected(expected[key], got[key]) for key in expected if key in got}
        case list() if isinstance(got, list) and len(got) == len(expected):
            return [projected(one, other) for one, other in zip(expected, got, strict=True)]
    return got
