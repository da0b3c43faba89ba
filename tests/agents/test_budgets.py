"""What may be spent: per run, agent and day, checked before a call with the largest cost it could have."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from stepwell.engine import StartOptions
from stepwell_server import Session
from support.models import Fail, ModelServer, Reply, Say, last_text
from support.server import LOCAL_HTTP, make_home

pytestmark = pytest.mark.asyncio

# Ten tokens of output at most, a cent together; what goes in costs nothing.
PRICE = "[models.prices.claude-cent]\ninput = 0\noutput = 1000\n"
ECHO = Say("echo", input=3, output=10)
CALLS = '''
"""So many calls, one after the other."""
from stepwell import Agent

options = dict(budget_usd=0.5)

async def run(ctx, calls: int, name: str = "one", agent_budget: float = 0):
    agent = Agent(name, model="claude-cent", max_tokens=10, budget_usd=agent_budget or None)
    for _ in range(calls):
        await agent("hi")
    return calls
'''


@pytest.fixture
def home(tmp_path: Path, models: ModelServer) -> Path:
    models.say(ECHO)
    return make_home(tmp_path / "home", LOCAL_HTTP + models.config(PRICE))


@pytest.mark.row("N26", "S47")
async def test_a_run_stops_before_the_call_that_could_cross_its_budget(home: Path, models: ModelServer):
    async with Session(home) as session:
        await session.add_workflow("calls", CALLS)
        stopped = await session.wait(await session.start("calls", StartOptions(budget_usd=0.015), calls=3))
        asked = len(models.requests)
        exact = await session.wait(await session.start("calls", StartOptions(budget_usd=0.02), calls=2))
        free = await session.wait(await session.start("calls", StartOptions(budget_usd=0), calls=3))
        resumed = await session.resume(stopped, budget_usd=0.03)
        stopped_too = await session.wait(await session.start("calls", StartOptions(budget_usd=0.015), calls=3))
        await session.add_workflow("calls", f"{CALLS}\n# mended\n", replace=True)
        continued = await session.resume(stopped_too, version="current", budget_usd=0.03)
        by_agent = await session.run("calls", calls=5, agent_budget=0.02)
        others = await session.run("calls", calls=2, agent_budget=0.02)

    assert stopped.status == "failed"
    assert stopped.error is not None
    assert (stopped.error.type, stopped.error.code) == ("BudgetExceeded", "budget_exceeded")
    assert "$0.015" in stopped.error.message
    assert "$0.02 would be needed" in stopped.error.message
    assert "budget_usd=0.02" in stopped.error.hint
    assert asked == 1
    assert (stopped.cost_usd, stopped.tokens_used) == (0.01, 13)
    assert (exact.status, exact.cost_usd) == ("completed", 0.02)
    assert free.cost_usd == 0.03
    assert (resumed.status, resumed.cost_usd, resumed.tokens_used) == ("completed", 0.03, 39)
    assert (continued.status, continued.version == stopped_too.version) == ("completed", False), continued.error
    assert by_agent.error is not None
    assert "the budget of the agent 'one'" in by_agent.error.message
    assert by_agent.cost_usd == 0.02
    assert others.status == "completed"


async def test_a_workflow_declares_its_budget_and_callers_can_only_lower_it(home: Path, models: ModelServer):
    async with Session(home) as session:
        await session.add_workflow("calls", CALLS.replace("0.5", "0.01"))
        run = await session.wait(await session.start("calls", StartOptions(budget_usd=5), calls=2))
        decorated = CALLS.replace("options = dict(budget_usd=0.5)", "from stepwell import Workflow\n")
        await session.add_workflow(
            "capped", decorated.replace("async def run", "@Workflow(max_budget=0.01)\nasync def run")
        )
        capped = await session.run("capped", calls=2)

    assert run.error is not None
    assert run.error.code == "budget_exceeded"
    assert capped.error is not None
    assert capped.error.code == "budget_exceeded"


PARENT = '''
"""Children in its budget."""
async def run(ctx, children: int):
    return await ctx.gather(**{f"c{n}": ctx.invoke("calls", calls=1) for n in range(children)})
'''


async def test_what_children_spend_counts_for_those_who_invoked_them(home: Path, models: ModelServer):
    async with Session(home) as session:
        await session.add_workflow("calls", CALLS)
        await session.add_workflow("parent", PARENT)
        within = await session.wait(await session.start("parent", StartOptions(budget_usd=0.03), children=3))
        over = await session.wait(await session.start("parent", StartOptions(budget_usd=0.03), children=5))

    assert (within.status, within.cost_usd, within.tokens_used) == ("completed", 0.03, 39)
    assert over.error is not None
    assert over.error.code == "budget_exceeded"
    assert over.cost_usd is not None
    assert over.cost_usd <= 0.03


BESIDE = '''
"""Many at once."""
from stepwell import Agent

async def run(ctx, calls: int):
    agent = Agent("one", model="claude-cent", max_tokens=10)
    return len(await ctx.parallel(*(agent(str(n)) for n in range(calls))))
'''


async def test_calls_beside_each_other_reserve_what_they_can_cost(home: Path, models: ModelServer):
    models.script = lambda request: Say("x", output=10, hold="gate")
    async with Session(home) as session:
        await session.add_workflow("beside", BESIDE)
        started = await session.start("beside", StartOptions(budget_usd=0.04), calls=6)
        await asyncio.to_thread(models.wait_for_requests, 4)
        models.open_gate("gate")
        run = await session.wait(started)
        resumed = await session.resume(run, budget_usd=1)
        asked = len(models.requests)
        # What is under way counts with the most that it can cost, and is waited for: it costs less.
        models.script = lambda request: Say("x", output=3, hold="again")
        started = await session.start("beside", StartOptions(budget_usd=0.02), calls=4)
        await asyncio.to_thread(models.wait_for_requests, 8)
        models.open_gate("again")
        cheap = await session.wait(started)

        # Also where answers come while somebody looks at what is left.
        models.script = lambda request: Say("x", output=1)
        begun = [await session.start("beside", StartOptions(budget_usd=0.02), calls=11) for _ in range(3)]
        quick = [await session.wait(run) for run in begun]

    assert run.error is not None
    assert run.error.code == "budget_exceeded"
    assert run.cost_usd == 0.04
    assert (resumed.output, resumed.cost_usd) == (6, 0.06)
    assert asked == 6
    assert (cheap.output, cheap.cost_usd) == (4, 0.012), cheap.error
    assert [(each.output, each.cost_usd) for each in quick] == [(11, 0.011)] * 3


async def test_the_operator_bounds_runs_and_days(tmp_path: Path, models: ModelServer):
    bounds = models.config(PRICE).replace(
        "[models]\n", "[models]\nbudget_usd_per_run = 0.02\nbudget_usd_per_day = 0.03\n"
    )
    home = make_home(tmp_path / "bounded", LOCAL_HTTP + bounds)
    models.say(ECHO)
    async with Session(home) as session:
        await session.add_workflow("calls", CALLS)
        first = await session.wait(await session.start("calls", StartOptions(budget_usd=0), calls=5))
        raised = await session.resume(first, budget_usd=5)
        second = await session.run("calls", calls=2)

    assert first.cost_usd == raised.cost_usd == 0.02
    assert second.error is not None
    assert "the day's budget of $0.03" in second.error.message
    assert second.cost_usd == 0.01


@pytest.mark.row("N16")
async def test_an_unknown_price_is_no_cost_of_zero(home: Path, models: ModelServer):
    source = CALLS.replace("claude-cent", "claude-unpriced").replace("options = dict(budget_usd=0.5)", "")
    async with Session(home) as session:
        await session.add_workflow("calls", source)
        run = await session.run("calls", calls=2)
        bounded = await session.wait(await session.start("calls", StartOptions(budget_usd=1), calls=2))
        none = await session.run("calls", calls=0)

    assert (run.status, run.tokens_used, run.cost_usd) == ("completed", 26, None)
    assert bounded.error is not None
    assert bounded.error.code == "unknown_price"
    assert '[models.prices."claude-unpriced"]' in bounded.error.message
    assert (none.tokens_used, none.cost_usd) == (0, 0.0)


async def test_what_the_cache_has_is_priced_as_such(home: Path, models: ModelServer):
    models.say(Say("x", input=100, output=10, cache_read=1000, cache_write=200))
    async with Session(home) as session:
        run = await session.run_code("from stepwell import Agent\nawait Agent('a')('hi')\n")
        tools = await session.run_code(
            "from stepwell import Agent\ndef f() -> int:\n    return 1\nawait Agent('a', 'Do it.', tools=[f])('hi')\n"
        )

    # 100 and 10 at a thousandth of a dollar, 1000 at a tenth of that, 200 at one and a quarter.
    assert run.cost_usd == pytest.approx(0.1 + 0.01 + 0.1 + 0.25)
    assert run.output["cache_read_tokens"] == 1000
    assert run.output["input_tokens"] == 1300
    request = models.requests[-1]
    assert tools.status == "completed"
    assert request["system"][-1]["cache_control"] == {"type": "ephemeral"}
    assert request["messages"][-1]["content"][-1]["cache_control"] == {"type": "ephemeral"}
    assert last_text(request) == "hi"


LONG = '''
"""A long prompt, and a second turn."""
from stepwell import Agent

def look() -> str:
    return "seen"

async def run(ctx):
    agent = Agent("long", tools=[look], max_tokens=10, fallback_models=["claude-other"])
    return (await agent("word " * 1000)).output
'''


async def test_what_one_model_has_counted_bounds_no_prompt_of_another(
    home: Path, models: ModelServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("stepwell.engine.turns.MAX_TRIES", 1)
    make_home(home, LOCAL_HTTP + models.config("[models.prices.claude-other]\ninput = 1000\noutput = 1000\n"))
    overloaded = True

    def script(request: dict[str, Any]) -> Reply:
        if len(request["messages"]) == 1:
            return Say(calls=(("look", {}),))
        return Fail(529, "overloaded_error") if overloaded and request["model"] == "claude-test" else Say("done")

    models.script = script
    async with Session(home) as session:
        await session.add_workflow("long", LONG)
        short = await session.wait(await session.start("long", StartOptions(budget_usd=0.01)))
        assert short.error is not None
        needed = re.search(r"so \$([0-9.]+) would be needed", short.error.message)
        assert needed is not None
        enough = StartOptions(budget_usd=float(needed[1]) + 0.03)  # for the first turn, and no longer prompt after it
        other = await session.wait(await session.start("long", enough))
        overloaded = False
        same = await session.wait(await session.start("long", enough))
    assert other.error is not None
    assert (other.error.code, "one turn of claude-other" in other.error.message) == ("budget_exceeded", True)
    assert (same.status, same.output) == ("completed", "done")
    assert "claude-other" not in [request["model"] for request in models.requests]
