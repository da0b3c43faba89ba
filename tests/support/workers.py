"""Processes that work on a home, without a client: started in a moment, to be killed as often as a test likes.

One process loads everything once and forks; each fork opens the home by itself, with its own lease, its own store
and its own sandbox, as a server does.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

FORKS = """
import asyncio, ctypes, importlib, json, os, signal, sys
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: what a killed worker leaves is found below this process
from stepwell_server import Session
from stepwell_server.app import open_app
import stepwell.tools.contents
for name in sys.argv[1:]:
    importlib.import_module(name)

async def hold(home):
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Session(home):
        await stop.wait()

for line in sys.stdin:
    what, value = json.loads(line)
    if what == "open":
        pid = os.fork()
        if pid == 0:
            os.close(0)
            os.setpgid(0, 0)
            try:
                asyncio.run(hold(value))
            except BaseException as error:
                print(repr(error), file=sys.stderr)
                os._exit(1)
            os._exit(0)
        answer = pid
    else:
        answer = os.waitstatus_to_exitcode(os.waitpid(value, 0)[1])
    print(json.dumps(answer), flush=True)
"""


class Worker:
    """A process that works on the runs of a home, as long as nobody ends it."""

    def __init__(self, workers: "Workers", pid: int) -> None:
        self.pid = pid
        self._workers = workers

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self, number: int = signal.SIGKILL) -> int:
        """Send the signal, wait for its end, and return its exit code, or the negative signal."""
        os.kill(self.pid, number)
        return self._workers.wait(self)


class Workers:
    """Starts workers; those that are left are killed at the end."""

    def __init__(self, folder: Path | None = None, *modules: str) -> None:
        """`folder`: where they keep what is temporary; `modules`: what they have loaded when they begin."""
        self._modules = modules
        self._left: dict[int, Worker] = {}
        self._environment = {**os.environ, "TMPDIR": str(folder)} if folder else None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORKS, *self._modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
        )
        return self

    @property
    def pid(self) -> int:
        return self._process.pid

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in list(self._left.values()):
            worker.end()
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()

    def open(self, home: Path) -> Worker:
        """Return a worker that opens the home; it may not be open yet."""
        pid = self._ask("open", str(home))
        self._left[pid] = Worker(self, pid)
        return self._left[pid]

    def wait(self, worker: Worker) -> int:
        code = self._ask("wait", worker.pid)
        del self._left[worker.pid]
        return code

    def _ask(self, what: str, value: str | int) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([what, value]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())
