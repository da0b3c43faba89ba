"""The operator's gate before a call: what a person allows, for how much, and what voids it."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from stepwell.engine.granted import list_grants, revoke_grant
from stepwell.errors import Conflict, Forbidden, InvalidArguments, NotFound
from stepwell.model import JsonObject, Run, RunStatus
from stepwell_server import Session
from support.outside import Outside
from support.server import LOCAL_HTTP, make_home

pytestmark = pytest.mark.asyncio

POST = """
def run(base: str, name: str = "a", body: str = "x") -> dict:
    return tools.http.request(method="POST", url=f"{base}/effect/{name}", body=body)["json"]
"""
ASKS = '[policy]\ntools = {"http.request" = "approve"}\n'


@pytest.fixture
def gated(tmp_path: Path) -> Path:
    return make_home(tmp_path / "home", LOCAL_HTTP + ASKS)


def elsewhere(outside: Outside) -> str:
    """The same server under a name that is not on the list."""
    return outside.url.replace("127.0.0.1", "localhost")


async def test_a_gate_shows_workflow_version_step_tool_and_arguments(gated: Path, outside: Outside) -> None:
    source = POST.replace("return tools", "return ctx.step('pay', lambda: tools").replace('["json"]', '["json"])')
    async with Session(gated) as session:
        created = await session.add_workflow("pay", "from stepwell import ctx\n" + source)
        run = await session.run("pay", base=outside.url)
        [gate] = run.waiting_for
        context: JsonObject = gate.context
        approved = await session.approve(run, reviewer="Ada", reason="fine")
        done = await session.wait(approved)
        events = await session.timeline(run)

    assert (gate.kind, gate.prompt) == ("approval", "Allow the tool http.request?")
    assert [option["id"] for option in gate.options] == ["once", "run", "workflow", "always"]
    assert context["workflow"] == "pay"
    assert context["version"] == created.workflow.version.hash[:12]
    assert (context["step"], context["tool"]) == ("pay", "http.request")
    assert context["arguments"]["url"] == f"{outside.url}/effect/a"
    assert (done.status, outside.effects) == (RunStatus.COMPLETED, {"a": 1})
    [decided] = [event.data for event in events if event.type == "wait.decided"]
    assert (decided["reviewer"], decided["via"], decided["reason"]) == ("Ada", "session", "fine")


@pytest.mark.parametrize(
    ("scope", "same_run", "same_version", "other_version", "other_workflow"),
    [
        ("once", False, False, False, False),
        ("run", True, False, False, False),
        ("workflow", True, True, False, False),
        ("always", True, True, True, True),
    ],
)
async def test_an_approval_holds_for_its_scope(
    gated: Path, outside: Outside, scope: Any, same_run: bool, same_version: bool, other_version: bool,
    other_workflow: bool,
) -> None:  # fmt: skip
    twice = POST + "\n\ndef twice(base: str) -> list:\n    return [run(base), run(base)]\n"

    async def asks(session: Session, name: str) -> bool:
        return (await session.run(name, base=outside.url)).status is RunStatus.WAITING

    async with Session(gated) as session:
        await session.add_workflow("pay", twice, entry="twice")
        run = await session.wait(await session.approve(await session.run("pay", base=outside.url), scope=scope))
        assert (run.status is RunStatus.COMPLETED) is same_run
        if not same_run:
            run = await session.wait(await session.approve(run))
        assert (run.status, outside.effects["a"]) == (RunStatus.COMPLETED, 2)
        assert await asks(session, "pay") is not same_version
        await session.add_workflow("pay", twice + "\n# another version\n", entry="twice", replace=True)
        assert await asks(session, "pay") is not other_version
        await session.add_workflow("pay_too", twice + "\n# and another\n", entry="twice")
        assert await asks(session, "pay_too") is not other_workflow


async def test_a_grant_is_of_those_arguments_and_can_be_revoked(gated: Path, outside: Outside) -> None:
    async with Session(gated) as session:
        await session.add_workflow("pay", POST)
        await session.wait(await session.approve(await session.run("pay", base=outside.url), scope="always"))
        assert (await session.run("pay", base=outside.url)).status is RunStatus.COMPLETED
        assert (await session.run("pay", base=outside.url, body="more")).status is RunStatus.WAITING
        database = session.app.database
        [grant] = await list_grants(database)
        assert (grant.kind, grant.name, grant.scope, grant.via) == ("tool", "http.request", "always", "session")
        await revoke_grant(database, grant.id)
        with pytest.raises(NotFound):
            await revoke_grant(database, grant.id)
        assert (await session.run("pay", base=outside.url)).status is RunStatus.WAITING
    assert outside.effects == {"a": 2}


@pytest.mark.parametrize(("scope", "asks_again"), [("once", True), ("workflow", False)])
async def test_an_unlisted_host_is_put_to_a_person(home: Path, outside: Outside, scope: Any, asks_again: bool) -> None:
    source = "def run(url: str) -> str:\n    return tools.fetch(url=url)\n"
    async with Session(home) as session:
        await session.add_workflow("load", source)
        run = await session.run("load", url=f"{elsewhere(outside)}/page/a")
        [gate] = run.waiting_for
        assert (gate.prompt, gate.person) == ("Allow fetch to reach localhost?", True)
        assert gate.context["hosts"] == ["localhost"]
        assert outside.reads == {}
        with pytest.raises(Forbidden, match="for a person"):
            await session.app.engine.decide(run.id, "approve", digest=gate.digest, via="client")
        run = await session.wait(await session.approve(run, scope=scope))
        assert run.status is RunStatus.COMPLETED
        run = await session.run("load", url=f"{elsewhere(outside)}/page/b")  # another page of the host
        assert (run.status is RunStatus.WAITING) is asks_again


async def test_with_commands_and_rejections_and_refused_addresses(tmp_path: Path, outside: Outside) -> None:
    home = make_home(tmp_path / "home", "[http]\n")
    source = "def run(url: str) -> str:\n    return tools.curl.get(url=url)\n"
    async with Session(home) as session:
        await session.add_workflow("load", source)
        private = await session.run("load", url=f"{outside.url}/page/a")
        assert private.error is not None
        assert (private.status, private.error.code) == (RunStatus.FAILED, "not_allowed")  # nobody is asked in vain
        run = await session.run("load", url=f"{elsewhere(outside)}/page/a")
        rejected = await session.wait(await session.reject(run, "not there"))
        assert rejected.status is RunStatus.REJECTED
        run = await session.run("load", url=f"{elsewhere(outside)}/page/a")
        resolved = await session.wait(await session.approve(run))
        assert resolved.error is not None
        assert "private" in resolved.error.message  # a name that is allowed does not open private addresses
    assert outside.reads == {}


async def test_unlisted_hosts_can_be_refused_outright(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", '[http]\nunlisted = "deny"\n')
    async with Session(home) as session:
        await session.add_workflow("load", 'def run() -> str:\n    return tools.fetch(url="https://example.com/")\n')
        run = await session.run("load")
    assert run.error is not None
    assert (run.error.code, "allow_hosts" in run.error.message) == ("not_allowed", True)


async def test_decisions_are_not_forged_or_replayed(gated: Path, outside: Outside) -> None:
    async with Session(gated) as session:
        await session.add_workflow("pay", POST)
        first = await session.run("pay", base=outside.url)
        second = await session.run("pay", base=outside.url, name="b")
        [gate], [other] = first.waiting_for, second.waiting_for
        decide = session.app.engine.decide
        assert gate.digest != other.digest
        for digest in (other.digest, "0" * 12, gate.digest[:-1], gate.digest.upper() + "0"):
            with pytest.raises(Conflict, match="digest"):
                await decide(first.id, "approve", key=gate.key, digest=digest, via="client")
        for scope in ("run", "workflow", "always"):
            with pytest.raises(Forbidden):
                await decide(first.id, "approve", digest=gate.digest, scope=scope, via="client")
        with pytest.raises(InvalidArguments, match="cannot be approved for"):
            await decide(first.id, "approve", digest=gate.digest, scope="everything", via="cli")
        assert outside.effects == {}
        await session.wait(await decide(first.id, "approve", digest=gate.digest, via="client"))
        with pytest.raises(Conflict):
            await decide(first.id, "approve", key=gate.key, digest=gate.digest, via="client")
        assert (await session.get(second)).status is RunStatus.WAITING
    assert outside.effects == {"a": 1}


async def test_of_many_deciders_at_once_one_is_heard(gated: Path, outside: Outside) -> None:
    async with Session(gated) as session, Session(gated) as second:
        await session.add_workflow("pay", POST)
        run = await session.run("pay", base=outside.url)
        [gate] = run.waiting_for
        ways = [
            each.app.engine.decide(run.id, decision, key=gate.key, digest=gate.digest, reviewer=f"{n}", via="cli")
            for n in range(4)
            for each in (session, second)
            for decision in ("approve", "reject")
        ]
        done = await asyncio.gather(*ways, return_exceptions=True)
        heard = [result for result in done if isinstance(result, Run)]
        assert len(heard) == 1
        assert all(isinstance(result, Conflict) for result in done if not isinstance(result, Run))
        run = await session.wait(run)
        [decided] = [event.data for event in await session.timeline(run) if event.type == "wait.decided"]
    assert outside.effects["a"] == (1 if decided["decision"] == "approve" else 0)


async def test_an_approval_that_was_not_used_in_time_is_asked_for_again(tmp_path: Path, outside: Outside) -> None:
    home = make_home(tmp_path / "home", LOCAL_HTTP + ASKS + 'use_within = "1h"\n')
    async with Session(home) as session:
        await session.add_workflow("pay", POST)
        run = await session.run("pay", base=outside.url)
        [before] = run.waiting_for
    # Decided while nobody executes runs, and long ago when somebody does.
    database = sqlite3.connect(home / "stepwell.db")
    decision = '{"decision": "approve", "reviewer": "Ada", "via": "cli", "at": 1.0}'
    with database:
        database.execute("UPDATE waits SET status = 'decided', decision = ?", (decision,))
        database.execute("UPDATE runs SET status = 'pending', wake_at = NULL")
    database.close()
    async with Session(home) as session:
        run = await session.wait(run)
        assert (run.status, outside.effects) == (RunStatus.WAITING, {})
        assert run.waiting_for[0].digest == before.digest
        assert "approval.expired" in [event.type for event in await session.timeline(run)]
        run = await session.wait(await session.approve(run))
    assert (run.status, outside.effects) == (RunStatus.COMPLETED, {"a": 1})


async def test_a_question_about_a_tool_has_a_deadline_where_the_operator_sets_one(
    tmp_path: Path, outside: Outside
) -> None:
    home = make_home(tmp_path / "home", LOCAL_HTTP + ASKS + "ask_for = 0.2\n")
    async with Session(home) as session:
        await session.add_workflow("pay", POST)
        run = await session.run("pay", base=outside.url)
        run = await session.wait(run, 60)
    assert run.error is not None
    assert (run.status, "in time" in run.error.message) == (RunStatus.REJECTED, True)
    assert outside.effects == {}


async def test_rules_of_a_workflow_are_stricter_and_those_of_a_version_count(tmp_path: Path, outside: Outside) -> None:
    async with Session(tmp_path / "reader") as session:
        version = (await session.add_workflow("pay", POST)).workflow.version.hash[:12]
    config = LOCAL_HTTP + ASKS + '[policy.workflows."pa*"]\ntools = {"*" = "allow"}\n'
    cases = {
        "": RunStatus.WAITING,  # a name cannot loosen what is asked of all
        f'[policy.workflows."pay@{version}"]\ntools = {{"http.*" = "allow"}}\n': RunStatus.COMPLETED,
        '[policy.workflows.pay]\ntools = {"*" = "deny"}\n': RunStatus.FAILED,
        '[policy.workflows.other]\ntools = {"*" = "deny"}\n': RunStatus.WAITING,
        f'[policy.workflows."pay@{"0" * 12}"]\ntools = {{"http.*" = "allow"}}\n': RunStatus.WAITING,
    }
    for n, (more, expected) in enumerate(cases.items()):
        async with Session(make_home(tmp_path / f"home{n}", config + more)) as session:
            await session.add_workflow("pay", POST)
            assert (await session.run("pay", base=outside.url)).status is expected, more


DYNAMIC = {
    "computed": "tools.call('fe' + 'tch', url=base)",
    "getattr": "getattr(tools, 'fetch')(url=base)",
    "alias": "[t for t in [tools]][0].fetch(url=base)",
}


@pytest.mark.parametrize("form", DYNAMIC)
async def test_a_tool_that_the_source_does_not_name_is_refused_unless_allowed(
    tmp_path: Path, outside: Outside, form: str
) -> None:
    source = f"def run(base: str):\n    return {DYNAMIC[form]}\n"
    async with Session(make_home(tmp_path / "home")) as session:
        created = await session.add_workflow("load", source)
        assert created.workflow.version.manifest["tools"] == []
        run = await session.run("load", base=f"{outside.url}/page/a")
        assert run.error is not None
        assert (run.error.code, outside.reads) == ("not_declared", {})
        assert "dynamic_tools = true" in run.error.message
    async with Session(make_home(tmp_path / "free", LOCAL_HTTP + "[policy]\ndynamic_tools = true\n")) as session:
        await session.add_workflow("load", source)
        assert (await session.run("load", base=f"{outside.url}/page/a")).status is RunStatus.COMPLETED


async def test_a_group_that_the_source_names_covers_its_tools(home: Path, outside: Outside) -> None:
    source = "def run(base: str):\n    web = tools.curl\n    return web.get(url=base)\n"
    async with Session(home) as session:
        created = await session.add_workflow("load", source)
        assert created.workflow.version.manifest["tools"] == ["curl"]
        assert (await session.run("load", base=f"{outside.url}/page/a")).status is RunStatus.COMPLETED
