// The page: which workflow, its form, the run that is shown, and what is remembered.

import { Answer, copyButton } from "./answer.js";
import { byId, h, ours, say, speak } from "./dom.js";
import { encoded, makeField, Problem } from "./form.js";
import * as history from "./history.js";
import { ask, Refused, speakTo, start } from "./server.js";

const RUNNING = "composemagic.running"; // of this tab: a reload picks its run up again
const LANGUAGE = "composemagic.language";

let about = null; // what the server says of its workflows
let workflow = null; // the one whose form is shown
let fields = [];
let running = null; // {answer, about}
let shown = null; // the task whose answer is on the page
const drafts = new Map(); // what was typed into the forms that are not shown

// By name: a browser that keeps nothing refuses the very word.
const kept = {
  get: (storage, key) => {
    try {
      return window[storage].getItem(key);
    } catch {
      return null;
    }
  },
  set: (storage, key, value) => {
    try {
      if (value === null) window[storage].removeItem(key);
      else window[storage].setItem(key, value);
    } catch {
      // then nothing is kept
    }
  },
};

async function load(language) {
  about = await ask("page", undefined, language);
  speak(about.words);
  speakTo(about.language);
  document.documentElement.lang = about.language;
  showWords();
  showPicker();
}

function wantedLanguage() {
  const chosen = kept.get("localStorage", LANGUAGE);
  if (chosen) return chosen;
  return (navigator.language || "en").toLowerCase().startsWith("zh") ? "zh" : "en";
}

function showWords() {
  for (const id of ["run", "stop", "reset"]) byId(id).textContent = say(id);
  byId("keys").textContent = say(/Mac|iPhone|iPad/.test(navigator.platform) ? "keys_mac" : "keys");
  byId("language-label").textContent = say("language");
  byId("picker").setAttribute("aria-label", say("workflows"));
  byId("answer").setAttribute("aria-label", say("answer"));
  const options = Object.entries(about.languages).map(([name, words]) => h("option", { value: name, lang: name }, words));
  byId("language").replaceChildren(...options);
  byId("language").value = about.language;
}

// -- which workflow

function chosenWorkflow() {
  let wanted = "";
  try {
    wanted = decodeURIComponent(location.hash.slice(1));
  } catch {
    // somebody has typed it
  }
  const named = (id) => about.workflows.find((one) => one.id === id);
  return named(wanted) ?? named(about.default) ?? about.workflows[0] ?? null;
}

function showPicker() {
  const several = about.workflows.length > 1;
  byId("picker").hidden = !several;
  const links = about.workflows.map((one) => h("a", { href: `#${encodeURIComponent(one.id)}`, "data-id": one.id }, one.title || one.id));
  byId("picker").replaceChildren(...(several ? links : []));
}

function showWorkflow() {
  const found = chosenWorkflow();
  for (const link of byId("picker").children) {
    link.toggleAttribute("aria-current", false);
    if (link.dataset.id !== found?.id) continue;
    link.setAttribute("aria-current", "page");
    link.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  if (found !== workflow) showForm(found);
  byId("ask").hidden = false;
}

function showForm(found) {
  keepDraft();
  workflow = found;
  document.title = found ? `${found.title} · composemagic` : "composemagic";
  byId("title").textContent = found ? found.title : say("no_workflows");
  byId("description").textContent = found?.description ?? "";
  byId("description").hidden = !found?.description;
  fields = (found?.fields ?? []).map((spec) => makeField(spec, about.most_bytes));
  const draft = drafts.get(found?.id) ?? new Map();
  for (const field of fields) if (draft.has(field.spec.name)) field.set(draft.get(field.spec.name));
  const none = found && !fields.length ? [h("p", { class: "dim" }, say("no_inputs"))] : [];
  byId("fields").replaceChildren(...fields.map((field) => field.root), ...none);
  byId("reset").hidden = !fields.length;
  byId("problem").textContent = "";
  busy(Boolean(running));
}

// A file cannot be put back, and a secret is not to be kept.
const keepable = () => fields.filter(({ spec }) => !spec.secret && spec.kind !== "files");

function keepDraft() {
  if (workflow) drafts.set(workflow.id, new Map(keepable().map(({ spec, raw }) => [spec.name, raw()])));
}

function readable() {
  const found = Object.create(null);
  for (const { spec, read } of keepable()) {
    try {
      const value = read();
      if (value !== undefined) found[spec.name] = spec.kind === "integer" || spec.kind === "number" ? String(value) : value;
    } catch {
      // half typed
    }
  }
  return found;
}

// -- a run

async function run() {
  if (running || !workflow) return;
  const given = await readForm();
  if (!given) return;
  byId("problem").textContent = "";
  busy(true);
  try {
    const values = readable();
    const { task_id } = await start(workflow.id, given.values, given.files);
    for (const field of fields) if (field.spec.secret) field.set("");
    const facts = { task: task_id, workflow: workflow.id, title: workflow.title, values };
    remark({ ...facts, isKept: given.secrets.length === 0 });
    follow({ ...facts, secrets: given.secrets, isKept: true });
    bringIntoView(byId("answer"));
  } catch (error) {
    busy(false);
    showProblems(error);
  }
}

// A long form has the answer above or below what can be seen.
function bringIntoView(place) {
  const { top } = place.getBoundingClientRect();
  if (top < -20 || top > window.innerHeight * 0.7) place.scrollIntoView({ block: "start" });
}

async function readForm() {
  const given = { values: [], files: [], secrets: [] };
  let first = null;
  for (const field of fields) {
    try {
      await readInto(given, field);
      field.tell("");
    } catch (error) {
      field.tell(error instanceof Problem ? error.message : String(error));
      first ??= field;
    }
  }
  first?.focus();
  if (first) byId("problem").textContent = say("look_above");
  return first ? null : given;
}

async function readInto(given, { spec, read }) {
  const value = read();
  if (value === undefined) return;
  if (spec.secret) given.secrets.push(String(value));
  if (spec.kind !== "files") given.values.push({ path: spec.path, value });
  else if (spec.encoding) given.values.push({ path: spec.path, value: await encoded(spec, value) });
  else given.files.push({ path: spec.path, many: spec.many, value });
}

function showProblems(error) {
  let first = null;
  const left = { ...(error.problems ?? {}) };
  for (const field of fields) {
    const sentence = left[field.spec.name];
    if (!sentence) continue;
    delete left[field.spec.name];
    // the name stands above the field
    field.tell(sentence.replace(`\`${field.spec.name}\``, "").replace(/^[\s:：]+/, "") || sentence);
    first ??= field;
  }
  first?.focus();
  const rest = Object.values(left);
  byId("problem").textContent = first && !rest.length ? say("look_above") : rest.join("; ") || (error instanceof Refused ? error.message || say("unreachable") : String(error));
}

// For a reload: it shows the run again. `isKept`: it may be remembered then.
function remark(facts) {
  kept.set("sessionStorage", RUNNING, facts && JSON.stringify(facts));
}

function follow(facts) {
  running?.answer.close();
  const answer = new Answer(facts.task, { ended: (data) => ended(data, facts), lost });
  running = { answer, facts };
  shown = facts;
  busy(true);
}

function ended(data, { secrets, isKept, ...facts }) {
  running = null;
  busy(false);
  remark({ ...facts, isKept: false });
  if (!isKept) return;
  const whole = data.text || data.error;
  const text = secrets.filter((one) => one.length > 3).reduce((left, one) => left.replaceAll(one, "***"), whole);
  history.remember({ ...facts, text, isText: data.output === null, status: data.status, words: data.words });
  showHistory();
}

function lost() {
  running?.answer.close();
  running = shown = null;
  remark(null);
  busy(false);
  byId("answer").className = "card answer";
  byId("answer").setAttribute("aria-busy", "false");
  byId("answer").replaceChildren(h("p", { class: "dim" }, say("forgotten")));
}

async function stop() {
  if (!running) return;
  byId("stop").disabled = true;
  try {
    await ask(`tasks/${encodeURIComponent(running.answer.task)}/cancel`, {});
  } catch (error) {
    // it may have ended meanwhile, which its own last message tells
    if (running && error.status !== 409) byId("problem").textContent = error.message || say("unreachable");
    byId("stop").disabled = !running;
  }
}

function busy(is) {
  byId("run").disabled = is || !workflow;
  byId("stop").disabled = !is;
}

// -- earlier runs

function showHistory() {
  history.show(byId("history"), about.language, reopen);
}

async function reopen(entry) {
  if (running) return;
  const known = about.workflows.find((one) => one.id === entry.workflow);
  if (known) {
    if (known !== workflow) {
      window.history.replaceState(null, "", `#${encodeURIComponent(known.id)}`);
      showWorkflow();
    }
    for (const field of fields) {
      if (Object.hasOwn(entry.values ?? {}, field.spec.name)) field.set(entry.values[field.spec.name]);
      else field.reset();
    }
  }
  shown = null;
  const place = byId("answer");
  const output = h("div", { class: "output rendered" });
  const mark = h("p", { class: "dim small" }, say("earlier"));
  const foot = h("div", { class: "foot" }, h("span", { class: "dim" }, String(entry.words ?? "")), copyButton(entry.text));
  place.className = "card answer";
  place.replaceChildren(h("h2", {}, String(entry.title ?? "")), mark, output, foot);
  place.scrollIntoView({ block: "nearest" });
  try {
    ours(output, (await ask("page/rendered", { value: valueOf(entry) })).html);
  } catch {
    output.textContent = entry.text;
  }
}

function valueOf({ text, isText }) {
  if (isText) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

// -- the beginning

// A run that a reload has interrupted in this tab, or one that it showed last.
function pickUp() {
  let facts = null;
  try {
    facts = JSON.parse(kept.get("sessionStorage", RUNNING) ?? "null");
  } catch {
    // not ours
  }
  if (typeof facts?.task !== "string") return false;
  const values = facts.values && typeof facts.values === "object" ? facts.values : {};
  if (facts.workflow === workflow?.id) {
    for (const field of fields) if (Object.hasOwn(values, field.spec.name)) field.set(values[field.spec.name]);
  }
  follow({ ...facts, values, secrets: [] });
  return true;
}

function showNothing() {
  byId("answer").replaceChildren(h("p", { class: "empty dim" }, say("nothing_yet")));
}

async function changeLanguage(name) {
  keepDraft();
  try {
    await load(name);
  } catch (error) {
    byId("problem").textContent = error.message || say("unreachable");
    byId("language").value = about.language;
    return;
  }
  kept.set("localStorage", LANGUAGE, name);
  workflow = null;
  showWorkflow();
  showHistory();
  if (shown) follow(running ? running.facts : { ...shown, isKept: false }); // the server tells it anew, in the other language
  else if (!byId("answer").querySelector(".output")) showNothing();
}

function listen() {
  byId("form").addEventListener("submit", (event) => (event.preventDefault(), run()));
  byId("form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) (event.preventDefault(), run());
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && running) stop();
  });
  byId("stop").addEventListener("click", stop);
  byId("reset").addEventListener("click", () => fields.forEach((field) => field.reset()));
  byId("language").addEventListener("change", (event) => changeLanguage(event.target.value));
  window.addEventListener("hashchange", showWorkflow);
  window.addEventListener("storage", showHistory); // another tab has run something
  // a file that misses its field must not replace the page
  for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => event.preventDefault());
}

async function begin() {
  try {
    await load(wantedLanguage());
  } catch (error) {
    byId("answer").textContent = error.message || "The server does not answer. 服务器没有响应。";
    return;
  }
  listen();
  showWorkflow();
  showHistory();
  if (!pickUp()) showNothing();
  document.body.classList.add("ready");
}

begin();
