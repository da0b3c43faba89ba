"""A web server on 127.0.0.1 that says exactly what a test wants, and a resolver that lies."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from stepwell.model import Json, JsonObject
from stepwell.ports import CallContext
from stepwell.tools import NetworkPolicy, Toolbox
from stepwell.tools.network import Resolver

CONTEXT = CallContext(run_id="run1", workflow="w", idempotency_key="key1")


@dataclass
class Received:
    """A request as it came over the wire."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    query: str = ""


Handler = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


class Site:
    """Routes by path; counts what came."""

    def __init__(self) -> None:
        self.routes: dict[str, Handler] = {}
        self.received: list[Received] = []
        self.connections = 0
        self.port = 0
        self._open: set[asyncio.Task[Any]] = set()

    def url(self, path: str = "/", host: str = "localhost") -> str:
        return f"http://{host}:{self.port}{path}"

    def page(self, path: str, body: bytes, *, status: str = "200 OK", headers: dict[str, str] | None = None) -> None:
        given = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body))} | (headers or {})
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items() if value)
        self.raw(path, f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body)

    def raw(self, path: str, answer: bytes) -> None:
        async def handler(request: Received, writer: asyncio.StreamWriter) -> None:
            writer.write(answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if request.method == "HEAD" else answer)

        self.routes[path] = handler

    def redirect(self, path: str, location: str, status: str = "302 Found") -> None:
        self.page(path, b"", status=status, headers={"Location": location})

    def echo(self, path: str) -> None:
        """Answer with method, headers and body, each line `name: value`."""

        async def handler(request: Received, writer: asyncio.StreamWriter) -> None:
            lines = [request.method, *(f"{name}: {value}" for name, value in request.headers.items())]
            body = "\n".join(lines).encode() + b"\n\n" + request.body
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

        self.routes[path] = handler

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            while await self._serve_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").strip().split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Received(method, path.partition("?")[0], headers, body, path.partition("?")[2])
        self.received.append(request)
        handler = self.routes.get(request.path)
        if handler is None:
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nno page")
        else:
            await handler(request, writer)
        await writer.drain()
        return headers.get("connection") != "close" and not reader.at_eof()

    async def close(self) -> None:
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)


@dataclass
class Zone:
    """Gives each host's answers one after the other, the last one forever."""

    answers: dict[str, list[list[str]]]
    asked: list[str] = field(default_factory=list[str])

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        answers = self.answers.get(host)
        if not answers:
            raise OSError(f"{host} is not known")
        return answers.pop(0) if len(answers) > 1 else answers[0]


class LoopbackIsPublic(NetworkPolicy):
    """127.0.0.1 stands for a public address; everything else is judged as ever."""

    def allows_address(self, address: str) -> bool:
        return address == "127.0.0.1" or NetworkPolicy.allows_address(self, address)


def local(*hosts: str, resolve: Resolver | None = None) -> NetworkPolicy:
    allowed = hosts or ("localhost",)
    return NetworkPolicy(allowed, allow_private=True, **({"resolve": resolve} if resolve else {}))


async def call(box: Toolbox, name: str, /, *args: Json, **kwargs: Json) -> Json:
    spec = box.find_tool(name)
    assert spec is not None
    arguments: JsonObject = box.bind(spec, list(args), kwargs)
    async with asyncio.timeout(60):
        return await box.call(spec, arguments, CONTEXT)
