// Where a text stops being JSON (RFC 8259): browsers say it each in its own words, or not at all.

const TOKEN = /[ \t\r\n]*(?:([{}[\]:,])|("(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")|(-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])|(?:true|false|null)(?!\w)))/y;

// what may come next -> {token: what may come after it}; a key is a string, `value` any string, number or word
const NEXT = {
  value: { "{": "firstKey", "[": "firstItem", string: "end", scalar: "end" },
  firstKey: { "}": "close", string: "colon" },
  key: { string: "colon" },
  colon: { ":": "value" },
  firstItem: { "]": "close", "{": "firstKey", "[": "firstItem", string: "end", scalar: "end" },
  endIn: { "{": { ",": "key", "}": "close" }, "[": { ",": "value", "]": "close" } },
};

// The line and column, from 1, of what cannot stand there; of the end where something is missing.
export function flawOf(text) {
  const open = [];
  let state = "value";
  let at = 0;
  for (;;) {
    TOKEN.lastIndex = at;
    const found = TOKEN.exec(text);
    const next = found && after(state, open, found);
    if (!next) return placeOf(text, at + /^[ \t\r\n]*/.exec(text.slice(at))[0].length);
    if (found[1] === "{" || found[1] === "[") open.push(found[1]);
    if (next === "close") open.pop();
    state = next === "close" ? "end" : next;
    at = TOKEN.lastIndex;
  }
}

function after(state, open, [, mark, string]) {
  const known = state === "end" ? NEXT.endIn[open.at(-1)] ?? {} : NEXT[state];
  return known[mark ?? (string === undefined ? "scalar" : "string")];
}

function placeOf(text, position) {
  const lines = text.slice(0, position).split("\n");
  return { line: lines.length, column: lines.at(-1).length + 1 };
}
