"""Other engines, each in a process of its own with the python of `.venv-bench`, which `make bench` fills."""

import asyncio
import json
import os
from pathlib import Path

HERE = Path(__file__).parent
PYTHON = HERE.parent / ".venv-bench" / "bin" / "python"
LIMIT_S = 300.0
NAMES = {"DBOS": "dbos", "LangGraph": "langgraph"}


class Peer:
    """One of them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.why = ""
        """Why it could not be measured."""

    async def measure(self, steps: int) -> dict[str, float] | None:
        """Return its steps per second by kind, None if it is not there."""
        if self.why:
            return None
        python = os.environ.get("STEPWELL_BENCH_PYTHON", str(PYTHON))
        try:
            process = await asyncio.create_subprocess_exec(
                python, str(HERE / f"peer_{NAMES[self.name]}.py"), str(steps),
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
        except OSError:
            self.why = "not installed; `make bench` installs it where the package index can be reached"
            return None
        try:
            async with asyncio.timeout(LIMIT_S):
                told, errors = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            self.why = f"did not end within {LIMIT_S:g} s"
            return None
        if process.returncode != 0:
            self.why = errors.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
            return None
        return json.loads(told.decode().strip().rpartition("\n")[2])


def find_peers() -> list[Peer]:
    """Return all."""
    return [Peer(name) for name in NAMES]
