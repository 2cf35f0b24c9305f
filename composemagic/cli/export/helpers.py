"""The small functions that an exported script may need, as its text. Each is written only where something calls it."""

from __future__ import annotations

__all__ = ["HELPERS", "NEEDS"]

HELPERS: dict[str, str] = {
    "check_status": '''\
def check_status(response):
    """Raise an error with the server's own words for an answer that is no success."""
    if not response.is_success:
        words = response.read().decode(errors="replace")[:500]
        raise RuntimeError(f"{response.url.host} answered {response.status_code}: {words}")''',
    "json_chunks": '''\
def json_chunks(response):
    """The JSON of each message of an event stream."""
    for message in messages(response):
        chunk = json.loads(message)
        if isinstance(chunk, dict) and chunk.get("error") and "choices" not in chunk:
            raise RuntimeError(f"{response.url.host} sent an error: {chunk['error']}")
        yield chunk''',
    "json_lines": '''\
def json_lines(response):
    """The JSON of each line."""
    rest = b""
    for data in response.iter_bytes():
        *lines, rest = (rest + data).split(b"\\n")
        yield from (json.loads(line) for line in lines if line.strip())
    if rest.strip():
        yield json.loads(rest)''',
    "messages": '''\
def messages(response):
    """The data of each message of an event stream. (httpx's iter_lines breaks at characters that JSON may hold.)"""
    rest, data = b"", []
    for received in response.iter_bytes():
        *lines, rest = (rest + received).split(b"\\n")
        for line in lines:
            line = line.removesuffix(b"\\r")
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" ").decode())
            elif not line and data:
                message, data = "\\n".join(data), []
                if message != "[DONE]":
                    yield message''',
    "answer_of": '''\
def answer_of(response):
    """The answer as JSON, as text or as bytes, as its Content-Type says."""
    kind = response.headers.get("content-type", "").partition(";")[0]
    if not response.content:
        return None
    if kind == "application/json" or kind.endswith("+json"):
        return response.json()
    return response.text if kind.startswith("text/") else response.content''',
    "value_at": '''\
def value_at(value, *path):
    """What stands at a path of keys and positions; None where nothing does."""
    for step in path:
        try:
            value = value[step] if isinstance(value, (dict, list)) else None
        except (KeyError, IndexError, TypeError):
            return None
    return value''',
    "or_else": '''\
def or_else(value, default):
    """The default where there is no value."""
    return default if value is None else value''',
    "as_text": '''\
def as_text(value):
    """A value as text: JSON where it is none, nothing where there is none."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)''',
    "joined": '''\
def joined(pieces):
    """The pieces as one text where all are text, else as a list."""
    pieces = list(pieces)
    return "".join(pieces) if all(isinstance(piece, str) for piece in pieces) else pieces''',
    "parsed_json": '''\
def parsed_json(value):
    """The value of a JSON text; what is no text is a value already."""
    return json.loads(value) if isinstance(value, str) else value''',
    "without_none": '''\
def without_none(fields):
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}''',
}
NEEDS = {"json_chunks": ("messages",)}
