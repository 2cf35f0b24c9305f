"""What a run asks people, in words, and what they type in answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from composemagic.engine.events import Point
from composemagic.words import listing, say

__all__ = ["choices", "is_tool_call", "meaning", "question", "wanted"]


def question(point: Point) -> str:
    """What a point asks, as a sentence with its job."""
    job = point.job_id
    if point.message and is_tool_call(point):
        return point.message  # it names the tool, which says more than the agent's job
    if point.message:
        return say("{job}: {message}", job=job, message=point.message)
    if point.phase == "after":
        return say("{job} is done. Go on with its output?", job=job)
    if point.phase == "before":
        return say("{job} is about to run. Go on with its input?", job=job)
    return say("{job} asks", job=job)


def choices(point: Point) -> str:
    """How a point is answered where answers are typed."""
    match point.phase:
        case "before":
            return say("Enter goes on; text or JSON takes the place of its input; Ctrl-C stops the run")
        case "after":
            return say("Enter goes on; text or JSON takes the place of its output; Ctrl-C stops the run")
    if is_tool_call(point):
        return say(
            "Enter lets the tool run; `false`, or a text that the model is told as the reason, refuses it; "
            "a JSON object takes the place of its arguments; Ctrl-C stops the run"
        )
    return say("Enter goes on without an answer; Ctrl-C stops the run")


def is_tool_call(point: Point) -> bool:
    """Whether an agent asks for leave to use a tool, as `interrupt` on the tool demands."""
    return point.phase == "ask" and isinstance(point.metadata, Mapping) and point.metadata.get("kind") == "tool_call"


def meaning(line: str) -> Any:
    """What a line means: an empty one to go on as it is (None), JSON what it says, all else is text."""
    if not line.strip():
        return None
    try:
        return json.loads(line)
    except ValueError:
        return line


def wanted(names: Sequence[str]) -> str:
    """Why keys are asked for, where else they may stand, and how a run needs none."""
    return say(
        "this needs {names}, which is not set: type it below, kept until this ends, or put it into a file `.env`; "
        "with `--local` requests to OpenAI-style services need no key",
        names=listing(f"`{name}`" for name in names),
    )
