// A run as it is shown: what the server sends, put where it belongs.

import { byId, h, ours, oursBehind, say } from "./dom.js";
import { Questions } from "./questions.js";
import { address, ask } from "./server.js";

// message -> what is done with it
const HEARD = { begin: "begin", text: "grow", head: "tellProgress", note: "addNote", ask: "askPeople", end: "finish" };
const CODE_END = "</code></pre>\n";
const LOST_AFTER = 1000; // milliseconds: of a shorter break nobody need hear

// Follows a task. `ended(message)` is called once, at its end; `lost()` where the server does not know it (any more).
export class Answer {
  constructor(task, { ended, lost }) {
    this.task = task;
    this.place = byId("answer");
    this.ended = ended;
    this.lost = lost;
    // these outlive a break of the connection: somebody may be typing
    this.asks = h("div", { class: "asks" });
    this.questions = new Questions(task, this.asks);
    this.build("");
    this.listen();
  }

  listen() {
    this.source = new EventSource(address(`tasks/${encodeURIComponent(this.task)}/page`));
    for (const kind of Object.keys(HEARD)) this.source.addEventListener(kind, (event) => this.take(kind, JSON.parse(event.data)));
    this.source.onerror = () => {
      clearTimeout(this.broken);
      const isClosed = this.source.readyState === EventSource.CLOSED;
      this.broken = setTimeout(() => (isClosed ? this.doubt() : this.tellBroken()), LOST_AFTER);
    };
    this.source.onopen = () => clearTimeout(this.broken);
  }

  tellBroken() {
    this.words.textContent = say("reconnecting");
  }

  // The browser tries no more: an answer that is no stream, or the page is being left, where nothing here comes to its end.
  async doubt() {
    this.tellBroken();
    try {
      await ask(`tasks/${encodeURIComponent(this.task)}`);
      this.listen();
    } catch (error) {
      if (error.status === 404) this.lost();
      else this.broken = setTimeout(() => this.doubt(), LOST_AFTER);
    }
  }

  take(kind, data) {
    const isAtEnd = window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - 60;
    const wasBelow = this.place.getBoundingClientRect().bottom > window.innerHeight;
    this[HEARD[kind]](data);
    if (isAtEnd && wasBelow && kind === "text") window.scrollTo(0, document.documentElement.scrollHeight);
  }

  close() {
    this.source.close();
    clearTimeout(this.broken);
    clearInterval(this.timer);
  }

  build(title) {
    clearInterval(this.timer);
    this.streams = new Map();
    this.jobRows = new Map();
    this.noteCount = 0;
    this.words = h("span", { class: "words" }, say("starting"));
    this.clock = h("span", { class: "clock dim" });
    this.waits = h("div", { class: "waits" });
    this.title = h("h2", {}, title);
    this.head = h("div", { class: "head" }, h("div", { class: "now" }, h("span", { class: "spin", "aria-hidden": "true" }), this.words, this.clock), this.waits);
    this.error = h("div", { class: "error", role: "alert" });
    this.mark = h("p", { class: "partial" });
    this.output = h("div", { class: "output rendered" });
    this.jobs = h("div", { class: "jobs" });
    this.asked = h("div", { class: "asked rendered small dim" });
    this.notes = h("details", { class: "notes small dim" }, h("summary"), h("ul"));
    this.foot = h("div", { class: "foot" });
    for (const one of [this.error, this.mark, this.notes, this.jobs]) one.hidden = true;
    this.place.replaceChildren(this.title, this.head, this.error, this.mark, this.asks, this.output, this.jobs, this.asked, this.notes, this.foot);
    this.place.setAttribute("aria-busy", "true");
    this.place.className = "card answer running";
  }

  begin({ title, elapsed, workflow }) {
    this.build(title);
    this.workflow = workflow;
    const began = performance.now() - elapsed * 1000;
    const tick = () => (this.clock.textContent = say("seconds", { seconds: Math.floor((performance.now() - began) / 1000) }));
    this.timer = setInterval(tick, 250);
    tick();
  }

  tellProgress(data) {
    this.words.textContent = data.words;
    this.waits.replaceChildren(...data.waits.map((line) => h("p", {}, `↻ ${line}`)));
    this.place.classList.toggle("waiting", data.status === "interrupted");
    this.showJobs(data);
  }

  grow({ streams }) {
    for (const one of streams) {
      const stream = this.streams.get(one.id) ?? this.newStream(one);
      stream.frozen.hidden = !one.whole;
      if (one.html) {
        oursBehind(stream.frozen, stream.opened + one.html);
        stream.opened = "";
        stream.code = null;
      }
      stream.opened += one.opened;
      if (one.whole && stream.opened && one.tail.endsWith(CODE_END)) growCode(stream, one);
      else ours(stream.live, one.whole ? stream.opened + one.tail : one.tail);
    }
  }

  newStream({ id, job, label }) {
    const frozen = h("div");
    const live = h("div", { class: "live" });
    const root = h("div", { class: "stream" }, label ? h("b", { class: "label" }, label) : null, frozen, live);
    const stream = { root, frozen, live, opened: "", code: null };
    this.streams.set(id, stream);
    (this.jobRows.get(job)?.under ?? this.output).append(root);
    return stream;
  }

  showJobs({ jobs, overview }) {
    if (!jobs.length) return;
    if (!this.jobRows.size) {
      this.overview = h("p", { class: "overview dim" });
      this.jobs.append(this.overview);
      this.jobs.hidden = false;
    }
    this.overview.textContent = overview;
    for (const { id, status, line } of jobs) {
      let row = this.jobRows.get(id);
      if (!row) {
        row = { line: h("div", { class: "line" }), under: h("div", { class: "under rendered" }) };
        row.root = h("div", {}, row.line, row.under);
        this.jobRows.set(id, row);
        this.jobs.append(row.root);
      }
      row.line.textContent = line;
      row.root.className = `job ${status}`;
    }
  }

  addNote({ sentence }) {
    this.noteCount += 1;
    this.notes.hidden = false;
    this.notes.querySelector("summary").textContent = this.noteCount === 1 ? say("one_note") : say("many_notes", { count: this.noteCount });
    this.notes.querySelector("ul").append(h("li", {}, sentence));
  }

  askPeople({ points }) {
    this.questions.show(points);
    this.place.classList.toggle("waiting", points.length > 0);
  }

  finish(data) {
    this.close();
    this.questions.show([]);
    this.showJobs(data);
    if (data.output !== null) {
      ours(this.output, data.output);
    } else {
      this.output.replaceChildren(...[...this.streams.values()].map((stream) => stream.root));
    }
    if (data.nothing) this.output.replaceChildren(h("p", { class: "dim" }, data.nothing));
    if (data.jobs.length) this.foldJobs(data);
    ours(this.asked, data.asked);
    this.showEnd(data);
    this.place.setAttribute("aria-busy", "false");
    byId("status").textContent = data.words;
    this.ended({ ...data, workflow: this.workflow });
  }

  foldJobs({ jobs, overview }) {
    const went = jobs.every(({ status }) => ["done", "routed", "skipped"].includes(status));
    for (const { under } of this.jobRows.values()) under.replaceChildren();
    this.overview.remove();
    this.jobs.replaceChildren(h("details", { class: "small", open: !went }, h("summary", { class: "dim" }, overview), ...[...this.jobRows.values()].map((row) => row.root)));
  }

  showEnd({ status, words, error, kind, text, output }) {
    this.place.className = `card answer ${status}`;
    const isPartial = status !== "done" && (text || output !== null);
    this.head.remove();
    this.error.hidden = !error;
    if (error) this.error.replaceChildren(h("b", {}, say("failed")), h("p", {}, error), h("p", { class: "small dim" }, kind));
    this.mark.hidden = !isPartial;
    this.mark.textContent = isPartial ? say(error ? "partial" : "stopped") : "";
    this.foot.replaceChildren(h("span", { class: "dim" }, words), text ? copyButton(text) : "");
  }
}

// A code block can be long: what is new is put behind the rest, which stays as it is.
function growCode(stream, { opened, tail }) {
  if (stream.code) {
    oursBehind(stream.code, opened);
  } else {
    ours(stream.live, stream.opened + CODE_END);
    const last = h("span");
    stream.code = h("span");
    const code = stream.live.querySelector("code");
    stream.code.append(...code.childNodes);
    code.append(stream.code, last);
  }
  ours(stream.code.nextSibling, tail.slice(0, -CODE_END.length));
}

export function copyButton(text) {
  const button = h("button", { type: "button", class: "quiet copy", onclick: copy }, say("copy"));
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      copyBySelection(text); // no clipboard without https, except on this computer
    }
    button.textContent = say("copied");
    setTimeout(() => (button.textContent = say("copy")), 1500);
  }
  return button;
}

function copyBySelection(text) {
  const area = h("textarea", { class: "hidden" });
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
