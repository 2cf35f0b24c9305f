"""A conversation with any workflow: where its questions go, what is told of the turns before, and what becomes of them.

A workflow has a place for what was said before when it has an input called `messages`, `history`, `chat_history` or
`conversation`: a list of {role, content} goes there, or a readable text where the YAML says `as text`. For any other one
the turns before are written into the question itself.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from composemagic.engine.run import Run
from composemagic.errors import InputError, UsageError, masked
from composemagic.language.secret import is_secret
from composemagic.text import clean
from composemagic.words import say
from composemagic.workflow.way import Message, content_of, transcript, way_of
from composemagic.workflow.written import nested

if TYPE_CHECKING:
    from composemagic.api import Workflow

__all__ = ["Conversation", "Turn", "spoken"]


def spoken(run: Run) -> str:
    """What a run answered, as text; where it gave messages, as an agent does, what the assistant said last."""
    value = run.output
    messages = value if isinstance(value, list) else [value]
    if messages and all(isinstance(one, Mapping) and "role" in one for one in messages):
        told = (content_of(one) for one in reversed(messages) if one["role"] == "assistant")
        return next(filter(None, told), "")
    return run.text


# -- the turns -------------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Turn:
    """A question and what became of it. One that was restored has no `run`, only what it `said`.

    `values` are the inputs beside the question it was asked with.
    """

    question: str
    run: Run | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    said: str = ""
    was: str = "done"

    @property
    def answer(self) -> str:
        """The answer so far, as text."""
        return self.said if self.run is None else spoken(self.run)

    @property
    def status(self) -> str:
        """As of a Run: "running", "interrupted", "done", "stopped", "truncated" or "failed"."""
        return self.was if self.run is None else self.run.status

    @property
    def is_over(self) -> bool:
        """Whether its answer is all there will be."""
        return self.run is None or self.run.done

    def __repr__(self) -> str:
        return f"<Turn {self.question[:40]!r}: {self.status}, {len(self.answer)} characters>"


class Conversation:
    """A conversation over a workflow: `say("...")` asks and waits, `turns` are what it consists of now.

    `values` are the other inputs, to be changed at any time; a value for the input that takes what was said before is what
    the conversation begins with, such as a system message. `log` has every turn ever asked in the order asked, with those
    that were asked anew. `keep` is called with every Run. A turn whose answer was stopped or failed is told to the model
    with the text there was once a next question is asked; one without any text is left out, and one that is asked again
    (`retry`, `edit`) as well. Raises UsageError for a workflow that no text can be said to.
    """

    def __init__(
        self, workflow: Workflow, values: Mapping[str, Any] | None = None, keep: Callable[[Run], Any] | None = None
    ) -> None:
        given = dict(values or {})
        self.workflow = workflow
        self.way = way_of(workflow.inputs, given)
        self.before = _messages(given.pop(self.way.history, None)) if self.way.history is not None else []
        self.draft = str(given.pop(self.way.question, None) or "") if self.way.question is not None else ""
        self.values = given
        self.turns: list[Turn] = []
        self.log: list[Turn] = []
        self._keep = keep
        self._check(given)
        # whoever asks may do so in any thread: a cell's, or one where a click arrives
        self.lock = threading.RLock()

    def _check(self, given: Mapping[str, Any]) -> None:
        """Raise InputError for values that do not fit and names with a typo; what is missing may still come."""
        try:
            self.workflow.check({**given, **self.way.filled([], "-"), **self._stand_in()})
        except InputError as error:
            if wrong := {name: words for name, words in error.problems.items() if name in given}:
                raise InputError(wrong) from None

    # -- asking ----------------------------------------------------------------------------------------------------------
    def say(self, question: str, /, **values: Any) -> Run:
        """Ask, wait for the answer, and give the Run; `values` count for this question only.

        Raises InputError, UsageError while an answer still comes, and RunError; an interrupt stops the answer.
        """
        try:
            run = self._run_of(self.ask(question, values, attended=False))
            run.wait()
        except KeyboardInterrupt:  # also one that came before the wait
            self.stop()
            raise
        run.raise_for_error()
        return run

    async def asay(self, question: str, /, **values: Any) -> Run:
        """The same without blocking the caller's loop; cancelling stops the answer."""
        run = self._run_of(self.ask(question, values, attended=False))
        await run.finished()
        run.raise_for_error()
        return run

    def ask(self, question: str, values: Mapping[str, Any] | None = None, *, attended: bool = True) -> Turn:
        """Ask and give the turn at once. `attended`: somebody can answer what the run asks (see `Workflow.start`)."""
        with self.lock:
            return self._ask(question, values or {}, self.turns, attended)

    def retry(self, **values: Any) -> Turn:
        """Ask the last question again; the answer there was stays in `log` only. Raises UsageError where there is none."""
        with self.lock:
            last = self._turn(-1)
            return self.edit(-1, last.question, **{**last.values, **values})

    def edit(self, index: int, question: str, /, **values: Any) -> Turn:
        """Ask another question in the place of a turn (counted from 0, from the end with -1); what followed is cut off."""
        with self.lock:
            place = self.turns.index(self._turn(index))
            return self._ask(question, values, self.turns[:place], attended=True)

    def stop(self) -> None:
        """Stop the answer that is on its way; what there is of it stays."""
        if self.turns and self.turns[-1].run is not None:
            self.turns[-1].run.cancel()

    def clear(self) -> None:
        """Begin anew; the turns stay in `log`."""
        with self.lock:
            self.stop()
            self.turns = []
            self._changed()

    def restore(self, turns: Iterable[Mapping[str, Any]]) -> None:
        """Go on from turns as `to_json` gives them: mappings with `question` and `answer`. Raises UsageError."""
        with self.lock:
            self._refuse_while_one_comes()
            self.turns = [_restored(one) for one in turns]
            self.log += self.turns
            self._changed()

    def _ask(self, question: str, values: Mapping[str, Any], before: Sequence[Turn], attended: bool) -> Turn:
        self._refuse_while_one_comes()
        given = {**self.values, **values}
        inputs = given | self.way.filled(self.told(before), self._checked(question))
        # a text of what was said before is empty at first, and that is no mistake of the user's
        self.workflow.check(
            {name: value for name, value in inputs.items() if name != self.way.history} | self._stand_in()
        )
        run = self.workflow.start(nested(inputs), attended=attended, consents=attended, begins=False)
        turn = Turn(question, run, dict(values))
        self.turns = [*before, turn]
        self.log.append(turn)
        if self._keep is not None:
            self._keep(run)
        self._began(turn)
        run.begin()  # now that `stop` finds it, and who shows it hears all
        return turn

    def _stand_in(self) -> dict[str, Any]:
        """A value that fits the input for what was said before, whatever that is."""
        return {} if self.way.history is None else {self.way.history: "-" if self.way.as_text else [{}]}

    def _checked(self, question: str) -> str:
        if not isinstance(question, str) or not question.strip():
            name = self.way.question or self.way.history or ""
            raise InputError({name: say("there is no question")})
        return question

    def _refuse_while_one_comes(self) -> None:
        if self.turns and not self.turns[-1].is_over:
            raise UsageError(say("the last answer is still on its way; wait for it, or stop it with `stop()`"))

    def _turn(self, index: int) -> Turn:
        try:
            return self.turns[index]
        except IndexError:
            raise UsageError(say("there is no such turn; there are {count}", count=len(self.turns))) from None

    @staticmethod
    def _run_of(turn: Turn) -> Run:
        assert turn.run is not None
        return turn.run

    # -- for who shows it --------------------------------------------------------------------------------------------------
    def _began(self, turn: Turn) -> None:
        """A turn has begun."""

    def _changed(self) -> None:
        """The turns are others than before."""

    # -- what is told ------------------------------------------------------------------------------------------------------
    def told(self, turns: Sequence[Turn] | None = None) -> list[Message]:
        """What a model is told of turns (of all, by itself) with the next question: messages of {role, content}."""
        found = [dict(one) for one in self.before]
        for turn in self.turns if turns is None else turns:
            if turn.answer:
                found.append({"role": "user", "content": turn.question})
                found.append({"role": "assistant", "content": turn.answer})
        return found

    @property
    def note(self) -> str:
        """What should be known of how it remembers; empty where the workflow has a place for that."""
        if self.way.history is not None:
            return ""
        if not self.way.question:
            return say("this workflow has no input for what was said before: it is written into its input, as text")
        return say(
            "this workflow has no input for what was said before: it is written into `{input}`, as text",
            input=self.way.question,
        )

    # -- taking it along -----------------------------------------------------------------------------------------------------
    def to_json(self) -> str:
        """The conversation as JSON text: `workflow`, `values`, `before`, `turns` of {question, answer, status ...}."""
        told = {
            "workflow": self.workflow.title,
            "values": self._public_values(),
            "before": self.before,
            "turns": [_facts(turn) for turn in self.turns],
        }
        return clean(json.dumps(told, ensure_ascii=False, indent=2, default=str))

    def to_cells(self) -> list[str]:
        """The sources of notebook cells that go on from here without asking anything again.

        The first loads the workflow, in today's spelling of the YAML; the second restores the turns.
        """
        name = self.workflow.name or "chat"
        begin = self._public_values() | ({str(self.way.history): self.before} if self.before else {})
        given = ", ".join(f"{key}={value!r}" for key, value in begin.items() if key.isidentifier())
        kept = [{key: fact for key, fact in _facts(turn).items() if key in _KEPT} for turn in self.turns]
        turns = clean(json.dumps(kept, ensure_ascii=False, indent=4))  # texts only: as Python writes them
        document = self.workflow.document
        which = f" -w {self.workflow.id}" if len(document.get("workflows", ())) > 1 else ""
        return [
            f"%%compose {name}{which}{' --local' if self.workflow.is_local else ''} --check\n{_yaml(document)}",
            f"conversation = {name}.chat({given})\nconversation.restore({turns})\nconversation\n",
        ]

    def _public_values(self) -> dict[str, Any]:
        return {name: value for name, value in self.values.items() if not is_secret(name, str(value))}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {self.workflow.title!r}: {len(self.turns)} turns>"

    def __str__(self) -> str:
        messages = ({"role": role, "content": text} for turn in self.turns for role, text in _both(turn))
        return transcript(list(messages))


_KEPT = ("question", "answer", "status")


def _yaml(document: Mapping[str, Any]) -> str:
    import yaml  # only who exports pays for it

    return clean(masked(yaml.safe_dump(dict(document), allow_unicode=True, sort_keys=False, width=110)))


def _both(turn: Turn) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("user", turn.question), ("assistant", turn.answer)


def _messages(value: Any) -> list[Message]:
    """What a conversation begins with, as messages. Raises UsageError for what are none."""
    if value in (None, "", []):
        return []
    if isinstance(value, list) and all(isinstance(one, Mapping) and "role" in one for one in value):
        return [dict(one) for one in value]
    raise UsageError(say('what a conversation begins with is a list such as [{"role": "system", "content": "..."}]'))


def _restored(turn: Any) -> Turn:
    facts = turn if isinstance(turn, Mapping) else {}
    question, answer, status = (facts.get(name, "") for name in _KEPT)
    if not (question and isinstance(question, str) and isinstance(answer, str)):
        raise UsageError(say("a turn is a mapping with the texts `question` and `answer`"))
    return Turn(question, said=answer, was=str(status or "done"))


def _facts(turn: Turn) -> dict[str, Any]:
    facts: dict[str, Any] = {"question": turn.question, "answer": turn.answer, "status": turn.status}
    if turn.run is None:
        return facts
    public = {name: value for name, value in turn.values.items() if not is_secret(name, str(value))}
    more = {
        "values": public or None,
        "error": turn.run.error and turn.run.error.sentence,
        "model": turn.run.model,
        "seconds": turn.run.timing.total,
    }
    facts |= {name: fact for name, fact in more.items() if fact is not None}
    return {name: turn.run.redact.value(fact) for name, fact in facts.items()}
