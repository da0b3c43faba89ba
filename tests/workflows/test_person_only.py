"""Where the policy demands a person, no client can approve: by word, by forging, by replaying, by racing."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcp_clients import MODES, connect, over_stdio
from stepwell.errors import Forbidden
from stepwell.model import JsonObject, Run, RunStatus, Wait
from stepwell.ports import Caller, ToolSpec
from stepwell.tools import Policy
from stepwell.tools.rules import ToolRules
from stepwell_server import Session
from stepwell_server.app import App, open_app
from support.outside import Outside
from support.server import LOCAL_HTTP, call, make_home

asynchronous = pytest.mark.asyncio

PAY = '''"""Pay twice, with a person's consent each time."""


def run(base: str) -> list:
    return [tools.http.request(method="POST", url=f"{base}/effect/{n}", body="x")["json"]["count"] for n in "ab"]
'''
ASK = '''"""Ask before anything is done."""


def run(base: str) -> str:
    ctx.approve("Go on?", {"base": base})
    return "done"
'''
RULES: dict[str, Callable[[str], str]] = {
    "tool": lambda version: '[policy]\ntools = {"http.request" = "person"}\n',
    "version": lambda version: f'[policy.workflows."pay@{version}"]\ntools = {{"http.*" = "person"}}\n',
    "approvals of a workflow": lambda version: (
        '[policy]\ntools = {"http.*" = "approve"}\n[policy.workflows.pay]\napprovals = "person"\n'
    ),
}


async def attempts(client: Any, run: JsonObject, other: str = "0" * 12) -> list[JsonObject]:
    """All ways in which a client may try; none of them may count."""
    [gate] = run["waiting_for"]
    given: JsonObject = {"run_id": run["run_id"], "decision": "approve"}
    named = given | {"key": gate["key"]}
    return [
        await call(client, "approve_run", **more)
        for more in (
            given,
            given | {"digest": gate["digest"]},
            named | {"digest": gate["digest"]},
            named | {"digest": gate["digest"], "reviewer": "the person at the terminal"},
            named | {"digest": other},
        )
    ]


@asynchronous
@pytest.mark.parametrize("rule", RULES)
async def test_a_client_cannot_approve_where_a_rule_demands_a_person(
    tmp_path: Path, outside: Outside, rule: str
) -> None:
    async with Session(tmp_path / "reader") as session:
        version = (await session.add_workflow("pay", PAY)).workflow.version.hash[:12]
    home = make_home(tmp_path / "home", LOCAL_HTTP + RULES[rule](version))
    async with open_app(home) as app, connect(app) as client:
        await call(client, "create_workflow", name="pay", source=PAY)
        run = await call(client, "invoke_workflow", name="pay", arguments={"base": outside.url})
        [gate] = run["waiting_for"]
        assert (run["status"], gate["person"], "stepwell approve" in run["next"]) == ("waiting", True, True)
        refused = await attempts(client, run)
        assert {answer["error"]["code"] for answer in refused[1:]} <= {"forbidden", "conflict"}
        assert refused[0]["error"]
        assert (await call(client, "get_run", run_id=run["run_id"]))["waiting_for"] == [gate]
        assert outside.effects == {}
        first = await app.engine.decide(run["run_id"], "approve", reviewer="Ada", via="cli")
        second = await app.engine.wait(first.id, 30)
        # The second call is another one: what was given for the first is not for it.
        again = await attempts(client, await call(client, "get_run", run_id=run["run_id"]), gate["digest"])
        assert all(answer["error"] for answer in again)
        assert (second.status, outside.effects) == (RunStatus.WAITING, {"a": 1})
        rejected = await call(client, "approve_run", run_id=run["run_id"], decision="reject",
                              digest=second.waiting_for[0].digest, reason="no")  # fmt: skip
        if rule == "approvals of a workflow":
            assert rejected["error"]["code"] == "forbidden"
        else:  # to leave a call out needs no authority
            assert (await app.engine.wait(run["run_id"], 30)).status is RunStatus.REJECTED
    assert outside.effects == {"a": 1}


@asynchronous
async def test_a_rule_for_another_workflow_does_not_count(tmp_path: Path, outside: Outside) -> None:
    rules = '[policy.workflows.other]\napprovals = "person"\n[policy.workflows.ask]\napprovals = "any"\n'
    home = make_home(tmp_path / "home", LOCAL_HTTP + rules)
    async with open_app(home) as app, connect(app) as client:
        for name, code in (("ask", None), ("other", "forbidden")):
            await call(client, "create_workflow", name=name, source=ASK)
            run = await call(client, "invoke_workflow", name=name, arguments={"base": outside.url})
            answer = await call(client, "approve_run", run_id=run["run_id"], decision="approve")
            assert (answer["error"] or {}).get("code") == code
            run = await app.engine.wait(run["run_id"], 0 if code else 30)
            assert (run.output == "done") is (code is None)


@asynchronous
async def test_a_client_and_a_person_that_decide_at_once(tmp_path: Path, outside: Outside) -> None:
    home = make_home(tmp_path / "home", LOCAL_HTTP + RULES["tool"](""))
    async with open_app(home) as app, open_app(home, execute=False) as elsewhere, connect(app) as client:
        await call(client, "create_workflow", name="pay", source=PAY)
        run = await call(client, "invoke_workflow", name="pay", arguments={"base": outside.url})
        [gate] = run["waiting_for"]
        forged = {"run_id": run["run_id"], "decision": "approve", "key": gate["key"], "digest": gate["digest"]}
        person = elsewhere.engine.decide(run["run_id"], "reject", reason="not now", reviewer="Ada", via="cli")
        done = await asyncio.gather(*(call(client, "approve_run", **forged) for _ in range(8)), person)
        assert all(isinstance(answer, dict) and answer["error"] for answer in done[:8])
        ended = await app.engine.wait(run["run_id"], 30)
    assert isinstance(done[8], Run)
    assert (ended.status, outside.effects) == (RunStatus.REJECTED, {})


async def approve_as_client(app: App, mode: str, run: Run) -> JsonObject:
    [gate] = run.waiting_for
    async with connect(app, mode) as client:
        return await call(client, "approve_run", run_id=run.id, decision="approve", key=gate.key, digest=gate.digest)


@asynchronous
@pytest.mark.parametrize("mode", MODES)
async def test_what_a_client_approved_is_void_once_a_person_is_demanded(
    tmp_path: Path, outside: Outside, mode: str
) -> None:
    """The configuration changes between the approval and the call: whoever makes the call judges by his own."""
    home = make_home(tmp_path / "home", LOCAL_HTTP + '[policy]\ntools = {"http.*" = "approve"}\n')
    async with Session(home) as session:
        await session.add_workflow("pay", PAY)
        run = await session.run("pay", base=outside.url)
        [before] = run.waiting_for
    assert not before.person
    async with open_app(home, execute=False) as app:  # one that was started before the change, and still serves
        make_home(home, LOCAL_HTTP + RULES["tool"](""))
        assert not (await approve_as_client(app, mode, run))["error"]
        async with Session(home) as session:
            run = await session.wait(run, 30)
            [gate] = run.waiting_for
            assert (run.status, gate.person, outside.effects) == (RunStatus.WAITING, True, {})
            assert gate.digest != before.digest
            # What the one that asks has demanded holds for all who decide.
            assert (await approve_as_client(app, mode, run))["error"]["code"] == "forbidden"
            run = await session.wait(await session.approve(run, scope="run"), 30)
            assert (run.status, outside.effects) == (RunStatus.WAITING, {"a": 1})


QUESTIONS = '''"""Ask twice, and hear of something meanwhile."""


async def run(ctx) -> list:
    return await ctx.parallel(ctx.approve("Go on?"), ctx.wait_for_user("Why?"), ctx.wait_for_event("news"))
'''


async def until_asked(session: Session, run: Run, *kinds: str) -> dict[str, Wait]:
    """The waits of a run when they are of these kinds, and people must decide what they ask."""
    while True:
        asked = {wait.kind: wait for wait in (await session.get(run)).waiting_for}
        if set(asked) == set(kinds) and all(wait.person for kind, wait in asked.items() if kind != "event"):
            return asked
        await asyncio.sleep(0.02)


@asynchronous
async def test_what_one_process_asks_a_person_no_client_of_another_decides(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", "")
    async with Session(home) as session:
        await session.add_workflow("questions", QUESTIONS)
        run = await session.run("questions")
    async with open_app(home, execute=False) as lax, connect(lax) as client:
        [gate] = [wait for wait in run.waiting_for if wait.kind == "approval"]
        await lax.engine.decide(run.id, "approve", digest=gate.digest, via="client")
        make_home(home, '[policy]\napprovals = "person"\n')
        async with Session(home) as session:
            asked = await until_asked(session, run, "approval", "input", "event")
            assert asked["approval"].digest != gate.digest
        make_home(home, "")
        async with Session(home) as session:  # goes on with the run, under the laxer rule
            await session.emit("news", 1)
            asked = await until_asked(session, run, "approval", "input")
            tries: list[tuple[str, Any]] = [("approval", "approve"), ("approval", "reject"), ("input", "answer")]
            for kind, decision in tries:
                tried = await call(client, "approve_run", run_id=run.id, decision=decision, key=asked[kind].key,
                                   digest=asked[kind].digest, value="because" if kind == "input" else None)  # fmt: skip
                assert tried["error"]["code"] == "forbidden"
                with pytest.raises(Forbidden):
                    await lax.engine.decide(run.id, decision, key=asked[kind].key, value="because", via="client")
            await session.answer(run, "because", key=asked["input"].key)
            run = await session.wait(await session.approve(run, key=asked["approval"].key), 30)
    assert (run.status, run.output[1:]) == (RunStatus.COMPLETED, ["because", 1])


@asynchronous
async def test_a_server_process_refuses_its_client_too(tmp_path: Path, outside: Outside) -> None:
    home = make_home(tmp_path / "home", LOCAL_HTTP + RULES["tool"](""))
    async with over_stdio(home, "auto") as client:
        await call(client, "create_workflow", name="pay", source=PAY)
        run = await call(client, "invoke_workflow", name="pay", arguments={"base": outside.url})
        refused = await attempts(client, run)
        described = await call(client, "search_tools", query="http request")
    assert all(answer["error"] for answer in refused)
    assert "stepwell approve" in refused[2]["error"]["hint"]
    assert outside.effects == {}
    assert described


def test_of_rules_that_are_of_a_name_the_strictest_counts_and_a_versions_counts_as_it_is() -> None:
    spec = ToolSpec("shop.pay", "", {})
    flow = Caller("pay", "ab" * 32)
    all_of: dict[str, Policy] = {"shop.*": "person"}
    assert ToolRules(all_of).apply(spec).policy == "person"
    cases: list[tuple[Policy, Policy]] = [
        ("allow", "person"),
        ("approve", "person"),
        ("person", "person"),
        ("deny", "deny"),
    ]
    for policy, expected in cases:
        rules = ToolRules(all_of, workflows={"pa*": {"shop.*": policy}})
        assert rules.policy_for(rules.apply(spec), flow) == expected
    exact = ToolRules(all_of, workflows={"pay@abababababab": {"shop.*": "approve"}})
    assert exact.policy_for(exact.apply(spec), flow) == "approve"
    some = ToolRules(workflow_approvals={"p*": "person", "other": "person", "pay": "any"})
    assert (some.approvals_for(flow), some.approvals_for(Caller("ray", flow.version))) == ("person", "any")
    trusted = ToolRules(approvals="person", workflow_approvals={"pay@abababababab": "any"})
    assert (trusted.approvals_for(flow), trusted.approvals_for(Caller("pay", "0" * 64))) == ("any", "person")
