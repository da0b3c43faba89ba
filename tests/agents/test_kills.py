"""SIGKILL in the midst of agents: a recorded turn is never asked for again, and budgets count what may have been billed."""

import random
import sqlite3
from collections import Counter
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from support.models import KEY, ModelServer, Reply, Say, last_text
from support.server import LOCAL_HTTP, Server, at_rest, call, make_home

pytestmark = pytest.mark.asyncio

TURNS = 6
AGENTS = '''
"""Two agents beside each other, each with tools of its own and of the host."""
from stepwell import Agent

def double(n: int) -> int:
    return n * 2

async def run(ctx):
    agents = [Agent(name, tools=[double, tools.fetch], max_turns=20, max_tokens=5) for name in ("left", "right")]
    a, b = await ctx.parallel(agents[0]("left 1"), ctx.step("right", agents[1], "right 1"))
    return [a.output, b.output, a.steps, b.steps]
'''


@pytest.fixture
def models() -> Generator[ModelServer, None, None]:
    with ModelServer().serving() as server:
        yield server


@pytest.fixture
def server(tmp_path: Path, models: ModelServer, monkeypatch: pytest.MonkeyPatch) -> Generator[Server, None, None]:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    server = Server(make_home(tmp_path / "home", LOCAL_HTTP + models.config()))
    server.start()
    yield server
    server.stop()


def place(request: dict[str, Any]) -> tuple[str, int]:
    """Whose turn a request asks for, and the how manyeth."""
    return request["messages"][0]["content"][0]["text"].split()[0] if isinstance(request["messages"][0]["content"], list) else request["messages"][0]["content"].split()[0], (len(request["messages"]) + 1) // 2  # fmt: skip


def work(request: dict[str, Any]) -> Reply:
    who, n = place(request)
    if n < TURNS:
        tool = ("double", {"n": n}) if n % 2 else ("fetch", {"url": "nonsense"})
        return Say(f"turn {n}", calls=(tool,), hold=f"{who} {n}" if n % 3 == 0 else "")
    return Say(f"{who} done: {last_text(request)}")


def recorded(home: Path) -> set[tuple[str, int]]:
    with closing(sqlite3.connect(home / "stepwell.db")) as connection, connection:
        rows = connection.execute("SELECT name, key FROM journal WHERE kind = 'turn' AND status = 'ok'").fetchall()
    return {(name, int(key.rpartition("/t")[2])) for name, key in rows}


@pytest.mark.slow
@pytest.mark.parametrize(
    "seed", [1, pytest.param(2, marks=pytest.mark.exhaustive), pytest.param(3, marks=pytest.mark.exhaustive)]
)
async def test_no_recorded_turn_is_billed_again_whenever_the_server_is_killed(
    server: Server, models: ModelServer, seed: int
):
    rng = random.Random(seed)
    models.script = work
    async with server.client() as client:
        created = await call(client, "create_workflow", name="both", source=AGENTS)
        assert "error" not in created, created
        run_id = (await call(client, "run_workflow", name="both"))["run_id"]
    gates = [f"{who} {n}" for n in range(3, TURNS, 3) for who in ("left", "right")]
    known: list[tuple[set[tuple[str, int]], int]] = []
    for _ in range(3):
        models.wait_for_requests(len(models.requests) + rng.randint(1, 2) if len(models.requests) < 4 else 4)
        server.kill()
        known.append((recorded(server.home), len(models.requests)))
        if rng.random() < 0.7 and gates:
            models.open_gate(gates.pop(0))
        server.start()
    models.open_gate(*gates)
    async with server.client() as client:
        run = await at_rest(client, run_id)

    assert run["status"] == "completed", run
    assert run["output"][2:] == [TURNS, TURNS]
    for turns, asked in known:
        again = Counter(place(request) for request in models.requests[asked:])
        assert not turns & again.keys()
    assert run["tokens_used"] == 2 * TURNS * 10
    assert run["cost_usd"] == pytest.approx(2 * TURNS * 0.01)


@pytest.mark.slow
async def test_a_turn_in_flight_at_a_kill_counts_against_the_budget_as_if_billed(server: Server, models: ModelServer):
    models.script = lambda request: Say("held", hold="gate", output=5)
    source = (
        "from stepwell import Agent\n\nasync def run(ctx):\n    return await Agent('one', max_tokens=1000).chat('hi')\n"
    )
    async with server.client() as client:
        await call(client, "create_workflow", name="one", source=source)
        # One turn can cost up to some two dollars; two of them do not fit.
        started = await call(client, "run_workflow", name="one", budget_usd=3)
    models.wait_for_requests(1)
    server.kill()
    server.start()
    async with server.client() as client:
        stopped = await at_rest(client, started["run_id"])
        assert stopped["status"] == "failed", stopped
        assert stopped["error"]["code"] == "budget_exceeded"
        assert "resume_run" in stopped["error"]["hint"]
        models.open_gate("gate")
        resumed = await call(client, "resume_run", run_id=started["run_id"], budget_usd=10)

    assert resumed["status"] == "completed", resumed
    assert resumed["output"] == "held"
    assert resumed["cost_usd"] == pytest.approx(0.01)
    assert len(models.requests) == 2
