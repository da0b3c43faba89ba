"""One agent's session, over every transport and in both eras."""

from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.types import ElicitRequestParams, ElicitResult

from mcp_clients import ADD, ASK, CONNECTIONS, MODES, call, refused, value_of

pytestmark = pytest.mark.asyncio


@pytest.fixture(params=sorted(CONNECTIONS))
def transport(request: pytest.FixtureRequest) -> Any:
    return CONNECTIONS[request.param]


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.row("P11", "P15", "P16", "P17", "P24", "P30")
async def test_an_agent_creates_finds_runs_and_deletes_a_workflow(transport: Any, mode: str, tmp_path: Path) -> None:
    async with transport(tmp_path, mode) as client:
        created = await call(client, "create_workflow", name="add_numbers", source=ADD)
        assert created["created"] is True
        assert created["signature"] == "add_numbers(left: int, right: int = 1) -> dict"

        found = await call(client, "search_workflows", query="add up numbers")
        assert [item["name"] for item in found["workflows"]] == ["add_numbers"]
        listed = await call(client, "list_workflows")
        assert listed["total"] == 1
        assert "source" not in listed["workflows"][0]
        shown = await call(client, "get_workflow", name="add_numbers")
        assert shown["graph"].startswith("add_numbers")
        assert shown["mermaid"].startswith("flowchart TD\n")
        assert shown["source"] == ADD

        run = await call(client, "invoke_workflow", name="add_numbers", arguments={"left": 2, "right": 3})
        assert (run["status"], run["output"]) == ("completed", {"sum": 5})
        again = await call(client, "get_run", run_id=run["run_id"], include=["logs", "timeline", "output"])
        assert [line["text"].strip() for line in again["logs"]] == ["adding 2 3"]
        assert again["timeline"][-1]["type"] == "run.completed"
        assert again["output"] == {"sum": 5}
        assert [item["run_id"] for item in (await call(client, "list_runs"))["runs"]] == [run["run_id"]]

        assert (await call(client, "delete_workflow", name="add_numbers"))["deleted"] is True
        assert (await refused(client, "invoke_workflow", name="add_numbers"))["code"] == "not_found"


@pytest.mark.row("A31")
async def test_without_forms_the_run_waits_until_approve_run_decides(transport: Any, mode: str, tmp_path: Path) -> None:
    async with transport(tmp_path, mode) as client:
        await call(client, "create_workflow", name="translate", source=ASK)
        run = await call(client, "invoke_workflow", name="translate", arguments={"text": "abc"})
        [question] = run["waiting_for"]
        assert (run["status"], question["kind"], question["prompt"]) == ("waiting", "input", "Which language?")
        assert "approve_run" in run["next"]
        run_id = run["run_id"]

        await call(client, "approve_run", run_id=run_id, decision="answer", value="nl")
        run = await call(client, "get_run", run_id=run_id, wait_seconds=45)
        [gate] = run["waiting_for"]
        assert (gate["kind"], gate["context"]) == ("approval", {"text": "ABC", "language": "nl"})

        await call(client, "approve_run", run_id=run_id, decision="approve", digest=gate["digest"], reviewer="Ada")
        run = await call(client, "get_run", run_id=run_id, wait_seconds=45)
        assert (run["status"], run["output"]) == ("completed", {"text": "ABC", "language": "nl"})
        decided = await decisions(client, run_id)
        assert [(item["decision"], item["via"]) for item in decided] == [("answer", "client"), ("approve", "client")]


@pytest.mark.row("A31", "A33")
async def test_with_forms_the_person_is_asked_during_the_call(transport: Any, mode: str, tmp_path: Path) -> None:
    asked: list[str] = []

    async def answer(context: Any, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params.message)
        content: dict[str, Any] = {"answer": "en"} if "language" in params.message else {"note": "fine"}
        return ElicitResult(action="accept", content=content)

    async with transport(tmp_path, mode, elicitation_callback=answer) as client:
        await call(client, "create_workflow", name="translate", source=ASK)
        run = await call(client, "invoke_workflow", name="translate", arguments={"text": "abc"})
        assert (run["status"], run["output"]) == ("completed", {"text": "ABC", "language": "en"})
        assert ["Which language?" in asked[0], "Publish it?" in asked[1]] == [True, True]
        decided = await decisions(client, run["run_id"])
        assert [item["via"] for item in decided] == ["elicitation", "elicitation"]
        assert (await call(client, "list_runs"))["total"] == 1


async def test_progress_is_reported_while_a_call_waits(transport: Any, mode: str, tmp_path: Path) -> None:
    told: list[tuple[float, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, message))

    code = "from stepwell import ctx\nctx.step('load', lambda: 1)\nctx.progress(3, 10, 'pages')\n7"
    async with transport(tmp_path, mode) as client:
        result = await client.call_tool("run_code", {"code": code}, progress_callback=note)
        assert value_of(result)["output"] == 7
    assert {"step load started", "step load completed", "3 of 10: pages"} <= {message for _, message in told}
    assert [progress for progress, _ in told] == sorted({progress for progress, _ in told})


async def decisions(client: Client, run_id: str) -> list[dict[str, Any]]:
    run = await call(client, "get_run", run_id=run_id, include=["timeline"])
    return [event["data"] for event in run["timeline"] if event["type"] == "wait.decided"]
