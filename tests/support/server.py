"""The real server as a process of its own."""

import os
import re
import signal
import threading
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from support.forked import Forked

LISTENING = re.compile(r"listening on (http://\S+)")
LOCAL_HTTP = '[http]\nallow_hosts = ["127.0.0.1"]\nallow_private = true\n'


def make_home(path: Path, config: str = LOCAL_HTTP) -> Path:
    path.mkdir(exist_ok=True)
    (path / "stepwell.toml").write_text(config)
    return path


class Server:
    """`stepwell serve --http` on a free port; can be killed and started again on the same home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.url = ""
        self.errors: deque[str] = deque(maxlen=200)
        self._process: Forked | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        env = {**os.environ, "STEPWELL_HOME": str(self.home)}
        reading, writing = os.pipe()
        try:
            with open(os.devnull, "r+b") as nothing:
                none = nothing.fileno()
                self._process = Forked(["serve", "--http", "127.0.0.1:0"], env, none, none, writing)
        finally:
            os.close(writing)
        stderr = open(reading, encoding="utf-8")  # noqa: SIM115  closed by `_drain`
        for line in stderr:
            self.errors.append(line)
            if match := LISTENING.search(line):
                self.url = match[1]
                break
        else:
            raise AssertionError("the server did not start:\n" + "".join(self.errors))
        threading.Thread(target=self._drain, args=(stderr,), daemon=True).start()

    def kill(self, number: int = signal.SIGKILL) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(60)

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> int:
        """End it as an operator would; return its exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
        return self._process.wait(60)

    def _drain(self, stderr: Any) -> None:
        with stderr:
            self.errors.extend(stderr)

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncGenerator[Client, None]:
        async with Client(streamable_http_client(self.url), read_timeout_seconds=60, **options) as client:
            yield client


async def call(client: Client, tool: str, /, **arguments: Any) -> dict[str, Any]:
    """Call a tool and return its structured result; an error is returned as `{"error": ...}` too."""
    result: Any = await client.call_tool(tool, arguments)
    content: dict[str, Any] = result.structured_content
    return content


async def at_rest(client: Client, run_id: str, **options: Any) -> dict[str, Any]:
    """Return a run when it has ended or waits for somebody; on a machine under load that is not within one call."""
    run = await call(client, "get_run", run_id=run_id, wait_seconds=45, **options)
    for _ in range(3):
        if run.get("status") not in ("pending", "running", "sleeping"):
            break
        run = await call(client, "get_run", run_id=run_id, wait_seconds=45, **options)
    return run
