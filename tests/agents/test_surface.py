"""What clients and the command line see of agents and their costs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mcp_clients import in_memory
from support.models import ModelServer, Say
from support.server import call

SOURCE = '''
"""Ask an agent of the host, and say what is left."""
async def run(ctx, topic: str) -> dict:
    notes = await ctx.step("read", agents.helper(f"On {topic}"))
    left = await ctx.budget()
    return {"notes": notes.output, "left": left, "agents": [agent["name"] for agent in agents.list()]}
'''
AGENT = '[agents.helper]\ninstructions = "You help."\nmax_tokens = 50\n'


@pytest.mark.asyncio
async def test_clients_see_agents_tokens_and_what_a_stopped_run_would_need(home: Path, models: ModelServer):
    with (home / "stepwell.toml").open("a") as file:
        file.write(AGENT)
    models.say(Say("notes", input=6, output=4))
    async with in_memory(home, "auto") as client:
        found: Any = (await client.call_tool("search_tools", {"query": "help"})).structured_content
        await call(client, "create_workflow", name="ask", source=SOURCE)
        run = await call(
            client,
            "invoke_workflow",
            name="ask",
            arguments={"topic": "x"},
            session_id="s",
            budget_usd=9,
            wait_seconds=45,
        )
        shown = await call(client, "get_run", run_id=run["run_id"], include=["spending"])
        stopped = await call(client, "invoke_workflow", name="ask", arguments={"topic": "x"}, budget_usd=0.5)

    assert found["agents"][0]["call"] == "agents.helper(prompt: str) -> AgentResult"
    assert run["status"] == "completed", run
    assert run["output"]["left"] == {"limit_usd": 9.0, "spent_usd": 0.01, "remaining_usd": 8.99}
    assert run["output"]["agents"] == ["helper"]
    assert (run["tokens_used"], run["cost_usd"]) == (10, 0.01)
    sums = {"calls": 1, "input_tokens": 6, "output_tokens": 4, "cost_usd": 0.01, "in_doubt_usd": 0.0}
    assert shown["spending"] == {
        "by_step": {"read": sums},
        "by_agent": {"helper": sums},
        "by_model": {"claude-test": sums},
        "session_by_model": {"claude-test": sums},
    }
    assert stopped["error"]["code"] == "budget_exceeded"
    assert stopped["next"].startswith("Tell the user what it has cost")
    assert f"resume_run(run_id='{stopped['run_id']}', budget_usd=" in stopped["error"]["hint"]


@pytest.mark.slow
def test_the_command_line_asks_lists_and_replays_without_a_key(home: Path, models: ModelServer, tmp_path: Path):
    with (home / "stepwell.toml").open("a") as file:
        file.write(AGENT)
    (tmp_path / "ask.py").write_text(SOURCE)

    def stepwell(*arguments: str, code: int = 0, key: bool = True) -> str:
        env = {name: value for name, value in os.environ.items() if key or name != "ANTHROPIC_API_KEY"}
        command = [sys.executable, "-m", "stepwell_server.cli", *arguments, "--home", str(home)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    stepwell("create", str(tmp_path / "ask.py"))
    assert "10 tokens, $0.0100" in stepwell("run", "ask", "topic=x", "--run-id", "one")
    told = json.loads(stepwell("models", "--output", "json"))
    assert told["today"]["claude-test"]["cost_usd"] == 0.01
    assert told["models"][0]["model"] == "claude-test"
    assert "echo: On x" in stepwell("run", "ask", "topic=x", "--turns-from", "one", key=False)
    stopped = stepwell("run", "ask", "topic=x", "--run-id", "two", "--budget-usd", "0.5", code=1)
    assert "`stepwell resume two --budget-usd " in stopped
    assert "To go on from here" not in stopped
    assert len(models.requests) == 1
