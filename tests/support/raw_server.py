"""An MCP server of the handshake era, written out by hand: starts in no time and can misbehave in every way.

Arguments: `KEY=VALUE`. `tools=N` lists N more tools, `page=N` so many a page, `log=FILE` notes each start and call,
`start=fail|hang` does not come up, `name=N plan=FILE` dies where the file says.
"""

import base64
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

OPTIONS = dict(word.split("=", 1) for word in sys.argv[1:])
READ = {"readOnlyHint": True}
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
COUNTED = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
NOTHING: dict[str, Any] = {"type": "object", "properties": {}}


def tool(name: str, schema: dict[str, Any] = NOTHING, said: str = "", **more: Any) -> dict[str, Any]:
    return {"name": name, "description": said or f"Does {name}.", "inputSchema": schema, **more}


TOOLS = [
    tool("shout", TEXT, "Say a text loudly.", annotations=READ),
    tool("note", TEXT, "Write a line down.", annotations={"destructiveHint": False}),
    tool("note-twice", TEXT, annotations={"idempotentHint": True}),
    tool("picture", annotations=READ),
    tool("nothing", annotations=READ),
    tool("numbers", annotations=READ),
    tool("wrapped", annotations=READ, outputSchema={"type": "object", "properties": {"result": {"type": "integer"}}}),
    tool("misfit", TEXT, outputSchema=COUNTED),
    tool("unstructured", annotations=READ, outputSchema=COUNTED),
    tool("many", annotations=READ, outputSchema={"type": "object", "additionalProperties": {"type": "integer"}}),
    tool("broken_json", annotations=READ),
    tool("malformed", annotations=READ),
    tool("slow_copy", annotations=READ),
    tool("meta"),
    tool("env", annotations=READ),
    tool("erase", annotations={"destructiveHint": True}),
    tool("fail", annotations=READ),
    tool("refuse", annotations=READ),
    tool("huge", {"type": "object", "properties": {"bytes": {"type": "integer"}}}, annotations=READ),
    tool("garbage", annotations=READ),
    tool("controls", annotations=READ),
    tool("silent", annotations=READ),
    tool("silent_note", TEXT),
    tool("die", annotations=READ),
    tool("die_once", TEXT, annotations=READ),
    tool("die_noting", TEXT),
    tool("grow", annotations=READ),
    tool("ask"),
    tool("evil/../name", annotations=READ, said="Ends here.\u202egnp.exe \x1b[31m"),
    tool("import", annotations=READ),
    tool("list", annotations=READ),
    tool("loops", {"type": "object", "properties": {"x": {"$ref": "#/properties/x"}}}, annotations=READ),
    tool("remote", {"type": "object", "properties": {"x": {"$ref": "http://127.0.0.1:9/x"}}}, annotations=READ),
    tool(
        "regex",
        {"type": "object", "properties": {"x": {"type": "string", "pattern": "^(a+)+$"}}},
        annotations=READ,
    ),
    tool(
        "odd",
        {"type": "object", "properties": {"x": True, "y\n": {"default": "z" * 999}}, "required": ["x"]},
        annotations=READ,
    ),
    tool(
        "wrong_schema",
        {"type": "object", "properties": {"x": {"type": "no type"}, "y": {"type": [5, {}]}, "z": {"enum": 5}}},
        annotations=READ,
    ),
    tool(
        "names",
        {"type": "object", "patternProperties": {"^(a+)+$": {}}, "additionalProperties": False},
        annotations=READ,
    ),
]
grown: list[dict[str, Any]] = []
writing = threading.Lock()
answers: dict[Any, "threading.Event"] = {}
given: dict[Any, Any] = {}
current = threading.local()


def send(message: dict[str, Any]) -> None:
    with writing:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def log(line: str) -> None:
    if "log" in OPTIONS:
        with Path(OPTIONS["log"]).open("a") as file:
            file.write(line + "\n")


def text(said: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": said}]}


def listing(params: dict[str, Any]) -> dict[str, Any]:
    every = [
        *TOOLS,
        *grown,
        *(tool(f"more_{n:05}", TEXT, f"Tool number {n}.") for n in range(int(OPTIONS.get("tools", 0)))),
    ]
    size = int(OPTIONS.get("page", 100_000))
    start = int(params.get("cursor") or 0)
    page: dict[str, Any] = {"tools": every[start : start + size]}
    return page | ({"nextCursor": str(start + size)} if start + size < len(every) else {})


def die_if_planned(name: str, given: dict[str, Any], moment: str) -> None:
    """`plan=FILE`: end at the moment that the file names, once."""
    if "plan" not in OPTIONS:
        return
    plan = Path(OPTIONS["plan"])
    try:
        doomed = plan.read_text() == f"{OPTIONS['name']} {name} {given.get('text')} {moment}"
    except FileNotFoundError:
        return
    if doomed:
        plan.unlink()
        os._exit(3)


def call(ident: Any, name: str, given: dict[str, Any]) -> dict[str, Any] | None:
    die_if_planned(name, given, "before")
    log(f"{name} {json.dumps(given)}")
    die_if_planned(name, given, "after")
    time.sleep(float(OPTIONS.get("slow", 0)))
    if name in ("silent", "silent_note"):
        return None
    if name == "ask":
        return text(json.dumps(ask(ident)))
    if name in PLAIN:
        return PLAIN[name](given)
    return text(f"{name} {json.dumps(given)}")


def huge(given: dict[str, Any]) -> dict[str, Any]:
    return text("x" * given["bytes"])


def garbage(_: dict[str, Any]) -> dict[str, Any]:
    with writing:
        print("{no json", flush=True)
    return text("after the garbage")


def broken_json(_: dict[str, Any]) -> None:
    with writing:
        print(f'{{"jsonrpc": "2.0", "id": {current.ident}, "result": {{"content": [', flush=True)


def slow_copy(_: dict[str, Any]) -> dict[str, Any]:
    for done in range(50):
        send(
            {
                "method": "notifications/progress",
                "params": {
                    "progressToken": current.token,
                    "progress": done,
                    "total": 50,
                    "message": f"file {done}\x1b",
                },
            }
        )
    return text("copied")


def die_once(given: dict[str, Any]) -> dict[str, Any]:
    mark = Path(given["text"])
    if not mark.exists():
        mark.touch()
        os._exit(3)
    return text("alive")


def grow(_: dict[str, Any]) -> dict[str, Any]:
    grown.append(tool("grown", annotations=READ))
    send({"method": "notifications/tools/list_changed"})
    return text("grew")


PIXELS = {"type": "image", "data": base64.b64encode(b"\x89PNG pixels").decode(), "mimeType": "image/png"}
PLAIN: dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]] = {
    "shout": lambda given: text(given["text"].upper()),
    "note": lambda given: text(f"noted {given['text']}"),
    "note-twice": lambda given: text(f"noted {given['text']}"),
    "picture": lambda _: {"content": [{"type": "text", "text": "Look:"}, PIXELS]},
    "many": lambda _: text("x") | {"structuredContent": {str(n): n for n in range(60_000)}},
    "nothing": lambda _: {"content": []},
    "numbers": lambda _: text("{}") | {"structuredContent": {"n": 1, "$": "dollar", "big": 2**70}},
    "wrapped": lambda _: text("7") | {"structuredContent": {"result": 7}},
    "misfit": lambda given: text("x") | {"structuredContent": {"count": given["text"]}},
    "unstructured": lambda _: text("5"),
    "broken_json": broken_json,
    "malformed": lambda _: {"content": ["x", {"type": "text"}]},
    "slow_copy": slow_copy,
    "meta": lambda _: text(json.dumps(current.meta)),
    "env": lambda _: text(os.environ.get("RAW_SECRET", "")[::-1]),
    "fail": lambda _: text("the disk is full\x1b[31m") | {"isError": True},
    "huge": huge,
    "garbage": garbage,
    "controls": lambda _: text("a\x00b\u202ec"),
    "die": lambda _: os._exit(3),
    "die_noting": lambda _: os._exit(3),
    "die_once": die_once,
    "grow": grow,
}


def ask(ident: Any) -> Any:
    key = f"ask-{ident}"
    answers[key] = threading.Event()
    form = {
        "type": "object",
        "properties": {"colour": {"type": "string", "enum": ["red", "blue"]}},
        "required": ["colour"],
    }
    send({"id": key, "method": "elicitation/create", "params": {"message": "Which colour?", "requestedSchema": form}})
    answers[key].wait()
    return given[key]


def answer(message: dict[str, Any], send: Callable[[dict[str, Any]], None] = send) -> None:
    ident, params = message["id"], message.get("params") or {}
    match message["method"]:
        case "initialize":
            log(f"start {os.getpid()}")
            capabilities = {"tools": {"listChanged": True}}
            info = {"name": "raw", "version": "1"}
            version = params["protocolVersion"]
            send(
                {"id": ident, "result": {"protocolVersion": version, "capabilities": capabilities, "serverInfo": info}}
            )
        case "tools/list":
            send({"id": ident, "result": listing(params)})
        case "tools/call" if params["name"] == "refuse":
            send({"id": ident, "error": {"code": -32602, "message": "not like that"}})
        case "tools/call":
            current.ident, current.meta = ident, params.get("_meta") or {}
            current.token = current.meta.pop("progressToken", None)
            if (result := call(ident, params["name"], params.get("arguments") or {})) is not None:
                send({"id": ident, "result": result})
                die_if_planned(params["name"], params.get("arguments") or {}, "answered")
        case other:
            send({"id": ident, "error": {"code": -32601, "message": f"no {other}"}})


class Web(BaseHTTPRequestHandler):
    """Streamable HTTP of the handshake era, with a session; answers are JSON."""

    protocol_version = "HTTP/1.1"
    sessions: ClassVar[set[str]] = set()
    unknown: ClassVar[tuple[int, bytes]] = (404, b"")

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        method = message.get("method")
        if method == "forget":
            self.sessions.clear()
            type(self).unknown = (message["status"], message["said"].encode())
            self.reply(202, b"")
        elif method == "initialize":
            self.sessions.add(session := f"s{len(self.sessions)}-{time.monotonic_ns()}")
            self.reply(200, self.answered(message), {"Mcp-Session-Id": session})
        elif method == "server/discover":
            self.reply(200, self.answered(message))
        elif self.headers.get("mcp-session-id") not in self.sessions:
            self.reply(*self.unknown)
        elif "id" not in message:
            self.reply(202, b"")
        elif (message.get("params") or {}).get("name") == "die_noting":
            call(0, "die_noting", {})
        else:
            self.reply(200, self.answered(message))

    def do_GET(self) -> None:
        self.reply(405, b"")

    do_DELETE = do_GET  # noqa: N815  the name that http.server calls

    def answered(self, message: dict[str, Any]) -> bytes:
        sent: list[dict[str, Any]] = []
        answer(message, sent.append)
        return json.dumps({"jsonrpc": "2.0", **sent[-1]}).encode()

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        pass


def serve_http() -> None:
    web = ThreadingHTTPServer(("127.0.0.1", int(OPTIONS["http"])), Web)
    print(web.server_address[1], flush=True)
    web.serve_forever()


def main() -> None:
    if "http" in OPTIONS:
        serve_http()
    if OPTIONS.get("start") == "fail":
        sys.exit("cannot come up: no licence")
    if OPTIONS.get("start") == "hang":
        time.sleep(600)
    for line in sys.stdin:
        message = json.loads(line)
        if "method" in message and "id" in message:
            threading.Thread(target=answer, args=(message,), daemon=True).start()
        elif "id" in message and message["id"] in answers:
            given[message["id"]] = message.get("result") or message.get("error")
            answers[message["id"]].set()


if __name__ == "__main__":
    main()
