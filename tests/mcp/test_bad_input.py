"""Wrong, enormous and hostile arguments, to every tool: an error that says what is wrong and what to do next."""

from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.types import Tool

from mcp_clients import ADD, MODES, call, in_memory, over_stdio, refused, text_of
from stepwell_server.app import open_app
from stepwell_server.surface.server import open_server

pytestmark = pytest.mark.asyncio

WRONG: dict[str, Any] = {
    "string": ["a", "list"],
    "integer": "many",
    "number": "long",
    "boolean": "perhaps",
    "array": "no array",
    "object": [1, 2],
}
FITTING: dict[str, Any] = {"string": "text", "integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}
HOSTILE = [
    "\0",
    "../../etc/passwd",
    "'; DROP TABLE runs; --",
    "\u202e\u2066\ufeff",
    "{{secret:TOKEN}}",
    "<script>alert(1)</script>",
    "\x1b[31m\x07",
    "%s%n%x",
    "\U0001f4a9" * 50,
    " ",
    "-1",
    "null",
]


def sample(tool: Tool) -> dict[str, Any]:
    """Return the smallest arguments that fit the tool's schema."""
    properties: dict[str, Any] = tool.input_schema["properties"]
    return {name: _fitting(properties[name]) for name in tool.input_schema.get("required", [])}


def _fitting(schema: dict[str, Any]) -> Any:
    return schema["enum"][0] if "enum" in schema else FITTING[schema["type"]]


async def tools_of(client: Client) -> list[Tool]:
    return (await client.list_tools()).tools


@pytest.mark.parametrize("mode", MODES)
async def test_what_is_missing_is_named_with_the_form_of_the_call(mode: str, tmp_path: Path) -> None:
    async with in_memory(tmp_path, mode) as client:
        for tool in await tools_of(client):
            for name in tool.input_schema.get("required", []):
                given = {key: value for key, value in sample(tool).items() if key != name}
                error = await refused(client, tool.name, **given)
                assert (error["type"], error["code"]) == ("InvalidArguments", "invalid_arguments")
                assert f"`{name}` is missing" in error["message"]
                assert f"{tool.name}({name}" in error["hint"] or f"{name}: " in error["hint"]


@pytest.mark.parametrize("mode", MODES)
async def test_unknown_arguments_are_refused_with_the_near_name(mode: str, tmp_path: Path) -> None:
    async with in_memory(tmp_path, mode) as client:
        for tool in await tools_of(client):
            for name in tool.input_schema["properties"]:
                error = await refused(client, tool.name, **sample(tool), **{f"{name}x": 1})
                assert f"`{name}x` is no argument, did you mean `" in error["message"]
            error = await refused(client, tool.name, **sample(tool), zzzzzzzz=1)
            assert "`zzzzzzzz` is no argument" in error["message"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_wrong_type_says_what_was_expected_and_what_came(mode: str, tmp_path: Path) -> None:
    async with in_memory(tmp_path, mode) as client:
        for tool in await tools_of(client):
            for name, schema in tool.input_schema["properties"].items():
                if "type" not in schema:
                    continue  # any JSON value fits
                error = await refused(client, tool.name, **(sample(tool) | {name: WRONG[schema["type"]]}))
                assert error["code"] == "invalid_arguments"
                assert f"`{name}` must be " in error["message"]
                assert "pydantic" not in str(error)


async def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    async with in_memory(tmp_path, "auto") as client:
        error = await refused(client, "invoke_workflow", nam="x", arguments="[1]", wait_seconds=99, budget_usd="much")
        assert error["message"] == (
            "invoke_workflow: `name` is missing (text of 1 to 200 characters); `arguments` must be a JSON object, "
            'not "[1]"; `budget_usd` must be a number from 0 to 1,000,000, not "much"; `wait_seconds` must be a number '
            "from 0 to 45, not 99; `nam` is no argument, did you mean `name`?"
        )


async def test_null_means_not_given_where_there_is_a_default(tmp_path: Path) -> None:
    async with in_memory(tmp_path, "auto") as client:
        for tool in await tools_of(client):
            optional = set(tool.input_schema["properties"]) - set(tool.input_schema.get("required", []))
            result = await client.call_tool(tool.name, sample(tool) | dict.fromkeys(optional))
            assert "must be" not in text_of(result), tool.name


async def test_enormous_arguments_are_refused_and_not_repeated(tmp_path: Path) -> None:
    async with over_stdio(tmp_path, "auto") as client:
        for tool in await tools_of(client):
            for name, schema in tool.input_schema["properties"].items():
                if schema.get("type") != "string" and "type" in schema:
                    continue
                error = await refused(client, tool.name, **(sample(tool) | {name: "A" * 2_000_000}))
                assert "1,048,576 characters" in error["message"]
                assert "AAA" not in str(error)
        assert (await refused(client, "run_code", code="#" * 10_000_000))["code"] == "invalid_arguments"
        wide = await refused(client, "get_guide", **{f"x{n}": n for n in range(5_000)})
        assert "more" in wide["message"]
        deep: list[Any] = []
        for _ in range(150):
            deep = [deep]
        assert "levels" in (await refused(client, "emit_event", name="e", payload=deep))["message"]
        assert (await call(client, "list_runs"))["total"] == 0


@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
async def test_hostile_text_gets_an_answer_everywhere(hostile: str, tmp_path: Path) -> None:
    async with in_memory(tmp_path, "auto") as client:
        for tool in await tools_of(client):
            for name, schema in tool.input_schema["properties"].items():
                if schema.get("type", "string") != "string" or "enum" in schema:
                    continue
                result = await client.call_tool(tool.name, sample(tool) | {name: hostile})
                assert "internal_error" not in text_of(result), (tool.name, name)
                assert "Traceback" not in text_of(result)
        assert (await call(client, "list_workflows"))["workflows"] == []


@pytest.mark.parametrize("mode", MODES)
async def test_an_unknown_tool_suggests_near_ones(mode: str, tmp_path: Path) -> None:
    async with in_memory(tmp_path, mode) as client:
        assert "invoke_workflow" in (await refused(client, "invoke_workflows"))["hint"]
        assert "create_workflow" in (await refused(client, "workflow_create"))["hint"]
        assert "get_guide" in (await refused(client, "zzz" * 1000))["hint"]


async def test_runs_and_guides_that_are_not_there(tmp_path: Path) -> None:
    async with in_memory(tmp_path, "auto") as client:
        for tool in ("get_run", "resume_run", "cancel_run"):
            assert (await refused(client, tool, run_id="r-none"))["code"] == "not_found"
        assert (await refused(client, "approve_run", run_id="r-none", decision="approve"))["code"] == "not_found"
        assert (await refused(client, "read_artifact", run_id="r-none", name="x"))["code"] == "not_found"
        assert (await refused(client, "get_run", run_id="r-none", wait_seconds=5))["code"] == "not_found"
        assert "approvals" in (await refused(client, "get_guide", topic="aproval"))["hint"]
        assert (await refused(client, "list_runs", cursor="!!"))["code"] == "invalid_arguments"
        error = await refused(client, "create_workflow", name="x_y", from_run="r-none")
        assert error["code"] == "not_found"


async def test_a_defect_shows_no_details_to_the_client(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with open_app(tmp_path) as app, open_server(app) as server, Client(server) as client:
        await call(client, "create_workflow", name="add", source=ADD)
        # Rows that no version of this program writes.
        await app.database.write(lambda connection: connection.execute("UPDATE versions SET analysis = '[7]'").rowcount)
        error = await refused(client, "list_workflows")
        assert (error["type"], error["code"]) == ("InternalError", "internal_error")
        assert "Traceback" in caplog.text
        assert "analysis" not in str(error)


async def test_the_limits_of_results_hold(tmp_path: Path) -> None:
    source = (
        '"""Long."""\n\n\ndef run() -> int:\n'
        + "".join(f"    value_{n} = {n}\n" for n in range(9_000))
        + "    return 1\n"
    )
    async with in_memory(tmp_path, "auto") as client:
        await call(client, "create_workflow", name="long_one", source=source)
        shown = await call(client, "get_workflow", name="long_one")
        parts = [shown["source"]]
        while more := shown.get("more", {}).get("source", {}).get("next"):
            offset = int(more.rpartition("offset=")[2].rstrip(")"))
            shown = await call(client, "get_workflow", name="long_one", offset=offset)
            parts.append(shown["source"])
        assert "".join(parts) == source
        for n in range(40):
            await call(client, "create_workflow", name=f"many_{n}", source=ADD + f"# {n}\n", description="word " * 300)
        listed = await call(client, "list_workflows", limit=100)
        names = [item["name"] for item in listed["workflows"]]
        while listed["next_cursor"]:
            listed = await call(client, "list_workflows", limit=100, cursor=listed["next_cursor"])
            names += [item["name"] for item in listed["workflows"]]
        assert len(names) == len(set(names)) == 41
