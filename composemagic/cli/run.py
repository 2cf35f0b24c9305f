"""`composemagic run`: run a workflow and stream its output."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from composemagic.allowance import allow, parsed
from composemagic.cli import asking, inputs
from composemagic.cli.options import YAML, Commands, add_file_options, files
from composemagic.cli.terminal import FAILED, INTERRUPTED, Screen, interrupt_calls, ready_model, tell
from composemagic.cli.writing import refuse_unwritable, write_whole
from composemagic.errors import RunError, UsageError
from composemagic.words import say
from composemagic.workflow.environment import pair

if TYPE_CHECKING:
    from composemagic.engine.events import Delta, Point
    from composemagic.engine.run import Run

__all__ = ["add", "show"]

_STOP_SECONDS = 2.0


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    command = commands.add("run", _run, say("run a workflow and stream its output"), _example())
    option = command.add_argument
    text = say("the id of the workflow, where there are several")
    option("workflow", nargs="?", metavar=say("WORKFLOW"), help=text)
    text = say(
        "an input, KEY=VALUE (a YAML scalar), again for the next; or all as a JSON object; - reads it from stdin"
    )
    option("-i", "--input", action="append", default=[], metavar="INPUT", help=text)
    text = say("send OpenAI-style requests to the embedded model; no key needed")
    option("--local", action="store_true", help=text)
    text = say("write the output to FILE as well, in UTF-8")
    option("-o", "--output", metavar="FILE", type=Path, help=text)
    text = say("what the YAML reads as ${context.metadata}, as JSON")
    option("-m", "--metadata", metavar="JSON", help=text)
    text = say("what the YAML reads as ${context.session_id}")
    option("--session-id", metavar="ID", help=text)
    text = say("go on by itself where a job asks a person")
    option("--auto-resume", action="store_true", help=text)
    text = say("only show the requests that would be sent, secrets masked")
    option("--explain", action="store_true", help=text)
    text = say("show what was sent and received, and when, on stderr at the end")
    option("--trace", action="store_true", help=text)
    option("--record", metavar="FILE", help=say("add the answers to FILE, without secrets"))
    option("--replay", metavar="FILE", help=say("take the answers from FILE instead of the network"))
    text = say("how fast a replay is: 1 as it was recorded, 2 twice as fast, `max` at once")
    option("--speed", default="1", metavar="N|max", help=text)
    text = say(
        "allow what no YAML may by itself: shell, hook, http-server, mcp-client; NAME=https://HOST lets a secret go there"
    )
    option("--allow", action="append", default=[], metavar="WHAT", help=text)
    add_file_options(command)


def _example() -> str:
    return say(
        """example:
  composemagic run -f chat.yml --input '{"prompt": "Hello"}' --local

The output goes to stdout as it comes, notes and errors to stderr. Ctrl-C stops the run and keeps its text.
Exit status: 0 done, 1 failed or incomplete, 2 used wrongly, 130 stopped."""
    )


def _run(options: argparse.Namespace) -> int:
    from composemagic.api import load
    from composemagic.explaining import explain
    from composemagic.recordings import speed_of

    if not options.file and Path(options.workflow or "").suffix in YAML:
        raise UsageError(say("WORKFLOW is a workflow's id; for a file write `-f {file}`", file=options.workflow))
    env = dict(pair(item, "-e") for item in options.env)
    for words, place in map(parsed, options.allow):
        allow(*words, place=place)
    workflow = load(
        files(options.file),
        options.workflow,
        env=env,
        env_files=options.env_file,
        local=options.local,
        record=options.record,
        replay=options.replay,
        replay_speed=speed_of(options.speed),
    )
    value = inputs.read(options.input, workflow.inputs)
    if options.explain:
        print(explain(workflow, value if isinstance(value, dict) else {}))
        return 0
    context = {"session_id": options.session_id, "metadata": inputs.metadata(options.metadata)}
    if isinstance(value, dict):
        inputs.check(workflow.inputs, value)
    refuse_unwritable(options.output)
    if options.local and not options.replay:
        ready_model()
    elif not options.replay and asking.somebody_is_there():
        asking.keys(workflow.unset_variables())
    start = partial(workflow.start, value, auto_resume=options.auto_resume, trace=options.trace, **context)
    return show(start, options.output, verbose=options.verbose)


def show(start: Callable[..., Run], output: Path | None = None, *, verbose: bool = False) -> int:
    """Start a run and print what it gives as it comes; gives the exit status. Ctrl-C ends the run as its end would.

    What the run asks is asked on a terminal; elsewhere a run that asks fails. `verbose` tells of each job.
    """
    from composemagic.engine.summary import summary

    screen = Screen()
    is_there = asking.somebody_is_there()
    run = start(attended=is_there, consents=is_there)
    try:
        with interrupt_calls(run.cancel):
            _print(run, screen, verbose=verbose)
    finally:
        # whatever ended the printing - a reader that is gone, a second Ctrl-C - the text is kept
        run.cancel()
        run.wait(_STOP_SECONDS)
        _keep(run, output)
    screen.end()
    if run.trace is not None:
        tell(str(run.trace))
    if screen.for_people or run.is_local or run.status == "stopped":
        tell(summary(run))
    if run.error is not None:
        tell(_sentence(run.error))
    return {"done": 0, "stopped": INTERRUPTED}.get(run.status, FAILED)


def _sentence(error: RunError) -> str:
    if error.kind != "unattended":
        return str(error)
    return say(
        "compose: the job `{job}` asks a person, and nobody can answer here; run it in a terminal, or with --auto-resume",
        job=error.job,
    )


def _print(run: Run, screen: Screen, *, verbose: bool) -> None:
    from composemagic.engine.events import Delta, Interrupted, Notice, RunFinished, Waiting

    wrote = False
    for event in run:
        match event:
            case Notice():
                screen.tell(str(event))
            case Waiting() if sys.stderr.isatty():
                screen.tell(str(event))
            case Interrupted(points):
                screen.end()
                _ask(run, points)
            case Delta(path=()):  # an object with streams in it is written when it is whole
                is_prose = isinstance(event.value, str) and run.encoding != "json"
                (screen.write_prose if is_prose else screen.write)(_as_text(run, event))
                wrote = True
            case RunFinished(bytes(data)):
                screen.write_bytes(data)
            case RunFinished(value) if not wrote:
                screen.write(_value_as_text(value))
            case _ if verbose and (line := _of_job(event)):
                screen.tell(line)


def _of_job(event: Any) -> str:
    """What there is to say of a job that begins or ends; nothing of other events."""
    from composemagic.engine.events import JobFailed, JobFinished, JobRouted, JobSkipped, JobStarted, JobStopped

    at = f"{getattr(event, 'at', 0.0):.2f}"
    match event:
        case JobStarted(job):
            return say("{job}: begins at {seconds} s", job=job, seconds=at)
        case JobFinished(job):
            return say("{job}: done at {seconds} s", job=job, seconds=at)
        case JobRouted(job, to):
            return say("{job}: goes on to {to}", job=job, to=to)
        case JobSkipped(job):
            return say("{job}: skipped", job=job)
        case JobFailed(job) | JobStopped(job):
            return say("{job}: stopped at {seconds} s", job=job, seconds=at)
    return ""


def _ask(run: Run, points: Sequence[Point]) -> None:
    answers = asking.answers(points)
    if answers is None:
        run.cancel()
    else:
        run.answer(answers)


def _as_text(run: Run, delta: Delta) -> str:
    value = delta.value
    if isinstance(value, str):
        return value + "\n" if run.encoding == "json" else value
    return json.dumps(value, ensure_ascii=False, default=str) + "\n"


def _value_as_text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n"


def _keep(run: Run, output: Path | None) -> None:
    """Write the file of -o, with what a pipe gets; a run that failed before it gave anything leaves the file alone."""
    from composemagic.engine.events import Delta

    deltas = [_as_text(run, event) for event in run.events if isinstance(event, Delta) and not event.path]
    if output is None or (not deltas and run.status != "done"):
        return
    value = run.output
    data = value if isinstance(value, bytes) else ("".join(deltas) or _value_as_text(value)).encode("utf-8", "replace")
    write_whole(output, data)
