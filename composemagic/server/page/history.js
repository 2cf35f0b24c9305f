// Earlier runs, in this browser only: what was asked and what came, as text. No HTML, no files, no secrets.

import { h, say } from "./dom.js";

const KEY = "composemagic.history";
const MOST = 30;
const MOST_TEXT = 20_000; // characters of one answer
const MOST_INPUT = 4_000; // characters of one field
const MOST_ALL = 400_000; // characters of all

function load() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(found) ? found.filter((one) => one && typeof one === "object" && typeof one.text === "string") : [];
  } catch {
    return [];
  }
}

function store(entries) {
  let kept = entries.slice(0, MOST);
  while (kept.length) {
    const text = JSON.stringify(kept);
    try {
      if (text.length <= MOST_ALL) return localStorage.setItem(KEY, text);
    } catch {
      // the browser has no room for it
    }
    kept = kept.slice(0, -1);
  }
  clear();
}

export function clear() {
  try {
    localStorage.removeItem(KEY);
  } catch {
    // a browser without storage keeps nothing anyway
  }
}

// `values` by field name; `text` as it came, `isText` where it is no JSON
export function remember({ workflow, title, values, text, isText, status, words }) {
  const inputs = Object.fromEntries(Object.entries(values).filter(([, value]) => JSON.stringify(value).length <= MOST_INPUT));
  const isCut = text.length > MOST_TEXT;
  const entry = { workflow, title, values: inputs, text: isCut ? `${text.slice(0, MOST_TEXT)} …` : text, isText: isText || isCut, status, words, at: Date.now() };
  store([entry, ...load()]);
}

// The list, as a section's content. `open(entry)` shows one again.
export function show(section, language, open) {
  const entries = load();
  section.hidden = entries.length === 0;
  const away = () => (clear(), show(section, language, open));
  const rows = entries.map((entry) => h("li", {}, h("button", { type: "button", class: "entry", onclick: () => open(entry) }, h("span", { class: "entry-words" }, firstWords(entry)), h("span", { class: "dim small" }, told(entry, language)))));
  const wasOpen = section.querySelector("details")?.open ?? false;
  section.replaceChildren(
    h("details", { open: wasOpen }, h("summary", {}, `${say("history")} (${entries.length})`), h("p", { class: "dim small" }, say("history_where")), h("ul", {}, ...rows), h("button", { type: "button", class: "quiet", onclick: away }, say("clear"))),
  );
}

function firstWords({ values, title }) {
  const first = Object.values(values ?? {}).find((value) => typeof value === "string" && value.trim());
  return (first ?? title ?? "").slice(0, 80) || "…";
}

function told({ title, words, at }, language) {
  const time = new Date(at).toLocaleString(language, { dateStyle: "short", timeStyle: "short" });
  return [title, time, String(words ?? "").split(" · ")[0]].filter(Boolean).join(" · ");
}
