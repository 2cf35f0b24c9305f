"""The widgets of a chat: bubbles, the line to type in, what can be done with a turn, and the other inputs.

A second display below holds the whole conversation as plain HTML, renewed after every turn.
"""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets
from IPython.display import display
from ipywidgets.widgets.widget_string import HTMLStyle

from composemagic.conversation import Conversation, Turn
from composemagic.engine.events import Event
from composemagic.engine.loop import private_loop
from composemagic.errors import ComposeError, InputError
from composemagic.notebook import bubbles
from composemagic.notebook.ask import Ask
from composemagic.notebook.bubbles import Still
from composemagic.notebook.chatlook import LOOK, exports, instead, told
from composemagic.notebook.look import RED, escaped
from composemagic.notebook.pace import Pace
from composemagic.notebook.place import Place
from composemagic.notebook.settings import Settings
from composemagic.notebook.settled import Settled
from composemagic.notebook.standin import StandIn
from composemagic.notebook.watched import Watched, opened_points
from composemagic.notebook.widget import button, close, heard, unpin, widget_bundle
from composemagic.text import plain
from composemagic.threads import call_on
from composemagic.words import say

__all__ = ["ChatBox"]


class _Shown:
    """One turn's widgets, and its static copy once it is over."""

    def __init__(self, turn: Turn, style: dict[str, Any], edit: Any) -> None:
        self.turn = turn
        self.still: Still = {}
        self.watched: Watched | None = None
        self.pace: Pace | None = None
        self.ask: Ask | None = None
        self.asked = widgets.HTML(bubbles.question(turn, "100%"), **style)
        self.edit = edit
        self.answer = widgets.HTML("", **style)
        row = widgets.HBox([self.edit, self.asked], layout=style["layout"])
        row.add_class("compose-asked")
        self.row = row
        self.box = widgets.VBox([row, self.answer], layout=style["layout"])


class ChatBox:
    """What stands below a cell. Made by `Chat.show`; clicks come in any thread, runs are heard on the private loop's."""

    def __init__(self, chat: Conversation) -> None:
        self.chat = chat
        self._stand_in = StandIn()
        self._lock = chat.lock  # one for both: clicks go from here to there, turns that code asks from there to here
        self._shown: list[_Shown] = []
        self._editing: Turn | None = None
        # few models: all that may share a layout and a style do
        self._style = {"layout": widgets.Layout(width="auto", flex="0 1 auto"), "style": HTMLStyle()}
        self._settled = Settled(**self._style)
        self._copy_place, self._is_shown = Place(), False
        self._build()
        for turn in chat.turns:
            self._add(turn)
        self._place()
        self._busy(False)
        if self._shown and not self._shown[-1].turn.is_over:
            self._follow(self._shown[-1])

    def _build(self) -> None:
        chat, after = self.chat, self._settled.after
        self._head = widgets.HTML(LOOK + bubbles.head(chat), **self._style)
        self._turns = widgets.VBox(layout=self._style["layout"])
        words = say("Your question; Enter sends it")
        self._line = heard(widgets.Text(value=chat.draft, placeholder=words))
        self._area = heard(widgets.Textarea(placeholder=say("Your question; Send sends it"), rows=5))
        self._area.layout.display = "none"
        self._line.on_msg(self._on_key)
        self._send = button(say("Send"), "paper-plane", after(self._on_send), style="primary", width="auto")
        self._stop = button(say("Stop"), "stop", lambda _: chat.stop(), width="auto")
        self._long = button("", "align-left", after(self._on_long), width="36px")
        self._long.tooltip = say("a question of several lines")
        self._retry = button(say("Retry"), "refresh", after(self._on_retry), width="auto")
        self._clear = button(say("Clear"), "trash", self._on_clear, width="auto")
        self._export = button(say("Export"), "download", self._on_export, width="auto")
        self._cancel = button(say("Do not edit"), "times", after(self._on_cancel), width="auto")
        self._status = widgets.HTML("", **self._style)
        self._exported = widgets.VBox(layout=self._style["layout"])
        self._settings = Settings(chat.workflow, chat.way.inputs, chat.values)
        entry = widgets.HBox([self._line, self._area, self._long, self._send, self._stop])
        entry.add_class("compose-entry")
        self._acts = widgets.HBox([self._retry, self._clear, self._export, self._status])
        self._acts.add_class("compose-acts")
        parts = [self._head, self._turns, entry, self._acts, self._settings.box, self._exported]
        self.box = widgets.VBox([part for part in parts if part is not None])
        for name in ("compose-chat", self._stand_in.live):
            self.box.add_class(name)

    # -- what is displayed -------------------------------------------------------------------------------------------------
    def show(self) -> None:
        """Display the widgets, and below them the copy that is saved."""
        title = plain(self.chat.workflow.title)
        display(widget_bundle(self.box, say("{title}: what was said stands below", title=title)), raw=True)
        copy = self._copy()
        self._copy_place.put(copy)
        self._is_shown = True
        if self._copy() != copy:  # an answer has ended meanwhile
            self._keep_copy()

    def close(self) -> None:
        """Take the widgets away; the copy is seen from now on."""
        with self._lock:
            self._keep_copy()
            for shown in self._shown:
                if shown.pace is not None:
                    call_on(private_loop().loop, shown.pace.stop)
                if shown.ask is not None:
                    shown.ask.close()
            self._settled.close()
            self._settings.close()
            close(self.box)
            for lone in (self._cancel, self._retry, self._clear, self._export, self._style["style"]):
                close(lone)

    def _copy(self) -> dict[str, Any]:
        stills = [(shown.turn, bubbles.with_mark(shown.turn, shown.still)) for shown in self._shown if shown.still]
        return dict(bubbles.transcript(self.chat, stills, style=self._stand_in.style, name=self._stand_in.kept))

    def _keep_copy(self) -> None:
        """Renew the copy; what ends before it is shown, on a thread that belongs to no cell, is in the first one."""
        if self._is_shown:
            self._copy_place.put(self._copy())

    # -- turns -------------------------------------------------------------------------------------------------------------
    def began(self, turn: Turn) -> None:
        """A turn of the conversation has begun, from here or from code."""
        with self._lock:
            self._cut()
            shown = self._add(turn)
            self._place()
            self._follow(shown)

    def _follow(self, shown: _Shown) -> None:
        self._busy(True)
        assert shown.turn.run is not None
        shown.watched = Watched(shown.turn.run, lambda watched, batch: self._hear(shown, watched, batch))
        shown.pace = Pace(lambda: self._push(shown))
        shown.watched.follow()

    def changed(self) -> None:
        """The turns are others than before."""
        with self._lock:
            self._cut()
            for turn in self.chat.turns[len(self._shown) :]:
                self._add(turn)
            self._place()
            self._busy(False)
            self._keep_copy()

    def _cut(self) -> None:
        """Take away the turns that are no part of the conversation any more."""
        gone = [shown for shown in self._shown if shown.turn not in self.chat.turns]
        self._shown = [shown for shown in self._shown if shown.turn in self.chat.turns]
        if gone:
            self._place()
        for shown in gone:
            for part in (shown.edit, shown.edit.style, shown.asked, shown.answer, shown.row, shown.box):
                part.close()  # their layout is everybody's
            if shown.ask is not None:
                shown.ask.close()

    def _add(self, turn: Turn) -> _Shown:
        edit = widgets.Button(icon="pencil", tooltip=say("edit this question and ask it again"), layout=self._style["layout"])  # fmt: skip
        edit.on_click(self._settled.after(lambda _: self._on_edit(turn)))
        shown = _Shown(turn, self._style, edit)
        self._shown.append(shown)
        if turn.is_over:
            self._settle(shown, bubbles.turn_still(turn))
        return shown

    def _place(self) -> None:
        self._turns.children = [shown.box for shown in self._shown]
        self._head.value = LOOK + bubbles.head(self.chat)
        for shown in self._shown[-1:]:
            unpin(shown.edit)

    def _settle(self, shown: _Shown, still: Still) -> None:
        shown.still = still
        body = bubbles.with_mark(shown.turn, still)["text/html"]
        shown.answer.value = bubbles.answer(body, is_well=shown.turn.status == "done")

    # -- on the private loop's thread --------------------------------------------------------------------------------------
    def _hear(self, shown: _Shown, watched: Watched, batch: list[Event]) -> None:
        if watched.is_over:
            self._end(shown, watched)
            return
        if opened_points(batch):
            self._ask(shown, watched)
        if shown.pace is not None:
            shown.pace.soon()

    def _ask(self, shown: _Shown, watched: Watched) -> None:
        if shown.ask is None:
            shown.ask = Ask(watched.run)
            shown.box.children = [shown.row, shown.answer, shown.ask.box]
        shown.ask.show(watched.run.points)

    def _push(self, shown: _Shown) -> tuple[int, int]:
        watched = shown.watched
        if watched is None or watched.is_over:
            return 0, 0
        messages = size = 0
        if watched.has_news():
            html = bubbles.answer(watched.html())
            shown.answer.value = html
            messages, size = 1, len(html.encode("utf-8", "surrogatepass"))
        self._status.value = told(watched.words())
        return messages + 1, size

    def _end(self, shown: _Shown, watched: Watched) -> None:
        if shown.pace is not None:
            shown.pace.stop()
        if shown.turn not in self.chat.turns:  # cleared meanwhile: its widgets are gone, and another may be on its way
            return
        if shown.ask is not None:
            shown.ask.close()
            shown.ask = None
            shown.box.children = [shown.row, shown.answer]
        try:
            self._settle(shown, watched.still())
            self._keep_copy()
        finally:
            self._busy(False)

    # -- clicks ------------------------------------------------------------------------------------------------------------
    def _on_key(self, _: Any, content: Any, __: Any) -> None:
        if content.get("event") == "submit":
            self._settled.then(lambda: self._on_send(None), self._send)

    def _on_send(self, _: Any) -> None:
        with self._lock:
            entry = self._entry
            question, turn = entry.value, self._editing
            if not question.strip():
                return
            if turn in self.chat.turns:
                self._try(lambda: self.chat.edit(self.chat.turns.index(turn), question))
            else:
                self._try(lambda: self.chat.ask(question))
            if not self._problem:
                entry.value = ""
                self._edit_no_more()
            self._unpin()

    def _on_retry(self, _: Any) -> None:
        with self._lock:
            self._try(self.chat.retry)
            self._unpin()

    def _on_clear(self, _: Any) -> None:
        with self._lock:
            self._edit_no_more()
            self.chat.clear()

    def _on_edit(self, turn: Turn) -> None:
        with self._lock:
            if turn not in self.chat.turns:
                return
            self._editing = turn
            self._lengthen("\n" in turn.question or not self._line_is_used)
            self._entry.value = turn.question
            count = len(self.chat.turns) - self.chat.turns.index(turn) - 1
            self._status.value = told(instead(count))
            self._acts.children = [self._cancel, self._status]
            self._entry.focus()
            self._unpin()

    def _on_cancel(self, _: Any) -> None:
        with self._lock:
            self._entry.value = ""
            self._edit_no_more()
            self._unpin()

    def _on_long(self, _: Any) -> None:
        with self._lock:
            text = self._entry.value
            self._lengthen(self._line_is_used)
            self._entry.value = text
            self._entry.focus()
            self._unpin()

    def _on_export(self, _: Any) -> None:
        with self._lock:
            was_open = bool(self._exported.children)
            old, self._exported.children = self._exported.children, ()
            for part in old:
                close(part)
            if not was_open:
                self._exported.children = exports(self.chat)
            self._unpin()

    # -- parts of these ----------------------------------------------------------------------------------------------------
    def _try(self, ask: Any) -> None:
        """Ask with what the settings hold; what is wrong is told beside the buttons and beside the fields."""
        self._problem = ""
        try:
            values = {**self.chat.values, **self._settings.values()}
            self.chat.values = {name: value for name, value in values.items() if value is not None}
            ask()
            self._settings.tell({})
            self._settings.taken()
        except InputError as error:
            others = self._settings.tell(error.problems)
            self._problem = "; ".join(others) or say("something in the settings does not fit")
        except ComposeError as error:
            self._problem = str(error)
        if self._problem:
            self._status.value = f'<span style="{RED}">{escaped(self._problem)}</span>'

    _problem = ""

    @property
    def _line_is_used(self) -> bool:
        return bool(self._line.layout.display != "none")

    @property
    def _entry(self) -> Any:
        return self._line if self._line_is_used else self._area

    def _lengthen(self, is_long: bool) -> None:
        self._line.layout.display = "none" if is_long else None
        self._area.layout.display = None if is_long else "none"

    def _edit_no_more(self) -> None:
        if self._editing is not None:
            self._editing = None
            self._acts.children = [self._retry, self._clear, self._export, self._status]
        self._status.value = ""

    def _busy(self, busy: bool) -> None:
        self._send.disabled = self._retry.disabled = busy
        self._retry.disabled = busy or not self.chat.turns
        self._stop.disabled = not busy
        if not busy and self._editing is None:
            self._status.value = ""
        self._unpin()

    def _unpin(self) -> None:
        """Every message pins what hears clicks again."""
        parts = (self._line, self._area, self._send, self._stop, self._long, self._retry, self._clear, self._export, self._cancel)  # fmt: skip
        for one in parts:
            unpin(one)
