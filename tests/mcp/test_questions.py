"""Approvals and questions: how a person's answer reaches a run, and what is refused on the way."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp.types import CallToolResult, ElicitRequestFormParams, ElicitRequestParams, ElicitResult, InputRequiredResult

from mcp_clients import ASK, MODES, call, connect, in_memory, over_http, over_stdio, refused, value_of
from stepwell.model import JsonObject, Run, RunStatus, Wait
from stepwell_server.app import open_app
from stepwell_server.surface.questions import Question, question_form, read_answer

pytestmark = pytest.mark.asyncio

GATE = '''"""Send a message after an approval."""
from stepwell import WorkflowContext


async def run(ctx: WorkflowContext, text: str) -> dict:
    await ctx.approve("Send it?", {"text": text})
    return {"sent": text}
'''
KINDS = '''"""Ask in every way there is."""
from stepwell import WorkflowContext

OPTIONS = [{"id": "a", "label": "First"}, {"id": "b", "label": "Second"}]


async def run(ctx: WorkflowContext) -> list:
    answers = [await ctx.wait_for_user("Text?")]
    answers.append(await ctx.wait_for_user("One?", input_type="selection", options=OPTIONS))
    answers.append(await ctx.wait_for_user("Several?", input_type="multiselect", options=OPTIONS))
    answers.append(await ctx.wait_for_user("Yes or no?", input_type="approval"))
    answers.append(await ctx.wait_for_user("Free?", input_type="select", options=OPTIONS, allow_custom=True))
    answers.append(await ctx.wait_for_user("Skip?", skippable=True))
    return answers
'''


class Person:
    """Answers forms from a script of `part of the message -> result`."""

    def __init__(self, answers: dict[str, ElicitResult]) -> None:
        self.answers = answers
        self.forms: list[ElicitRequestFormParams] = []

    async def __call__(self, context: Any, params: ElicitRequestParams) -> ElicitResult:
        assert isinstance(params, ElicitRequestFormParams)
        self.forms.append(params)
        return next(result for part, result in self.answers.items() if part in params.message)


def accept(**content: Any) -> ElicitResult:
    return ElicitResult(action="accept", content=content)


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.row("A31", "A32", "A33", "A34")
async def test_each_kind_of_question_is_a_form_and_gives_its_answer(mode: str, tmp_path: Path) -> None:
    person = Person(
        {
            "Text?": accept(answer="free text"), "One?": accept(answer="b"), "Several?": accept(answer=["a", "b"]),
            "Yes or no?": accept(answer="reject"), "Free?": accept(other="my own"), "Skip?": accept(),
        }
    )  # fmt: skip
    async with in_memory(tmp_path, mode, elicitation_callback=person) as client:
        await call(client, "create_workflow", name="ask", source=KINDS)
        run = await call(client, "invoke_workflow", name="ask", wait_seconds=45)
    assert run["output"] == ["free text", "b", ["a", "b"], "reject", "my own", None]
    fields = [form.requested_schema["properties"] for form in person.forms]
    titled = [{"const": "a", "title": "First"}, {"const": "b", "title": "Second"}]
    assert fields[0]["answer"]["type"] == "string"
    assert fields[1]["answer"]["oneOf"] == titled
    assert (fields[2]["answer"]["type"], fields[2]["answer"]["items"]) == ("array", {"anyOf": titled})
    assert {option["const"] for option in fields[3]["answer"]["oneOf"]} == {"approve", "reject"}
    assert set(fields[4]) == {"answer", "other"}
    assert "required" not in person.forms[5].requested_schema


async def test_a_wrong_answer_is_asked_for_again(mode: str, tmp_path: Path) -> None:
    replies = iter([accept(answer="c"), accept(answer="b")])
    asked: list[str] = []

    async def person(context: Any, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params.message)
        return next(replies)

    source = KINDS[: KINDS.index('    answers.append(await ctx.wait_for_user("Several')] + "    return answers[1:]\n"
    source = source.replace('[await ctx.wait_for_user("Text?")]', "[0]")
    async with in_memory(tmp_path, mode, elicitation_callback=person) as client:
        await call(client, "create_workflow", name="ask", source=source)
        run = await call(client, "invoke_workflow", name="ask")
    assert (run["output"], len(asked)) == (["b"], 2)


async def test_a_declined_form_rejects(mode: str, tmp_path: Path) -> None:
    person = Person({"Send it?": ElicitResult(action="decline")})
    async with in_memory(tmp_path, mode, elicitation_callback=person) as client:
        await call(client, "create_workflow", name="send", source=GATE)
        run = await call(client, "invoke_workflow", name="send", arguments={"text": "hi"})
        assert (run["status"], run["error"]["code"]) == ("rejected", "rejected")


async def test_a_cancelled_form_leaves_the_run_waiting(mode: str, tmp_path: Path) -> None:
    person = Person({"Send it?": ElicitResult(action="cancel")})
    async with in_memory(tmp_path, mode, elicitation_callback=person) as client:
        await call(client, "create_workflow", name="send", source=GATE)
        run = await call(client, "invoke_workflow", name="send", arguments={"text": "hi"})
        assert (run["status"], "approve_run" in run["next"]) == ("waiting", True)
        person.answers = {"Send it?": accept()}
        run = await call(client, "get_run", run_id=run["run_id"], wait_seconds=45)
        assert run["output"] == {"sent": "hi"}


async def test_the_question_of_an_invoked_workflow_is_asked_too(mode: str, tmp_path: Path) -> None:
    person = Person({"Send it?": accept()})
    outer = 'def run(text: str) -> dict:\n    """Send."""\n    return workflows.invoke("send", text=text)'
    async with in_memory(tmp_path, mode, elicitation_callback=person) as client:
        await call(client, "create_workflow", name="send", source=GATE)
        await call(client, "create_workflow", name="send_twice", source=outer)
        run = await call(client, "invoke_workflow", name="send_twice", arguments={"text": "hi"})
        assert (run["status"], run["output"]) == ("completed", {"sent": "hi"})


async def test_a_question_survives_a_restart_of_the_server(tmp_path: Path) -> None:
    arguments = {"name": "send", "arguments": {"text": "hi"}}
    async with over_stdio(tmp_path, "auto", elicitation_callback=Person({})) as client:
        await call(client, "create_workflow", name="send", source=GATE)
        question = await ask(client, arguments)
    async with over_stdio(tmp_path, "auto", elicitation_callback=Person({})) as client:
        result = await answer(client, arguments, question, accept(note="after the restart"))
        assert value_of(result)["output"] == {"sent": "hi"}
        assert (await call(client, "list_runs"))["total"] == 1
    mode = stat.S_IMODE((tmp_path / "request-state.key").stat().st_mode)
    assert mode == 0o600


async def test_a_tampered_or_foreign_state_is_refused(tmp_path: Path) -> None:
    arguments = {"name": "send", "arguments": {"text": "hi"}}
    async with open_app(tmp_path / "one") as app, connect(app, elicitation_callback=Person({})) as client:
        await call(client, "create_workflow", name="send", source=GATE)
        question = await ask(client, arguments)
        state = question.request_state or ""
        for bad in (state[:-3] + "AAA", "v1.AAAA", json.dumps(["r-1", "r-1", "k", "", 20, 1]), "x" * 100_000):
            forged = question.model_copy(update={"request_state": bad})
            with pytest.raises(MCPError, match="requestState"):
                await answer(client, arguments, forged, accept())
        with pytest.raises(MCPError, match="requestState"):
            await answer(client, arguments | {"arguments": {"text": "other"}}, question, accept())
        [run] = (await call(client, "list_runs"))["runs"]
        assert run["status"] == "waiting"
    async with open_app(tmp_path / "two") as app, connect(app, elicitation_callback=Person({})) as client:
        with pytest.raises(MCPError, match="requestState"):
            await answer(client, arguments, question, accept())


async def test_an_answer_to_a_settled_question_is_refused(tmp_path: Path) -> None:
    arguments = {"name": "send", "arguments": {"text": "hi"}}
    async with in_memory(tmp_path, "auto", elicitation_callback=Person({})) as client:
        await call(client, "create_workflow", name="send", source=GATE)
        question = await ask(client, arguments)
        [run] = (await call(client, "list_runs"))["runs"]
        await call(client, "approve_run", run_id=run["run_id"], decision="reject", reason="no")
        result = await answer(client, arguments, question, accept())
        assert value_of(result)["error"]["code"] == "conflict"
        shown = await call(client, "get_run", run_id=run["run_id"], wait_seconds=45)
        assert shown["status"] == "rejected"


async def test_an_answer_that_is_missing_is_asked_for_again(tmp_path: Path) -> None:
    arguments = {"name": "send", "arguments": {"text": "hi"}}
    async with in_memory(tmp_path, "auto", elicitation_callback=Person({})) as client:
        await call(client, "create_workflow", name="send", source=GATE)
        question = await ask(client, arguments)
        again = await client.session.call_tool(
            "invoke_workflow", arguments, request_state=question.request_state, allow_input_required=True
        )
        assert isinstance(again, InputRequiredResult)
        assert (await call(client, "list_runs"))["total"] == 1


async def test_a_digest_must_fit_and_several_gates_need_a_key(tmp_path: Path) -> None:
    both = '''"""Two gates beside each other."""
from stepwell import WorkflowContext


async def run(ctx: WorkflowContext) -> list:
    return await ctx.parallel(ctx.approve("First?", 1, name="first"), ctx.approve("Second?", 2, name="second"))
'''
    async with in_memory(tmp_path, "auto") as client:
        await call(client, "create_workflow", name="send", source=GATE)
        run = await call(client, "invoke_workflow", name="send", arguments={"text": "hi"})
        wrong = await refused(client, "approve_run", run_id=run["run_id"], decision="approve", digest="0" * 12)
        assert wrong["code"] == "conflict"
        await call(client, "approve_run", run_id=run["run_id"], decision="approve")
        late = await refused(client, "approve_run", run_id=run["run_id"], decision="approve")
        assert late["code"] == "conflict"

        await call(client, "create_workflow", name="two_gates", source=both)
        run = await call(client, "invoke_workflow", name="two_gates")
        missing = await refused(client, "approve_run", run_id=run["run_id"], decision="approve")
        assert "digest" in missing["message"]
        for wait in run["waiting_for"]:
            given = {"run_id": run["run_id"], "key": wait["key"], "digest": wait["digest"]}
            await call(client, "approve_run", decision="approve", **given)
        assert (await call(client, "get_run", run_id=run["run_id"], wait_seconds=45))["status"] == "completed"


async def test_an_approval_that_policy_demands_needs_its_digest(tmp_path: Path) -> None:
    hosts = '[http]\nallow_hosts = ["127.0.0.1"]\nallow_private = true\n'
    write_config(tmp_path, hosts + '[policy]\ntools = {"fetch" = "approve"}\n')
    source = 'def run() -> str:\n    """Fetch."""\n    return tools.fetch(url="http://127.0.0.1:9/")'
    async with in_memory(tmp_path, "auto") as client:
        await call(client, "create_workflow", name="fetch_page", source=source)
        run = await call(client, "invoke_workflow", name="fetch_page")
        [gate] = run["waiting_for"]
        assert gate["context"]["tool"] == "fetch"
        error = await refused(client, "approve_run", run_id=run["run_id"], decision="approve")
        assert gate["digest"] in error["hint"]
        await call(client, "approve_run", run_id=run["run_id"], decision="reject", digest=gate["digest"])


async def test_where_only_a_person_may_decide_approve_run_is_refused(mode: str, tmp_path: Path) -> None:
    write_config(tmp_path, '[policy]\napprovals = "person"\n')
    person = Person({"Send it?": accept()})
    async with in_memory(tmp_path, mode) as client:
        await call(client, "create_workflow", name="send", source=GATE)
        run = await call(client, "invoke_workflow", name="send", arguments={"text": "hi"})
        [gate] = run["waiting_for"]
        assert ("approve_run" in run["next"], "stepwell approve" in run["next"]) == (False, True)
        error = await refused(
            client, "approve_run", run_id=run["run_id"], decision="approve", digest=gate["digest"], reviewer="me"
        )
        assert (error["code"], f"stepwell approve {run['run_id']}" in error["hint"]) == ("forbidden", True)
    async with in_memory(tmp_path, mode, elicitation_callback=person) as client:
        run = await call(client, "get_run", run_id=run["run_id"], wait_seconds=45)
        assert run["output"] == {"sent": "hi"}


HOST = 'def run(page: str) -> str:\n    """Fetch."""\n    return tools.fetch(url=f"http://localhost:9/{page}")'


async def test_an_unlisted_host_is_allowed_by_a_form_for_more_than_one_call(mode: str, tmp_path: Path) -> None:
    write_config(tmp_path, "[http]\nallow_private = true\n")
    async with in_memory(tmp_path, mode) as client:
        await call(client, "create_workflow", name="load", source=HOST)
        run = await call(client, "invoke_workflow", name="load", arguments={"page": "a"})
        [gate] = run["waiting_for"]
        assert (gate["person"], "stepwell approve" in run["next"]) == (True, True)
        assert gate["context"]["hosts"] == ["localhost"]
        error = await refused(
            client, "approve_run", run_id=run["run_id"], decision="approve", digest=gate["digest"], reviewer="the user"
        )
        assert (error["code"], "allow_hosts" in error["hint"]) == ("forbidden", True)
    person = Person({"Allow fetch to reach localhost?": accept(scope="always", note="mine")})
    async with in_memory(tmp_path, mode, elicitation_callback=person) as client:
        run = await call(client, "get_run", run_id=run["run_id"], wait_seconds=45)
        assert run["error"]["code"] == "connection_failed"  # it was sent; nobody listens there
        run = value_of(await client.call_tool("invoke_workflow", {"name": "load", "arguments": {"page": "b"}}))
        assert run["error"]["code"] == "connection_failed"
    [form] = person.forms
    scopes = form.requested_schema["properties"]["scope"]
    assert [option["const"] for option in scopes["oneOf"]] == ["once", "run", "workflow", "always"]


@pytest.mark.row("A32", "A33")
async def test_answers_are_checked_and_valid_ids_named(tmp_path: Path) -> None:
    async with in_memory(tmp_path, "auto") as client:
        await call(client, "create_workflow", name="ask", source=KINDS)
        run_id = (await call(client, "invoke_workflow", name="ask"))["run_id"]
        await call(client, "approve_run", run_id=run_id, decision="answer", value="anything")
        await call(client, "get_run", run_id=run_id, wait_seconds=45)
        error = await refused(client, "approve_run", run_id=run_id, decision="answer", value="c")
        assert (error["code"], "a, b" in error["hint"]) == ("invalid_arguments", True)
        await call(client, "approve_run", run_id=run_id, decision="answer", value="b")
        await call(client, "get_run", run_id=run_id, wait_seconds=45)
        await refused(client, "approve_run", run_id=run_id, decision="answer", value="a,c")
        await call(client, "approve_run", run_id=run_id, decision="answer", value="a,b")
        run = await call(client, "get_run", run_id=run_id, wait_seconds=45)
        assert run["waiting_for"][0]["input_type"] == "approval"


@pytest.mark.row("A35")
async def test_three_questions_are_answered_in_three_processes(tmp_path: Path) -> None:
    source = '''"""Ask three times."""
from stepwell import WorkflowContext


async def run(ctx: WorkflowContext) -> list:
    prepared = await ctx.step("prepare", lambda: artifacts.save("count", 1) and "done")
    return [await ctx.wait_for_user(f"Question {n}?") for n in range(3)] + [prepared]
'''
    run_id = ""
    for n in range(3):
        async with over_stdio(tmp_path, "auto") as client:
            if not run_id:
                await call(client, "create_workflow", name="ask", source=source)
                run_id = (await call(client, "run_workflow", name="ask"))["run_id"]
            run = await call(client, "get_run", run_id=run_id, wait_seconds=45)
            assert [wait["prompt"] for wait in run["waiting_for"]] == [f"Question {n}?"]
            await call(client, "approve_run", run_id=run_id, decision="answer", value=f"answer {n}")
    async with over_stdio(tmp_path, "auto") as client:
        run = await call(client, "get_run", run_id=run_id, wait_seconds=45, include=["output", "timeline"])
        assert run["output"][:3] == ["answer 0", "answer 1", "answer 2"]
        assert [event["type"] for event in run["timeline"]].count("step.completed") == 1


@pytest.mark.row("A36")
async def test_a_rejection_can_be_data(tmp_path: Path) -> None:
    source = '''"""Publish or not."""
from stepwell import WorkflowContext


async def run(ctx: WorkflowContext) -> dict:
    decision = await ctx.wait_for_user("Publish?", input_type="approval")
    if decision == "reject":
        return {"status": "rejected"}
    return {"status": "published"}
'''
    async with in_memory(tmp_path, "auto") as client:
        await call(client, "create_workflow", name="publish", source=source)
        run = await call(client, "invoke_workflow", name="publish")
        await call(client, "approve_run", run_id=run["run_id"], decision="reject")
        run = await call(client, "get_run", run_id=run["run_id"], wait_seconds=45)
        assert (run["status"], run["output"]) == ("completed", {"status": "rejected"})


async def test_an_open_form_does_not_keep_others_from_deciding(tmp_path: Path) -> None:
    async with over_http(tmp_path, "legacy") as other:
        await call(other, "create_workflow", name="translate", source=ASK)
        run = await call(other, "invoke_workflow", name="translate", arguments={"text": "abc"})

        async def late(context: Any, params: ElicitRequestParams) -> ElicitResult:
            if "Which language?" not in params.message:
                return accept()
            await call(other, "approve_run", run_id=run["run_id"], decision="answer", value="nl")
            return accept(answer="en")

        async with open_app(tmp_path) as app, connect(app, "legacy", elicitation_callback=late) as client:
            shown = await call(client, "get_run", run_id=run["run_id"], wait_seconds=45)
            assert shown["output"] == {"text": "ABC", "language": "nl"}


async def test_older_clients_get_forms_that_they_know() -> None:
    run = Run("r-1", "ask", "0" * 64, RunStatus.WAITING, {}, 0.0)
    options: tuple[JsonObject, ...] = ({"id": "a", "label": "First"}, {"id": "b"})
    one = Wait("r-1", "k", "input", "One?", "select", options)
    several = Wait("r-1", "k", "input", "Several?", "multiselect", options)
    fields = [
        question_form(Question(run, wait), "2025-06-18").requested_schema["properties"]["answer"]
        for wait in (one, several)
    ]
    assert (fields[0]["enum"], fields[0]["enumNames"]) == (["a", "b"], ["First", "b"])
    assert (fields[1]["type"], "a, b" in fields[1]["description"]) == ("string", True)
    answered = read_answer(several, accept(answer="a, b"))
    assert (answered.value if answered else None) == ["a", "b"]


async def ask(client: Client, arguments: dict[str, Any]) -> InputRequiredResult:
    result = await client.session.call_tool("invoke_workflow", arguments, allow_input_required=True)
    assert isinstance(result, InputRequiredResult)
    return result


async def answer(
    client: Client, arguments: dict[str, Any], question: InputRequiredResult, given: ElicitResult
) -> CallToolResult:
    result = await client.session.call_tool(
        "invoke_workflow",
        arguments,
        input_responses=dict.fromkeys(question.input_requests or {}, given),
        request_state=question.request_state,
        allow_input_required=True,
    )
    assert isinstance(result, CallToolResult)
    return result


def write_config(home: Path, text: str) -> None:
    (home / "stepwell.toml").write_text(text)
