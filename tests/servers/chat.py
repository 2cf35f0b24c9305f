"""A model that plays from a script, with tools: OpenAI chat, Anthropic and Ollama, whole and streamed. In this process, on a thread.

    with ChatServer() as server:
        server.plays("sum", {"text": "I add.", "calls": [("add", {"a": 1, "b": 2})]}, {"text": "3"})
        ... base_url: f"{server.url}/sum"

`POST /NAME/v1/chat/completions`, `/NAME/v1/messages` and `/NAME/api/chat` answer with the step of the script whose number is that
of the assistant's messages in the request; the last one for ever. A request that is not what the provider's documentation asks
for is answered with status 400 and a sentence. `requests` are the bodies that came, in their order. Arguments that are text
are sent as they are. A stream cuts texts and arguments into pieces of three characters.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

Step = dict[str, Any]
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


class RefusedError(Exception):
    """The request is not what the provider takes."""


class ChatServer:
    """The server; `hold`, when it is set, keeps streams where they are after their second piece until it is set."""

    def __init__(self) -> None:
        self.scripts: dict[str, list[Step]] = {}
        self.requests: list[Any] = []
        self.hold: threading.Event | None = None
        self.began = threading.Event()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def plays(self, name: str, *steps: Step) -> str:
        """Say what the model of this name answers; gives its base address."""
        self.scripts[name] = list(steps)
        return f"{self.url}/{name}"

    def __enter__(self) -> ChatServer:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.hold is not None:
            self.hold.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: ClassVar[ChatServer]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.owner.requests.append(body)
        _, name, path = self.path.split("/", 2)
        try:
            speak = SPEAKERS[path]
            steps = self.owner.scripts[name]
            said = speak.check(body)
        except RefusedError as error:
            self._send(400, "application/json", [json.dumps({"error": {"message": str(error)}})])
            return
        step, number = steps[min(said, len(steps) - 1)], said + 1
        calls = [
            {"id": f"call_{number}_{at}", "name": tool, "arguments": arguments}
            for at, (tool, arguments) in enumerate(step.get("calls", ()), 1)
        ]
        if body.get("stream"):
            self._send(200, speak.stream_type, speak.stream(step.get("text", ""), calls))
        else:
            self._send(200, "application/json", [json.dumps(speak.whole(step.get("text", ""), calls))])

    def _send(self, status: int, kind: str, pieces: Any) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        for number, piece in enumerate(pieces):
            try:
                self.wfile.write(piece.encode())
                self.wfile.flush()
            except ConnectionError:
                return
            if self.owner.hold is not None and number == 1:
                self.owner.began.set()
                self.owner.hold.wait(240)


def cut(text: str) -> list[str]:
    return [text[at : at + 3] for at in range(0, len(text), 3)]


def as_json(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def need(holds: object, words: str) -> None:
    if not holds:
        raise RefusedError(words)


class OpenAI:
    """https://platform.openai.com/docs/api-reference/chat/create"""

    stream_type = "text/event-stream"

    @staticmethod
    def check(body: Any) -> int:
        need(body.get("tools") != [], "[] is too short - 'tools'")
        for tool in body.get("tools") or ():
            need(tool.keys() == {"type", "function"} and tool["type"] == "function", f"no tool: {tool}")
            need(tool["function"].keys() <= {"name", "description", "parameters"}, f"no function: {tool}")
        open_calls: set[str] = set()
        for one in body["messages"]:
            need(one.keys() <= {"role", "content", "name", "tool_calls", "tool_call_id"}, f"unknown key: {one}")
            need(one["role"] in ("system", "user", "assistant", "tool"), f"unknown role: {one}")
            need(isinstance(one.get("content"), str | None), f"content is text: {one}")
            need(one.get("tool_calls") != [], "[] is too short - 'tool_calls'")
            if one["role"] == "tool":
                need(one["tool_call_id"] in open_calls, f"a result of no call: {one}")
                open_calls.discard(one["tool_call_id"])
                continue
            need(not open_calls, f"calls without results: {open_calls}")
            for call in one.get("tool_calls") or ():
                need(call.keys() == {"id", "type", "function"}, f"no call: {call}")
                need(isinstance(call["function"]["arguments"], str), "arguments are a text of JSON")
                open_calls.add(call["id"])
        need(not open_calls, f"calls without results: {open_calls}")
        return sum(one["role"] == "assistant" for one in body["messages"])

    @staticmethod
    def whole(text: str, calls: list[Step]) -> Any:
        message: Step = {"role": "assistant", "content": text or None, "refusal": None, "annotations": []}
        if calls:
            message["tool_calls"] = [
                {
                    "id": one["id"],
                    "type": "function",
                    "function": {"name": one["name"], "arguments": as_json(one["arguments"])},
                }
                for one in calls
            ]
        reason = "tool_calls" if calls else "stop"
        return {
            "model": "played",
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
            "usage": USAGE,
        }

    @staticmethod
    def stream(text: str, calls: list[Step]) -> Iterator[str]:
        def chunk(delta: Step, reason: str | None = None, **more: Any) -> str:
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            return f"data: {json.dumps({'model': 'played', 'choices': [choice], **more})}\n\n"

        yield chunk({"role": "assistant", "content": ""})
        for piece in cut(text):
            yield chunk({"content": piece})
        heads = [
            {"index": at, "id": one["id"], "type": "function", "function": {"name": one["name"], "arguments": ""}}
            for at, one in enumerate(calls)
        ]
        for head in heads:
            yield chunk({"tool_calls": [head]})
        # parallel calls come interleaved
        for pieces in itertools.zip_longest(*(cut(as_json(one["arguments"])) for one in calls)):
            for at, piece in enumerate(pieces):
                if piece is not None:
                    yield chunk({"tool_calls": [{"index": at, "function": {"arguments": piece}}]})
        yield chunk({}, "tool_calls" if calls else "stop", usage=USAGE)
        yield "data: [DONE]\n\n"


class Anthropic:
    """https://docs.anthropic.com/en/api/messages"""

    stream_type = "text/event-stream"

    @staticmethod
    def check(body: Any) -> int:
        for tool in body.get("tools") or ():
            need(tool.keys() <= {"name", "description", "input_schema"} and "input_schema" in tool, f"no tool: {tool}")
        before = "assistant"
        open_calls: set[str] = set()
        for one in body["messages"]:
            need(one["role"] in ("user", "assistant"), f"unexpected role {one['role']!r}")
            need(one["role"] != before, "roles must alternate")
            before = one["role"]
            results = set()
            for block in one["content"] if isinstance(one["content"], list) else ():
                need(block["type"] in ("text", "tool_use", "tool_result"), f"no block: {block}")
                need(block["type"] != "text" or block["text"], "text content blocks must be non-empty")
                if block["type"] == "tool_result":
                    results.add(block["tool_use_id"])
                    need(block.keys() <= {"type", "tool_use_id", "content", "is_error"}, f"unknown key: {block}")
            need(results == open_calls, f"`tool_use` without `tool_result`: {open_calls ^ results}")
            open_calls = (
                {block["id"] for block in one["content"] if block["type"] == "tool_use"}
                if before == "assistant" and isinstance(one["content"], list)
                else set()
            )
        return sum(one["role"] == "assistant" for one in body["messages"])

    @staticmethod
    def blocks(text: str, calls: list[Step]) -> list[Step]:
        words = [{"type": "text", "text": text}] if text else []
        return [
            *words,
            *({"type": "tool_use", "id": one["id"], "name": one["name"], "input": one["arguments"]} for one in calls),
        ]

    @classmethod
    def whole(cls, text: str, calls: list[Step]) -> Any:
        usage = {"input_tokens": 10, "output_tokens": 5}
        reason = "tool_use" if calls else "end_turn"
        return {
            "type": "message",
            "role": "assistant",
            "model": "played",
            "content": cls.blocks(text, calls),
            "stop_reason": reason,
            "usage": usage,
        }

    @classmethod
    def stream(cls, text: str, calls: list[Step]) -> Iterator[str]:
        def event(kind: str, **more: Any) -> str:
            return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n"

        yield event("message_start", message={**cls.whole("", []), "content": []})
        for at, block in enumerate(cls.blocks(text, calls)):
            is_text = block["type"] == "text"
            yield event(
                "content_block_start",
                index=at,
                content_block={"type": "text", "text": ""} if is_text else {**block, "input": {}},
            )
            for piece in cut(text if is_text else as_json(block["input"])):
                delta = (
                    {"type": "text_delta", "text": piece}
                    if is_text
                    else {"type": "input_json_delta", "partial_json": piece}
                )
                yield event("content_block_delta", index=at, delta=delta)
            yield event("content_block_stop", index=at)
        yield event(
            "message_delta", delta={"stop_reason": "tool_use" if calls else "end_turn"}, usage={"output_tokens": 5}
        )
        yield event("message_stop")


class Ollama:
    """https://github.com/ollama/ollama/blob/main/docs/api.md#generate-a-chat-completion"""

    stream_type = "application/x-ndjson"

    @staticmethod
    def check(body: Any) -> int:
        for one in body["messages"]:
            need(isinstance(one["content"], str), f"content is text: {one}")
            need(one["role"] != "tool" or one.get("tool_name"), f"a result without its tool: {one}")
            for call in one.get("tool_calls") or ():
                need(isinstance(call["function"]["arguments"], dict), "arguments are an object")
        return sum(one["role"] == "assistant" for one in body["messages"])

    @staticmethod
    def whole(text: str, calls: list[Step]) -> Any:
        message: Step = {"role": "assistant", "content": text}
        if calls:
            message["tool_calls"] = [
                {"function": {"name": one["name"], "arguments": one["arguments"]}} for one in calls
            ]
        return {
            "model": "played",
            "message": message,
            "done": True,
            "done_reason": "stop",
            "prompt_eval_count": 10,
            "eval_count": 5,
        }

    @classmethod
    def stream(cls, text: str, calls: list[Step]) -> Iterator[str]:
        for piece in cut(text):
            yield (
                json.dumps({"model": "played", "message": {"role": "assistant", "content": piece}, "done": False})
                + "\n"
            )
        for call in calls:
            yield json.dumps({**cls.whole("", [call]), "done": False}) + "\n"
        yield json.dumps(cls.whole("", [])) + "\n"


SPEAKERS: dict[str, Any] = {"v1/chat/completions": OpenAI, "v1/messages": Anthropic, "api/chat": Ollama}
