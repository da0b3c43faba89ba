"""What clients are told of the tools, and of changes among them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp.types import ToolListChangedNotification

from mcp_clients import ADD, MODES, call, connect, http_server, in_memory, over_stdio, refused, value_of
from stepwell.model import RunStatus
from stepwell_server.app import open_app

pytestmark = pytest.mark.asyncio

NAMES = {
    "create_workflow", "search_workflows", "list_workflows", "get_workflow", "delete_workflow", "invoke_workflow",
    "run_workflow", "get_run", "list_runs", "resume_run", "approve_run", "cancel_run", "run_code", "search_tools",
    "read_artifact", "emit_event", "get_guide",
}  # fmt: skip
ARGUMENTS = {
    "create_workflow": "name source description intents tags replace entry dry_run from_run",
    "search_workflows": "query limit",
    "list_workflows": "limit cursor tag only",
    "get_workflow": "name version offset",
    "delete_workflow": "name",
    "invoke_workflow": "name arguments wait_seconds run_id session_id user_id idempotency_key budget_usd from_run from_step",
    "run_workflow": "name arguments run_id session_id user_id idempotency_key budget_usd from_run from_step pool labels",
    "get_run": "run_id wait_seconds include path offset",
    "list_runs": "status workflow session_id parent_id limit cursor",
    "resume_run": "run_id decision value version key digest budget_usd",
    "approve_run": "run_id decision value key digest reason reviewer",
    "cancel_run": "run_id reason",
    "run_code": "code arguments wait_seconds",
    "search_tools": "query limit",
    "read_artifact": "run_id name offset",
    "emit_event": "name payload event_id run_id",
    "get_guide": "topic",
}


@pytest.mark.row("P30")
@pytest.mark.parametrize("mode", MODES)
async def test_the_list_is_complete_small_and_in_a_fixed_order(mode: str, tmp_path: Path) -> None:
    async with in_memory(tmp_path, mode) as client:
        tools = (await client.list_tools()).tools
        again = (await client.list_tools()).tools
        assert client.instructions is not None
        assert len(client.instructions.encode()) <= 2048
    shown = [tool.model_dump(by_alias=True, exclude_none=True, mode="json") for tool in tools]
    assert len(json.dumps({"tools": shown}, separators=(",", ":"), ensure_ascii=False).encode()) < 14_000
    assert {tool.name for tool in tools} == NAMES
    assert [tool.name for tool in tools] == [tool.name for tool in again]
    loaded = {tool.name for tool in tools if (tool.meta or {}).get("anthropic/alwaysLoad")}
    assert loaded == {"search_workflows", "invoke_workflow", "create_workflow", "get_run"}


async def test_every_tool_has_a_title_all_hints_and_a_closed_schema(tmp_path: Path) -> None:
    async with in_memory(tmp_path, "auto") as client:
        tools = (await client.list_tools()).tools
    for tool in tools:
        assert tool.title
        assert tool.description
        hints = tool.annotations
        assert hints is not None
        given = (hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint, hints.open_world_hint)
        assert all(isinstance(hint, bool) for hint in given), tool.name
        assert set(tool.input_schema["properties"]) == set(ARGUMENTS[tool.name].split())
        assert tool.input_schema["additionalProperties"] is False
        assert "$ref" not in json.dumps(tool.input_schema)
        assert '"title"' not in json.dumps(tool.input_schema)
    [status] = [tool.input_schema["properties"]["status"] for tool in tools if tool.name == "list_runs"]
    assert status["enum"] == [status.value for status in RunStatus]
    readers = {tool.name for tool in tools if tool.annotations and tool.annotations.read_only_hint}
    assert readers == {
        "search_workflows", "list_workflows", "get_workflow", "get_run", "list_runs", "search_tools", "read_artifact",
        "get_guide",
    }  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
async def test_a_pinned_workflow_is_a_tool_of_its_own(mode: str, tmp_path: Path) -> None:
    fail = 'def run() -> int:\n    """Fail."""\n    raise RuntimeError("on purpose")'
    async with open_app(tmp_path) as app, connect(app, mode) as client:
        await call(client, "create_workflow", name="add_numbers", source=ADD)
        await call(client, "create_workflow", name="fail_always", source=fail)
        error = await refused(client, "wf_add_numbers", left=1)
        assert (error["code"], "invoke_workflow" in error["hint"]) == ("not_found", True)
        await app.catalog.pin("add_numbers", True)
        await app.catalog.pin("fail_always", True)
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert list(tools)[-2:] == ["wf_add_numbers", "wf_fail_always"]
        assert tools["wf_add_numbers"].input_schema["required"] == ["left"]
        assert tools["wf_add_numbers"].description == "Add two numbers."

        assert (await call(client, "wf_add_numbers", left=2, right=5))["output"] == {"sum": 7}
        assert (await refused(client, "wf_add_numbers", wrong=2))["code"] == "invalid_arguments"
        assert (await refused(client, "wf_unknown"))["code"] == "not_found"
        failed = await client.call_tool("wf_fail_always", {})
        assert (failed.is_error, value_of(failed)["error"]["message"]) == (True, "on purpose")


async def test_a_failed_run_is_an_error_of_invoke_and_not_of_get_run(tmp_path: Path) -> None:
    fail = 'def run() -> int:\n    """Fail."""\n    raise ValueError("no such thing")'
    async with in_memory(tmp_path, "auto") as client:
        await call(client, "create_workflow", name="fail_always", source=fail)
        result = await client.call_tool("invoke_workflow", {"name": "fail_always"})
        run = value_of(result)
        assert (result.is_error, run["status"]) == (True, "failed")
        error = {key: run["error"][key] for key in ("type", "message", "step", "attempt", "code")}
        assert error == {
            "type": "ValueError", "message": "no such thing", "step": None, "attempt": None, "code": "workflow_error",
        }  # fmt: skip
        shown = await client.call_tool("get_run", {"run_id": run["run_id"]})
        assert (shown.is_error, value_of(shown)["status"]) == (False, "failed")


@pytest.mark.parametrize("mode", MODES)
async def test_clients_are_told_when_pinned_workflows_change(mode: str, tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        await app.catalog.create("add_numbers", ADD)
        async with watching(tmp_path, mode) as told:
            await app.catalog.pin("add_numbers", True)
            await told.wait()
            told.clear()
            await app.catalog.create("add_numbers", ADD + "\n# changed\n", replace=True)
            await told.wait()


def watching(home: Path, mode: str) -> Any:
    return _watch_modern(home) if mode == "auto" else _watch_legacy(home)


class _watch_legacy:  # noqa: N801  used like a function
    def __init__(self, home: Path) -> None:
        self._told = asyncio.Event()
        self._connection = over_stdio(home, "legacy", message_handler=self._handle)

    async def _handle(self, message: Any) -> None:
        if isinstance(message, ToolListChangedNotification):
            self._told.set()

    async def __aenter__(self) -> asyncio.Event:
        client = await self._connection.__aenter__()
        assert client.server_capabilities.tools is not None
        assert client.server_capabilities.tools.list_changed is True
        await client.list_tools()
        return self._told

    async def __aexit__(self, *error: Any) -> None:
        await self._connection.__aexit__(*error)


class _watch_modern:  # noqa: N801  used like a function
    def __init__(self, home: Path) -> None:
        self._told = asyncio.Event()
        self._connection = over_stdio(home, "auto")

    async def _listen(self, client: Client, ready: asyncio.Event) -> None:
        async with client.listen(tools_list_changed=True) as events:
            ready.set()
            async for _ in events:
                self._told.set()

    async def __aenter__(self) -> asyncio.Event:
        client = await self._connection.__aenter__()
        ready = asyncio.Event()
        self._task = asyncio.create_task(self._listen(client, ready))
        await ready.wait()
        return self._told

    async def __aexit__(self, *error: Any) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._connection.__aexit__(*error)


async def test_a_client_that_gives_up_does_not_end_the_run(tmp_path: Path) -> None:
    slow = '''"""Wait for an event."""
from stepwell import WorkflowContext


async def run(ctx: WorkflowContext) -> dict:
    return {"got": await ctx.wait_for_event("go")}
'''
    busy = '''"""Work for a while."""
import time
from stepwell import WorkflowContext


def run(ctx: WorkflowContext) -> str:
    ctx.step("work", time.sleep, 1.0)
    return "done"
'''
    async with in_memory(tmp_path, "auto") as client:
        await call(client, "create_workflow", name="wait_for_it", source=slow)
        await call(client, "create_workflow", name="work_hard", source=busy)
        started = asyncio.Event()

        async def note(progress: float, total: float | None, message: str | None) -> None:
            started.set()

        given = {"name": "work_hard", "run_id": "busy-1"}
        giving_up = asyncio.create_task(client.call_tool("invoke_workflow", given, progress_callback=note))
        await started.wait()
        giving_up.cancel()
        await asyncio.gather(giving_up, return_exceptions=True)
        run = await call(client, "get_run", run_id="busy-1", wait_seconds=45)
        assert (run["status"], run["output"]) == ("completed", "done")

        run = await call(client, "run_workflow", name="wait_for_it", labels={"team": "a"})
        assert run["status"] in ("pending", "running", "waiting")
        run = await call(client, "get_run", run_id=run["run_id"], wait_seconds=45)
        assert [wait["kind"] for wait in run["waiting_for"]] == ["event"]
        sent = await call(client, "emit_event", name="go", payload={"n": 1}, event_id="e-1")
        assert (sent["delivered"], sent["duplicate"]) == ([run["run_id"]], False)
        assert (await call(client, "emit_event", name="go", payload={"n": 1}, event_id="e-1"))["duplicate"] is True
        run = await call(client, "get_run", run_id=run["run_id"], wait_seconds=45)
        assert run["output"] == {"got": {"n": 1}}
        assert (await refused(client, "emit_event", name="go", run_id=run["run_id"]))["code"] == "conflict"
        assert (await refused(client, "emit_event", name="go", run_id="r-nobody"))["code"] == "not_found"


async def test_the_same_key_gives_the_same_run(tmp_path: Path) -> None:
    async with in_memory(tmp_path, "auto") as client:
        await call(client, "create_workflow", name="add", source=ADD)
        given: dict[str, Any] = {"name": "add", "arguments": {"left": 1}, "idempotency_key": "k"}
        first = await call(client, "invoke_workflow", **given)
        assert (await call(client, "invoke_workflow", **given))["run_id"] == first["run_id"]
        given["arguments"] = {"left": 2}
        assert (await refused(client, "invoke_workflow", **given))["code"] == "conflict"


async def test_runs_can_be_resumed_and_cancelled(tmp_path: Path) -> None:
    ask = '"""Ask."""\nfrom stepwell import ctx\n\n\ndef run() -> str:\n    return ctx.wait_for_user("Go on?")'
    fail = '"""Fail."""\nfrom stepwell import ctx\n\n\ndef run() -> str:\n    return ctx.step("load", tools.fetch, url="http://127.0.0.1/")'
    async with in_memory(tmp_path, "auto") as client:
        await call(client, "create_workflow", name="ask_first", source=ask)
        await call(client, "create_workflow", name="fail_outside", source=fail)
        run = await call(client, "invoke_workflow", name="ask_first")
        cancelled = await call(client, "cancel_run", run_id=run["run_id"], reason="not needed")
        assert (cancelled["status"], cancelled["error"]["code"]) == ("cancelled", "cancelled")
        resumed = await call(client, "resume_run", run_id=run["run_id"])
        assert resumed["status"] == "waiting"

        failed = value_of(await client.call_tool("invoke_workflow", {"name": "fail_outside"}))
        assert failed["status"] == "failed"
        assert (await call(client, "resume_run", run_id=failed["run_id"]))["status"] == "failed"
        assert (await refused(client, "resume_run", run_id=failed["run_id"], decision="value", value=1))[
            "code"
        ] == "conflict"
        running = await call(client, "list_runs", status="waiting")
        assert [item["run_id"] for item in running["runs"]] == [run["run_id"]]


async def test_tools_for_workflows_are_found_with_a_call_to_paste(tmp_path: Path) -> None:
    async with in_memory(tmp_path, "auto") as client:
        found = await call(client, "search_tools", query="get a web page")
        assert "tools.fetch(" in " ".join(tool["call"] for tool in found["tools"])
        every = await call(client, "search_tools")
        assert {"fetch", "http.request", "curl.get"} <= {tool["name"] for tool in every["tools"]}
        none = await call(client, "search_tools", query="zzzzzz")
        assert (none["tools"], "fetch" in none["next"]) == ([], True)


async def test_a_server_is_shared_by_clients_of_both_eras(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(60),
        http_server(tmp_path) as url,
        Client(url) as modern,
        Client(url, mode="legacy") as legacy,
    ):
        await call(modern, "create_workflow", name="add", source=ADD)
        run = await call(legacy, "invoke_workflow", name="add", arguments='{"left": 1}')
        assert (await call(modern, "get_run", run_id=run["run_id"]))["output"] == {"sum": 2}


async def test_no_more_than_64_workflows_are_tools(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app, connect(app) as client:
        for n in range(70):
            await app.catalog.create(f"add_{n}", f"{ADD}# {n}\n")
            await app.catalog.pin(f"add_{n}", True)
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert len([name for name in names if name.startswith("wf_")]) == 64


@pytest.mark.row("P30")
async def test_code_that_was_run_once_becomes_a_workflow_with_its_constants_as_parameters(tmp_path: Path) -> None:
    code = (
        '"""Count the words of a text."""\nTEXT = "one two"\nprint("counting")\n'
        'artifacts.save("words", TEXT.split())\nlen(TEXT.split()) + extra\n'
    )
    async with in_memory(tmp_path, "auto") as client:
        run = await call(client, "run_code", code=code, arguments={"extra": 1})
        assert (run["output"], f'from_run="{run["run_id"]}"' in run["next"]) == (3, True)
        logs = await call(client, "get_run", run_id=run["run_id"], include=["logs"])
        assert [line["text"] for line in logs["logs"]] == ["counting"]
        made = await call(client, "create_workflow", name="count_words", from_run=run["run_id"])
        assert made["signature"] == "count_words(extra: int, TEXT: str = 'one two')"
        given = {"TEXT": "a b c", "extra": 0}
        again = await call(client, "invoke_workflow", name="count_words", arguments=given)
        assert again["output"] == 3
        shown = await call(client, "read_artifact", run_id=again["run_id"], name="words")
        assert json.loads(shown["text"]) == ["a", "b", "c"]


@pytest.mark.row("P29")
async def test_artifacts_are_resources(tmp_path: Path) -> None:
    code = (
        'artifacts.save("a/b c", "text", description="Said", metadata={"n": 1})\n'
        'artifacts.save("bin", b"\\x00\\xff")\nartifacts.save("data", {"x": [1]})\n'
    )
    async with in_memory(tmp_path, "auto") as client:
        run = await call(client, "run_code", code=code)
        listed = {item.name: item for item in (await client.list_resources()).resources}
        assert (listed["a/b c"].description, listed["a/b c"].size) == ("Said", 4)
        read: dict[str, Any] = {}
        for name in ("a/b c", "bin", "data"):
            [content] = (await client.read_resource(listed[name].uri)).contents
            read[name] = getattr(content, "text", None) or getattr(content, "blob", None)
        assert (read["a/b c"], read["bin"], json.loads(read["data"])) == ("text", "AP8=", {"x": [1]})
        with pytest.raises(MCPError, match="no artifact"):
            await client.read_resource(f"stepwell://artifact/{run['run_id']}/none")
