"""Which job runs when: all that can, at the same time; routes, skips, ways back, and the end of them all.

A job waits for its dependencies, and one that is a routing target for a router that chooses it. A job whose answer is still
streaming is done for those that read it, and for others when the stream has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from composemagic.engine.events import JobFailed, JobFinished, JobRouted, JobSkipped, JobStarted, JobStopped
from composemagic.engine.fill import stop, together
from composemagic.engine.route import Route
from composemagic.engine.step import Frame, Kinds, Step, mapped
from composemagic.engine.stream import Stream, so_far, streams_in
from composemagic.errors import RunError
from composemagic.words import say
from composemagic.workflow.job import Job

__all__ = ["JobState", "Schedule"]

_OVER = frozenset({"done", "routed", "skipped", "failed", "stopped"})
_RAN = _OVER | {"streaming"}


@dataclass(slots=True)
class JobState:
    """One job in a run. `status` is "waiting", "running", "streaming", "done", "routed", "skipped", "failed" or "stopped".

    `started_at` and `ended_at` are seconds since the run started, of its last execution; `runs` counts them; `to` is the job
    it has chosen.
    """

    id: str
    status: str = "waiting"
    started_at: float | None = None
    ended_at: float | None = None
    runs: int = 0
    to: str | None = None
    error: RunError | None = None
    deltas: int = field(default=0, repr=False)
    value: Any = field(default=None, repr=False)
    redact: Callable[[Any], Any] = field(default=lambda value: value, repr=False)

    @property
    def output(self) -> Any:
        """What it gave, as far as it has: streams as what has been read of them. Without secrets."""
        return self.redact(so_far(self.value))


class Schedule:
    """Runs the jobs of one frame. `is_quiet`: its jobs are another workflow's, of which no event tells."""

    def __init__(
        self, frame: Frame, kinds: Kinds, run_workflow: Callable[[Step, str, Any], Any], *, is_quiet: bool = False
    ) -> None:
        self.frame = frame
        self.kinds = kinds
        self.run_workflow = run_workflow
        self.is_quiet = is_quiet
        self.graph = frame.plan.graph
        self.jobs = {job.id: job for job in frame.plan.jobs}
        self.states = {name: JobState(name, redact=frame.host.redact.gathered) for name in self.jobs}
        self.chosen: set[str] = set()  # the routing targets that a router has chosen
        self._to_ask = set(self.jobs)  # those of which something has changed that they wait for
        self.failure: RunError | None = None
        self.failed: str | None = None  # whose it is
        self.holds_back = len(self.jobs) == 1  # the only job is done when its output has been given
        self._tasks: dict[asyncio.Future[Any], str] = {}
        self._drains: dict[str, asyncio.Future[Any]] = {}
        self._open: dict[str, list[Stream]] = {}  # what the jobs' actions still give
        self._go_on: dict[str, asyncio.Event] = {}  # set for those that are to be read to their end whoever comes later
        self._changed = asyncio.Event()

    # -- the whole of it ------------------------------------------------------------------------------------------------
    async def run(self) -> Any:
        """Run all jobs, and give the workflow's output: a value, or one with streams in it. Raises RunError."""
        try:
            if self.holds_back:
                await self._run_only_job()
            else:
                await self._run_jobs()
            return await self._output()
        except BaseException as error:
            await self.abandon(error)
            raise

    async def finish(self) -> None:
        """Let the streams that nobody has read to their end come to it. Raises RunError."""
        try:
            names = [name for name, state in self.states.items() if state.status == "streaming"]
            for name in names:
                self._pump(name).set()
            await together(*(self._drains[name] for name in names if name in self._drains))
            await stop(list(self._drains.values()))
            if self.failure is not None:
                raise self.failure
        except BaseException as error:
            await self.abandon(error)
            raise
        if self.holds_back:
            for state in self.states.values():
                self._said_done(state)

    async def abandon(self, error: BaseException) -> None:
        """End what still runs, after a failure or a stop, and say of every job what has become of it."""
        await stop([*self._tasks, *self._drains.values()])
        self._tasks.clear()
        name = next(iter(self.jobs)) if len(self.jobs) == 1 else self.failed or getattr(error, "job", None)
        failed = self.states.get(name or "")
        if failed is not None and failed.status not in _OVER and isinstance(error, RunError):
            self._fail(failed, error)
        for state in self.states.values():
            if state.status in ("running", "streaming"):
                state.status, state.ended_at = "stopped", self._now()
                self._say(JobStopped(state.id, state.ended_at))
            elif state.status == "waiting" and not state.runs:
                self._skip(state)
            elif state.status == "waiting":
                state.status = "stopped"  # on a way back; that it ran has been said

    async def _output(self) -> Any:
        """What the workflow gives: its `output`, else its last jobs' outputs together."""
        template = self.frame.plan.output
        answer = self._merged()
        if template is None:
            return answer
        return await mapped(template, {**self.frame.scope(), "output": answer}, self.frame)

    def _merged(self) -> Any:
        """The outputs of the last jobs: objects as one, in the order written; else the last one that is not null."""
        found: Any = None
        for name in self.graph.terminals:
            value = self.states[name].value
            if value is None:
                continue
            found = {**found, **value} if isinstance(found, dict) and isinstance(value, dict) else value
        return found

    # -- running --------------------------------------------------------------------------------------------------------
    async def _run_only_job(self) -> None:
        (job,) = self.jobs.values()
        step = self._started(job)
        self._arrived(job, step, await step.perform())

    async def _run_jobs(self) -> None:
        while self._start_what_can() or self._tasks or self._awaits_streams():
            await self._wait()
        for state in self.states.values():
            if state.status == "waiting":
                self._skip(state)

    def _start_what_can(self) -> bool:
        """Start every job that can start, skip those that never will; whether there was one."""
        some = False
        while self._to_ask:
            asked, self._to_ask = self._to_ask, set()
            for name in sorted(asked, key=self.graph.order.__getitem__):
                if self.states[name].status != "waiting":
                    continue
                match self._verdict(self.jobs[name]):
                    case "run":
                        self._launch(self.jobs[name])
                        some = True
                    case "skip":
                        self._skip(self.states[name])
        return some

    def _verdict(self, job: Job) -> str:
        routers = self.graph.routers.get(job.id)
        if routers is not None and job.id not in self.chosen:
            return "skip" if all(self.states[name].status in _OVER for name in routers) else "wait"
        groups = [self._met(job.id, group) for group in job.depends_on]
        if None in groups:
            return "wait"
        # whoever a router chose runs, even where all that it waits for was skipped
        return "run" if not groups or any(groups) or job.id in self.chosen else "skip"

    def _met(self, reader: str, group: tuple[str, ...]) -> bool | None:
        """Whether one of an OR group is done; False where all are skipped, None while that is open."""
        statuses = [self._status_for(reader, name) for name in group]
        if any(status in ("done", "routed") for status in statuses):
            return True
        return False if all(status == "skipped" for status in statuses) else None

    def _status_for(self, reader: str, name: str) -> str:
        status = self.states[name].status
        if status != "streaming":
            return status
        if reader in self.graph.readers[name]:
            return "done"
        self._pump(name).set()
        return "waiting"

    def _awaits_streams(self) -> bool:
        """Whether a job waits for a stream that is to be read to its end."""
        return any(self._go_on[name].is_set() for name in self._drains if self.states[name].status == "streaming")

    def _pump(self, name: str) -> asyncio.Event:
        """Read what a job gives as it comes, for those that will read it later; the event that lets it go to the end.

        Otherwise a connection would stand still while other jobs run, and who waits for the end of a stream that nobody
        reads would wait for ever.
        """
        if name not in self._drains:
            self._go_on[name] = asyncio.Event()
            self._drains[name] = task = asyncio.ensure_future(self._drained(name, self._go_on[name]))
            task.add_done_callback(self._pumped)
        return self._go_on[name]

    def _pumped(self, task: asyncio.Future[Any]) -> None:
        """A failure is the stream's, which has told of it."""
        if not task.cancelled():
            task.exception()
        self._changed.set()

    def _launch(self, job: Job) -> None:
        step = self._started(job)
        task = asyncio.ensure_future(step.perform())
        self._tasks[task] = job.id
        task.add_done_callback(lambda done: self._landed(done, job, step))

    def _started(self, job: Job) -> Step:
        state = self.states[job.id]
        if state.runs >= job.max_run_count:
            raise RunError(
                "max_run_count",
                say(
                    "the job `{job}` would run more than {count} times; raise `max_run_count` if that is meant",
                    job=job.id,
                    count=job.max_run_count,
                ),
                job=job.id,
            )
        state.runs += 1
        state.status, state.started_at, state.ended_at, state.to = "running", self._now(), None, None
        self._say(JobStarted(job.id, state.started_at))
        return Step(self.frame, job, self.kinds, self.run_workflow, default=self.frame.input)

    async def _wait(self) -> None:
        """Wait for the next job or stream that ends. Raises the failure of one."""
        await self._changed.wait()
        self._changed.clear()
        if self.failure is not None:
            raise self.failure

    def _landed(self, task: asyncio.Future[Any], job: Job, step: Step) -> None:
        self._tasks.pop(task, None)
        self._changed.set()
        if task.cancelled() or self.failure is not None:  # what it gives now comes too late
            return
        error = task.exception()
        if error is None:
            self._arrived(job, step, task.result())
        else:
            self._broke(job, step.wrapped(error))

    # -- what a job has come to -------------------------------------------------------------------------------------------
    def _arrived(self, job: Job, step: Step, answer: Any) -> None:
        state = self.states[job.id]
        self._to_ask |= self.graph.after[job.id]
        if isinstance(answer, Route):
            self._end(state, answer.output)
            state.status, state.to, state.ended_at = "routed", answer.to, self._now()
            self._say(JobRouted(job.id, answer.to, state.ended_at))
            self._route(job.id, answer.to)
            return
        self._end(state, answer)
        self._open[job.id] = running = [stream for stream in step.streams if not stream.ended]
        if not running:
            self._done(state)
            return
        state.status, state.ended_at = "streaming", None
        if (before := self._drains.pop(job.id, None)) is not None:
            before.cancel()  # of an execution that nobody waits for any more
        if not self.holds_back:
            self._pump(job.id)
        for stream in running:
            stream.when_ended(self._watch(job, step, state.runs))

    def _watch(self, job: Job, step: Step, runs: int) -> Callable[[BaseException | None], None]:
        """What is called when a stream of this execution of the job has ended."""
        state = self.states[job.id]

        def ended(failure: BaseException | None) -> None:
            if state.status != "streaming" or state.runs != runs:
                return
            if failure is not None and job.on_error is None:
                self._broke(job, step.wrapped(failure))
            elif all(stream.ended for stream in self._open[job.id]):
                self._done(state)
            self._changed.set()

        return ended

    def _end(self, state: JobState, value: Any) -> None:
        state.value = value
        self.frame.jobs = self.frame.jobs_with(state.id, value)

    def _done(self, state: JobState) -> None:
        state.status, state.ended_at = "done", self._now()
        self._to_ask |= self.graph.after[state.id]
        if not self.holds_back:
            self._said_done(state)

    def _said_done(self, state: JobState) -> None:
        if state.status == "done":
            state.ended_at = self._now()
            self._say(JobFinished(state.id, state.ended_at, state.deltas))

    def _skip(self, state: JobState) -> None:
        state.status = "skipped"
        self._to_ask |= self.graph.after[state.id]
        self._say(JobSkipped(state.id, self._now()))

    def _broke(self, job: Job, failure: RunError) -> None:
        """Keep the first failure, and whose it is: a workflow inside may have named a job of its own."""
        if self.failure is None:
            self.failure, self.failed = failure, job.id

    def _fail(self, state: JobState, error: RunError) -> None:
        self.frame.host.redact.scrub(error)
        state.status, state.ended_at, state.error = "failed", self._now(), error
        self._say(JobFailed(state.id, error, state.ended_at))

    async def _drained(self, name: str, go_on: asyncio.Event) -> None:
        """Read what a job gives to its end, for no one."""
        streams = [stream for _, stream in streams_in(self.states[name].value) if isinstance(stream, Stream)]
        left_out = self._open.get(name, [])
        await together(*(stream.drain(go_on) for stream in streams))
        if not all(stream.ended for stream in left_out):
            await go_on.wait()
            await together(*(stream.drain() for stream in left_out))

    # -- routes -----------------------------------------------------------------------------------------------------------
    def _route(self, router: str, target: str) -> None:
        """Let the target start: for the first time, after it was skipped, or again, with all that lies on the way back."""
        self.chosen.add(target)
        self._to_ask.add(target)
        status = self.states[target].status
        if status == "skipped":
            self._revive(target)
        elif status in _RAN and router in self.graph.downstream(target) | {target}:
            self._rewind(self.graph.between(target, router), target)

    def _rewind(self, ids: set[str], target: str) -> None:
        for name in ids:
            if self.states[name].status in _RAN:
                self.states[name].status = "waiting"
                self._to_ask.add(name)
                if name != target:
                    self.chosen.discard(name)

    def _revive(self, target: str) -> None:
        """What was skipped because the target was may run after all."""
        for name in {target, *self.graph.downstream(target)}:
            if self.states[name].status == "skipped":
                self.states[name].status = "waiting"
                self._to_ask.add(name)

    def _now(self) -> float:
        return self.frame.host.elapsed()

    def _say(self, event: Any) -> None:
        if not self.is_quiet:
            self.frame.host.say(event)
