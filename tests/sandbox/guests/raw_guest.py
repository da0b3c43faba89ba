"""A guest for tests that does what its source says on the raw channel, honest or not. Standard library only."""

import io
import json
import os
import struct
import sys
import threading
import time
from typing import Any

FD = 3


def read(size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = os.read(FD, size - len(data))
        if not more:
            os._exit(0)
        data += more
    return data


def receive() -> dict[str, Any]:
    (length,) = struct.unpack(">I", read(4))
    return json.loads(read(length))


def write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(FD, view) :]


def frame(raw: bytes) -> None:
    write(struct.pack(">I", len(raw)) + raw)


def send(message: dict[str, Any]) -> None:
    frame(json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))


class Tools:
    """`tools.call("name", x=1)`, one call at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0

    def call(self, name: str, **arguments: object) -> object:
        with self.lock:
            self.count += 1
            send(
                {
                    "t": "call",
                    "id": self.count,
                    "key": f"k{self.count}",
                    "kind": "tool",
                    "name": name,
                    "args": arguments,
                }
            )
            while (answer := receive()).get("id") != self.count:
                pass
        if "error" in answer:
            raise RuntimeError(answer["error"]["message"])
        return answer.get("value")


class Printed(io.TextIOBase):
    def __init__(self, level: str) -> None:
        self.level = level

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        send({"t": "log", "level": self.level, "text": text, "at": time.time()})
        return len(text)


def main(fd: int = FD) -> None:
    if fd != FD:
        os.dup2(fd, FD)
    send({"t": "ready", "protocol": 1})
    start = receive()
    sys.stdout, sys.stderr = Printed("stdout"), Printed("stderr")
    names: dict[str, Any] = {
        "__name__": "workflow",
        "tools": Tools(),
        "send": send,
        "frame": frame,
        "write": write,
        "receive": receive,
    }
    try:
        exec(compile(start["source"], "<workflow>", "exec"), names)
        send({"t": "done", "value": names["run"](**start["inputs"])})
    except BaseException as error:
        message = {"type": type(error).__name__, "message": str(error)[:100_000]}
        send({"t": "failed", "error": message})
    os._exit(0)
