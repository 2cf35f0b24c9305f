// One field for each input: how it looks, how its value is read, and what is wrong with it.

import { h, say, sizeOf } from "./dom.js";
import { flawOf } from "./json.js";

let count = 0;

export class Problem extends Error {}

export function makeField(spec, mostBytes) {
  const id = `field-${(count += 1)}`;
  const control = CONTROLS[spec.kind](spec, id, mostBytes);
  const problem = h("p", { class: "problem", id: `${id}-problem`, role: "alert" });
  const help = spec.description ? h("p", { class: "dim small", id: `${id}-help` }, spec.description) : null;
  const named = [help && `${id}-help`, `${id}-problem`].filter(Boolean).join(" ");
  control.focus.setAttribute("aria-describedby", named);
  if (spec.required) control.focus.setAttribute("aria-required", "true");
  const mark = spec.required ? h("span", { class: "mark", title: say("required") }, " *") : null;
  const label = h("label", { for: id }, spec.label, mark);
  const beside = control.beside ? [control.beside] : [];
  const rows = spec.kind === "boolean" ? [h("div", { class: "tick" }, control.element, label)] : [h("div", { class: "over" }, label, ...beside), control.element];
  const root = h("div", { class: `field ${spec.kind}` }, ...rows, help, problem);

  function tell(sentence) {
    problem.textContent = sentence;
    control.focus.toggleAttribute("aria-invalid", false);
    if (sentence) control.focus.setAttribute("aria-invalid", "true");
  }
  function read() {
    const value = control.read();
    if (value === undefined && spec.required) throw new Problem(say("missing"));
    return value;
  }
  control.element.addEventListener("input", () => {
    // while somebody types, nothing is missing yet; what cannot be read is told at once
    try {
      control.read();
      tell("");
    } catch (error) {
      tell(error.message);
    }
  });
  const raw = () => (control.focus.type === "checkbox" ? control.focus.checked : control.focus.value);
  return { spec, root, read, raw, tell, set: control.set, reset: () => (control.set(spec.initial), tell("")), focus: () => control.focus.focus() };
}

// each gives: element, focus (what the label is for), read() -> value or undefined, set(value)

function line(spec, id) {
  const properties = { id, name: spec.name, type: spec.secret ? "password" : "text", autocomplete: "off", spellcheck: "false" };
  const element = h("input", properties);
  element.value = spec.initial;
  return { element, focus: element, read: () => element.value || undefined, set: (value) => (element.value = value ?? "") };
}

function area(spec, id) {
  if (spec.secret) return line(spec, id);
  const element = h("textarea", { id, name: spec.name, rows: 4 });
  element.value = spec.initial;
  return { element, focus: element, read: () => element.value || undefined, set: (value) => (element.value = value ?? "") };
}

function number(isWhole) {
  return (spec, id) => {
    const made = line(spec, id);
    made.element.setAttribute("inputmode", isWhole ? "numeric" : "decimal");
    made.element.classList.add("short");
    made.read = () => {
      const text = made.element.value.trim();
      if (!text) return undefined;
      const value = Number(text);
      const fits = isWhole ? /^[+-]?\d+$/.test(text) : Number.isFinite(value) && !/^[+-]?0[xob]/i.test(text);
      if (!fits) throw new Problem(say(isWhole ? "no_integer" : "no_number", { text: text.slice(0, 40) }));
      return isWhole && !Number.isSafeInteger(value) ? text : value; // the server reads what a browser's number cannot hold
    };
    return made;
  };
}

function slider(spec, id) {
  const [low, high, step] = spec.bounds;
  const element = h("input", { id, name: spec.name, type: "range", min: low, max: high, step });
  const beside = h("output", { for: id, class: "shown" });
  const show = () => (beside.textContent = element.value);
  element.addEventListener("input", show);
  const set = (value) => {
    element.value = value === "" || value === undefined || value === null ? low : value;
    show();
  };
  set(spec.initial);
  return { element, focus: element, beside, read: () => Number(element.value), set };
}

function tick(spec, id) {
  const element = h("input", { id, name: spec.name, type: "checkbox" });
  element.checked = spec.initial === true;
  return { element, focus: element, read: () => element.checked, set: (value) => (element.checked = value === true) };
}

function choice(spec, id) {
  const first = spec.options.includes(spec.initial) ? [] : [h("option", { value: "" }, say("choose"))];
  const element = h("select", { id, name: spec.name }, ...first, ...spec.options.map((option) => h("option", { value: option }, option)));
  const set = (value) => (element.value = spec.options.includes(value) ? value : first.length ? "" : spec.initial);
  set(spec.initial);
  return { element, focus: element, read: () => element.value || undefined, set };
}

function json(spec, id) {
  const made = area({ ...spec, secret: false }, id);
  made.element.classList.add("code");
  made.element.setAttribute("placeholder", spec.type.endsWith("[]") || spec.type === "list" ? '["…", "…"]' : spec.type === "object" ? '{"…": "…"}' : "JSON");
  made.element.setAttribute("spellcheck", "false");
  made.read = () => readJson(made.element.value, spec.type);
  made.set = (value) => (made.element.value = typeof value === "string" || value === undefined ? value ?? "" : JSON.stringify(value, null, 2));
  return made;
}

function readJson(text, type) {
  if (!text.trim()) return undefined;
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Problem(say("no_json_at", flawOf(text)));
  }
  return type === "json" && typeof value === "string" ? text : value; // `as json` reads a text as JSON once more
}

function files(spec, id, mostBytes) {
  const limit = spec.encoding ? Math.floor((mostBytes - 4096) * 0.74) : mostBytes - 4096; // base64 makes four of three
  let chosen = [];
  const input = h("input", { id, name: spec.name, type: "file", accept: spec.accept || undefined, multiple: spec.many });
  const previews = h("div", { class: "previews" });
  const hint = h("span", { class: "dim small" }, `${say("drop")} · ${say("most", { size: sizeOf(limit) })}`);
  const button = h("span", { class: "button", "aria-hidden": "true" }, say(spec.many ? "pick_files" : "pick_file"));
  const element = h("div", { class: "drop" }, h("div", { class: "pick" }, input, button, hint), previews);

  function take(list) {
    chosen = spec.many ? [...chosen, ...list] : [...list].slice(0, 1);
    show();
    element.dispatchEvent(new Event("input"));
  }
  function show() {
    previews.querySelectorAll("[src]").forEach((one) => URL.revokeObjectURL(one.src));
    previews.replaceChildren(...chosen.map((file) => preview(file, () => ((chosen = chosen.filter((one) => one !== file)), (input.value = ""), show(), element.dispatchEvent(new Event("input"))))));
  }
  function read() {
    if (!chosen.length) return undefined;
    if (chosen.reduce((sum, file) => sum + file.size, 0) > limit) throw new Problem(say("too_large", { size: sizeOf(limit) }));
    return chosen;
  }
  input.addEventListener("change", () => take(input.files));
  element.addEventListener("dragover", (event) => (event.preventDefault(), element.classList.add("over-it")));
  element.addEventListener("dragleave", () => element.classList.remove("over-it"));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    element.classList.remove("over-it");
    take(event.dataTransfer.files);
  });
  return { element, focus: input, read, set: () => ((chosen = []), (input.value = ""), show()) };
}

function preview(file, drop) {
  const kind = file.type.split("/")[0];
  const tag = { image: "img", audio: "audio", video: "video" }[kind];
  // an SVG is a document; as an image nothing in it can run
  const shown = tag ? h(tag, { src: URL.createObjectURL(file), alt: "", controls: kind === "image" ? undefined : true }) : null;
  const name = h("span", { class: "small" }, `${file.name} · ${sizeOf(file.size)}`);
  const away = h("button", { type: "button", class: "quiet small", onclick: drop, "aria-label": `${say("remove")}: ${file.name}` }, "✕");
  return h("div", { class: "preview" }, shown, h("div", { class: "over" }, name, away));
}

const CONTROLS = { line, text: area, integer: number(true), number: number(false), slider, boolean: tick, select: choice, json, files };

// Files as the text that a `;base64` or a `;data-uri` input takes.
export async function encoded(spec, list) {
  const texts = await Promise.all(list.map((file) => asDataUri(file)));
  const found = spec.encoding === "base64" ? texts.map((text) => text.slice(text.indexOf(",") + 1)) : texts;
  return spec.many ? found : found[0];
}

function asDataUri(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(new Problem(file.name));
    reader.readAsDataURL(file);
  });
}
