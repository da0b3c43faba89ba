"""What a workflow's call of an MCP server costs beyond the server's own time, and what many tools cost a start."""

import json
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from figures import Figures, median
from mcp import Client, StdioServerParameters

from stepwell_server import Session

TOPIC = "tools"
CALLS = 300
TOOLS = 5000
MOST_MS = 1.0
MOST_START_MS = 50.0
MEMORY = Path("/dev/shm")
HAS_MEMORY = MEMORY.is_dir()
SERVER = Path(__file__).parent.parent / "tests" / "support" / "raw_server.py"
SOURCE = '''
"""Call a tool that reads, again and again."""
def run(n: int) -> int:
    return sum(len(tools.raw.shout(text="x")) for _ in range(n))
'''


async def measure_upstream(figures: Figures, folder: Path) -> None:
    """Measure a call by itself, then within a run, then a start with thousands of tools."""
    alone = await _alone()
    figures.add(TOPIC, "a call of an MCP server, by the SDK's client", round(1000 * alone, 2), "ms")
    if HAS_MEMORY:
        with tempfile.TemporaryDirectory(dir=MEMORY) as memory:
            more = round(1000 * (await _within(Path(memory) / "upstream") - alone), 2)
        figures.add(TOPIC, "a call that reads, in a run: beyond that, with its journal in memory", more, "ms")
    more = round(1000 * (await _within(folder / "upstream") - alone), 2)
    figures.at_most(TOPIC, "a call that reads, in a run: beyond that, with one commit", more, "ms", MOST_MS)
    few, many = await _start(_home(folder / "few", 0)), await _start(_home(folder / "many", TOOLS))
    beyond = round(1000 * (many - few), 1)
    figures.at_most(TOPIC, f"a start with {TOOLS} tools: beyond one with few", beyond, "ms", MOST_START_MS)


async def _within(path: Path) -> float:
    async with Session(_home(path, 0)) as session:
        await session.add_workflow("reads", SOURCE)
        await session.run("reads", n=5)
        run = await session.run("reads", n=CALLS)
        done = [event.at for event in await session.timeline(run) if event.type == "call.completed"]
    return median([after - before for before, after in pairwise(done)])


async def _alone() -> float:
    times: list[float] = []
    async with Client(StdioServerParameters(command=sys.executable, args=["-I", "-S", str(SERVER)])) as client:
        for _ in range(CALLS):
            began = time.perf_counter()
            await client.call_tool("shout", {"text": "x"})
            times.append(time.perf_counter() - began)
    return median(times)


async def _start(home: Path) -> float:
    async with Session(home) as session:
        await session.app.tools.prepare()  # the listing is kept from here on
    times: list[float] = []
    for _ in range(3):
        began = time.perf_counter()
        async with Session(home):
            times.append(time.perf_counter() - began)
    return min(times)


def _home(path: Path, tools: int) -> Path:
    path.mkdir()
    words = json.dumps(["-I", "-S", str(SERVER), f"tools={tools}"])
    (path / "stepwell.toml").write_text(f"[mcp_servers.raw]\ncommand = {json.dumps(sys.executable)}\nargs = {words}\n")
    return path
