"""A scripted Messages API on loopback: real HTTP, streamed answers, and all that goes wrong on the way."""

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WAIT_S = 60
KEY = "sk-test-not-a-secret"


@dataclass(frozen=True)
class Say:
    """An answer: text, calls of tools, or any blocks."""

    text: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    stop: str | None = None
    input: int = 5
    output: int = 5
    cache_read: int = 0
    cache_write: int = 0
    blocks: tuple[dict[str, Any], ...] = ()
    details: dict[str, Any] | None = None
    counted: bool = True
    """Whether an endpoint of OpenAI's protocol says how many tokens it was."""
    hold: str = ""
    """A gate that must be opened before it answers."""


@dataclass(frozen=True)
class Fail:
    """An error in place of an answer."""

    status: int
    kind: str = "api_error"
    headers: dict[str, str] = field(default_factory=dict[str, str])
    message: str = "scripted"


@dataclass(frozen=True)
class Break:
    """An answer that begins and does not end: `cut`, `malformed`, `short` (ends without its last event), `error`."""

    how: str = "cut"


Reply = Say | Fail | Break
Script = Callable[[dict[str, Any]], Reply]


def last_text(request: dict[str, Any]) -> str:
    """The text of the newest message of the user, or of its tools' results."""
    content = request["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return " ".join(str(block.get("text") or block.get("content") or "") for block in content)


def echo(request: dict[str, Any]) -> Reply:
    return Say(f"echo: {last_text(request)}")


class ModelServer:
    """Answers by a script; knows what it was asked and what it has answered in full."""

    def __init__(self) -> None:
        self.script: Script = echo
        self.requests: list[dict[str, Any]] = []
        self.answered: list[dict[str, Any]] = []
        """What a provider would bill: requests whose answer was made in full."""
        self.at_once = 0
        self.most_at_once = 0
        self._changed = threading.Condition()
        self._opened: set[str] = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
                request["_path"], request["_key"] = (
                    self.path,
                    self.headers.get("x-api-key") or self.headers.get("Authorization"),
                )
                try:
                    outer.serve(self, request)
                except OSError:
                    self.close_connection = True  # the client was killed meanwhile

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def say(self, *replies: Reply) -> None:
        """Answer with these in turn, and with the last one for ever."""
        left = list(replies)
        self.script = lambda request: left.pop(0) if len(left) > 1 else left[0]

    def config(self, more: str = "") -> str:
        """What a home needs in its stepwell.toml."""
        return (
            f'[models]\ndefault = "claude-test"\n[models.endpoints.anthropic]\nkind = "anthropic"\napi_base = "{self.url}"\n'
            '[models.prices.claude-test]\ninput = 1000\noutput = 1000\ncache_read = 100\ncache_write = 1250\n' + more
        )  # fmt: skip

    def serve(self, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        with self._changed:
            self.requests.append(request)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            reply = self.script(request)
            self._changed.notify_all()
            if isinstance(reply, Say) and reply.hold:
                self._changed.wait_for(lambda: reply.hold in self._opened, WAIT_S)
            self.at_once -= 1
        match reply:
            case Fail():
                body = json.dumps({"type": "error", "error": {"type": reply.kind, "message": reply.message}}).encode()
                self._head(handler, reply.status, "application/json", len(body), reply.headers)
                handler.wfile.write(body)
            case Break():
                self._head(handler, 200, "text/event-stream", None, {})
                self._break(handler, request, reply)
            case Say() if "openai" in request["_path"]:
                self._stream(handler, openai_events(request, reply))
            case Say():
                self._stream(handler, anthropic_events(request, reply))
        if isinstance(reply, Say):
            with self._changed:
                self.answered.append(request)
                self._changed.notify_all()

    def _stream(self, handler: BaseHTTPRequestHandler, data: bytes) -> None:
        self._head(handler, 200, "text/event-stream", len(data), {})
        handler.wfile.write(data)

    def _head(
        self, handler: BaseHTTPRequestHandler, status: int, kind: str, length: int | None, headers: dict[str, str]
    ) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        for name, value in headers.items():
            handler.send_header(name, value)
        if length is None:
            handler.send_header("Connection", "close")
            handler.close_connection = True
        else:
            handler.send_header("Content-Length", str(length))
        handler.end_headers()

    def _break(self, handler: BaseHTTPRequestHandler, request: dict[str, Any], reply: Break) -> None:
        whole = anthropic_events(request, Say("half of it"))
        begin = whole.index(b"event: content_block_delta")
        handler.wfile.write(whole[:begin])
        if reply.how == "malformed":
            handler.wfile.write(b"event: content_block_delta\ndata: {not json\n\n")
        elif reply.how == "error":
            error = {"type": "error", "error": {"type": "overloaded_error", "message": "scripted"}}
            handler.wfile.write(f"event: error\ndata: {json.dumps(error)}\n\n".encode())
        elif reply.how == "short":
            handler.wfile.write(whole[begin : whole.index(b"event: message_delta")])

    def open_gate(self, *names: str) -> None:
        with self._changed:
            self._opened |= set(names)
            self._changed.notify_all()

    def wait_for_requests(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= count, WAIT_S), f"{len(self.requests)} requests"

    @contextmanager
    def serving(self) -> Generator["ModelServer", None, None]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def anthropic_events(request: dict[str, Any], reply: Say) -> bytes:
    blocks: list[dict[str, Any]] = [*reply.blocks]
    if reply.text:
        blocks.append({"type": "text", "text": reply.text})
    for n, (name, arguments) in enumerate(reply.calls):
        blocks.append(
            {"type": "tool_use", "id": f"toolu_{n}_{len(request['messages'])}", "name": name, "input": arguments}
        )
    usage = {
        "input_tokens": reply.input, "output_tokens": 1, "cache_read_input_tokens": reply.cache_read,
        "cache_creation_input_tokens": reply.cache_write,
    }  # fmt: skip
    message: dict[str, Any] = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": request["model"], "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": usage,
    }  # fmt: skip
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}, {"type": "ping"}]
    for n, block in enumerate(blocks):
        if block["type"] == "text":
            events.append({"type": "content_block_start", "index": n, "content_block": {"type": "text", "text": ""}})
            half = len(block["text"]) // 2
            events += [
                {"type": "content_block_delta", "index": n, "delta": {"type": "text_delta", "text": part}}
                for part in (block["text"][:half], block["text"][half:])
            ]
        elif block["type"] == "tool_use":
            events.append({"type": "content_block_start", "index": n, "content_block": block | {"input": {}}})
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            events.append({"type": "content_block_delta", "index": n, "delta": delta})
        else:
            events.append({"type": "content_block_start", "index": n, "content_block": block})
        events.append({"type": "content_block_stop", "index": n})
    stop = reply.stop or ("tool_use" if reply.calls else "end_turn")
    delta = {"stop_reason": stop, "stop_sequence": None} | ({"stop_details": reply.details} if reply.details else {})
    events.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": reply.output}})
    events.append({"type": "message_stop"})
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


def openai_events(request: dict[str, Any], reply: Say) -> bytes:
    base = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": request["model"]}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": reply.text}] if reply.text else []
    for n, (name, arguments) in enumerate(reply.calls):
        call = {"index": n, "id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": ""}}
        rest = {"index": n, "function": {"arguments": json.dumps(arguments)}}
        deltas += [{"tool_calls": [call]}, {"tool_calls": [rest]}]
    stop = reply.stop or ("tool_calls" if reply.calls else "stop")
    chunks: list[dict[str, Any]] = [
        base | {"choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas
    ]
    chunks.append(base | {"choices": [{"index": 0, "delta": {}, "finish_reason": stop}]})
    usage = {
        "prompt_tokens": reply.input + reply.cache_read, "completion_tokens": reply.output,
        "total_tokens": reply.input + reply.cache_read + reply.output,
        "prompt_tokens_details": {"cached_tokens": reply.cache_read},
    }  # fmt: skip
    chunks += [base | {"choices": [], "usage": usage}] if reply.counted else []
    return ("".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n").encode()
