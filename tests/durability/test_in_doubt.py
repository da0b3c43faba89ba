"""A call whose answer was lost is not blindly repeated: somebody decides."""

import asyncio
import socket
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from stepwell.engine import Event
from stepwell.errors import Conflict
from stepwell.model import RunStatus
from stepwell_server import Session
from stepwell_server.app import open_app
from support.outside import Outside
from support.server import LOCAL_HTTP, Server, at_rest, call, make_home

PAY = """
import json

def run(base: str) -> dict:
    answer = tools.curl.post(url=base + "/effect/pay", json={})
    return {"paid": json.loads(answer)}
"""

OUTLIVES = """
async def run(ctx, base: str) -> int:
    url = base + "/hold/pay"
    paid = await ctx.step("pay", tools.http.request, method="POST", url=url, timeout=0.3, retries=100, retry_delay=0)
    return paid["status"]
"""


async def lost(session: Session, outside: Outside) -> Any:
    """A run whose payment happened, with its answer lost."""
    outside.lose_answers("pay")
    await session.add_workflow("pay", PAY)
    run = await session.run("pay", base=outside.url)
    assert run.status is RunStatus.IN_DOUBT
    assert outside.effects == {"pay": 1}
    (wait,) = run.waiting_for
    assert (wait.kind, wait.name, wait.context["tool"]) == ("in_doubt", "curl.post", "curl.post")
    return run


@pytest.mark.row("A38")
@pytest.mark.asyncio
async def test_a_lost_answer_parks_the_run_and_a_value_can_be_given(tmp_path: Path, outside: Outside):
    async with Session(make_home(tmp_path / "home")) as session:
        run = await lost(session, outside)
        run = await session.wait(await session.resume(run, "value", value='{"receipt": 7}'))

    assert run.output == {"paid": {"receipt": 7}}
    assert outside.effects == {"pay": 1}


@pytest.mark.asyncio
async def test_a_lost_call_can_be_made_again(tmp_path: Path, outside: Outside):
    async with Session(make_home(tmp_path / "home")) as session:
        run = await lost(session, outside)
        outside.lose_answers()
        run = await session.wait(await session.resume(run, "retry"))

    assert run.output == {"paid": {"effect": "pay", "count": 2}}


@pytest.mark.asyncio
async def test_a_lost_call_can_be_given_up(tmp_path: Path, outside: Outside):
    async with Session(make_home(tmp_path / "home")) as session:
        run = await lost(session, outside)
        run = await session.wait(await session.resume(run, "fail"))

    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert run.error.type == "ToolError"
    assert outside.effects == {"pay": 1}


@pytest.mark.asyncio
async def test_a_call_that_outlived_its_step_is_not_in_doubt_while_its_answer_is_read(
    tmp_path: Path, outside: Outside, monkeypatch: pytest.MonkeyPatch
):
    effect: Any = outside.effect
    monkeypatch.setattr(outside, "effect", lambda path, body: effect(path, body) | {"more": [1] * 20_000})

    async def release(event: Event) -> None:
        if event.type == "step.started" and event.data["attempt"] == 2:
            outside.release()

    async with Session(make_home(tmp_path / "home", LOCAL_HTTP)) as session:
        await session.add_workflow("pay", OUTLIVES)
        run = await session.start("pay", base=outside.url)
        run = await session.app.engine.wait(run.id, 60, release)

    assert (run.status, run.output) == (RunStatus.COMPLETED, 200), (run.error, run.waiting_for)
    assert outside.effects == {"pay": 1}


@pytest.mark.asyncio
async def test_read_only_calls_and_those_configured_so_are_made_again(tmp_path: Path, outside: Outside):
    config = '[http]\nallow_hosts = ["127.0.0.1"]\nallow_private = true\n[in_doubt]\n"curl.post" = "retry"\n'
    outside.lose_answers("pay")
    async with Session(make_home(tmp_path / "home", config)) as session:
        await session.add_workflow("pay", PAY)
        run = await session.run("pay", base=outside.url)

    # No decision is asked for; what is left is an error that the workflow may retry.
    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert run.error.type == "ToolError"


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_server_killed_inside_of_an_effect_leaves_the_run_in_doubt(server: Server, outside: Outside):
    held = "def run(base: str):\n    return tools.curl.post(url=base + '/hold/pay', json={})\n"
    async with server.client() as client:
        await call(client, "create_workflow", name="pay", source=held)
        run = await call(client, "run_workflow", name="pay", arguments={"base": outside.url})
    outside.wait_for_effect("pay")  # it has happened; its answer is held back
    server.kill()
    outside.release()
    server.start()
    async with server.client() as client:
        parked = await at_rest(client, run["run_id"])
        assert parked["status"] == "in_doubt", parked
        assert "resume_run" in parked["next"]
        refused = await call(client, "approve_run", run_id=run["run_id"], decision="approve")
        assert refused["error"]["code"] == "conflict"
        await call(client, "resume_run", run_id=run["run_id"], decision="value", value="done")
        ended = await at_rest(client, run["run_id"])

    assert (ended["status"], ended["output"]) == ("completed", "done")
    assert outside.effects == {"pay": 1}


@pytest.mark.asyncio
async def test_a_call_that_was_given_up_is_asked_about_again_when_the_run_is_resumed(tmp_path: Path, outside: Outside):
    async with Session(make_home(tmp_path / "home")) as session:
        run = await lost(session, outside)
        run = await session.wait(await session.resume(run, "fail"))
        assert run.status is RunStatus.FAILED
        run = await session.wait(await session.resume(run))
        assert run.status is RunStatus.IN_DOUBT
        run = await session.wait(await session.resume(run, "value", value='{"receipt": 7}'))

    assert run.output == {"paid": {"receipt": 7}}
    assert outside.effects == {"pay": 1}


@pytest.mark.asyncio
async def test_a_call_that_was_given_up_is_not_retried_by_its_step(tmp_path: Path, outside: Outside):
    outside.lose_answers("pay")
    source = (
        "def pay(base):\n    return tools.curl.post(url=base + '/effect/pay', json={})\n\n"
        "async def run(ctx, base):\n    return await ctx.step(pay, base, retries=2, retry_delay=0)\n"
    )
    async with Session(make_home(tmp_path / "home")) as session:
        await session.add_workflow("pay", source)
        run = await session.run("pay", base=outside.url)
        run = await session.wait(await session.resume(run, "fail"))
        assert run.status is RunStatus.FAILED
        run = await session.wait(await session.resume(run))

    assert run.status is RunStatus.IN_DOUBT
    assert outside.effects == {"pay": 1}


@pytest.mark.asyncio
async def test_an_approval_of_a_tool_is_used_once(tmp_path: Path, outside: Outside):
    config = LOCAL_HTTP + '[policy]\ntools = {"curl.get" = "approve"}\n'
    async with Session(make_home(tmp_path / "home", config)) as session:
        await session.add_workflow(
            "flow",
            "def run(base):\n    text = tools.curl.get(url='http://127.0.0.1:9/closed')\n    return text\n",
        )
        run = await session.run("flow", base=outside.url)
        (wait,) = run.waiting_for
        run = await session.wait(await session.approve(run, key=wait.key, digest=wait.digest))
        assert run.status is RunStatus.FAILED
        run = await session.wait(await session.resume(run))

    assert run.status is RunStatus.WAITING


def execute(home: Path, sql: str) -> None:
    connection = sqlite3.connect(home / "stepwell.db", timeout=60)
    connection.execute(sql)
    connection.commit()
    connection.close()


COMMAND = """
tool: shop
command: {program}
timeout_s: {timeout}
recipes:
  order:
    description: Order something and never answer.
    takes: [url]
arguments:
  url: {{required: true}}
"""


def home_with(path: Path, config: str, *, program: str = "", timeout: float = 60) -> Path:
    """A home with the tool `shop.order`: a program of its own that posts, notes its key, and does not answer."""
    home = make_home(path, LOCAL_HTTP + config)
    tools = home / "tools"
    tools.mkdir(exist_ok=True)
    script = tools / "order.py"
    body = program or "time.sleep(600)"
    script.write_text(
        f"#!{sys.executable}\nimport os, signal, sys, time, urllib.request\n"
        "key = os.environ['STEPWELL_IDEMPOTENCY_KEY'].encode()\n"
        f"urllib.request.urlopen(sys.argv[-1], key).read()\n{body}\n"
    )
    script.chmod(0o755)
    (tools / "shop.yaml").write_text(COMMAND.format(program="./order.py", timeout=timeout))
    return home


ORDER = """
from stepwell import ToolError

def run(base: str) -> str:
    try:
        return tools.shop.order(url=base + "/effect/order")
    except ToolError as error:
        return error.code + ": " + str(error)
"""


@pytest.mark.parametrize(
    ("program", "timeout"), [("time.sleep(600)", 1.0), ("os.kill(os.getpid(), signal.SIGKILL)", 60)]
)
@pytest.mark.asyncio
async def test_a_command_that_times_out_or_is_killed_is_in_doubt(
    tmp_path: Path, outside: Outside, program: str, timeout: float
):
    home = home_with(tmp_path / "home", "", program=program, timeout=timeout)
    async with Session(home) as session:
        await session.add_workflow("order", ORDER)
        run = await session.run("order", base=outside.url)
        assert run.status is RunStatus.IN_DOUBT, run.output
        run = await session.resume(run, "retry")
        assert run.status is RunStatus.IN_DOUBT
        run = await session.resume(run, "value", value="ordered")

    assert run.output == "ordered"
    first, second = outside.bodies
    assert first == second  # the same key for both tries
    assert len(first) == 32


@pytest.mark.parametrize(
    "how", ["tools.http.request(method='POST', timeout=0.5, url=", "tools.curl.post(timeout=0.5, url="]
)
@pytest.mark.asyncio
async def test_an_answer_that_does_not_come_in_time_is_a_doubt(tmp_path: Path, outside: Outside, how: str):
    async with Session(make_home(tmp_path / "home")) as session:
        await session.add_workflow("slow", f"def run(base):\n    {how}base + '/hold/pay')\n")
        run = await session.run("slow", base=outside.url)

    assert run.status is RunStatus.IN_DOUBT
    assert outside.effects == {"pay": 1}


@pytest.mark.parametrize("how", ["tools.http.request(method='POST', url=", "tools.curl.post(url="])
@pytest.mark.asyncio
async def test_a_lost_connection_is_a_doubt_and_a_refused_one_is_none(tmp_path: Path, outside: Outside, how: str):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    outside.lose_answers("pay")
    source = (
        f"from stepwell import ToolError\n\ndef run(base):\n    try:\n        {how}'http://127.0.0.1:{port}/')\n"
        f"    except ToolError as error:\n        assert error.code == 'connection_failed', error.code\n"
        f"    {how}base + '/effect/pay')\n"
    )
    async with Session(make_home(tmp_path / "home")) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow", base=outside.url)

    assert run.status is RunStatus.IN_DOUBT, run.error
    assert outside.effects == {"pay": 1}


@pytest.mark.asyncio
async def test_the_rule_fail_gives_the_workflow_an_error_at_once(tmp_path: Path, outside: Outside):
    outside.lose_answers("order")
    home = home_with(tmp_path / "home", '[in_doubt]\n"shop.*" = "fail"\n', program="sys.exit(1)")
    async with Session(home) as session:
        await session.add_workflow("order", ORDER.replace("shop.order", "curl.post"))
        await session.add_workflow("pay", PAY)
        run = await session.run("order", base=outside.url)
        assert run.status is RunStatus.IN_DOUBT  # the rule is for another tool
    home = home_with(tmp_path / "home", '[in_doubt]\n"*" = "ask"\n"shop.*" = "fail"\n', timeout=1)
    outside.lose_answers()
    async with Session(home) as session:
        await session.add_workflow("shop", ORDER)
        run = await session.run("shop", base=outside.url)

    assert run.output.startswith("in_doubt: shop.order was given up: its answer was lost")


@pytest.mark.asyncio
async def test_a_doubt_that_nobody_decides_in_time_fails_also_while_no_server_runs(tmp_path: Path, outside: Outside):
    outside.lose_answers("order")
    config = '[in_doubt]\n"curl.post" = { ask_s = 86400 }\n'
    source = ORDER.replace("shop.order", "curl.post")
    home = make_home(tmp_path / "home", LOCAL_HTTP + config)
    async with Session(home) as session:
        await session.add_workflow("order", source)
        run = await session.run("order", base=outside.url)
        (doubt,) = run.waiting_for
        assert doubt.until is not None
        assert 86000 < doubt.until - run.created_at < 87000
    execute(home, "UPDATE waits SET until = 1.0")  # a day goes by
    execute(home, "UPDATE runs SET wake_at = 1.0")
    async with open_app(home, execute=False) as app:
        with pytest.raises(Conflict, match="nobody decided in time"):
            await app.engine.resume(run.id, "retry", via="cli")
    async with Session(home) as session:
        run = await session.wait(run, 60)

    assert run.output.startswith("in_doubt: curl.post was given up")
    assert "nobody decided in time" in run.output
    assert outside.effects == {"order": 1}


@pytest.mark.asyncio
async def test_one_of_two_who_decide_about_a_doubt_is_told_that_it_is_decided(tmp_path: Path, outside: Outside):
    async with Session(make_home(tmp_path / "home")) as session:
        run = await lost(session, outside)
    async with open_app(tmp_path / "home", execute=False) as one, open_app(tmp_path / "home", execute=False) as two:
        results = await asyncio.gather(
            one.engine.resume(run.id, "fail", via="one"),
            two.engine.resume(run.id, "value", value='"x"', via="two"),
            return_exceptions=True,
        )
    assert sorted(type(result).__name__ for result in results) == ["Conflict", "Run"]


@pytest.mark.parametrize("approvals", ["any", "person"])
@pytest.mark.asyncio
async def test_a_decision_needs_what_the_tools_policy_demands(server: Server, outside: Outside, approvals: str):
    server.stop()
    config = f'[policy]\ntools = {{ "curl.post" = "approve" }}\napprovals = "{approvals}"\n'
    make_home(server.home, LOCAL_HTTP + config)
    outside.lose_answers("pay")
    async with Session(server.home) as session:
        await session.add_workflow("pay", PAY)
        run = await session.run("pay", base=outside.url)
        run = await session.approve(run)
        assert run.status is RunStatus.IN_DOUBT
    (doubt,) = run.waiting_for
    server.start()
    async with server.client() as client:
        bare = await call(client, "resume_run", run_id=run.id, decision="value", value='"paid"')
        shown = await call(client, "get_run", run_id=run.id)
        full = await call(
            client, "resume_run", run_id=run.id, decision="value", value='"paid"', key=doubt.key, digest=doubt.digest
        )

    if approvals == "person":
        assert bare["error"]["code"] == full["error"]["code"] == "forbidden"
        assert "stepwell resume" in bare["error"]["hint"]
        assert "Only a person" in shown["next"]
    else:
        assert bare["error"]["code"] == "invalid_arguments"
        assert doubt.digest in bare["error"]["hint"]
        assert full["output"] == {"paid": "paid"}
    assert outside.effects == {"pay": 1}
