// Elements and words. Everything from outside is set as text; HTML comes from the server's one renderer only, through `ours`.

export const byId = (id) => document.getElementById(id);

// h("p", {class: "dim", onclick: ...}, "text", element, ...)
export function h(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// the page's content policy lets no other code make HTML of a text (where browsers know Trusted Types)
const policy = window.trustedTypes?.createPolicy("compose", { createHTML: (html) => html });
const trusted = (html) => (policy ? policy.createHTML(html) : html);

export function ours(element, html) {
  element.innerHTML = trusted(html);
}

export function oursBehind(element, html) {
  element.insertAdjacentHTML("beforeend", trusted(html));
}

let words = {};

export function speak(found) {
  words = found;
}

export function say(key, places = {}) {
  return (words[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => (name in places ? String(places[name]) : whole));
}

export function sizeOf(bytes) {
  if (bytes >= 2 ** 20) return `${+(bytes / 2 ** 20).toFixed(1)} MB`;
  return bytes >= 1024 ? `${+(bytes / 1024).toFixed(1)} kB` : `${bytes} B`;
}
