// What the page says to the server. The API is what any program uses; only how a run is shown is the page's own.

const base = document.querySelector("meta[name=compose-base]").content.replace(/^\/+|\/+$/g, "");
let language = "";

export function speakTo(name) {
  language = name;
}

export function address(path, spoken = language) {
  const url = new URL(`${base}${base ? "/" : ""}${path}`, document.baseURI.split("#")[0]);
  if (spoken) url.searchParams.set("language", spoken);
  return url;
}

// A refusal or a broken connection: `message` for people, `problems` by field
export class Refused extends Error {
  constructor(message, problems = {}, status = 0) {
    super(message);
    this.problems = problems;
    this.status = status;
  }
}

// POST where there is a body, GET where there is none
export async function ask(path, body = undefined, spoken = undefined) {
  const isForm = body instanceof FormData;
  const options = body === undefined ? {} : { method: "POST", body: isForm ? body : JSON.stringify(body) };
  if (body !== undefined && !isForm) options.headers = { "Content-Type": "application/json" };
  let answer;
  try {
    answer = await fetch(address(path, spoken), options);
  } catch {
    throw new Refused("");
  }
  const found = await answer.json().catch(() => ({}));
  if (answer.ok) return found;
  throw new Refused(found.detail || `HTTP ${answer.status}`, found.problems ?? {}, answer.status);
}

// The values by path as the nested object that a workflow takes: {"a.b": 1} is {a: {b: 1}}, and {"": x} is x.
export function nested(fields) {
  if (fields.length === 1 && fields[0].path.length === 0) return fields[0].value;
  const root = Object.create(null);
  for (const { path, value } of fields) {
    let place = root;
    for (const step of path.slice(0, -1)) {
      if (typeof place[step] !== "object" || place[step] === null) place[step] = Object.create(null);
      place = place[step];
    }
    place[path.at(-1)] = value;
  }
  return root;
}

// Always as a form, also without files: what people type is checked as such, and a number may be longer than JavaScript's.
export async function start(workflow, values, files) {
  const form = new FormData();
  const given = { workflow_id: workflow, wait_for_completion: "false", strict: "true" };
  for (const [name, value] of Object.entries(given)) form.append(name, value);
  const input = values.length || !files.some(({ path }) => path.length === 0) ? nested(values) : undefined;
  if (input !== undefined) form.append("input", typeof input === "string" ? input : JSON.stringify(input));
  for (const { path, many, value } of files) {
    const name = `input${path.map((step) => `[${step}]`).join("")}${many ? "[]" : ""}`;
    for (const file of value) form.append(name, file, file.name);
  }
  return ask("workflows/runs", form);
}
