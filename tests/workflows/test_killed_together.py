"""A workflow over three MCP servers, with each of them and Stepwell killed at every point that there is.

The small form, in every run of the tests, takes some of the points; `-m exhaustive` takes all of them.
"""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from stepwell.engine import StartOptions
from stepwell.errors import Conflict
from stepwell.model import LIVE
from stepwell_server.app import App, open_app
from support.commits import Commits, watching
from support.server import LOCAL_HTTP, make_home
from support.workers import Worker, Workers

RAW = Path(__file__).parent.parent / "support" / "raw_server.py"
NAMES, ROUNDS = ("one", "two", "three"), 2
WAIT_S = 60.0
SOURCE = f'''
"""Note down in three places, and read, again and again."""
def run(tag: str) -> list:
    said = []
    for n in range({ROUNDS}):
        for place in (tools.one, tools.two, tools.three):
            said += [place.note(text=f"{{tag}}-{{n}}"), place.shout(text=f"{{tag}}-{{n}}")]
    return said
'''
# When a server dies of a call: before it has done anything, before it has answered, when it has.
DEATHS = ("before", "after", "answered")
CALLS = [(name, tool, n) for n in range(ROUNDS) for name in NAMES for tool in ("note", "shout")]


@dataclass
class Together:
    """A home with three servers, and a process that works on its runs."""

    folder: Path
    app: App
    commits: Commits
    workers: Workers
    worker: Worker
    runs: int = 0

    @property
    def home(self) -> Path:
        return self.folder / "home"

    async def begin(self) -> str:
        """Start a run, and return its id, with which each of its texts begins."""
        self.runs += 1
        tag = f"r{self.runs}"
        await self.app.engine.start("together", {"tag": tag}, StartOptions(run_id=tag))
        return tag

    def replace_worker(self) -> None:
        self.worker.end()
        self.worker = self.workers.open(self.home)

    def is_live(self, tag: str) -> bool:
        return self.commits.read("SELECT status FROM runs WHERE id = ?", tag)[0]["status"] in LIVE

    def noted(self, name: str, tag: str) -> list[str]:
        """What a server has written down for a run."""
        log = self.folder / f"{name}.log"
        lines = [line[5:] for line in log.read_text().splitlines() if line.startswith("note ")] if log.exists() else []
        return [text for line in lines if (text := json.loads(line)["text"]).startswith(f"{tag}-")]

    async def finish(self, tag: str) -> None:
        """Decide on lost calls as somebody would who looks at the other side, and check what was done."""
        sql = "SELECT key, request FROM waits WHERE run_id = ? AND kind = 'in_doubt' AND status = 'open'"
        async with asyncio.timeout(WAIT_S):
            while self.is_live(tag):
                for wait in self.commits.read(sql, tag):
                    context = json.loads(wait["request"])["context"]
                    name, text = context["tool"].partition(".")[0], context["arguments"]["text"]
                    with suppress(Conflict):  # it was decided a moment ago
                        if text in self.noted(name, tag):
                            await self.app.engine.resume(tag, "value", value=f"noted {text}", via="test")
                        else:
                            await self.app.engine.resume(tag, "retry", via="test")
                await asyncio.sleep(0.01)
        texts = [f"{tag}-{n}" for n in range(ROUNDS)]
        assert {name: self.noted(name, tag) for name in NAMES} == dict.fromkeys(NAMES, texts)
        (row,) = self.commits.read("SELECT status, output FROM runs WHERE id = ?", tag)
        said = [said for text in texts for _ in NAMES for said in (f"noted {text}", text.upper())]
        assert (row["status"], json.loads(row["output"])) == ("completed", said)

    async def kill_server(self, name: str, tool: str, n: int, death: str) -> None:
        plan = self.folder / "plan"
        plan.write_text(f"{name} {tool} r{self.runs + 1}-{n} {death}")
        await self.finish(await self.begin())
        assert not plan.exists(), "nobody died"

    async def kill_stepwell(self, k: int, form: str) -> bool:
        """Kill it at the k-th commit from the start of a run; False if the run had ended before."""
        tag = await self.begin()
        if not all(self.commits.wait_next(unless=lambda: not self.is_live(tag)) for _ in range(k)):
            await self.finish(tag)
            return False
        if form == "before":
            with self.commits.held():
                await asyncio.sleep(0.04)  # it goes on as far as it can without another commit
                self.worker.end()
            self.worker = self.workers.open(self.home)
        else:
            self.replace_worker()
        await self.finish(tag)
        return True


@pytest_asyncio.fixture(scope="module")
async def together(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Together, None]:
    folder = tmp_path_factory.mktemp("together")
    words = {
        name: ["-I", "-S", str(RAW), f"log={folder / name}.log", f"plan={folder / 'plan'}", f"name={name}"]
        for name in NAMES
    }
    tables = [
        f"[mcp_servers.{name}]\ncommand = {json.dumps(sys.executable)}\nargs = {json.dumps(args)}\n"
        for name, args in words.items()
    ]
    home = make_home(folder / "home", "\n".join([LOCAL_HTTP, "[sandbox]\npool = 1\n", *tables]))
    # The client of the SDK takes a second to load.
    with Workers(None, "stepwell.tools.upstream.calling", "stepwell.tools.upstream.output") as workers:
        async with open_app(home, execute=False) as app:
            await app.catalog.create("together", SOURCE)
            with watching(home) as commits:
                yield Together(folder, app, commits, workers, workers.open(home))


@pytest.mark.slow
@pytest.mark.asyncio
async def test_three_servers_and_stepwell_are_killed_and_nothing_is_done_twice(together: Together) -> None:
    for place, death in ((0, "after"), (5, "before"), (8, "answered"), (10, "before")):
        await together.kill_server(*CALLS[place], death)
    for k, form in ((11, "after"), (7, "before")):
        await together.kill_stepwell(k, form)


@pytest.mark.exhaustive
@pytest.mark.asyncio
@pytest.mark.parametrize("death", DEATHS)
async def test_each_server_dies_of_each_call_and_nothing_is_done_twice(together: Together, death: str) -> None:
    for name, tool, n in CALLS:
        await together.kill_server(name, tool, n, death)


SHARDS = 3


@pytest.mark.exhaustive
@pytest.mark.asyncio
@pytest.mark.parametrize("form", ["after", "before"])
@pytest.mark.parametrize("shard", range(SHARDS))
async def test_stepwell_dies_around_each_commit_and_nothing_is_done_twice(
    together: Together, form: str, shard: int
) -> None:
    k = shard + 1
    while await together.kill_stepwell(k, form):
        k += SHARDS
    assert k > len(CALLS)
