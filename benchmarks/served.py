"""`stepwell serve` as a client starts it: a process that is spoken to in lines of JSON."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PROTOCOL = "2025-06-18"


class Served:
    """One server process; a context manager."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._requests = 0
        self.first_answer_ms = 0.0

    def __enter__(self) -> Self:
        began = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "stepwell_server.cli", "serve"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "STEPWELL_HOME": str(self._home)},
        )  # fmt: skip
        hello = {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
        self._request("initialize", hello)
        self.first_answer_ms = (time.perf_counter() - began) * 1000
        self._send({"method": "notifications/initialized"})
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool.

        Raises:
            RuntimeError: it answered with an error.
        """
        result = self._request("tools/call", {"name": tool, "arguments": arguments})
        if result.get("isError"):
            raise RuntimeError(f"{tool}: {result['content']}")
        return result["structuredContent"]

    def rss_mb(self) -> float:
        """Return the resident memory of the server's own process."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0"} | message).encode() + b"\n")
        self._process.stdin.flush()

    def _request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._requests += 1
        self._send({"id": self._requests, "method": method, "params": params})
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            if answer.get("id") == self._requests and "method" not in answer:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
        raise RuntimeError(f"the server ended during {method}")
