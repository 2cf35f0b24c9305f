// What a run asks people: a small form for each question that is open.

import { h, ours, say } from "./dom.js";
import { ask } from "./server.js";

let count = 0;

export class Questions {
  constructor(task, place) {
    this.task = task;
    this.place = place;
    this.forms = new Map();
  }

  // All that are open now. What has been typed for one that stays open stays.
  show(points) {
    const open = new Set(points.map((point) => point.id));
    for (const [id, form] of this.forms) {
      if (open.has(id)) continue;
      form.root.remove();
      this.forms.delete(id);
    }
    this.all?.remove();
    for (const point of points) {
      if (this.forms.has(point.id)) continue;
      const form = this.make(point);
      this.forms.set(point.id, form);
      this.place.append(form.root);
      if (this.forms.size === 1) form.root.scrollIntoView({ block: "nearest" });
    }
    if (this.forms.size > 1) {
      this.all = h("button", { type: "button", onclick: () => this.answer([...this.forms.keys()]) }, `${say("go_on_all")} (${this.forms.size})`);
      this.place.append(this.all);
    }
  }

  make({ id, question, facts, value, hint, text }) {
    const name = `question-${(count += 1)}`;
    const given = h("div", { class: "rendered" });
    ours(given, facts + value);
    const editor = text === null ? null : h("textarea", { id: name, rows: Math.min(12, Math.max(2, text.split("\n").length + Math.floor(text.length / 60))), "aria-describedby": `${name}-problem` });
    if (editor) editor.value = text;
    const problem = h("p", { class: "problem", id: `${name}-problem`, role: "alert" });
    const button = h("button", { type: "submit", class: "primary" }, say("go_on"));
    const send = (event) => (event.preventDefault(), this.answer([id]));
    const root = h("form", { class: "question", onsubmit: send, "aria-label": say("question") }, h("b", {}, question), given, h("label", { class: "dim small", for: name }, hint), editor, problem, h("div", { class: "buttons" }, button));
    root.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send(event);
    });
    const tell = (sentence) => {
      problem.textContent = sentence;
      editor?.toggleAttribute("aria-invalid", Boolean(sentence));
    };
    return { root, button, tell, read: () => (editor ? editor.value : null) };
  }

  async answer(ids) {
    const forms = ids.map((id) => this.forms.get(id)).filter(Boolean);
    const answers = Object.fromEntries(ids.map((id) => [id, this.forms.get(id)?.read() ?? null]));
    forms.forEach((form) => ((form.button.disabled = true), form.tell("")));
    try {
      await ask(`tasks/${encodeURIComponent(this.task)}/page/answer`, { answers });
    } catch (error) {
      const told = Object.entries(error.problems ?? {});
      for (const [id, sentence] of told) this.forms.get(id)?.tell(sentence);
      if (!told.length) forms[0]?.tell(error.message || say("unreachable"));
      forms.forEach((form) => (form.button.disabled = false));
    }
  }
}
