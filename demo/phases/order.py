"""An order is charged, the server is killed, another one goes on, a person approves."""

import asyncio
import os
import signal
import time
from typing import Any

from mcp.shared.exceptions import MCPError

from agent import Agent
from chart import draw
from claims import NotAsClaimed, check
from stage import Stage

ORDER = {
    "order_id": "A-17",
    "items": [
        {"name": "lamp", "quantity": 2, "price": 39.5},
        {"name": "bulb", "quantity": 4, "price": 3.25},
    ],
}
AMOUNT = 92.0
PATIENCE_S = 20.0


async def begin(stage: Stage, agent: Agent) -> tuple[str, float]:
    """Start the order and kill the server after the charge; return the run's id and when that was."""
    show = stage.transcript
    show.phase(4, "An order: validate, charge, receipt, approve, confirm")
    source = stage.source("place_order")
    show.source(_excerpt(source, "def charge", "def receipt") + _excerpt(source, "async def run", ""))
    await stage.call(agent, "create_workflow", name="place_order", source=source)
    run = await stage.call(agent, "run_workflow", name="place_order", arguments=ORDER)
    run_id = run["run_id"]
    show.answer(f"run {run_id} is {run['status']}")
    asking = asyncio.create_task(agent.call("get_run", run_id=run_id, wait_seconds=PATIENCE_S))
    reached = await asyncio.to_thread(stage.shop.asked_for_receipt.wait, PATIENCE_S)
    check("the run reaches the receipt", reached, True)
    stage.claim("the shop has one charge", [charge["amount"] for charge in stage.shop.charges], [AMOUNT])
    pid = await _find_server(agent, run_id)
    killed_at = time.time()
    os.kill(pid, signal.SIGKILL)
    show.strike(f"kill -9 {pid}: the server is gone, in the middle of the run")
    await _expect_loss(asking)
    show.claim("the agent's call is lost with it")
    stage.shop.printed.set()
    return run_id, killed_at


async def finish(stage: Stage, agent: Agent, run_id: str, killed_at: float) -> None:
    """Show that a new server goes on where the other was killed, approve, and show the result."""
    show = stage.transcript
    show.say("A new server is started on the same home. Nobody tells it about the run.")
    run = await stage.call(agent, "get_run", run_id=run_id, wait_seconds=PATIENCE_S)
    show.answer(f"{run['status']}; restored from the journal: {', '.join(run['skipped_steps'])}")
    stage.claim("the run waits for a person", [wait["kind"] for wait in run["waiting_for"]], ["approval"])
    stage.claim("validate and charge were not run again", run["skipped_steps"][:2], ["validate", "charge"])
    stage.claim("the shop still has one charge", len(stage.shop.charges), 1)
    stage.claim("only the read that was cut off was repeated", stage.shop.receipts_asked, 2)
    gate = run["waiting_for"][0]
    show.answer(gate["prompt"])
    show.value(gate["context"])
    await stage.call(
        agent, "approve_run", run_id=run_id, decision="approve", key=gate["key"], digest=gate["digest"], reviewer="Ada"
    )
    run = await stage.call(agent, "get_run", run_id=run_id, wait_seconds=PATIENCE_S)
    show.value(run["output"])
    stage.claim("the order is completed", run["status"], "completed")
    wanted = {
        "order": ORDER["order_id"], "amount": AMOUNT, "charge": "ch_1001", "receipt": "R-ch_1001", "sent": "cf_1001",
    }  # fmt: skip
    stage.claim("its result is right", run["output"], wanted)
    made = (len(stage.shop.charges), len(stage.shop.confirmations))
    stage.claim("one charge and one confirmation were made", made, (1, 1))
    await _show_timeline(stage, agent, run_id, killed_at)


async def _show_timeline(stage: Stage, agent: Agent, run_id: str, killed_at: float) -> None:
    run = await stage.call(agent, "get_run", run_id=run_id, include=["timeline"])
    events: list[dict[str, Any]] = run["timeline"]
    stage.transcript.chart(*draw(events, killed_at))
    done = [event["data"]["step"] for event in events if event["type"] == "step.completed"]
    stage.claim("every step was completed once", done, ["validate", "charge", "receipt", "confirm"])
    decided = [event["data"] for event in events if event["type"] == "wait.decided"]
    stage.claim("the record says who approved", [data.get("reviewer") for data in decided], ["Ada"])


async def _find_server(agent: Agent, run_id: str) -> int:
    run = await agent.call("get_run", run_id=run_id, include=["timeline"])
    workers = [event["data"]["worker"] for event in run["timeline"] if event["type"] == "run.started"]
    return int(workers[0].split("-")[1])


async def _expect_loss(asking: asyncio.Task[dict[str, Any]]) -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            await asking
    except MCPError:
        return
    raise NotAsClaimed("the agent's call was answered although its server had been killed")


def _excerpt(source: str, begin: str, end: str) -> str:
    text = source[source.index(begin) :]
    text = text[: text.index(end)] if end else text
    head, quotes, rest = text.partition('    """')
    return head + rest.partition('"""\n')[2] if quotes else text
